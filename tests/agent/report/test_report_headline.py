"""The figures at the top of the report: differences that agree with what stands beside them, and no more than was shown."""

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agent.report import write_report
from agent.report.costs import cost_table
from agent.report.headline import Headline, make_headline
from agent.run import wording
from agent.run.reading import RunRecords
from retrieval.storage.files import read_json, read_jsonl, write_json, write_jsonl
from tests.agent.fake_run import NAMING, Plan, make_fake_run


def headline_of(run: Path) -> Headline:
    return make_headline(RunRecords(run))


def shown(text: str) -> float:
    return float(text.rstrip("%").replace("−", "-"))


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.integers(0, n), st.just(n))))
def test_a_change_is_the_difference_of_the_shares_as_they_are_shown(counts: tuple[int, int, int]) -> None:
    before, after, n = counts
    difference = shown(wording.percent(after / n)) - shown(wording.percent(before / n))
    assert wording.change(before / n, after / n) == f"{difference:+.1f}".replace("-", "−")


def hold(run: Path, folder: str, right: int, n: int, lost: int = 0) -> None:
    """Answers to the holdout of which so many are right, and the last `lost` never came."""
    rows = [
        {"schema": 1, "item": f"h{i:04d}", "correct": i < right, "kind": "error" if i >= n - lost else "answer"}
        for i in range(n)
    ]
    write_jsonl(run / "rounds" / folder / "holdout.jsonl", rows)


def test_every_difference_agrees_with_the_figures_beside_it(tmp_path: Path) -> None:
    run = make_fake_run(tmp_path, Plan(items=40, holdout=20, fetched=12, accuracy=(0.4, 0.8), best=1, control=0.5))
    for folder, right in (("00", 165), ("01", 354), ("01/control", 163)):
        hold(run, folder, right, 400)  # 41.25, 88.5 and 40.75 per cent: 47.25 and 47.75 points apart
    headline = headline_of(run)
    before, after, control, change = (tile.value for tile in headline.tiles)
    assert (before, after, control, change) == ("41.2%", "88.5%", "40.8%", "+47.3")
    said = " ".join(headline.sentences)
    assert "Holdout (400 items, never diagnosed): +47.3 points" in said
    assert "choosing the samples brought +47.7 points" in said


def test_items_that_one_of_the_arms_did_not_answer_are_in_none_of_the_figures(tmp_path: Path) -> None:
    run = make_fake_run(tmp_path, Plan(items=40, holdout=20, fetched=12, accuracy=(0.4, 0.8), best=1, control=0.5))
    hold(run, "00", 200, 400)
    hold(run, "01", 300, 400, lost=40)
    hold(run, "01/control", 210, 400, lost=50)
    tiles = headline_of(run).tiles
    assert [tile.details[0] for tile in tiles[:3]] == ["200 of 350", "300 of 350", "210 of 350"]
    assert shown(tiles[3].value) == round(shown(tiles[1].value) - shown(tiles[0].value), 1)


def test_a_control_under_way_is_not_shown_yet(tmp_path: Path) -> None:
    run = make_fake_run(tmp_path, Plan(items=40, holdout=20, fetched=12, accuracy=(0.4, 0.8), best=1, control=0.5))
    control = run / "rounds" / "01" / "control"
    (control / "evaluation.json").unlink()
    write_jsonl(control / "holdout.jsonl", read_jsonl(control / "holdout.jsonl")[:3])
    headline = headline_of(run)
    assert headline.tiles[0].details[0].endswith("of 20")
    assert any(sentence.startswith("No control was run") for sentence in headline.sentences)


def test_a_round_that_is_no_better_than_the_start_is_not_called_the_highest(tmp_path: Path) -> None:
    for number, (accuracy, how) in enumerate((((0.5, 0.5), "scored the same"), ((0.5, 0.3, 0.4), "came closest"))):
        plan = Plan(items=40, holdout=20, fetched=12, accuracy=accuracy, best=0, stop_reason="no_gain", control=None)
        run = make_fake_run(tmp_path / str(number), plan)
        headline = headline_of(run)
        last = len(accuracy) - 1
        assert headline.sentences[0] == (
            f"No round scored above the student as it came on the validation set; round {last} {how}."
        )
        assert "ighest" not in " ".join([headline.title, *headline.sentences, *(tile.label for tile in headline.tiles)])


def test_only_a_round_that_is_kept_is_in_the_legend(tmp_path: Path) -> None:
    none = Plan(items=40, holdout=20, fetched=12, accuracy=(0.4, 0.5), best=0, stop_reason="no_gain", control=None)
    legends = []
    for number, plan in enumerate((none, Plan(items=40, holdout=20, fetched=12))):
        html = write_report(make_fake_run(tmp_path / str(number), plan)).read_text(encoding="utf-8")
        legend = re.search(r'<p class="legend">.*?</p>', html)
        assert legend is not None
        legends.append("kept round" in legend[0])
    assert legends == [False, True]


def test_the_page_says_why_a_higher_round_is_not_kept(tmp_path: Path) -> None:
    run = make_fake_run(tmp_path, Plan(fetched=12, accuracy=(0.4, 0.7, 0.72), best=1))
    why = [sentence for sentence in headline_of(run).sentences if sentence.startswith("Round 2 is not kept although")]
    assert len(why) == 1
    assert why[0] in write_report(run).read_text(encoding="utf-8")


def test_what_it_took_counts_the_pools_skills_and_the_control_apart(tmp_path: Path) -> None:
    run = make_fake_run(tmp_path, Plan(items=40, holdout=20, fetched=12))
    costs = cost_table(RunRecords(run))
    by_name = {row.name: row for row in costs.rows}
    assert list(by_name) == ["the pool’s skills", "round 0", "round 1", "round 2", "round 3", "all"]
    skills, control = by_name["the pool’s skills"], costs.phases.index("control")
    assert (skills.calls, skills.tokens, skills.cost) == ("20", "31,000", "$0.35")
    assert [row.seconds[control] for row in costs.rows] == ["–", "–", "–", "73 s", "–", "73 s"]
    used = [int(row.calls.replace(",", "")) for row in costs.rows]
    assert sum(used[:-1]) == used[-1]
    assert costs.note == ""


def test_what_other_runs_paid_for_the_pool_is_not_in_the_sum(tmp_path: Path) -> None:
    run = make_fake_run(tmp_path, Plan(items=40, holdout=20, fetched=12))
    none = {"calls": 0, "tokens": 0, "cost_usd": 0.0}
    write_json(run / "run.json", {**read_json(run / "run.json"), "annotation": {**NAMING, "this_run": none}})
    costs = cost_table(RunRecords(run))
    assert (costs.rows[0].calls, costs.rows[0].cost) == ("0", "$0.00")
    assert costs.note == (
        "Naming the pool’s skills, by this run and by others on the same pool: 20 calls, 31,000 tokens, $0.35."
    )
