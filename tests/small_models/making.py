"""How a small model's folder is written: config, weights under their names on the hub, tokenizer, chat template, the
settings of the processors. Answers are noise, but they depend on the picture."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import CONFIG_MAPPING, AutoModelForImageTextToText, GenerationConfig, PreTrainedTokenizerFast

from tests.small_models.parts import BOS, CONTEXT, PAD, SPREAD, Small, text_shape
from tests.small_models.shapes import GENERAL, SMALL
from tests.tiny_student import COLOURS


def make_small_model(name: str, folder: Path, seed: int = 0) -> Path:
    """Write the small model of that name (a key of SMALL or GENERAL) to `folder`; takes about a second."""
    small = {**SMALL, **GENERAL}[name]
    tokenizer = _tokenizer(small)
    tokenizer.save_pretrained(folder)
    if small.template is not None:
        (folder / "chat_template.jinja").write_text(small.template)
    for file, settings in small.files.items():
        (folder / file).write_text(json.dumps(settings, indent=2))
    specials = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    settings = small.config(tokenizer.get_vocab(), {**text_shape(len(tokenizer)), **specials})
    torch.manual_seed(seed)
    model = AutoModelForImageTextToText.from_config(CONFIG_MAPPING[small.model_type](**settings))
    _spread(model)
    model.save_pretrained(folder, max_shard_size="500KB" if small.twofold else "5GB")
    if small.twofold:
        _add_other_format(folder)
    if settings["vision_config"].get("model_type") in ("clip_vision_model", "siglip_vision_model"):
        _name_as_on_hub(folder / "model.safetensors")
    GenerationConfig(**specials).save_pretrained(folder)
    return folder


def _spread(model: Any) -> None:
    """Weights as they come are so small that every picture looks alike. Gemma multiplies its embeddings by eight, for which
    they are smaller, or every token would say itself again."""
    gemma = model.config.text_config.model_type.startswith("gemma")
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 and "norm" not in name:
            torch.nn.init.normal_(parameter, std=SPREAD / 8 if gemma and "embed_tokens" in name else SPREAD)


def _name_as_on_hub(file: Path) -> None:
    """transformers leaves a level of CLIP's and SigLIP's names out that published checkpoints have and vLLM wants."""
    tensors = {
        name.replace("vision_tower.", "vision_tower.vision_model."): each for name, each in load_file(file).items()
    }
    save_file(tensors, file, metadata={"format": "pt"})


def _add_other_format(folder: Path) -> None:
    """The files of Mistral's own format, which whoever reads the folder has to leave alone."""
    for name in ("params.json", "tekken.json"):
        (folder / name).write_text("{}")
    save_file({"tok_embeddings.weight": torch.zeros(1)}, folder / "consolidated.safetensors")


def _tokenizer(small: Small) -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    words = [f"What colour is it? Step 1: it is {colour}.\nAnswer: {colour}" for colour in COLOURS]
    trainer = trainers.BpeTrainer(
        vocab_size=320 + len(small.special),
        special_tokens=[PAD, BOS, *small.special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(words * 3, trainer)
    bpe.add_tokens(list(small.words))
    if small.started:
        bpe.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BOS,
        eos_token=small.special[0],
        pad_token=PAD,
        extra_special_tokens=small.named,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
