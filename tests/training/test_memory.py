"""Work that memory does not hold at once."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.child.memory import in_halves, is_lack_of_memory


@given(st.lists(st.integers(1, 20), max_size=30), st.integers(1, 40))
def test_everything_gets_its_result_in_its_place_however_little_fits(sizes: list[int], room: int) -> None:
    def work(some: list[int]) -> list[int]:
        if sum(some) > room:
            raise torch.OutOfMemoryError("out of memory")
        return [10 * each for each in some]

    found = in_halves(sizes, lambda some: work(list(some)), lambda size, said: -size)
    assert found == [10 * size if size <= room else -size for size in sizes]


def test_what_is_no_lack_of_memory_is_raised() -> None:
    def fail(some: object) -> list[int]:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        in_halves([1, 2], fail, lambda *_: 0)
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert is_lack_of_memory(caught.value), "as this version of torch says it"
