"""The student: a small LLaVA (CLIP tower, MLP projector, Llama) with its tokenizer and processor, built and saved.

The saved folder loads with `AutoModelForImageTextToText` and `AutoProcessor`, offline and without torchvision. Tower
keys are written as `vision_tower.vision_model.*`, which vLLM expects and transformers 5 reads too.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from eval.microworld.scene import CELL_PX, SIDE_PX

PAD, BOS, EOS, IMAGE = "<pad>", "<s>", "</s>", "<image>"
SPECIALS = (PAD, BOS, EOS, IMAGE)
IMAGE_TOKENS = (SIDE_PX // CELL_PX) ** 2  # one a cell
CONTEXT = 512  # tokens; a question with its picture and answer takes 40-90
VOCABULARY = 640
# A word, a cell ("b3") or a number is one pre-token with the space before it; so a rationale cut at any word goes on
# alike.
WORDS = r"\n| ?[a-z]\d| ?\d+| ?\p{L}+| ?[^\s\p{L}\d]|\s"
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'user' -%}{{ 'USER: ' }}"
    "{%- elif message['role'] == 'assistant' -%}{{ 'ASSISTANT: ' }}{%- endif -%}"
    "{%- if message['content'] is string -%}{{ message['content'] }}"
    "{%- else -%}{%- for part in message['content'] -%}"
    "{%- if part['type'] == 'image' -%}{{ '<image>\n' }}{%- else -%}{{ part['text'] }}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}"
    "{%- if message['role'] == 'assistant' -%}{{ '</s>' }}{%- else -%}{{ ' ' }}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ 'ASSISTANT:' }}{%- endif -%}"
)


def prompt_text(prompt: str, pictured: bool) -> str:
    """What the chat template makes of one user turn with the generation prompt (a test holds the two together)."""
    return f"USER: {IMAGE + chr(10) if pictured else ''}{prompt} ASSISTANT:"


def reply_text(reply: str) -> str:
    """What follows `prompt_text` when the student has answered."""
    return f" {reply}{EOS}"


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE over the texts. Any text can be encoded; frequent words are one token."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(WORDS), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        extra_special_tokens={"image_token": IMAGE},
        padding_side="left",
        model_max_length=CONTEXT,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def make_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    images = CLIPImageProcessorPil(
        size={"shortest_edge": SIDE_PX},
        crop_size={"height": SIDE_PX, "width": SIDE_PX},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=CELL_PX,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # the class token, which "default" drops
        chat_template=CHAT_TEMPLATE,
    )


def make_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlavaForConditionalGeneration:
    """The untrained student in fp32, with eager attention (on CPUs its backward is faster than SDPA's)."""
    vision = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=SIDE_PX,
        patch_size=CELL_PX,
        projection_dim=128,
    )
    specials = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        **specials,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=IMAGE_TOKENS,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
        **specials,
    )
    torch.manual_seed(seed)
    config._attn_implementation = "eager"
    return LlavaForConditionalGeneration(config)


def _keys(model: LlavaForConditionalGeneration) -> Iterator[tuple[str, torch.Tensor]]:
    """Weights under the names of published LLaVA checkpoints. The tied output layer is left out."""
    names = {
        "model.vision_tower.": "vision_tower.vision_model.",
        "model.multi_modal_projector.": "multi_modal_projector.",
        "model.language_model.": "language_model.model.",
    }
    for key, weight in model.state_dict().items():
        for ours, theirs in names.items():
            if key.startswith(ours):
                yield theirs + key.removeprefix(ours), weight.detach().to(torch.bfloat16).contiguous()


def save_student(model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Writes config, bf16 weights, tokenizer, processor and chat template."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.dtype = torch.bfloat16
    model.config.architectures = ["LlavaForConditionalGeneration"]
    model.config.save_pretrained(folder)
    text = model.config.text_config
    GenerationConfig(
        do_sample=False, pad_token_id=text.pad_token_id, bos_token_id=text.bos_token_id, eos_token_id=text.eos_token_id
    ).save_pretrained(folder)
    make_processor(tokenizer).save_pretrained(folder)
    save_file(dict(_keys(model)), folder / "model.safetensors", metadata={"format": "pt"})
