"""peft's LoRA layers with the low-rank part added in one operation: same adapter, less memory traffic.

peft casts to float32 and back, then scales and adds in passes over a layer's whole output, forward and backward; `addmm`
does the last two inside the multiplication. On the micro-world's student a step takes 15–30% less processor time.
"""

from types import MethodType
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch.nn import functional


def fuse(model: Any) -> None:
    """Give every LoRA layer of a model with one adapter the fused forward pass. For tuning only: it knows no merging, no
    disabling, no second adapter."""
    for part in model.modules():
        if isinstance(part, Linear):
            part.forward = MethodType(_forward, part)


def unfuse(model: Any) -> None:
    """Give them peft's own again."""
    for part in model.modules():
        if isinstance(part, Linear):
            part.__dict__.pop("forward", None)


def _forward(layer: Any, x: torch.Tensor, *rest: Any, **named: Any) -> torch.Tensor:
    """W x + b + scaling · B A dropout(x); x is (…, in), the result (…, out)."""
    (name,) = layer.active_adapters
    given = layer.base_layer(x, *rest, **named)
    low = functional.linear(layer.lora_dropout[name](x), layer.lora_A[name].weight)
    up = layer.lora_B[name].weight
    flat = torch.addmm(given.flatten(0, -2), low.flatten(0, -2), up.t(), alpha=layer.scaling[name])
    return flat.view(given.shape)
