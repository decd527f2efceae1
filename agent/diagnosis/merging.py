"""Which names mean one skill: embeddings propose, the teacher decides.

Twins (largest/smallest) look alike to an embedding and paraphrases may share no word, so nearness decides nothing here:
it only says in which order names are shown. A name merges only if the teacher says that it is the same skill; where the
teacher gives no reply, names stay apart.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from agent.chat.stream import all_done
from agent.teacher.client import Teacher
from agent.teacher.prompts.replies import SameSkills

#: Candidates in one request.
CANDIDATES = 16
#: Names that are looked at side by side, and the cosine from which on two are not: the first may claim the second.
BESIDE, NEAR = 8, 0.5
#: Groups that a name which none took is compared with, nearest first, until one is the same skill.
COMPARED = 48

T = TypeVar("T")
R = TypeVar("R")
Encode = Callable[[list[str]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Group:
    """One skill: its canonical name and all its wordings, the canonical one among them."""

    name: str
    names: tuple[str, ...]


def plain(name: str) -> str:
    """A name without what does not change its meaning: case, spacing, punctuation."""
    return " ".join(re.sub(r"[^\w\s+\-*/<>=%]|_", " ", name.casefold()).split())


async def merge_names(
    teacher: Teacher, encode: Encode, names: Sequence[str], known: Sequence[Group] = ()
) -> list[Group]:
    """Put `names` into groups that mean one skill each; `known` groups keep their canonical name and come first.

    Two passes over what is not placed yet. Each canonical name first takes its wordings, nearest names first, a request
    of `CANDIDATES` at a time, until a request brings none. A name that no one took is then compared with the `COMPARED`
    nearest groups, each standing there under that of its wordings which is nearest, and becomes a canonical name itself
    if none of them is the same; `BESIDE` names that are unlike at a time. So there are a few requests for each skill, not one
    for each pair. The first of a group's names is its canonical one. The result depends on the order of `names` alone. `encode`
    gives normalised rows. Raises TeacherError.
    """
    merging = _Merging(teacher, known, names)
    if merging.waiting:
        merging.embed(encode)
    if len(merging.waiting) > len(merging.groups):  # else it takes fewer requests to ask about each name
        await all_done(merging.groups, merging.nearest_wordings, teacher.config.concurrency, teacher.stop)
        merging.settle(merging.groups)
    while merging.waiting:
        await merging.look_at(merging.unlike())
    return [Group(group.name, tuple(group.names)) for group in merging.groups]


@dataclass(slots=True, eq=False)
class _Open:
    """A group that is being filled: `claims` are names that the teacher called the same, `names` what it holds."""

    name: str
    names: list[str]
    claims: list[str] = field(default_factory=list)


class _Merging:
    """The state of one merge: groups, and the plain names that wait for one, each with its wordings in `spelt`."""

    def __init__(self, teacher: Teacher, known: Iterable[Group], names: Iterable[str]) -> None:
        self._teacher = teacher
        self.groups = [_Open(group.name, list(dict.fromkeys((group.name, *group.names)))) for group in known]
        taken = {plain(name): group for group in reversed(self.groups) for name in group.names}
        self._spelt: dict[str, list[str]] = {}
        for name in dict.fromkeys(names):
            group = taken.get(plain(name))
            if group is None:
                self._spelt.setdefault(plain(name), []).append(name)
            elif name not in group.names:
                group.names.append(name)
        self.waiting = [spelt[0] for spelt in self._spelt.values()]
        self._order = {name: number for number, name in enumerate(self.waiting)}
        self._vectors: dict[str, NDArray[np.float32]] = {}

    def embed(self, encode: Encode) -> None:
        """Encode all names that can be compared."""
        texts = list(dict.fromkeys([*(name for group in self.groups for name in group.names), *self.waiting]))
        self._vectors = dict(zip(texts, encode(texts), strict=True))

    def unlike(self) -> list[str]:
        """The first waiting names that are near to no waiting name before them, which may be the same skill."""
        found: list[str] = []
        for number, name in enumerate(self.waiting):
            if all(self._nearness(name, before) < NEAR for before in self.waiting[:number]):
                found.append(name)
                if len(found) == BESIDE:
                    break
        return found

    async def look_at(self, names: Sequence[str]) -> None:
        """Place each of these waiting names in the group that is the same, or make it a group and let it claim its wordings."""
        fresh = [_Open(name, [name]) for name in names]
        pairs = [(name, [*self.groups, *fresh[:number]]) for number, name in enumerate(names)]
        places = await self._all(pairs, lambda pair: self.same_group(*pair))
        new = [group for group, place in zip(fresh, places, strict=True) if place is None]
        for group in new:
            self.groups.append(group)
            self.place(group.name, group)
        for name, place in zip(names, places, strict=True):
            if place in self.groups:  # what is the same as one that is not new itself is looked at again
                self.place(name, place)
        await self._all(new, self.nearest_wordings)
        self.settle(new)
        for group in new:
            group.name = min(filter(self._order.__contains__, group.names), key=self._order.__getitem__)

    async def _all(self, work: Sequence[T], do: Callable[[T], Awaitable[R]]) -> list[R]:
        return await all_done(work, do, self._teacher.config.concurrency, self._teacher.stop)

    async def nearest_wordings(self, group: _Open) -> None:
        """Let a group claim those waiting names that the teacher calls the same."""
        order = self._by_nearness(group.name, self.waiting)
        for start in range(0, len(order), CANDIDATES):
            same = await same_names(self._teacher, group.name, order[start : start + CANDIDATES])
            group.claims += same or []
            if same == []:
                return

    async def same_group(self, name: str, groups: Sequence[_Open]) -> _Open | None:
        """The nearest of these groups that the teacher calls the same, None if there is none."""
        by_wording = {self._nearest_wording(name, group): group for group in reversed(groups)}
        order = self._by_nearness(name, list(by_wording))[:COMPARED]
        for start in range(0, len(order), CANDIDATES):
            same = await same_names(self._teacher, name, order[start : start + CANDIDATES])
            if same:
                return by_wording[same[0]]
        return None

    def settle(self, groups: Sequence[_Open]) -> None:
        """Place what was claimed; a name claimed by several groups goes to the nearest, the earliest of equals."""
        claimed = dict.fromkeys(name for group in groups for name in group.claims)
        for name in claimed:
            claimants = [group for group in groups if name in group.claims]
            self.place(name, max(claimants, key=lambda group: self._nearness(name, group.name)))
        for group in groups:
            group.claims.clear()

    def place(self, name: str, group: _Open) -> None:
        """Put a waiting name, in all its spellings, into a group."""
        self.waiting.remove(name)
        group.names += [spelt for spelt in self._spelt[plain(name)] if spelt not in group.names]

    def _nearness(self, one: str, other: str) -> float:
        # Rounded, so that a different order of additions on another machine does not change the order of names.
        return round(float(self._vectors[one] @ self._vectors[other]), 4)

    def _nearest_wording(self, name: str, group: _Open) -> str:
        return max((each for each in group.names if each in self._vectors), key=lambda each: self._nearness(name, each))

    def _by_nearness(self, name: str, others: Sequence[str]) -> list[str]:
        return sorted(others, key=lambda other: -self._nearness(name, other))


async def same_names(teacher: Teacher, name: str, candidates: Sequence[str]) -> list[str] | None:
    """The candidates (at most `CANDIDATES`) that the teacher calls the same skill, in their order; None if it gave no
    usable reply."""
    if not candidates:
        return []

    def check(reply: SameSkills) -> str:
        beyond = [index for index in reply.same if not 1 <= index <= len(candidates)]
        return f"there is no candidate {beyond[0]}; they go from 1 to {len(candidates)}" if beyond else ""

    data = {"skill": name, "candidates": list(candidates)}
    asked = await teacher.ask("same_skill", data, SameSkills, check=check)
    if asked.value is None:
        return None
    same = set(asked.value.same)
    return [candidate for number, candidate in enumerate(candidates, 1) if number in same]


async def match_pool_skills(teacher: Teacher, skill: str, proposals: Sequence[str]) -> list[str] | None:
    """Which of the pool's skill texts mean `skill`, in their order; None if none is known to, but not every request got a
    usable reply. They come nearest first; the teacher is asked for `CANDIDATES` at a time until a request brings none.
    Equal texts need no teacher. Raises TeacherError."""
    texts = list(dict.fromkeys(proposals))
    same = {text for text in texts if plain(text) == plain(skill)}
    unsure, answered = [text for text in texts if text not in same], True
    for start in range(0, len(unsure), CANDIDATES):
        found = await same_names(teacher, skill, unsure[start : start + CANDIDATES])
        if found == []:
            break
        answered = answered and found is not None
        same.update(found or ())
    return [text for text in texts if text in same] if same or answered else None
