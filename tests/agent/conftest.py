"""A teacher that talks to a scripted endpoint in this process and waits for nothing."""

import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from agent.teacher.client import Teacher
from tests.endpoint import Scripted, config_for


@pytest.fixture
def waits() -> list[float]:
    """Seconds that the teacher would have waited between tries."""
    return []


@pytest.fixture
async def ask_at(tmp_path: Path, waits: list[float]) -> AsyncIterator[Callable[..., Teacher]]:
    """Makes teachers on one journal; they are closed at the end."""
    made: list[Teacher] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    def make(endpoint: Scripted, scope: str = "", **fields: Any) -> Teacher:
        made.append(Teacher(config_for(endpoint, **fields), tmp_path / "teacher.jsonl", scope, sleep))
        return made[-1]

    yield make
    for teacher in made:
        await teacher.close()


@pytest.fixture
def picture() -> bytes:
    """A small PNG."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 30, 30)).save(buffer, "PNG")
    return buffer.getvalue()
