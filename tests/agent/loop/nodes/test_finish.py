"""The end of a run, on a disk that is full until there is room."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import agent.loop.nodes.finish as node
from retrieval.errors import StorageError
from retrieval.storage.files import read_json, write_json
from tests.agent.small_context import RATIONALE, make_context
from tests.full_disk import room_for


async def test_the_best_adapter_is_published_when_there_is_room_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(tmp_path, {"only": [("What is 1 + 1?", "2")]})
    context.teacher = SimpleNamespace(scope="", usage=lambda scope: SimpleNamespace(_asdict=dict))  # type: ignore[assignment]
    for number, accuracy in enumerate((0.4125, 0.885)):
        held = {"n": 400, "accuracy": accuracy}
        write_json(context.folder.round(number) / "evaluation.json", {"n": 200, "accuracy": 0.5, "holdout": held})
    adapter = context.folder.round(1) / "adapter"
    adapter.mkdir(parents=True)
    (adapter / "adapter_model.safetensors").write_bytes(bytes(100_000))
    monkeypatch.setattr(node, "write_report", lambda path: None)
    state: Any = {"round": 1, "best_round": 1, "stop_reason": "max_rounds"}
    runtime: Any = SimpleNamespace(context=context)
    with pytest.raises(StorageError, match=r"cannot write .*best: .*; make room"), room_for(50_000):
        await node.finish(state, runtime=runtime)
    assert not (context.folder.path / "best").exists()
    await node.finish(state, runtime=runtime)
    assert (context.folder.path / "best" / "adapter_model.safetensors").stat().st_size == 100_000
    page = (context.folder.path / "best" / "README.md").read_text()
    assert "PeftModel.from_pretrained(model, " + repr(str(context.folder.path / "best")) in page
    assert "| holdout (400 items) | 41.2% | 88.5% |" in page
    assert f"    {RATIONALE}" in page
    assert read_json(context.folder.path / "run.json")["state"] == "finished"
