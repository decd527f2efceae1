"""Requests of a round, by hand."""

import pytest

from agent.config.schema import DiagnosisConfig
from agent.estimate.counts import Outlook, round_calls

#: 10 errors, two of them without steps; the other eight have 30 steps, `per_step` comes to 20, five are found.
ROUND = Outlook(errors=10, switchable=8, steps=30, asked=20, located=5, right=33, same_skill=12, judged=0)


@pytest.mark.parametrize(
    ("how", "calls"),
    [
        ({"locator": "single_pass"}, {"diagnose": 10}),
        ({"locator": "random_step"}, {"diagnose": 2, "name_gap": 8}),
        ({"locator": "answer_switch"}, {"diagnose": 2, "name_gap": 5}),
        ({"locator": "answer_switch", "judge": "teacher"}, {"diagnose": 2, "name_gap": 5, "choose": 60}),
        ({"locator": "per_step", "judge": "teacher"}, {"diagnose": 2, "name_gap": 5, "step_right": 20}),
        ({"per_request": 4}, {"diagnose": 10, "skills": 9}),
    ],
)
def test_each_locator_asks_as_the_table_in_the_docs_says(how: dict[str, object], calls: dict[str, int]) -> None:
    found = {row.kind: row.calls for row in round_calls(DiagnosisConfig.model_validate(how), ROUND)}
    assert found == {"skills": 3, "same_skill": 12, **calls}
