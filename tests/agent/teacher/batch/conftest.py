from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.agent.teacher.batch.processes import Run


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Run]:
    made = Run(tmp_path)
    yield made
    for teacher in made.teachers:
        await teacher.close()
