"""The canary's questions to a server."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from agent.student.engine import Request
from agent.student.vllm.canary import LEAST, NOISE, Scored, check_shift, measure_shift, size_of
from agent.student.vllm.server.client import RefusedError
from training.lora.probes import Probe

#: Token ids and log-probabilities (nats) of a request's prompt and prefix by the model of that name.
Read = Callable[[Request, str], Awaitable[tuple[list[int], list[float]]]]

#: What is asked where an adapter brings no probes.
WITHOUT = Request("", "What do you see, and how many?", (), "Step 1: there is one of them, and then")


def request_of(probe: Probe) -> Request:
    """The probe as the request that is sent."""
    return Request("", probe.prompt, tuple(Path(image) for image in probe.images), probe.answer)


async def look(probes: Sequence[Probe], read: Read, served: str, base: str | None) -> tuple[str | None, str]:
    """Why an adapter that is served under the name `served` is refused (None if it is not), and what was measured.

    `base`: the model without it, None where merged weights are served. Probes that the server does not hold are left out.
    """
    kept, adapted = [], []
    for probe in probes:
        try:
            adapted.append(await _scored(probe, read, served))
            kept.append(probe)
        except RefusedError as error:
            if error.status != 400:
                raise
    if not kept:
        return await _look_without(read, served, base)
    plain = [[await _scored(probe, read, base) for probe in kept] for _ in range(2)] if base is not None else None
    return check_shift(kept, adapted, plain), str(measure_shift(kept, adapted, plain))


async def _scored(probe: Probe, read: Read, model: str) -> Scored:
    ids, values = await read(request_of(probe), model)
    return Scored(ids[-len(probe.tokens) :], values[-len(probe.tokens) :])


async def _look_without(read: Read, served: str, base: str | None) -> tuple[str | None, str]:
    """See that the adapter changes anything at all, which is all that can be seen of one that was tuned elsewhere."""
    if base is None:
        return None, "nothing to compare with: it brings no canary.json whose images are there"
    adapted, first, second = [(await read(WITHOUT, model))[1] for model in (served, base, base)]
    found, noise = size_of(adapted, first), size_of(first, second)
    if found < max(LEAST, NOISE * noise):
        return f"the server does not apply it (shift {found:.4f} nats)", ""
    return (
        None,
        f"it changes answers; whether as under peft cannot be told without its canary.json (shift {found:.4f} nats)",
    )
