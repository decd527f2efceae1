from hypothesis import given
from hypothesis import strategies as st

from retrieval.storage.order import apportion, seeded_hash, shuffled

_WEIGHTS = st.lists(st.floats(0, 1000).map(lambda x: round(x, 3)), max_size=8)


@given(st.integers(0, 5000), _WEIGHTS)
def test_parts_sum_to_the_total_and_are_within_one_of_the_exact_share(total: int, weights: list[float]) -> None:
    parts = apportion(total, weights)
    assert len(parts) == len(weights)
    if sum(weights) == 0:
        assert sum(parts) == 0
        return
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - total * weight / sum(weights)) < 1 + 1e-6
        assert weight > 0 or part <= 0


@given(st.sets(st.text(max_size=5)), st.integers(), st.randoms())
def test_a_shuffle_depends_on_the_seed_and_not_on_the_order_given(names: set[str], seed: int, random: object) -> None:
    given_order = sorted(names)
    assert shuffled(given_order, seed, "x") == shuffled(reversed(given_order), seed, "x")
    assert sorted(shuffled(given_order, seed, "x")) == given_order


@given(st.sets(st.text(max_size=5), min_size=1), st.integers(), st.text(max_size=5))
def test_a_name_that_joins_does_not_disturb_the_others(names: set[str], seed: int, more: str) -> None:
    before = shuffled(names, seed, "x")
    after = shuffled(names | {more}, seed, "x")
    assert [name for name in after if name != more or more in names] == before


def test_purposes_are_independent_and_odd_text_is_no_trouble() -> None:
    names = [str(number) for number in range(50)]
    assert shuffled(names, 1, "a") != shuffled(names, 1, "b")
    assert 0 <= seeded_hash(0, "x", "\ud800\0") < 2**64
