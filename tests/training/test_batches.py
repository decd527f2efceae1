from collections import Counter
from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from training.data.batches import MicroBatches, plan_steps, split_step

LENGTHS = st.lists(st.integers(1, 200), min_size=1, max_size=80)


@given(LENGTHS, st.floats(0.1, 4), st.integers(1, 20), st.integers(0, 9))
def test_every_sample_is_seen_as_often_as_the_epochs_say(
    lengths: list[int], epochs: float, batch_size: int, seed: int
) -> None:
    plan = plan_steps(lengths, epochs, batch_size, seed)
    size = min(batch_size, len(lengths))
    assert all(len(step) == size for step in plan)
    assert epochs * len(lengths) <= len(plan) * size + 1e-6 < epochs * len(lengths) + size + 1e-6
    seen = Counter(index for step in plan for index in step)
    times = [seen[index] for index in range(len(lengths))]
    assert max(times) - min(times) <= 1
    assert plan == plan_steps(lengths, epochs, batch_size, seed)


@given(st.lists(st.integers(), min_size=1, max_size=40), st.integers(1, 8))
def test_a_step_is_cut_into_even_parts_that_hold_all_of_it(step: list[int], parts: int) -> None:
    chunks = split_step(step, parts)
    assert [index for chunk in chunks for index in chunk] == step
    assert max(map(len, chunks)) - min(map(len, chunks)) <= 1


@given(LENGTHS.filter(lambda lengths: len(lengths) >= 8), st.integers(1, 2), st.integers(1, 4))
def test_processes_and_micro_batches_share_each_step_without_changing_it(
    lengths: list[int], accumulation: int, world: int
) -> None:
    plan = plan_steps(lengths, 2, 8, seed=3)
    ranks = [list(MicroBatches(plan, accumulation, world, rank)) for rank in range(world)]
    for number, step in enumerate(plan):
        chunks = [chunk for rank in ranks for chunk in rank[number * accumulation :][:accumulation]]
        assert sorted(index for chunk in chunks for index in chunk) == sorted(step)


def test_grouping_by_length_saves_most_of_the_padding() -> None:
    lengths = [20 + (37 * number) % 80 for number in range(1000)]

    def padded(plan: list[list[int]]) -> int:
        return sum(len(step) * max(lengths[index] for index in step) for step in plan)

    grouped = plan_steps(lengths, 1, 16, seed=0)
    seen = sorted(chain.from_iterable(grouped), key=lambda index: (index * 7919) % 1009)
    shuffled = [seen[i : i + 16] for i in range(0, len(seen), 16)]
    real = sum(lengths[index] for index in seen)
    assert padded(grouped) - real < 0.35 * (padded(shuffled) - real)
