"""Muon for matrices, AdamW for the rest (embeddings, norms, biases), as small language models train best.

Matrices of one shape are orthogonalised together: Newton-Schulz on a stack costs a few large products instead of many
small. Muon: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/ (quintic coefficients from there).
"""

import math
from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalised(stack: Tensor, rounds: int = 5) -> Tensor:
    """Stack of matrices [n, rows, columns] with singular values brought near 1, in bf16."""
    a, b, c = NEWTON_SCHULZ
    x = stack.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(rounds):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    result: Tensor = x.mT if tall else x
    return result


class Muon(torch.optim.Optimizer):
    """Takes matrices, and convolutions as matrices [out, rest].

    A step of size lr moves a matrix's entries by 0.2 * lr (root mean square), as AdamW's would: Liu et al. 2025.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.95, decay: float = 0.0) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "decay": decay})
        self._stacks: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
        for parameter in self.param_groups[0]["params"]:
            self._stacks[parameter.shape[0], parameter[0].numel()].append(parameter)
        self._momenta = {shape: torch.zeros(len(ps), *shape) for shape, ps in self._stacks.items()}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        group = self.param_groups[0]
        for shape, parameters in self._stacks.items():
            gradient = torch.stack([p.grad.flatten(1) for p in parameters if p.grad is not None])
            momentum = self._momenta[shape].lerp_(gradient, 1 - group["momentum"])
            update = orthogonalised(gradient.lerp(momentum, group["momentum"])).float()
            scale = 0.2 * max(shape) ** 0.5 * group["lr"]
            for parameter, change in zip(parameters, update, strict=True):
                parameter.mul_(1 - group["lr"] * group["decay"]).add_(change.view_as(parameter), alpha=-scale)


class MuonAdamW:
    """Both optimizers over some modules, and one schedule of their learning rates."""

    def __init__(self, modules: list[nn.Module], lr: float, decay: float = 0.01) -> None:
        parameters = {id(p): p for module in modules for p in module.parameters()}.values()
        embeddings = {id(m.weight) for module in modules for m in module.modules() if isinstance(m, nn.Embedding)}
        matrices = [p for p in parameters if p.ndim > 1 and id(p) not in embeddings]
        chosen = {id(p) for p in matrices}
        rest = [p for p in parameters if id(p) not in chosen]
        self._optimizers = (
            Muon(matrices, lr, decay=decay),
            torch.optim.AdamW(rest, lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
        )
        self._lr = lr

    def step(self, factor: float) -> None:
        """One update at factor * lr; clears the gradients."""
        for optimizer in self._optimizers:
            optimizer.param_groups[0]["lr"] = self._lr * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


def schedule(step: int, steps: int, warmup: int = 40, flat: float = 0.25, floor: float = 0.01) -> float:
    """Factor of the learning rate: linear warm-up, flat until a share of the steps, then cosine to `floor`."""
    if step < warmup:
        return (step + 1) / warmup
    done = max(0.0, (step / steps - flat) / (1 - flat))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
