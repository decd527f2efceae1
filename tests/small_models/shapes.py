"""The small models: for each family its config at a small size, special tokens, chat template, and the settings files of
its processors as its checkpoints have them. A picture takes a few patches of 14 points."""

from typing import Any

from transformers.models.paligemma.processing_paligemma import EXTRA_TOKENS

from tests.small_models.parts import BOS, HEADS, HIDDEN, LAYERS, MIDDLE, Json, Small, chat_template, images, tower

# LLaVA-1.5 and LLaVA-NeXT: CLIP, an MLP, Llama or Mistral.


def _llava(ids: dict[str, int], text: Json) -> Json:
    return {
        "text_config": {"model_type": "llama", **text},
        "vision_config": tower("clip_vision_model", image_size=28, projection_dim=HIDDEN),
        "image_token_index": ids["<image>"],
        "image_seq_length": 4,
    }


def _llava_next(ids: dict[str, int], text: Json) -> Json:
    text = {"model_type": "mistral", **text, "sliding_window": None}
    return {**_llava(ids, text), "text_config": text, "image_grid_pinpoints": _PINPOINTS}


def _llava_onevision(ids: dict[str, int], text: Json) -> Json:
    return {
        "text_config": {"model_type": "qwen2", **text},
        "vision_config": tower("siglip_vision_model", image_size=28, vision_use_head=False),
        "image_token_index": ids["<image>"],
        "video_token_index": ids["<video>"],
        "image_grid_pinpoints": _PINPOINTS,
    }


def _llava_files(kind: str, processor: str, **settings: Any) -> dict[str, Json]:
    shape = {"size": {"shortest_edge": 28}, "crop_size": {"height": 28, "width": 28}, **settings}
    expanding = {
        "image_token": "<image>",
        "num_additional_image_tokens": 1,
        "vision_feature_select_strategy": "default",
    }
    return {
        "preprocessor_config.json": images(kind, **shape, processor_class=processor),
        "processor_config.json": {"processor_class": processor, "patch_size": 14, **expanding},
    }


_PINPOINTS = [[28, 56], [56, 28], [56, 56]]


# Qwen: images are cut into pairs of patches, merged two by two; positions have three parts.


def _qwen2_vl(ids: dict[str, int], text: Json) -> Json:
    vision = {"depth": LAYERS, "embed_dim": HIDDEN, "num_heads": HEADS, "mlp_ratio": 2, "hidden_size": HIDDEN}
    return _qwen(ids, text, vision)


def _qwen2_5_vl(ids: dict[str, int], text: Json) -> Json:
    # The first block looks at windows of one merged patch, the second at all.
    windows = {"window_size": 28, "fullatt_block_indexes": [1]}
    return _qwen(ids, text, {**_QWEN_TOWER, **windows})


def _qwen3_vl(ids: dict[str, int], text: Json) -> Json:
    deep = {"deepstack_visual_indexes": [0], "num_position_embeddings": 16, "patch_size": 14}
    return _qwen(ids, text, {**_QWEN_TOWER, **deep}, mrope_interleaved=True)


def _qwen(ids: dict[str, int], text: Json, vision: Json, **rope: Any) -> Json:
    sections = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [8, 4, 4], **rope}
    return {
        "text_config": {**text, "rope_parameters": sections},
        "vision_config": vision,
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
    }


def _qwen_files(kind: str, processor: str) -> dict[str, Json]:
    cutting = {"patch_size": 14, "temporal_patch_size": 2, "merge_size": 2}
    sizes = {"min_pixels": 28 * 28, "max_pixels": 56 * 56}
    return {"preprocessor_config.json": images(kind, **cutting, **sizes, processor_class=processor)}


_QWEN_TOWER = {
    "depth": LAYERS,
    "hidden_size": HIDDEN,
    "intermediate_size": MIDDLE,
    "num_heads": HEADS,
    "out_hidden_size": HIDDEN,
}
_CHATML = {
    "user": "<|im_start|>user\n",
    "after": "<|im_end|>\n",
    "cue": "<|im_start|>assistant\n",
    "end": "<|im_end|>\n",
}
_QWEN_TEMPLATE = chat_template(image="<|vision_start|><|image_pad|><|vision_end|>", **_CHATML)
_QWEN_TOKENS = ("<|im_end|>", "<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


def _internvl(ids: dict[str, int], text: Json) -> Json:
    return {
        "text_config": {"model_type": "qwen2", **text},
        "vision_config": {**tower("internvl_vision", image_size=[56, 56]), "patch_size": [14, 14]},
        "image_token_id": ids["<IMG_CONTEXT>"],
        "image_seq_length": 4,
    }


# Gemma 3 and PaliGemma: SigLIP; image tokens see each other, in PaliGemma the whole prompt does.


def _gemma3(ids: dict[str, int], text: Json) -> Json:
    layers = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 32, "query_pre_attn_scalar": 32}
    return {
        "text_config": {**text, **layers},
        "vision_config": tower("siglip_vision_model", image_size=56, vision_use_head=False),
        "mm_tokens_per_image": 4,
        "image_token_index": ids["<image_soft_token>"],
        "boi_token_index": ids["<start_of_image>"],
        "eoi_token_index": ids["<end_of_image>"],
    }


def _paligemma(ids: dict[str, int], text: Json) -> Json:
    sizes = {"image_size": 28, "projection_dim": HIDDEN}
    return {
        "text_config": {"model_type": "gemma", **text},
        "vision_config": tower("siglip_vision_model", vision_use_head=False, **sizes),
        "image_token_index": ids["<image>"],
        "projection_dim": HIDDEN,
        "hidden_size": HIDDEN,
    }


def _siglip_files(kind: str, processor: str, side: int) -> dict[str, Json]:
    shape = {"size": {"height": side, "width": side}, "image_seq_length": 4}
    return {
        "preprocessor_config.json": images(kind, **shape, processor_class=processor),
        "processor_config.json": {"processor_class": processor, "image_seq_length": 4},
    }


# Idefics3 and SmolVLM: the picture and its parts, each with a tag of its own.


def _idefics3(ids: dict[str, int], text: Json) -> Json:
    return _idefics(ids, text, "idefics3_vision")


def _smolvlm(ids: dict[str, int], text: Json) -> Json:
    return _idefics(ids, text, "smolvlm_vision")


def _idefics(ids: dict[str, int], text: Json, vision: str) -> Json:
    return {
        "text_config": {"model_type": "llama", **text},
        "vision_config": tower(vision, image_size=56),
        "image_token_id": ids["<image>"],
        "pad_token_id": text["pad_token_id"],
        "scale_factor": 2,
    }


def _idefics_files(name: str) -> dict[str, Json]:
    sizes = {"size": {"longest_edge": 112}, "max_image_size": {"longest_edge": 56}}
    return {
        "preprocessor_config.json": images(f"{name}ImageProcessor", **sizes, processor_class=f"{name}Processor"),
        "processor_config.json": {"processor_class": f"{name}Processor", "image_seq_len": 4},
    }


_IDEFICS_TEMPLATE = chat_template(
    start=BOS,
    user="User:",
    image="<image>",
    after="<end_of_utterance>\n",
    cue="Assistant:",
    lead=" ",
    end="<end_of_utterance>\n",
)
_IDEFICS_TOKENS = (
    "<end_of_utterance>",
    "<fake_token_around_image>",
    "<image>",
    "<global-img>",
    *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
)


# Pixtral and Mistral 3: pictures of any shape, row by row; the second merges patches two by two.


def _pixtral(ids: dict[str, int], text: Json) -> Json:
    return {**_mistral3(ids, text), "vision_feature_select_strategy": "full"}


def _mistral3(ids: dict[str, int], text: Json) -> Json:
    return {
        "text_config": {"model_type": "mistral", **text, "sliding_window": None},
        "vision_config": tower("pixtral", image_size=56),
        "image_token_index": ids["[IMG]"],
        "vision_feature_layer": -1,
    }


def _pixtral_files(kind: str, **settings: Any) -> dict[str, Json]:
    shape = {"size": {"longest_edge": 56}, "patch_size": {"height": 14, "width": 14}}
    return {
        "preprocessor_config.json": images(kind, **shape, processor_class="PixtralProcessor"),
        "processor_config.json": {"processor_class": "PixtralProcessor", "patch_size": 14, **settings},
    }


_PIXTRAL_TEMPLATE = chat_template(start=BOS, user="[INST]", image="[IMG]", after="[/INST]", cue="", end="</s>")
_PIXTRAL_TOKENS = ("</s>", "[INST]", "[/INST]", "[IMG]", "[IMG_BREAK]", "[IMG_END]")

SMALL: dict[str, Small] = {
    "llava-1.5": Small(
        "llava",
        "LlavaForConditionalGeneration",
        ("</s>", "<image>"),
        chat_template(user="USER: ", image="<image>\n", after=" ", cue="ASSISTANT:", lead=" ", end=" "),
        _llava,
        _llava_files("CLIPImageProcessor", "LlavaProcessor"),
        started=True,
    ),
    "llava-next": Small(
        "llava_next",
        "LlavaNextForConditionalGeneration",
        ("</s>", "<image>"),
        chat_template(user="[INST] ", image="<image>\n", after=" [/INST]", cue="", end="</s>"),
        _llava_next,
        _llava_files("LlavaNextImageProcessor", "LlavaNextProcessor", image_grid_pinpoints=_PINPOINTS),
        started=True,
    ),
    "qwen2-vl": Small(
        "qwen2_vl",
        "Qwen2VLForConditionalGeneration",
        _QWEN_TOKENS,
        _QWEN_TEMPLATE,
        _qwen2_vl,
        _qwen_files("Qwen2VLImageProcessor", "Qwen2VLProcessor"),
    ),
    "qwen2.5-vl": Small(
        "qwen2_5_vl",
        "Qwen2_5_VLForConditionalGeneration",
        _QWEN_TOKENS,
        _QWEN_TEMPLATE,
        _qwen2_5_vl,
        _qwen_files("Qwen2VLImageProcessor", "Qwen2_5_VLProcessor"),
    ),
    "qwen3-vl": Small(
        "qwen3_vl",
        "Qwen3VLForConditionalGeneration",
        _QWEN_TOKENS,
        _QWEN_TEMPLATE,
        _qwen3_vl,
        _qwen_files("Qwen2VLImageProcessorFast", "Qwen3VLProcessor"),
    ),
    "internvl": Small(
        "internvl",
        "InternVLForConditionalGeneration",
        ("<|im_end|>", "<|im_start|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>"),
        chat_template(image="<IMG_CONTEXT>\n", **_CHATML),
        _internvl,
        {
            "preprocessor_config.json": images(
                "GotOcr2ImageProcessorFast",
                size={"height": 56, "width": 56},
                min_patches=1,
                max_patches=4,
                processor_class="InternVLProcessor",
            ),
            "processor_config.json": {"processor_class": "InternVLProcessor", "image_seq_length": 4},
        },
        {
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
    ),
    "gemma-3": Small(
        "gemma3",
        "Gemma3ForConditionalGeneration",
        ("<end_of_turn>", "<start_of_turn>", "<start_of_image>", "<end_of_image>", "<image_soft_token>"),
        chat_template(
            start=BOS,
            user="<start_of_turn>user\n",
            image="<start_of_image>",
            after="<end_of_turn>\n",
            cue="<start_of_turn>model\n",
            end="<end_of_turn>\n",
        ),
        _gemma3,
        _siglip_files("Gemma3ImageProcessor", "Gemma3Processor", 56),
        {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"},
        ("\n", "\n\n", "\n\n\n", "\n\n\n\n"),
    ),
    "idefics3": Small(
        "idefics3",
        "Idefics3ForConditionalGeneration",
        _IDEFICS_TOKENS,
        _IDEFICS_TEMPLATE,
        _idefics3,
        _idefics_files("Idefics3"),
    ),
    "smolvlm2": Small(
        "smolvlm",
        "SmolVLMForConditionalGeneration",
        _IDEFICS_TOKENS,
        _IDEFICS_TEMPLATE,
        _smolvlm,
        _idefics_files("SmolVLM"),
    ),
    "paligemma": Small(
        "paligemma",
        "PaliGemmaForConditionalGeneration",
        ("</s>", "<image>"),
        None,
        _paligemma,
        _siglip_files("SiglipImageProcessor", "PaliGemmaProcessor", 28),
        words=("\n", *EXTRA_TOKENS),
    ),
    "pixtral": Small(
        "llava",
        "LlavaForConditionalGeneration",
        _PIXTRAL_TOKENS,
        _PIXTRAL_TEMPLATE,
        _pixtral,
        _pixtral_files("PixtralImageProcessor"),
    ),
    "mistral-3": Small(
        "mistral3",
        "Mistral3ForConditionalGeneration",
        _PIXTRAL_TOKENS,
        _PIXTRAL_TEMPLATE,
        _mistral3,
        _pixtral_files("PixtralImageProcessorFast", spatial_merge_size=2),
        twofold=True,
    ),
}

#: Of no family that is tested throughout, and vLLM takes no adapter for it.
GENERAL: dict[str, Small] = {
    "llava-onevision": Small(
        "llava_onevision",
        "LlavaOnevisionForConditionalGeneration",
        ("<|im_end|>", "<|im_start|>", "<image>", "<video>"),
        chat_template(image="<image>\n", **_CHATML),
        _llava_onevision,
        {
            "preprocessor_config.json": images(
                "LlavaOnevisionImageProcessor",
                size={"height": 28, "width": 28},
                image_grid_pinpoints=_PINPOINTS,
                processor_class="LlavaOnevisionProcessor",
            ),
            "processor_config.json": {
                "processor_class": "LlavaOnevisionProcessor",
                "num_image_tokens": 4,
                "vision_feature_select_strategy": "full",
            },
        },
    ),
}
