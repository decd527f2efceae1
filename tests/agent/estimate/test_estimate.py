"""A dry run: it says what it knows and what it supposes, asks nobody, starts nothing and writes nothing."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from agent.cli.init import render
from agent.cli.main import main
from agent.cli.microworld import make_data, world_config


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_data(folder, "arithmetic", 40)
    return folder


@pytest.fixture
def config(data: Path, tmp_path: Path) -> Path:
    path = tmp_path / "task.yaml"
    path.write_text(render(world_config("small", data, "arithmetic", 40, data={"limit": 30})))
    return path


def dry_run(
    capsys: pytest.CaptureFixture[str], config: Path, *overrides: str, more: tuple[str, ...] = ()
) -> tuple[int, Any, str]:
    """Exit code, standard output (read as JSON if it is asked for), standard error."""
    sets = [each for override in overrides for each in ("--set", override)]
    with pytest.raises(SystemExit) as ended:
        main(["run", str(config), "--run-dir", str(config.parent / "run"), "--dry-run", *sets, *more])
    said = capsys.readouterr()
    return int(ended.value.code or 0), json.loads(said.out) if "--json" in more and said.out else said.out, said.err


def estimated(capsys: pytest.CaptureFixture[str], config: Path, *overrides: str) -> dict[str, Any]:
    code, found, err = dry_run(capsys, config, *overrides, more=("--json",))
    assert code == 0, err
    return dict(found)


def calls(rows: list[dict[str, Any]]) -> dict[str, int]:
    return {row["kind"]: row["calls"] for row in rows}


def test_nobody_is_asked_nothing_starts_and_nothing_is_written(
    capsys: pytest.CaptureFixture[str], config: Path
) -> None:
    before = sorted(config.parent.rglob("*"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        address = f"teacher.base_url=http://127.0.0.1:{listening.getsockname()[1]}/v1"
        found = estimated(capsys, config, "teacher.app=null", address, "student.model=no-such-student")
        with pytest.raises(BlockingIOError):
            listening.accept()
    assert sorted(config.parent.rglob("*")) == before
    assert (calls(found["once"]), calls(found["each_round"])) == (
        {"same_skill": 1, "skills": 3},
        {"diagnose": 15, "skills": 1, "same_skill": 40},
    )
    assert (found["round"], found["rounds_left"], found["in_journal"]) == (1, 2, None)
    assert found["total"]["run"]["calls"] == 4 + 2 * 56
    assert any("15 of 30 answers are wrong" in sentence for sentence in found["assumed"])
    assert any("30 items, 30 held out; 40 samples in the pool" in sentence for sentence in found["measured"])


def test_the_configuration_decides_what_is_asked(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    switch = ("diagnosis.locator=answer_switch", "diagnosis.judge=teacher")
    found = estimated(capsys, config, *switch, "diagnosis.max_errors=5", "diagnosis.right_answers=4", "max_rounds=1")
    assert calls(found["once"]) == {"same_skill": 1, "choose": 1, "skills": 3}
    assert calls(found["each_round"]) == {"choose": 40, "name_gap": 5, "skills": 1, "same_skill": 15}
    found = estimated(capsys, config, "diagnosis.per_request=3", "diagnosis.right_answers=0", "pool.limit=7")
    assert calls(found["once"])["skills"] == 3
    assert "skills" not in calls(found["each_round"])
    found = estimated(capsys, config, "data.scorer=teacher", "control=every")
    assert (calls(found["once"])["judge"], calls(found["each_round"])["judge"]) == (60, 120)
    found = estimated(capsys, config, "data.scorer=teacher", "control=kept")
    assert [row["calls"] for row in found["once"] if row["kind"] == "judge"] == [60, 60]


def test_costs_follow_from_the_price_and_are_unknown_without(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    found = estimated(capsys, config, "teacher.price_in=2", "teacher.price_out=8")
    for row in (*found["once"], *found["each_round"], found["total"]["run"]):
        assert row["cost_usd"] == pytest.approx((2 * row["tokens_in"] + 8 * row["tokens_out"]) / 1e6)
    unknown = ("teacher.app=null", "teacher.model=nobody-knows-me")
    found = estimated(capsys, config, *unknown)
    assert (found["price"], found["total"]["run"]["cost_usd"]) == (None, None)
    assert found["total"]["run"]["tokens_in"] > 0
    code, out, _ = dry_run(capsys, config, *unknown)
    assert code == 0
    assert "--set teacher.price_in=" in out
    assert "no rule of nobody-knows-me is known" in " ".join(out.split())


def test_what_can_wait_costs_less_in_batches(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    prices = ("teacher.price_in=2", "teacher.price_out=8", "diagnosis.locator=per_step")
    full = estimated(capsys, config, *prices)
    found = estimated(capsys, config, *prices, "teacher.batch=true", "teacher.price_batch=0.25")
    shares = {
        row["what"]: other["cost_usd"] / row["cost_usd"]
        for key in ("once", "each_round")
        for row, other in zip(full[key], found[key], strict=True)
    }
    assert shares == {
        "is the teacher there?": 1,
        "the pool's 40 samples": 0.25,
        "one step at a time": 1,
        "naming a found step's skill": 1,
        "skills of right answers": 0.25,
        "merging and matching names": 1,
    }
    assert (found["price"]["batch"], found["batch"], full["batch"]) == (0.25, True, False)
    _, out, _ = dry_run(capsys, config, *prices, "teacher.batch=true")
    assert "What can wait goes into batches, at 50% of the price." in " ".join(out.split())


def test_images_count_by_the_rule_of_the_model_at_the_size_that_is_sent_or_not_at_all(
    capsys: pytest.CaptureFixture[str], config: Path
) -> None:
    def diagnosing(*overrides: str) -> int:
        found = estimated(capsys, config, "teacher.app=null", *overrides)
        return next(row["tokens_in"] for row in found["each_round"] if row["kind"] == "diagnose") // 15

    blind = diagnosing("teacher.model=gpt-4o", "teacher.see_images=false")
    assert diagnosing("teacher.model=gpt-4o") == pytest.approx(blind + 85 + 170, abs=1)
    assert diagnosing("teacher.model=gpt-5-mini") == pytest.approx(blind + 7, abs=1)  # 64 × 64: four patches
    assert diagnosing("teacher.model=gpt-5-mini", "teacher.image_size=32") == pytest.approx(blind + 2, abs=1)


def test_a_longer_prompt_takes_more_tokens(capsys: pytest.CaptureFixture[str], config: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["prompts", str(tmp_path / "mine")])
    capsys.readouterr()
    before = estimated(capsys, config)["total"]["round"]["tokens_in"]
    path = tmp_path / "mine" / "diagnose.md"
    path.write_text(path.read_text() + "x" * 4000)
    after = estimated(capsys, config, f"teacher.prompts={tmp_path / 'mine'}")["total"]["round"]["tokens_in"]
    assert after == pytest.approx(before + 15 * 1000, abs=15)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.validation=none.jsonl", "none.jsonl does not exist"),
        ("pool.path=none.json", "none.json does not exist"),
        ("data.scorer=magic", "magic"),
        ("teacher.prompts=nowhere", "nowhere cannot be read"),
    ],
)
def test_a_mistake_is_named_as_the_run_would(
    capsys: pytest.CaptureFixture[str], config: Path, override: str, said: str
) -> None:
    code, _, err = dry_run(capsys, config, override)
    assert (code, said in err, "Traceback" in err) == (2, True, False), err
