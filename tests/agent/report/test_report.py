"""The report says what was gained and why the student fails, from whatever is in the run folder."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from agent.report import MAX_BYTES, write_report
from agent.report.fetched import selection_table
from agent.report.gallery import make_gallery
from agent.report.headline import make_headline
from agent.report.kept import shown_round
from agent.report.pictures import Pictures
from agent.report.tables import gap_table
from agent.run.reading import RunRecords
from retrieval.errors import RunError
from retrieval.storage.files import read_json, read_jsonl, write_json, write_jsonl
from tests.agent.fake_run import HOSTILE, Plan, make_fake_run

SMALL = Plan(items=20, holdout=10, fetched=12)


class Page(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page_of(run: Path) -> Page:
    return Page(write_report(run).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_fake_run(tmp_path_factory.mktemp("fake"))


def test_the_headline_gives_gain_n_interval_test_and_control(finished: Path) -> None:
    headline = make_headline(RunRecords(finished))
    assert re.match(
        r"The adapter of round 2 answers \d+\.\d% right; the student as it came, \d+\.\d%\.", headline.title
    )
    holdout, validation, control = headline.sentences[:3]
    assert holdout.startswith("Holdout (100 items, never diagnosed): +")
    assert "95% interval" in holdout
    assert "p < 0.001" in holdout
    assert validation.startswith("Validation set (120 items")
    assert "choosing the samples brought +" in control
    assert [tile.label for tile in headline.tiles][:3] == [
        "Before",
        "After, the kept round 2",
        "Control, random samples",
    ]


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (
            Plan(fetched=12, items=20, holdout=0, accuracy=(0.4, 0.5), best=0, stop_reason="no_gain"),
            "No round was shown to be better",
        ),
        (
            Plan(fetched=12, items=20, holdout=0, accuracy=(0.4, 0.5), best=0, state="stopped"),
            "So far, no round was shown",
        ),
        (Plan(fetched=12, items=20, holdout=0, accuracy=(0.4,), best=0), "The student as it came answers"),
        (Plan(fetched=12, items=20, holdout=0, accuracy=(), best=0), "Nothing has been evaluated yet."),
        (Plan(fetched=12, items=60, holdout=8, accuracy=(0.4, 0.5, 0.5), best=2), "gain does not show on the holdout"),
        (Plan(fetched=12, items=60, holdout=40, control=None), "No control was run"),
        (Plan(fetched=12, items=60, holdout=40, control=0.74), "brought more is not shown"),
    ],
)
def test_the_headline_claims_nothing_that_was_not_shown(tmp_path: Path, plan: Plan, words: str) -> None:
    run = make_fake_run(tmp_path, plan)
    headline = make_headline(RunRecords(run))
    assert words in " ".join([headline.title, *headline.sentences])
    assert words in page_of(run).text


def test_gaps_are_followed_over_the_rounds(finished: Path) -> None:
    table = gap_table(RunRecords(finished))
    gaps = read_json(finished / "rounds" / "01" / "gaps.json")["gaps"]
    assert table.rounds == [0, 1, 2]
    by_id = {row.id: row for row in table.rows}
    for gap in gaps:
        assert by_id[gap["id"]].errors[0] == len(gap["errors"])
    assert [row.total for row in table.rows] == sorted((row.total for row in table.rows), reverse=True)
    assert all(0 <= row.right_now <= row.items for row in table.rows)
    assert any(row.right_now for row in table.rows)


def test_every_fetched_sample_is_counted_once(finished: Path) -> None:
    table = selection_table(RunRecords(finished))
    fetched = sum(len(read_jsonl(finished / "rounds" / f"{n:02d}" / "selection.jsonl")) for n in table.rounds)
    assert sum(part.total for part in table.parts) == fetched
    for part in table.parts[:2]:
        assert sum(row.total for row in part.rows) == part.total
    assert "the addition of two digits" in {text for part in table.parts for row in part.rows for text in row.matched}


def test_a_card_leads_from_the_answer_to_the_samples_and_to_what_came_of_it(finished: Path) -> None:
    records = RunRecords(finished)
    gallery = make_gallery(records, Pictures(10**7), 1000)
    card = next(card for card in gallery.cards if card.samples and card.outcome == "became_right" and card.named)
    item = records.items[card.item]
    before = records.rounds[0].answers[card.item]
    assert (card.round, card.gold, card.final) == (0, item["answers"][0], before["final"])
    assert [step.text for step in card.steps] == before["steps"]
    assert [step.wrong for step in card.steps].count(True) == 1
    assert card.pictures[0].url.startswith("data:image/webp;base64,")
    assert card.samples[0].turns[0][0] == "Add up the digits."
    assert card.samples[0].pictures[0].url
    assert [given.round for given in card.given] == [0, 1, 2, 3]
    assert [given.round for given in card.given if given.shown] == [2]
    assert card.given[2].right


def test_every_item_that_is_or_was_wrong_has_one_card_and_what_is_wrong_comes_first(finished: Path) -> None:
    records = RunRecords(finished)
    gallery = make_gallery(records, Pictures(10**7), 1000)
    items = [card.item for card in gallery.cards]
    assert len(set(items)) == len(items) == gallery.total
    base, kept = records.rounds[0].answers, records.rounds[2].answers
    expected = {
        "still_wrong": {i for i in base if not base[i]["correct"] and not kept[i]["correct"]},
        "became_wrong": {i for i in base if base[i]["correct"] and not kept[i]["correct"]},
        "became_right": {i for i in base if not base[i]["correct"] and kept[i]["correct"]},
    }
    groups = {group.outcome: {card.item for card in group.cards} for group in gallery.groups}
    assert {name: groups.get(name, set()) for name in expected} == expected
    order = ["still_wrong", "became_wrong", "became_right", "wrong_between"]
    assert [group.outcome for group in gallery.groups] == [name for name in order if name in groups]


def test_what_became_wrong_can_be_found_with_its_count(tmp_path: Path) -> None:
    run = make_fake_run(tmp_path, Plan(items=40, holdout=0, fetched=12, accuracy=(0.5, 0.6), best=1, control=None))
    path = run / "rounds" / "01" / "answers.jsonl"
    rows = read_jsonl(path)
    right = [row["item"] for row in read_jsonl(run / "rounds" / "00" / "answers.jsonl") if row["correct"]][:3]
    write_jsonl(
        path,
        [{**row, "correct": False, "kind": "wrong", "final": "99"} if row["item"] in right else row for row in rows],
    )
    gallery = make_gallery(RunRecords(run), Pictures(10**7), 1000)
    group = next(group for group in gallery.groups if group.outcome == "became_wrong")
    assert {card.item for card in group.cards} == set(right)
    assert all((card.round, card.final, card.named) == (1, "99", None) for card in group.cards)
    html = write_report(run).read_text(encoding="utf-8")
    assert 'href="#became-wrong"' in html
    assert "Became wrong (3)" in html
    assert "This answer was not diagnosed." in html


def test_a_card_says_where_no_wrong_step_was_named(finished: Path) -> None:
    records = RunRecords(finished)
    gallery = make_gallery(records, Pictures(10**7), 1000)
    lost = [card for card in gallery.cards if card.named is False]
    assert lost
    assert not any(step.wrong for card in lost for step in card.steps)
    assert "No wrong step named" in page_of(finished).text


def test_after_means_the_kept_round_and_not_the_last(tmp_path: Path) -> None:
    run = make_fake_run(tmp_path, Plan(items=60, holdout=0, fetched=12, accuracy=(0.4, 0.8, 0.3), best=1))
    records = RunRecords(run)
    shown = shown_round(records)
    assert shown is not None
    assert (shown.number, shown.kept) == (1, True)
    kept = records.rounds[1].answers
    table = gap_table(records)
    assert table.after == "the kept round 1"
    assert table.rows[0].right_now > 0
    for card in make_gallery(records, Pictures(10**7), 1000).cards:
        assert (card.outcome in ("became_right", "wrong_between")) == kept[card.item]["correct"]
    text = page_of(run).text
    assert "last round" not in text.replace("the last round that the configuration", "")
    assert "right in the kept round 1" in text


def test_where_nothing_was_kept_the_nearest_round_is_named_as_not_kept(tmp_path: Path) -> None:
    plan = Plan(items=60, holdout=0, fetched=12, accuracy=(0.5, 0.55, 0.4), best=0, stop_reason="no_gain", control=None)
    text = page_of(make_fake_run(tmp_path, plan)).text
    assert (
        "Nothing was kept, so the student stays as it came; below it is compared with round 1, which is not kept."
        in text
    )
    assert "Round 1, not kept" in text
    assert "right in round 1, not kept" in text
    assert "kept round" not in text


def test_with_room_for_few_items_every_gap_still_has_one(finished: Path) -> None:
    gallery = make_gallery(RunRecords(finished), Pictures(10**7), 12)
    gaps = {gap["id"] for n in (1, 2, 3) for gap in read_json(finished / "rounds" / f"{n:02d}" / "gaps.json")["gaps"]}
    assert len(gallery.cards) == 12
    assert gaps <= {gap for card in gallery.cards for gap in card.gaps}
    assert sum(choice.items for choice in gallery.choices) == sum(len(card.gaps) for card in gallery.cards)


def test_text_from_samples_and_teachers_stays_text(tmp_path: Path) -> None:
    page = page_of(make_fake_run(tmp_path, Plan(fetched=12, items=30, holdout=10, hostile=True)))
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert "{{ 7 * 7 }}" in page.text
    assert HOSTILE in page.text


def test_the_page_needs_no_network(finished: Path) -> None:
    html = write_report(finished).read_text(encoding="utf-8")
    for _, attrs in Page(html).tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            if attrs.get(name):
                assert (attrs[name] or "").startswith(("data:", "#"))
    assert "url(" not in html
    assert "@import" not in html
    assert "default-src 'none'" in html


def test_what_a_reader_must_know_stands_on_the_page(tmp_path: Path) -> None:
    run = make_fake_run(tmp_path, Plan(fetched=12, items=60, holdout=0, state="running", control=None))
    text = page_of(run).text
    assert "The run was killed" in text
    assert "There is no holdout" in text
    assert "No control was run for the kept round" in text
    assert "1 item could not be read (for instance items.jsonl, line 7: there is no image 7.png)" in text
    assert "The teacher gave no usable diagnosis for 3 of" in text


def test_the_page_stays_small_however_large_pictures_and_texts_are(tmp_path: Path) -> None:
    run = make_fake_run(tmp_path, Plan(fetched=12, items=210, holdout=0, accuracy=(0.0, 0.0), best=0))
    for path in sorted((tmp_path / "pictures").glob("*.png"))[:60]:
        Image.effect_noise((400, 400), 90).convert("RGB").save(path)
    for path in run.glob("rounds/*/answers.jsonl"):
        long = {"steps": ["word " * 3000] * 40}
        write_jsonl(path, [{**row, **long} for row in read_jsonl(path)])
    page = write_report(run)
    assert page.stat().st_size <= MAX_BYTES
    text = Page(page.read_text(encoding="utf-8")).text
    assert "left out to keep this page small" in text
    assert re.search(r"\d+ of 2\d\d items, taken in turn from every outcome and gap", text)


def test_samples_whose_pool_is_gone_are_still_named(tmp_path: Path) -> None:
    run = make_fake_run(tmp_path, SMALL)
    shutil.rmtree(tmp_path / "pools")
    shutil.rmtree(tmp_path / "pictures")
    text = page_of(run).text
    assert "The pool is not where the run left it" in text
    assert "s0000" in text
    assert "not there any more" in text


def test_the_report_is_written_whatever_is_missing_or_torn(tmp_path: Path) -> None:
    run = make_fake_run(tmp_path, SMALL)
    keep = tmp_path / "keep"
    shutil.copytree(run, keep)
    files = sorted(path.relative_to(run) for path in run.rglob("*.json*"))
    assert len(files) > 25
    for file in files:
        whole = (run / file).read_bytes()
        (run / file).write_bytes(whole[: len(whole) // 2])
        assert write_report(run).exists()
        (run / file).unlink()
        assert write_report(run).exists()
    assert "Nothing has been evaluated yet." in page_of(run).text


def test_lone_surrogates_do_not_stop_the_report(tmp_path: Path) -> None:
    run = make_fake_run(tmp_path, SMALL)
    write_json(run / "run.json", {**read_json(run / "run.json"), "name": "caf\u00e9"})
    path = run / "rounds" / "01" / "diagnoses.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace("The picture", "\\ud800 The picture"), encoding="utf-8")
    assert "The picture shows other digits" in page_of(run).text


def test_a_folder_that_is_no_run_gets_no_report(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run folder"):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())
