"""Each family's small model, made once, and an adapter tuned on it by the product's own code in this process."""

import pytest

from tests.small_models import SMALL
from tests.small_models.fixtures import made, pictures, samples, tuned

__all__ = ["made", "pictures", "samples", "tuned"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test that asks for a `family` runs on each of them."""
    if "family" in metafunc.fixturenames:
        metafunc.parametrize("family", SMALL)
