"""Tokens of images, by OpenAI's own examples where there are any."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.estimate.image_tokens import image_rule

SIDE = st.integers(1, 4096)


@pytest.mark.parametrize(
    ("model", "size", "tokens"),
    [
        ("gpt-4o", (1024, 1024), 765),
        ("gpt-4o-2024-11-20", (2048, 4096), 1105),
        ("gpt-4o", (64, 64), 255),
        ("openai/gpt-4o-mini", (512, 512), 2833 + 5667),
        ("gpt-5", (1024, 1024), 70 + 4 * 140),
        ("gpt-5-mini", (1024, 1024), 1659),
        ("gpt-4.1-mini", (1800, 2400), 2353),  # 1,452 patches
        ("qwen2.5-vl-72b", (280, 281), 110),
    ],
)
def test_an_image_counts_as_the_rule_of_the_model_says(model: str, size: tuple[int, int], tokens: int) -> None:
    assert image_rule(model).tokens(*size) == tokens


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4.1-mini", "another"])
@given(width=SIDE, height=SIDE)
def test_a_picture_on_its_side_counts_the_same_and_none_counts_nothing(model: str, width: int, height: int) -> None:
    tokens = image_rule(model).tokens
    assert tokens(width, height) == tokens(height, width) > 0


@given(width=SIDE, height=SIDE)
def test_no_image_is_more_than_the_most_patches(width: int, height: int) -> None:
    assert image_rule("gpt-4.1-mini").tokens(width, height) <= 2489


def test_a_model_without_a_rule_is_said_to_have_none() -> None:
    assert "no rule of llava is known" in image_rule("llava").words
    assert "OpenAI's rule for gpt-4o:" in image_rule("gpt-4o").words
