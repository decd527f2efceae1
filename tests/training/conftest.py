from pathlib import Path

import pytest

from tests.tiny_student import make_samples, make_tiny_student
from training import TuningJob


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_student(tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_samples(tmp_path_factory.mktemp("samples"), 24)


@pytest.fixture
def job(student: Path, samples: Path, tmp_path: Path) -> TuningJob:
    """A tuning of a second: 12 steps of 8 samples in two micro-batches, with dropout, so that random numbers matter."""
    return TuningJob(
        model=str(student),
        samples=samples,
        out=tmp_path / "adapter",
        rank=4,
        alpha=8,
        dropout=0.1,
        epochs=4,
        learning_rate=5e-3,
        batch_size=8,
        micro_batch_size=4,
        dtype="float32",
    )
