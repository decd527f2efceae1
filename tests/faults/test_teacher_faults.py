"""The mark of the teacher, with fewer diagnoses and shorter waits than in benchmarks/teacher_faults.md."""

from pathlib import Path

import pytest

from benchmarks.faulty_endpoint import serving
from benchmarks.teacher_faults import measure, table


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_each_diagnosis_ends_once_and_none_is_paid_twice(tmp_path: Path) -> None:
    with serving(retry_after=(0, 1), hang_seconds=25) as url:
        result = await measure(tmp_path, 150, url, timeout=10)
    assert (result.rows, result.items) == (150, 150), "each item has one row"
    assert result.states.total() == 150
    assert set(result.states) <= {"diagnosed", "malformed", "failed"}
    assert result.states["diagnosed"] > 135
    assert (result.twice, result.seen["answered_twice"]) == (0, 0)
    assert result.journalled == result.seen["answered"], "no reply was lost"
    assert {"429", "503", "hang", "malformed"} <= set(result.seen["fates"]), "all faults were met"
    assert f"| ended: rows, items | {150}, {150} |" in table(result, 10, (0, 1))
