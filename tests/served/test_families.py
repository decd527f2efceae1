"""Every family's adapter on vLLM: the canary passes, and what is said and scored is what the embedded engine says and scores.

With `-s`, a line for each family: the canary's figures, and the greatest difference of a score.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from agent.config.schema import StudentConfig
from agent.student.embedded import EmbeddedStudent
from agent.student.engine import Request, Student
from agent.student.vllm.student import VllmStudent
from retrieval.errors import AdapterError
from tests.small_models import SMALL
from tests.small_models.fixtures import Made
from training.families.families import Family, family_of, load_config, load_processor
from training.lora.probes import FILE

pytestmark = [
    pytest.mark.served,
    pytest.mark.timeout(1800),
    pytest.mark.asyncio(loop_scope="session"),
]

UNSERVED = ("paligemma",)
#: Nats per token by which a score may differ: both engines compute in float32, and differ by hundredths of this at most. vLLM's
#: CPU build lets Gemma 3's image tokens see only those before them, where they should see each other.
TOLERANCE = {"gemma-3": 0.05}
CONTINUATIONS = ["red", " blue and green"]


def small(config: StudentConfig, model: Path, *options: str) -> StudentConfig:
    vllm = config.vllm.model_copy(update={"args": (*config.vllm.args, *options)})
    return config.model_copy(update={"model": str(model), "max_new_tokens": 8, "vllm": vllm})


def known(model: Path) -> Family:
    return family_of(load_config(str(model)))


async def texts(student: Student, requests: Sequence[Request], adapter: str | None) -> dict[str, str]:
    """vLLM leaves bytes out at the end that are no whole character."""
    replies = [reply async for reply in student.answer(requests, adapter)]
    assert [reply.error for reply in replies] == [None] * len(requests)
    return {reply.id: reply.text.rstrip("\N{REPLACEMENT CHARACTER}") for reply in replies}


@pytest.mark.parametrize("family", [name for name in SMALL if name not in UNSERVED])
async def test_an_adapter_acts_on_vllm_as_it_does_under_peft(
    family: str, config: StudentConfig, made: Made, tuned: Made, pictures: list[Path], tmp_path: Path
) -> None:
    red, blue, green = pictures
    requests = [
        Request("one", "What colour is it?", (red,)),
        Request("broad", "What?", (green,)),
        Request("two", "What colours are these? Look well.", (green, blue)),
        Request("none", "What?"),
        Request("begun", "What colour is it?", (blue,), "Step 1: it is"),
    ]
    assert not known(made(family)).unserved
    said: list[str] = []
    vllm = VllmStudent(small(config, made(family)), tmp_path, said.append)
    embedded = EmbeddedStudent(small(config, made(family)))
    greatest = 0.0
    try:
        for student in (vllm, embedded):
            await student.load_adapter("tuned", tuned(family) / "adapter")
        for name in ("tuned", None):
            spoken, expected = [await texts(student, requests, name) for student in (vllm, embedded)]
            found, wanted = [
                await student.score(requests, [CONTINUATIONS] * len(requests), name) for student in (vllm, embedded)
            ]
            greatest = max(greatest, float(np.abs(np.array(found) - np.array(wanted)).max()))
            if family not in TOLERANCE:  # elsewhere the noise of a random model may well part
                assert spoken == expected
    finally:
        await vllm.close()
        await embedded.close()
    assert greatest < TOLERANCE.get(family, 1e-3)
    (canary,) = said
    print(f"\n{known(made(family)).name}: {canary}; scores differ by {greatest:.5f} at most")
    assert canary.startswith("the canary passes")


def without_pairs(adapter: Path, folder: Path) -> Path:
    """The adapter without the canary's question about two images, which vLLM refuses (PaliGemma) or cuts up otherwise than
    transformers (LLaVA-OneVision)."""
    shutil.copytree(adapter, folder)
    canary = json.loads((folder / FILE).read_text())
    canary["probes"] = [probe for probe in canary["probes"] if len(probe["images"]) < 2]
    (folder / FILE).write_text(json.dumps(canary))
    return folder


@pytest.mark.parametrize("family", UNSERVED)
async def test_what_is_said_not_to_be_served_is_refused_by_the_canary_too(
    family: str, config: StudentConfig, made: Made, tuned: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails, vLLM has learned to serve it."""
    assert known(made(family)).unserved
    monkeypatch.setattr("agent.student.vllm.student.check_served", lambda config: None)
    adapter, template = without_pairs(tuned(family) / "adapter", tmp_path / "adapter"), tmp_path / "template.jinja"
    template.write_text(load_processor(str(made(family))).chat_template)
    vllm = VllmStudent(small(config, made(family), "--chat-template", str(template)), tmp_path)
    try:
        await vllm.load_adapter("tuned", adapter)
        with pytest.raises(AdapterError, match="the server reads an answer as other tokens"):
            await texts(vllm, [Request("none", "What?")], "tuned")
    finally:
        await vllm.close()


async def test_merged_weights_are_served_where_vllm_says_that_it_takes_no_adapter(
    config: StudentConfig, made: Made, tuned: Made, pictures: list[Path], tmp_path: Path
) -> None:
    model, said = made("llava-onevision"), list[str]()
    vllm = VllmStudent(small(config, model), tmp_path, said.append)
    try:
        await vllm.load_adapter("tuned", without_pairs(tuned("llava-onevision") / "adapter", tmp_path / "adapter"))
        await texts(vllm, [Request("one", "What colour is it?", (pictures[0],))], "tuned")
    finally:
        await vllm.close()
    assert [line.partition(":")[0] for line in said] == [
        "vLLM takes no adapter for the student's family, so merged weights are served",
        "the canary passes",
    ]
