"""Figures in the documents hold for one world only."""

from eval.microworld.frozen import PATH, hashes
from retrieval.storage.files import read_json


def test_the_world_is_as_it_was_frozen() -> None:
    """If this fails, every benchmark must be run again; then `python -m eval.microworld.frozen --write`."""
    assert hashes() == read_json(PATH)


def test_what_the_expert_knows_and_how_it_judges_is_frozen() -> None:
    files = {path.name for path in (PATH.parent / "expert").iterdir() if path.is_file()}
    assert {"meaning.npz", "names.json", "phrasings.json", "check.py", "teacher.py"} <= files
    assert {f"expert/{name}" for name in files} <= set(read_json(PATH))
