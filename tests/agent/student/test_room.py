"""The room that a server is given holds what the student will be asked."""

from pathlib import Path

import pytest

from agent.config.schema import StudentConfig
from agent.student.engine import Request
from agent.student.vllm.room import STEP, Ruler
from retrieval.errors import ConfigError
from retrieval.pool.images import read_image
from training.data.chat import prompt_text
from training.data.rows import process
from training.families.families import load_processor


def test_lengths_are_those_of_the_processor(student: Path, requests: list[Request]) -> None:
    ruler, processor = Ruler(StudentConfig(model=str(student), max_new_tokens=12)), load_processor(str(student))
    for request, length in zip(requests, ruler.lengths(requests), strict=True):
        text = prompt_text(processor, request.prompt, len(request.images))
        ids = process(processor, [text], [[read_image(path) for path in request.images]])["input_ids"]
        assert length == ids.shape[1] + 12


def test_needs_are_those_of_the_longest_that_the_student_holds(student: Path, requests: list[Request]) -> None:
    ruler = Ruler(StudentConfig(model=str(student), max_new_tokens=12))
    lengths = ruler.lengths(requests)
    needs = ruler.needs(requests, lengths)
    assert (needs.images, needs.length % STEP) == (2, 0)
    assert max(lengths) <= needs.length < max(lengths) + STEP
    assert ruler.needs(requests, [*lengths[:-1], 10**9]).length == needs.length


def test_a_length_of_the_users_is_kept_to(student: Path, requests: list[Request]) -> None:
    ruler = Ruler(
        StudentConfig.model_validate({"model": str(student), "max_new_tokens": 12, "vllm": {"max_length": 100}})
    )
    assert (ruler.holds, ruler.needs(requests, [50, 200]).length) == (100, 100)
    with pytest.raises(ConfigError, match="holds 100 tokens"):
        ruler.needs(requests, [200])
