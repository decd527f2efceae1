"""Figures in the documents hold for one world only."""

from eval.microworld.frozen import PATH, hashes
from retrieval.files import read_json


def test_the_world_is_as_it_was_frozen() -> None:
    """If this fails, every benchmark must be run again; then `python -m eval.microworld.frozen --write`."""
    assert hashes() == read_json(PATH)
