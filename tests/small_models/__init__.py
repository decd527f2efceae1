"""Small random models of the families in training/families/families.py, each in a folder laid out like the family's checkpoints
on the hub. They load offline, and their shapes are such that vLLM reads them too."""

from tests.small_models.making import make_small_model
from tests.small_models.parts import Small
from tests.small_models.shapes import SMALL

__all__ = ["SMALL", "Small", "make_small_model"]
