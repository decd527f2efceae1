from hypothesis import given
from hypothesis import strategies as st

from retrieval import select_random

_IDS = st.sets(st.text(max_size=4), max_size=30)


@given(_IDS, st.integers(0, 40), st.sets(st.text(max_size=4)), st.integers(0, 3))
def test_as_many_as_asked_none_twice_none_excluded(ids: set[str], budget: int, excluded: set[str], seed: int) -> None:
    chosen = [one.sample for one in select_random(sorted(ids), budget, excluded, seed)]
    assert len(chosen) == len(set(chosen)) == min(budget, len(ids - excluded))
    assert set(chosen) <= ids - excluded
    assert chosen == [one.sample for one in select_random(sorted(ids, reverse=True), budget, excluded, seed)]


@given(_IDS, st.integers(0, 20), st.integers(0, 20))
def test_a_larger_budget_adds_to_a_smaller_one(ids: set[str], small: int, more: int) -> None:
    assert select_random(ids, small + more)[:small] == select_random(ids, small)[: small + more]


def test_every_sample_is_as_likely_and_seeds_differ() -> None:
    ids = [str(number) for number in range(20)]
    counts = dict.fromkeys(ids, 0)
    for seed in range(400):
        for one in select_random(ids, 5, (), seed):
            assert one.part == "random"
            counts[one.sample] += 1
    assert all(60 <= count <= 140 for count in counts.values())
