"""vLLM itself: of this environment, or of the one whose Python GAPTUTOR_VLLM_PYTHON names (`.ci/vllm-env` makes it)."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agent.config.schema import StudentConfig
from agent.student.engine import Request
from eval.microworld import WEIGHTS
from tests.small_models.fixtures import made, pictures, samples, tuned
from tests.tiny_student import COLOURS, make_picture, make_samples
from training import TuningJob, tune

__all__ = ["made", "pictures", "samples", "tuned"]

PROMPT = "What colour is it?"


@pytest.fixture(scope="session")
def vllm_python() -> Iterator[str | None]:
    """Python of the environment with vLLM, None for this one."""
    named = os.environ.get("GAPTUTOR_VLLM_PYTHON")
    if not named and importlib.util.find_spec("vllm") is None:
        pytest.skip(
            "vLLM is not installed; .ci/vllm-env DIR makes an environment, GAPTUTOR_VLLM_PYTHON=DIR/bin/python names it"
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        yield named or None


@pytest.fixture(scope="session")
def config(vllm_python: str | None) -> StudentConfig:
    """The micro-world's student on vLLM."""
    return make_config(vllm_python)


def make_config(vllm_python: str | None, **changed: Any) -> StudentConfig:
    vllm = {"python": vllm_python, "args": ["--enforce-eager"], "concurrency": 16, **changed}
    student = {"engine": "vllm", "model": str(WEIGHTS), "dtype": "float32", "max_new_tokens": 24, "batch_size": 32}
    return StudentConfig.model_validate({**student, "vllm": vllm})


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that makes the student name colours in steps."""
    folder = tmp_path_factory.mktemp("tuned")
    samples = make_samples(folder, 32)
    job = TuningJob(
        model=str(WEIGHTS), samples=samples, out=folder / "rounds" / "01" / "adapter", rank=8, alpha=16, epochs=6,
        learning_rate=2e-3, batch_size=8, dtype="float32",
    )  # fmt: skip
    job.out.parent.mkdir(parents=True)
    await tune(job)
    return job.out


@pytest.fixture(scope="session")
def requests(tmp_path_factory: pytest.TempPathFactory) -> list[Request]:
    folder = tmp_path_factory.mktemp("pictures")
    pictures = [make_picture(folder / f"{colour}.png", colour, size=64) for colour in COLOURS]
    return [Request(f"r{n:02}", PROMPT + " Look well." * (n % 6), (pictures[n % 4],)) for n in range(24)]
