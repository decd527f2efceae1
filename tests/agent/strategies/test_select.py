"""A round's selection leaves behind what was owed, whether or not anything was found."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.diagnosis.gaps import Gaps
from agent.strategies import select as strategy
from retrieval.selection.needs import Gap, gap_id
from retrieval.storage.files import read_json
from tests.retrieval.selection.test_targeted import Shelf


@pytest.mark.parametrize(("texts", "found"), [(["a"], 2), ([], 0)])
def test_what_was_owed_is_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, texts: list[str], found: int
) -> None:
    shelf = Shelf({"s0": ("a",), "s1": ("a",), "s2": ("b",)}, {"s0": "q0", "s1": "q1", "s2": "q2"})
    selection = SimpleNamespace(budget=4, gaps=1.0, siblings=0.0, rehearsal=0.0, search="dense")
    context: Any = SimpleNamespace(
        data=SimpleNamespace(items=(), index=shelf, excluded=frozenset()),
        config=SimpleNamespace(selection=selection, seed=0),
        folder=SimpleNamespace(round=lambda number: tmp_path),
    )

    async def match(*_: object) -> dict[str, list[str]]:
        return {"a": texts}

    monkeypatch.setattr(strategy, "match_needs", match)
    monkeypatch.setattr(strategy, "embed_candidates", lambda *_: None)
    gaps = Gaps((Gap(gap_id("a"), "a", ("a",), ("e1",)),), ())
    samples = asyncio.run(strategy.select(context, gaps, 1, ()))
    quotas = read_json(tmp_path / "quotas.json")
    need = {"part": "gap", "need": gap_id("a"), "skill": "a", "owed": 4, "found": found, "matching": found}
    assert quotas == {"schema": 1, "budget": 4, "free": 3, "matching": found, "needs": [need]}
    assert sum(each.part == "gap" for each in samples) == found
