from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model

from training.families.families import LLAVA, load_model, target_pattern
from training.families.fused import fuse


def test_fused_layers_compute_what_peft_computes_and_its_gradients(student: Path) -> None:
    model = load_model(str(student), torch.float32, "eager")
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=12, target_modules=target_pattern(model, LLAVA)))
    tuned = {name: value for name, value in adapted.named_parameters() if value.requires_grad}
    for value in tuned.values():
        value.data.normal_(std=0.2)
    ids = torch.randint(4, 200, (2, 9))
    results = []
    for _ in range(2):
        adapted.zero_grad()
        logits = adapted(input_ids=ids).logits
        logits.square().mean().backward()
        results.append((logits.detach(), {name: value.grad for name, value in tuned.items()}))
        fuse(adapted)
    (plain, expected), (fused, found) = results
    torch.testing.assert_close(fused, plain, atol=1e-4, rtol=1e-4)
    for name, gradient in expected.items():
        assert gradient is not None
        assert gradient.abs().max() > 0
        torch.testing.assert_close(found[name], gradient, atol=1e-4, rtol=1e-3)
