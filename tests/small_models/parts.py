"""What the small models have in common: what describes one, and the sizes of language model and vision tower."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

PAD, BOS = "<pad>", "<s>"
#: Tokens that fit.
CONTEXT = 1024
#: Standard deviation of the weights.
SPREAD = 0.2
#: Of the language model and of the vision tower.
HIDDEN, MIDDLE, LAYERS, HEADS = 64, 128, 2, 2


@dataclass(frozen=True, slots=True)
class Small:
    """A family's small model. `special` tokens begin with the one that ends a turn, `named` are the names under which
    the processor asks the tokenizer for some of them, `words` other tokens that it or vLLM looks for; `started` says that
    the tokenizer puts the start token in front, the template does not, `twofold` that checkpoints hold Mistral's own format
    as well. `config` makes the config's settings of ids by token and of the language model's shape; `files` are settings by
    file name."""

    model_type: str
    architecture: str
    special: tuple[str, ...]
    template: str | None
    config: Callable[[dict[str, int], Json], Json]
    files: dict[str, Json]
    named: dict[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    started: bool = False
    twofold: bool = False


def text_shape(vocabulary: int) -> Json:
    """The language model's shape; heads of 32 numbers are the smallest that vLLM takes."""
    return {
        "vocab_size": vocabulary,
        "hidden_size": HIDDEN,
        "intermediate_size": MIDDLE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "head_dim": HIDDEN // HEADS,
        "max_position_embeddings": CONTEXT,
    }


def chat_template(user: str, image: str, after: str, cue: str, end: str, start: str = "", lead: str = "") -> str:
    """A chat template: `start`, then user turns (`user`, `image` for each picture, the text, `after`) and the model's
    (`cue`, `lead`, the text, `end`); `cue` again where the model is to speak."""
    start, user, image, after, cue, lead, end = map(json.dumps, (start, user, image, after, cue, lead, end))
    return (
        f"{{{{ {start} }}}}{{% for message in messages %}}{{% if message.role == 'user' %}}{{{{ {user} }}}}"
        f"{{% for part in message.content %}}{{% if part.type == 'image' %}}{{{{ {image} }}}}{{% else %}}"
        f"{{{{ part.text }}}}{{% endif %}}{{% endfor %}}{{{{ {after} }}}}{{% else %}}"
        f"{{{{ {cue} + {lead} + message.content[0].text + {end} }}}}{{% endif %}}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{{{{ {cue} }}}}{{% endif %}}"
    )


def tower(model_type: str, **more: Any) -> Json:
    """A vision tower's config."""
    shape = {"hidden_size": HIDDEN, "intermediate_size": MIDDLE, "num_hidden_layers": LAYERS}
    return {"model_type": model_type, **shape, "num_attention_heads": HEADS, "patch_size": 14, **more}


def images(kind: str, **settings: Any) -> Json:
    """An image processor's settings."""
    return {"image_processor_type": kind, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, **settings}
