"""A random LLaVA model of a few thousand parameters, with tokenizer, chat template and image processor, made in a
second."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}<user>{% for part in message.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}{% else %}<assistant>"
    "{{ message.content[0].text }}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
SPECIAL = ["<pad>", "<s>", "</s>", "<image>", "<user>", "<assistant>"]
COLOURS = ("red", "green", "blue", "yellow")
_RGB = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 220), "yellow": (230, 220, 40)}


def make_tiny_student(folder: Path, seed: int = 0, hidden: int = 48) -> Path:
    """Write the model to `folder`. Its answers are noise until it is tuned; they do depend on the picture."""
    torch.manual_seed(seed)
    processor = _processor()
    tokenizer = processor.tokenizer
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    shape = {"hidden_size": hidden, "intermediate_size": 2 * hidden, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = CLIPVisionConfig(**shape, image_size=32, patch_size=16, projection_dim=hidden)
    text = LlamaConfig(**shape, **ids, num_key_value_heads=2, vocab_size=len(tokenizer), initializer_range=0.2)
    config = LlavaConfig(
        vision_config=vision.to_dict(),
        text_config=text.to_dict(),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _processor() -> LlavaProcessor:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    words = [f"What colour is it? Step 1: it is {colour}.\nAnswer: {colour}" for colour in COLOURS]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        words * 3,
        trainers.BpeTrainer(vocab_size=330, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"},
    )
    return LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        tokenizer=tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )


def make_picture(path: Path, colour: str, size: int = 32) -> Path:
    """A picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), _RGB[colour]).save(path)
    return path


def make_samples(folder: Path, count: int, images: bool = True) -> Path:
    """A file of samples as `TuningJob` takes it: name the colour of the picture."""
    rows = []
    for number in range(count):
        colour = COLOURS[number % len(COLOURS)]
        picture = make_picture(folder / f"{colour}.png", colour)
        extra = " Look well." * (number % 3)
        rows.append(
            {
                "id": f"s{number:03}",
                "turns": [[f"What colour is it?{extra}", f"Step 1: it is {colour}.\nAnswer: {colour}"]],
                "images": [str(picture)] if images else [],
            }
        )
    return write_rows(folder / "samples.jsonl", rows)


def write_rows(path: Path, rows: Sequence[dict[str, object]]) -> Path:
    """A JSONL file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
