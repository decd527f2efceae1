"""What else stands on the page: what to do now, what a run was stopped by, what was owed, what it cost, what was read."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.report import write_report
from agent.report.costs import costs_in_words
from agent.report.ending import ending_of
from agent.report.fetched import selection_table, shares_of
from agent.report.pictures import Picture
from agent.report.whatnow import what_now
from agent.run.reading import RunRecords
from eval.statistics import compare, least_gain, significant
from retrieval.storage.files import Log, read_json, read_jsonl, write_json, write_jsonl
from tests.agent.fake_run import Plan, make_fake_run

NOTHING = Plan(items=40, holdout=0, fetched=12, accuracy=(0.5, 0.55), best=0, stop_reason="no_gain", control=None)
CSS = (Path(__file__).parents[3] / "agent" / "report" / "page.css").read_text(encoding="utf-8")


def set_status(run: Path, **changes: object) -> None:
    write_json(run / "run.json", {**read_json(run / "run.json"), **changes})


def findings(run: Path) -> list[str]:
    return [fact.finding for fact in what_now(RunRecords(run))]


def test_a_run_without_a_gain_says_what_it_could_have_shown(tmp_path: Path) -> None:
    run = make_fake_run(tmp_path, NOTHING)
    said = findings(run)[0]
    assert "The smallest gain that 40 validation items could show is 15.0 points: 6 that become right" in said
    text = write_report(run).read_text(encoding="utf-8")
    assert "Nothing was gained: what now" in text
    assert all(fact.advice.endswith(".") and fact.advice in text for fact in what_now(RunRecords(run)))


@pytest.mark.parametrize(
    "plan",
    [
        Plan(items=40, holdout=0, fetched=12),
        Plan(items=40, holdout=0, fetched=12, accuracy=(0.5, 0.5), best=0, state="waiting", stop_reason=None),
        Plan(items=40, holdout=0, fetched=12, accuracy=(1.5,), best=0, stop_reason="no_errors"),
    ],
)
def test_a_run_that_gained_or_goes_on_gets_no_advice(tmp_path: Path, plan: Plan) -> None:
    assert what_now(RunRecords(make_fake_run(tmp_path, plan))) == []


def test_too_few_items_can_show_nothing(tmp_path: Path) -> None:
    run = make_fake_run(tmp_path, Plan(items=5, holdout=0, fetched=6, accuracy=(0.5, 0.5), best=0, control=None))
    assert findings(run)[0].startswith("5 validation items can show no gain: the test needs 6")


def test_a_pool_that_is_short_of_a_gap_is_named_with_it(tmp_path: Path) -> None:
    run = make_fake_run(tmp_path, NOTHING)
    path = run / "rounds" / "01" / "quotas.json"
    quotas = read_json(path)
    quotas["needs"][0] |= {"owed": 50, "found": 2, "matching": 2, "skill": "reading a dial"}
    write_json(path, {**quotas, "matching": 9, "free": 100})
    (run / "rounds" / "01" / "selection.jsonl").unlink()  # as where the run ended since nothing was found
    fact = what_now(RunRecords(run))[1]
    assert fact.finding.startswith("9 of the pool’s 100 samples that could be taken in round 1 (9.0%) match the gaps")
    assert "“reading a dial”" in fact.advice
    shares = shares_of(RunRecords(run))
    assert shares is not None
    assert (shares.rows[0].skill, shares.rows[0].said) == ("reading a dial", "48 short; the pool has no more for it")
    assert "Due and found" in write_report(run).read_text(encoding="utf-8")


def test_a_run_that_found_nothing_in_the_pool_says_so(tmp_path: Path) -> None:
    plan = Plan(items=40, holdout=0, fetched=12, accuracy=(0.5,), best=0, stop_reason="pool_exhausted")
    run = make_fake_run(tmp_path, plan)
    need = {"part": "gap", "need": "gap-1", "skill": "reading a dial", "owed": 8, "found": 0, "matching": 0}
    quotas = {"schema": 1, "budget": 12, "free": 100, "matching": 0, "needs": [need]}
    write_json(run / "rounds" / "01" / "quotas.json", quotas)
    html = write_report(run).read_text(encoding="utf-8")
    assert "the pool has no more samples for these gaps" in html
    assert "No adapter was made: nothing was kept" in html
    assert "0 of the pool’s 100 samples that could be taken in round 1 (0.0%) match the gaps" in html
    assert "the pool has no sample for it that was not taken before" in html


def test_unreadable_answers_and_answers_that_are_never_gold_are_counted(tmp_path: Path) -> None:
    run = make_fake_run(tmp_path, NOTHING)
    rows = read_jsonl(run / "items.jsonl")
    write_jsonl(run / "items.jsonl", [{**row, "answers": ["AB"[n % 2]]} for n, row in enumerate(rows)])
    for name in ("00", "01"):
        path = run / "rounds" / name / "answers.jsonl"
        answers = read_jsonl(path)
        wrong = {"correct": False, "kind": "wrong", "final": "Yes."}
        lost = {"correct": False, "kind": "format", "final": None, "cut": True}
        write_jsonl(path, [{**row, **(wrong if n % 2 else lost)} for n, row in enumerate(answers)])
    unreadable, outside = what_now(RunRecords(run))[-2:]
    assert unreadable.finding.startswith("50.0% of the answers in round 1 could not be read")
    assert unreadable.advice == "Raise student.max_new_tokens."
    assert (
        "100.0% of the student’s first answers are never a gold answer, for instance “Yes.” (20 ×)" in outside.finding
    )
    assert "“a”, “b”" in outside.finding


def test_many_different_golds_are_no_closed_set(tmp_path: Path) -> None:
    run = make_fake_run(tmp_path, NOTHING)
    rows = read_jsonl(run / "items.jsonl")
    write_jsonl(run / "items.jsonl", [{**row, "answers": [f"gold {n}"]} for n, row in enumerate(rows)])
    assert not any("never a gold answer" in each for each in findings(run))


@given(st.integers(0, 60), st.sampled_from([0.01, 0.05, 0.2]), st.integers(1, 4))
def test_the_least_gain_is_shown_and_one_less_is_not(lost: int, alpha: float, patience: int) -> None:
    gained = least_gain(lost, alpha, patience)

    def shown(count: int) -> bool:
        before = {f"i{n}": n >= count for n in range(count + lost)}
        after = {name: not right for name, right in before.items()}
        return significant(compare(before, after).p_value, alpha, patience)

    assert shown(gained)
    assert not shown(gained - 1)


def test_the_least_gain_needs_a_level() -> None:
    with pytest.raises(ValueError, match="alpha"):
        least_gain(0, 0.0, 1)


def test_what_stopped_a_run_stands_at_the_top_and_outlives_its_going_on(tmp_path: Path) -> None:
    run = make_fake_run(tmp_path, Plan(items=20, holdout=0, fetched=12, state="stopped", stop_reason=None))
    assert ending_of(RunRecords(run))[0].startswith("The run was stopped on request")
    with Log(run / "events.jsonl") as log:
        log.append({"time": "2026-01-01T10:05:00.000+00:00", "event": "run_failed", "error": "no <b>memory</b>\nleft."})
    said = ending_of(RunRecords(run))
    assert said[1] == "The last error (2026-01-01 10:05 UTC): no <b>memory</b> left."
    html = write_report(run).read_text(encoding="utf-8")
    assert html.index("The last error") < html.index("<h1>")
    assert "<b>memory" not in html
    set_status(run, error="the budget of $2.00 is used up")
    assert ending_of(RunRecords(run))[0].startswith(
        "The run was stopped: the budget of $2.00 is used up; start it again"
    )
    set_status(run, state="failed")
    assert ending_of(RunRecords(run)) == ["The run failed: the budget of $2.00 is used up."]
    set_status(run, state="finished")
    assert ending_of(RunRecords(run)) == []


def test_costs_are_said_in_words_near_the_top(tmp_path: Path) -> None:
    run = make_fake_run(tmp_path, Plan(items=40, holdout=20, fetched=12))
    said = costs_in_words(RunRecords(run))
    assert re.fullmatch(
        r"It took [\d,]+ requests to the teacher \([\d,]+ tokens; \$\d+\.\d\d at the teacher’s prices\) and \d+ min of this "
        r"machine’s time\.",
        said,
    )
    html = write_report(run).read_text(encoding="utf-8")
    assert html.index("It took") < html.index('<nav class="contents"')
    path = run / "rounds" / "01" / "round.json"
    record = read_json(path)
    write_json(path, {**record, "teacher": {**record["teacher"], "cost_usd": None}, "seconds": {"tune": 9000}})
    assert "the price of the teacher is not known" in costs_in_words(RunRecords(run))
    assert costs_in_words(RunRecords(run)).endswith("2.6 hours of this machine’s time.")


def test_what_was_owed_stands_beside_what_was_fetched(tmp_path: Path) -> None:
    run = make_fake_run(tmp_path, Plan(items=40, holdout=0, fetched=12))
    path = run / "rounds" / "01" / "quotas.json"
    quotas = read_json(path)
    none = {"part": "gap", "need": "gap-none", "skill": "a skill that got none", "owed": 4, "found": 0, "matching": 0}
    write_json(path, {**quotas, "needs": [*quotas["needs"], none]})
    table = selection_table(RunRecords(run))
    rows = {row.name: row for row in table.parts[0].rows}
    assert (rows["gap-none"].samples[0], rows["gap-none"].owed[0], rows["gap-none"].total) == (0, 4, 0)
    for each in quotas["needs"]:
        assert rows[each["skill"]].owed[0] == each["owed"]
    (run / "rounds" / "01" / "quotas.json").unlink()  # a run of an older version
    assert all(row.owed[0] is None for part in selection_table(RunRecords(run)).parts for row in part.rows)


def test_what_was_understood_is_shown_as_it_was_said(tmp_path: Path) -> None:
    run = make_fake_run(tmp_path, Plan(items=20, holdout=10, fetched=12))
    html = write_report(run).read_text(encoding="utf-8")
    for line in (*read_json(run / "run.json")["understood"], *read_json(run / "run.json")["pool_understood"]):
        assert line in html


def test_every_anchor_of_the_contents_is_there(tmp_path: Path) -> None:
    for number, plan in enumerate((Plan(items=40, holdout=20, fetched=12), NOTHING)):
        html = write_report(make_fake_run(tmp_path / str(number), plan)).read_text(encoding="utf-8")
        nav = re.search(r'<nav class="contents".*?</nav>', html, re.DOTALL)
        assert nav is not None
        targets = re.findall(r'href="#([^"]+)"', nav[0])
        assert len(targets) >= 6
        assert len(set(targets)) == len(targets)
        for target in targets:
            assert html.count(f'id="{target}"') == 1


def test_the_page_is_the_same_when_written_again(tmp_path: Path) -> None:
    run = make_fake_run(tmp_path, Plan(items=40, holdout=20, fetched=12))
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


def test_pictures_that_need_it_are_shown_wide() -> None:
    assert Picture("x", 1600, 600, False).wide
    assert not Picture("x", 600, 600, False).wide
    assert not Picture("x", 120, 20, True).wide
    assert not Picture("", 0, 0, False).wide


def colours(theme: int) -> dict[str, str]:
    blocks = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})\b", blocks[theme]))


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return sum(weight * each for weight, each in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("theme", [0, 1])
@pytest.mark.parametrize(
    ("text", "ground"),
    [
        ("right", "right-ground"),
        ("wrong", "wrong-ground"),
        ("wrong", "paper"),
        ("ink", "ground"),
        ("ink", "caveat"),
        ("ink", "wrong-ground"),
        ("quiet", "ground"),
        ("quiet", "paper"),
        ("student", "ground"),
        ("student", "paper"),
        ("control", "paper"),
    ],
)
def test_text_has_the_contrast_of_wcag_aa(theme: int, text: str, ground: str) -> None:
    found = colours(theme)
    light, dark = sorted((luminance(found[text]), luminance(found[ground])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_the_quiet_words_of_a_chip_have_the_chips_own_colour() -> None:
    rules = re.findall(r"([^{}]*\.quiet[^{}]*)\{([^}]*)\}", CSS)
    chip = [body for names, body in rules if ".chip .quiet" in names]
    assert chip
    assert all("color: inherit" in body for body in chip)
    assert not any("opacity" in body for _, body in rules)
