"""How well names of skills merge, on names that were written before their author saw what the teacher knows.

    python -m benchmarks.gap_merging [--sets first] [--seeds 0 1 2]

The names (`phrasings.json`: skill of the micro-world → names in the words of many teachers) go through the product's
own merging with the micro-world's teacher: all at once, and a third at a time with the groups so far as known ones.
Over all pairs of names: precision (share of the pairs put together that are one skill) and recall (share of the pairs
of one skill that were put together). The baseline is the embedding alone: clusters by average cosine, cut at whichever
threshold gives the best F1 on these very names, so better than it could do in earnest.

Retrieval: a need goes by some names of a skill, the pool by the others, among those of all other skills; recall@64 of
what is proposed, and precision and recall of what the teacher then confirms, as the loop does it. The tables go to
benchmarks/gap_merging.md.
"""

import argparse
import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage

from agent.config.schema import TeacherConfig
from agent.diagnosis.skills import Group, match_pool_skills, merge_names
from agent.strategies.select import PROPOSALS
from agent.teacher.client import Teacher
from retrieval.index.embedding import Embedder, Vectors
from retrieval.index.ranking import Bm25, Mode, fuse, top
from retrieval.storage.files import read_json, write_text
from retrieval.storage.order import shuffled

HERE = Path(__file__).parent
COMMAND = "python -m benchmarks.gap_merging"
TEACHER = TeacherConfig(model="expert", app="eval.microworld.expert:app")
TWINS = (
    ("largest", "smallest"),
    ("more", "fewer"),
    ("go_left", "go_right"),
    ("go_up", "go_down"),
    ("add", "subtract"),
    ("find_row", "find_column"),
    ("find_shape", "find_rare_shape"),
    ("read_shape", "read_rare_shape"),
    ("find_digits", "read_digit"),
    ("count", "count_rows"),
)
ROUNDS = 3
#: Names of a need at most; the pool has the rest.
NEED = 3
#: Marks, for each row.
PRECISION, RECALL = 0.95, 0.9

Names = Mapping[str, Sequence[str]]  # skill → its names


@dataclass(frozen=True)
class Outcome:
    """What one way of merging came to."""

    precision: float
    recall: float
    twins: int  # pairs of names of twin skills that were put together
    groups: int
    requests: int
    mistakes: tuple[str, ...]


def outcome(names: Names, groups: Iterable[Sequence[str]], requests: int = 0) -> Outcome:
    """Compare groups with the truth, over all pairs of names."""
    skill = {name: key for key, own in names.items() for name in own}
    held = [sorted(group, key=list(skill).index) for group in groups]
    pairs = [pair for group in held for pair in combinations(group, 2)]
    right = sum(skill[one] == skill[other] for one, other in pairs)
    of_one_skill = sum(len(own) * (len(own) - 1) // 2 for own in names.values())
    twins = sum((skill[one], skill[other]) in TWINS or (skill[other], skill[one]) in TWINS for one, other in pairs)
    recall, precision = right / of_one_skill, right / len(pairs) if pairs else 1.0
    return Outcome(precision, recall, twins, len(held), requests, tuple(_mistakes(held, skill)))


def _mistakes(groups: Sequence[Sequence[str]], skill: Mapping[str, str]) -> list[str]:
    """In words: strangers in a group, and names outside of the largest group of their skill."""
    wrong, apart = [], []
    largest: dict[str, int] = {}
    for group in groups:
        for key, count in Counter(skill[name] for name in group).items():
            largest[key] = max(count, largest.get(key, 0))
    settled: set[str] = set()
    for group in sorted(groups, key=len, reverse=True):
        (host, count), *_ = Counter(skill[name] for name in group).most_common()
        wrong += [f"merged: “{name}” ({skill[name]}) with {host}" for name in group if skill[name] != host]
        if count == largest[host] and host not in settled:
            settled.add(host)
        else:
            apart += [f"left apart: “{name}” ({host})" for name in group if skill[name] == host]
    return sorted(wrong) + sorted(apart)


async def merged(names: Names, embedder: Embedder, seed: int, rounds: int) -> Outcome:
    """Merge the names in seeded order, so many rounds, each with the groups of the rounds before."""
    order = shuffled((name for own in names.values() for name in own), seed, "names")
    groups: list[Group] = []
    with TemporaryDirectory() as folder:
        teacher = Teacher(TEACHER, Path(folder) / "journal.jsonl")
        try:
            for part in np.array_split(np.array(order, dtype=object), rounds):
                groups = await merge_names(teacher, embedder.encode, part.tolist(), groups)
            return outcome(names, [group.names for group in groups], teacher.usage().calls)
        finally:
            await teacher.close()


def baseline(names: Names, embedder: Embedder) -> tuple[Outcome, float]:
    """The embedding alone, and the threshold (cosine) at which it does best on these names."""
    texts = [name for own in names.values() for name in own]
    tree = linkage(embedder.encode(texts), "average", "cosine")
    best = max(np.arange(0.02, 1, 0.02), key=lambda cut: _f1(outcome(names, _cut(texts, tree, cut))))
    return outcome(names, _cut(texts, tree, best)), 1 - float(best)


def _cut(texts: Sequence[str], tree: np.ndarray, distance: float) -> list[list[str]]:
    clusters: dict[int, list[str]] = defaultdict(list)
    for text, label in zip(texts, fcluster(tree, distance, "distance"), strict=True):
        clusters[int(label)].append(text)
    return list(clusters.values())


def _f1(found: Outcome) -> float:
    both = found.precision + found.recall
    return 2 * found.precision * found.recall / both if both else 0.0


async def retrieved(names: Names, embedder: Embedder) -> list[str]:
    """Rows for each way to search: recall@64 of what is proposed, precision and recall of what the teacher confirms."""
    needs = {skill: own[: min(NEED, len(own) // 2)] for skill, own in names.items()}
    pool = sorted(name for skill, own in names.items() for name in own[len(needs[skill]) :])
    wanted = {skill: set(own) - set(needs[skill]) for skill, own in names.items()}
    due = sum(map(len, wanted.values()))
    search = _Search(pool, embedder)
    modes: tuple[Mode, ...] = ("bm25", "dense", "fused")
    rows = []
    with TemporaryDirectory() as folder:
        teacher = Teacher(TEACHER, Path(folder) / "journal.jsonl")
        try:
            for mode in modes:
                found = {skill: search(own, mode) for skill, own in needs.items()}
                same = {skill: await match_pool_skills(teacher, needs[skill][0], found[skill]) or [] for skill in needs}
                proposed = sum(len(wanted[skill] & set(found[skill])) for skill in needs) / due
                right, said = (
                    sum(len(wanted[skill] & set(same[skill])) for skill in needs),
                    sum(map(len, same.values())),
                )
                rows.append(f"| {mode} | {proposed:.3f} | {right / max(said, 1):.3f} | {right / due:.3f} |")
        finally:
            await teacher.close()
    return rows


class _Search:
    """`SkillIndex.propose` over texts alone, with numpy in the vector store's place."""

    def __init__(self, texts: list[str], embedder: Embedder) -> None:
        self._texts, self._embedder = texts, embedder
        self._bm25, self._vectors = Bm25(texts), embedder.encode(texts)

    def __call__(self, names: Sequence[str], mode: Mode) -> list[str]:
        depth, rankings = 4 * PROPOSALS, []
        if mode != "dense":
            rankings += [top(self._texts, self._bm25.scores(name), depth, floor=0.0) for name in names]
        if mode != "bm25":
            vectors: Vectors = self._embedder.encode(names)
            rankings += [top(self._texts, self._vectors @ vector, depth) for vector in vectors]
        return [hit.text for hit in fuse(rankings)[:PROPOSALS]]


async def measure(title: str, note: str, names: Names, seeds: Sequence[int]) -> str:
    """A set's tables in markdown."""
    embedder = Embedder()
    rows, mistakes, met = [], [], True
    for way, rounds in (("all at once", 1), (f"in {ROUNDS} rounds", ROUNDS)):
        for seed in seeds:
            found = await merged(names, embedder, seed, rounds)
            rows.append(_row(f"{way}, seed {seed}", found))
            mistakes += [mistake for mistake in found.mistakes if mistake not in mistakes]
            met = met and found.precision >= PRECISION and found.recall >= RECALL and not found.twins
    alone, threshold = baseline(names, embedder)
    rows.append(_row(f"embedding alone (cosine ≥ {threshold:.2f})", alone))
    count = sum(map(len, names.values()))
    lines = [f"## {title}", "", f"{len(names)} skills, {count} names: {note}.", ""]
    lines += [
        "| merging | precision | recall | pairs of twins merged | groups | requests |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        *rows,
        "",
        f"| retrieval | recall@{PROPOSALS} | confirmed: precision | confirmed: recall |",
        "|---|---|---|---|",
    ]
    lines += await retrieved(names, embedder)
    lines += ["", f"Marks of merging: {'met' if met else 'missed'}."]
    if mistakes:
        lines += ["", "What went wrong with the teacher, over all its rows:", "", *(f"- {text}" for text in mistakes)]
    return "\n".join(lines) + "\n"


def _row(label: str, found: Outcome) -> str:
    figures = f"{found.precision:.3f} | {found.recall:.3f} | {found.twins} | {found.groups} | {found.requests or '–'}"
    return f"| {label} | {figures} |"


def main() -> None:
    """Measure, print, and write benchmarks/gap_merging.md."""
    sets = read_json(HERE / "phrasings.json")["sets"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=list(sets), default=list(sets))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=HERE / "gap_merging.md")
    options = parser.parse_args()
    began = time.monotonic()
    parts = [
        asyncio.run(measure(f"The {name} set", sets[name]["note"], sets[name]["names"], options.seeds))
        for name in options.sets
    ]
    head = [
        "# Merging names of skills",
        "",
        f"`{COMMAND}`",
        "",
        f"Marks: precision ≥ {PRECISION}, recall ≥ {RECALL}, no pair of twins merged. Over all pairs of names, precision is",
        "the share of the pairs put together that are one skill, recall the share of the pairs of one skill that were put",
        "together. The embedding alone is cut where it does best on these very names.",
        "",
    ]
    text = "\n".join(head) + "\n" + "\n".join(parts)
    write_text(options.out, text)
    print(text)
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
