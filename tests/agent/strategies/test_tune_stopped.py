"""Asked to stop while it tunes, a run lets the tuning save a checkpoint."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agent.chat.stop import StoppedError
from agent.strategies import training_set
from agent.strategies.training_set import tune_on
from tests.agent.small_context import make_context


async def test_the_first_signal_ends_a_tuning_with_its_checkpoint_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row `SIGTERM, SIGINT` of the durability table: a tuning takes hours."""
    said: list[str] = []

    async def tune(job: Any, on_progress: Any) -> None:
        said.append("tuning")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            said.append("saved")

    monkeypatch.setattr(training_set, "run_tuning", tune)
    context = make_context(tmp_path, {"only": [("What is 1 + 1?", "2")]})
    tuning = asyncio.ensure_future(tune_on(context, ["only"], tmp_path, {}))
    while not said:
        await asyncio.sleep(0.01)
    context.stop.ask()
    with pytest.raises(StoppedError):
        await tuning
    context.folder.close()
    assert said == ["tuning", "saved"]
