"""Scorers: what counts as right, and which one `auto` takes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval import Item, make_scorer
from eval.choices import read_choice
from eval.normalise import plain, vqa_form
from eval.numbers import read_number
from retrieval.errors import ConfigError, DataError


def item(*answers: str, choices: tuple[str, ...] = (), name: str = "i") -> Item:
    return Item(name, "q", answers, choices)


def right(scorer: str, final: str, *answers: str, choices: tuple[str, ...] = ()) -> bool | None:
    one = item(*answers, choices=choices)
    return make_scorer(scorer, [one]).score(one, final)


@pytest.mark.parametrize(
    ("final", "gold", "expected"),
    [
        ("Red.", "red", True),
        ("  dark   RED ", "dark red", True),
        ("“red”", "red", True),
        ("**red**\n\nI hope this helps!", "red", True),
        ("-5", "5", False),
        ("5%", "5", False),
        ("STRASSE", "straße", True),
        ("not red", "red", False),
        ("?", "?", True),
    ],
)
def test_exact_puts_aside_case_spaces_and_punctuation_at_the_ends(final: str, gold: str, expected: bool) -> None:
    assert right("exact", final, gold) is expected


def test_exact_takes_the_canonical_answer_and_any_of_takes_all() -> None:
    assert right("exact", "crimson", "red", "crimson") is False
    assert right("any_of", "crimson", "red", "crimson") is True
    assert right("any_of", "blue", "red", "crimson") is False


@pytest.mark.parametrize(
    "final",
    [
        *("B", "b", "B.", "(b)", "[B]", "**B**", "option B", "choice b", "The answer is B", "dog", "A dog."),
        *("Option B: dog", "B) dog", "B. a dog", "B - dog", "B dog"),
    ],
)
def test_choice_understands_letters_and_texts(final: str) -> None:
    assert right("choice", final, "dog", choices=("cat", "dog", "a bird")) is True


@pytest.mark.parametrize("final", ["A", "cat", "C", "D", "B. cat", "dog or cat", "", "bird", "boat", "either"])
def test_choice_refuses_other_choices_and_contradictions(final: str) -> None:
    assert right("choice", final, "dog", choices=("cat", "dog", "a bird")) is False


def test_a_text_goes_before_a_letter() -> None:
    assert read_choice("a", ("b", "a")) == 1
    assert read_choice("A", ("3", "1")) == 0


@pytest.mark.parametrize(
    ("final", "gold", "expected"),
    [
        ("5", "5.0", True),
        ("five", "5", True),
        ("Twenty-one dogs", "21", True),
        ("three hundred and five", "305", True),
        ("minus two", "-2", True),
        ("1,234.5", "1234.5", True),
        ("1’234", "1234", True),
        ("about 12 cm", "12", True),
        ("$3.50", "3.5", True),
        ("−4 °C", "-4", True),
        ("3/4", "0.75", True),
        ("1 1/2", "1.5", True),
        ("2½", "2.5", True),
        ("50%", "0.5", True),
        ("50 percent", "50%", True),
        ("50", "50%", True),
        ("1.5 million", "1500000", True),
        ("2e3", "2000.0", True),
        (".5", "0.5", True),
        ("3.142", "3.1416", True),
        ("3.15", "3.1416", False),
        ("1999", "2000", False),
        ("5 of 10", "5", False),
        ("3, 4", "3", False),
        ("1/0", "0", False),
        ("2024-05-01", "2024", False),
        ("none", "0", False),
        ("1e999", "5", False),
        ("-5", "5", False),
        ("0", "0", True),
    ],
)
def test_number_reads_figures_as_people_write_them(final: str, gold: str, expected: bool) -> None:
    assert right("number", final, gold) is expected


def test_number_keeps_to_the_tolerance() -> None:
    one = item("200.5")
    assert make_scorer("number", [one], tolerance=0.05).score(one, "210") is True
    assert make_scorer("number", [one], tolerance=0.04).score(one, "210") is False


@pytest.mark.parametrize(
    ("final", "gold"),
    [
        ("the dog", "dog"),
        ("two", "2"),
        ("dont know", "don't know"),
        ("yes, it is", "Yes it is"),
        ("t-shirt", "t shirt"),
        ("1,000", "1000"),
        ("3.5", "3.5."),
    ],
)
def test_vqa_form_makes_alike_what_annotators_mean_alike(final: str, gold: str) -> None:
    assert vqa_form(final) == vqa_form(gold)


def test_vqa_form_keeps_apart_what_differs() -> None:
    assert vqa_form("-5") != vqa_form("5")
    assert vqa_form("3.5") != vqa_form("35")
    assert vqa_form("a") == "a"


def test_vqa_asks_for_two_of_the_annotators() -> None:
    annotators = ("blue",) * 6 + ("navy",) * 3 + ("teal",)
    assert right("vqa", "Blue", *annotators) is True
    assert right("vqa", "the navy", *annotators) is True
    assert right("vqa", "teal", *annotators) is False
    assert right("vqa", "teal", "blue", "teal") is True


def test_teacher_judges_what_is_not_the_gold_answer_word_for_word() -> None:
    assert right("teacher", "It is red.", "red") is None
    assert right("teacher", "Red.", "red") is True


@pytest.mark.parametrize(
    ("items", "name", "words"),
    [
        ([item("dog", choices=("cat", "dog"))] * 2, "choice", "all 2 items have choices"),
        ([item("3"), item("4.5 cm")], "number", "all 2 items are numbers"),
        ([item("3"), item("red")], "exact", "one short gold answer"),
        ([item("Route 66 in spring")], "exact", "one short"),
        ([item("red", "crimson"), item("blue")], "any_of", "1 of 2 items accept several"),
        ([item("red", "red", "blue")], "vqa", "annotators"),
        ([item("because the cat sat on the mat and then slept")], "teacher", "longer than 8 words"),
        ([item("dog", choices=("cat", "dog")), item("7")], "choice, number", "1 of 2 items have choices"),
    ],
)
def test_auto_chooses_by_the_items_and_says_why(items: list[Item], name: str, words: str) -> None:
    scorer = make_scorer("auto", items)
    assert scorer.name == name
    assert words in scorer.why


def test_auto_scores_each_item_of_a_mixed_set_its_own_way() -> None:
    items = [item("dog", choices=("cat", "dog"), name="a"), item("7", name="b")]
    scorer = make_scorer("auto", items)
    assert scorer.score(items[0], "B") is True
    assert scorer.score(items[1], "seven") is True


def test_a_users_function_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_rules.py").write_text(
        "def half(answer, gold, item):\n    return 0.5 if answer in gold and item['id'] == 'i' else 0.4\n"
        "def breaks(answer, gold, item):\n    return 1 / 0\n"
        "def leaves(answer, gold, item):\n    raise SystemExit(0)\n"
        "def nothing(answer, gold, item):\n    return float('nan')\n"
    )
    (tmp_path / "my_script.py").write_text("import sys\nsys.exit(0)\n")
    monkeypatch.chdir(tmp_path)
    assert right("my_rules:half", "red", "red") is True
    assert right("my_rules:half", "blue", "red") is False
    with pytest.raises(ConfigError, match="failed on item i: ZeroDivisionError"):
        right("my_rules:breaks", "red", "red")
    with pytest.raises(ConfigError, match="failed on item i: SystemExit"):
        right("my_rules:leaves", "red", "red")
    with pytest.raises(ConfigError, match="gave nan on item i"):
        right("my_rules:nothing", "red", "red")
    with pytest.raises(ConfigError, match="'my_script' cannot be imported"):
        right("my_script:f", "red", "red")
    with pytest.raises(ConfigError, match=r"data\.scorer my_rules:none: .* nothing named 'none'"):
        right("my_rules:none", "red", "red")
    with pytest.raises(ConfigError, match="cannot be imported"):
        right("no_such_module:f", "red", "red")


def test_a_scorer_that_does_not_fit_says_so() -> None:
    with pytest.raises(ConfigError, match="use auto, exact"):
        right("fuzzy", "red", "red")
    with pytest.raises(DataError, match="item i has no choices"):
        right("choice", "red", "red")
    with pytest.raises(DataError, match="'red', is no number"):
        right("number", "red", "red")


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_text_upsets_a_scorer(final: str, gold: str) -> None:
    plain(final), vqa_form(final), read_number(final), read_choice(final, (gold, "other"))
    assert right("exact", gold, gold.split("\n")[0]) in (True, False)


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12))
def test_a_number_that_was_written_is_read_back(value: float) -> None:
    found = read_number(f"{value:,.3f}")
    assert found is not None
    assert found.value == pytest.approx(round(value, 3), rel=1e-9, abs=1e-9)


@given(st.integers(0, 999_999))
def test_number_words_are_read_back(value: int) -> None:
    found = read_number(_spell(value))
    assert found is not None
    assert found.value == value


def _spell(value: int) -> str:
    ones = [
        *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
        *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
    ]
    tens = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
    if value < 20:
        return ones[value]
    if value < 100:
        return tens[value // 10] + (f"-{ones[value % 10]}" if value % 10 else "")
    if value < 1000:
        return f"{ones[value // 100]} hundred" + (f" and {_spell(value % 100)}" if value % 100 else "")
    return f"{_spell(value // 1000)} thousand" + (f" {_spell(value % 1000)}" if value % 1000 else "")
