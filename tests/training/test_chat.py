from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from retrieval.errors import TuningError
from tests.tiny_student import TEMPLATE
from training.data.chat import IGNORED, ChatFormat
from training.data.rows import process
from training.families.families import load_processor

STOPS = frozenset({2})
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="<>"), max_size=40)


@pytest.fixture
def processor(student: Path) -> Any:
    return load_processor(str(student))


def read(processor: Any, turns: list[tuple[str, str]], images: int) -> tuple[list[int], list[int]]:
    chat = ChatFormat(processor, STOPS)
    spoken = chat.speak(turns, images)
    ids = process(processor, [spoken.text], [[Image.new("RGB", (32, 32))] * images])["input_ids"][0].tolist()
    return ids, chat.labels(spoken, ids)


def spoken_by_labels(processor: Any, labels: list[int]) -> str:
    text: str = processor.tokenizer.decode([label for label in labels if label != IGNORED])
    return text


def test_the_loss_reads_the_answer_and_the_end_of_its_turn_only(processor: Any) -> None:
    ids, labels = read(processor, [("What colour is it?", "Step 1: it is red.\nAnswer: red")], images=2)
    assert spoken_by_labels(processor, labels) == "Step 1: it is red.\nAnswer: red</s>"
    assert ids.count(processor.image_token_id) == 8
    assert all(label in (IGNORED, token) for token, label in zip(ids, labels, strict=True))


def test_the_loss_reads_every_answer_of_a_conversation(processor: Any) -> None:
    _, labels = read(processor, [("one?", "first"), ("two?", "second"), ("three?", "third")], images=1)
    assert spoken_by_labels(processor, labels) == "first</s>second</s>third</s>"


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(WORDS, WORDS.filter(lambda text: text.strip() != "")), min_size=1, max_size=3), st.integers(0, 2)
)
def test_any_text_is_labelled_exactly(processor: Any, turns: list[tuple[str, str]], images: int) -> None:
    _, labels = read(processor, turns, images)
    assert spoken_by_labels(processor, labels) == "".join(f"{answer}</s>" for _, answer in turns)


def test_a_template_that_does_not_close_turns_gets_its_answers_closed(processor: Any) -> None:
    processor.chat_template = TEMPLATE.replace("{{ eos_token }}", "{{ ' ' }}")
    _, labels = read(processor, [("one?", "first"), ("two?", "second")], images=1)
    assert spoken_by_labels(processor, labels) == "first</s>second</s>"


def test_what_a_template_writes_after_the_end_of_a_turn_is_not_learned(processor: Any) -> None:
    processor.chat_template = TEMPLATE.replace("{{ eos_token }}", "{{ eos_token + '\n' }}")
    _, labels = read(processor, [("one?", "first")], images=0)
    assert spoken_by_labels(processor, labels) == "first</s>"


def test_a_template_that_rewrites_earlier_turns_is_refused(processor: Any) -> None:
    processor.chat_template = "{{ messages | length }}" + TEMPLATE
    with pytest.raises(TuningError, match="only appends"):
        ChatFormat(processor, STOPS)


@given(
    st.lists(
        st.sampled_from(["<image>", "</s>", "<s>", "<pad>", "<", ">", "/s", "image", " ", "\n", "a"]), max_size=12
    ).map("".join)
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_a_special_token_written_as_text_is_text(processor: Any, text: str) -> None:
    turns = [(f"What is {text}?", f"It is {text}.")]
    ids, labels = read(processor, turns, 1)
    plain, _ = read(processor, [("What is?", "It is.")], 1)
    special = set(processor.tokenizer.all_special_ids) | {processor.image_token_id}
    assert [token for token in ids if token in special] == [token for token in plain if token in special]
    said = spoken_by_labels(processor, labels).removesuffix("</s>")
    assert said.replace(" ", "") == turns[0][1].replace(" ", ""), "nothing but spaces is added"
