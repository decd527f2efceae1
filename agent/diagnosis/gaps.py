"""From diagnoses to gaps: names that mean one skill become one gap, and the skills of right answers become its siblings."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from agent.diagnosis.diagnosis import Diagnosis
from agent.diagnosis.skills import Group, merge_names
from agent.run.context import Context
from agent.run.error_budget import check_teacher
from retrieval.errors import DataError
from retrieval.selection.needs import Gap, Sibling, gap_id
from retrieval.storage.files import read_object


class Gaps(NamedTuple):
    """What a round found: the missing skills, and the skills of right answers that are none of them."""

    gaps: tuple[Gap, ...]
    siblings: tuple[Sibling, ...]


async def find_gaps(
    context: Context, number: int, diagnoses: Sequence[Diagnosis], right: Mapping[str, Sequence[str]]
) -> Gaps:
    """Merge the names of missing skills and of right answers' skills (`right`: item id → names) into gaps and siblings.

    Groups of earlier rounds keep their names, so that a gap can be followed over the rounds. Raises TeacherError.
    """
    behind: dict[str, list[str]] = defaultdict(list)
    for diagnosis in diagnoses:
        if diagnosis.state == "diagnosed" and diagnosis.skill:
            behind[diagnosis.skill].append(diagnosis.id)
    had: dict[str, list[str]] = defaultdict(list)
    for item, names in right.items():
        for name in dict.fromkeys(names):
            had[name].append(item)
    before = context.teacher.tally("same_skill")
    with context.reporter.bar("merging names of skills"), context.waiting("teacher"):
        groups = await merge_names(
            context.teacher, context.embedder.encode, sorted({*behind, *had}), _known_groups(context, number)
        )
    asked = context.teacher.tally("same_skill").since(before)
    check_teacher(context.teacher, asked.lost, asked.asked, context.config.error_budget)
    gaps = [gap for group in groups if (gap := _gap(group, behind)) is not None]
    gaps.sort(key=lambda gap: (-len(gap.errors), gap.skill))
    in_gaps = {name for gap in gaps for name in gap.names}
    others = [group for group in groups if not in_gaps & set(group.names)]
    return Gaps(tuple(gaps), _siblings(context, gaps, others, had))


def _known_groups(context: Context, number: int) -> list[Group]:
    """Groups that earlier rounds made, oldest first, without their members of now."""
    known: dict[str, set[str]] = {}
    for earlier in range(1, number):
        path = context.folder.round(earlier) / "gaps.json"
        if path.exists():
            found = read_gaps(path)
            needs: tuple[Gap | Sibling, ...] = (*found.gaps, *found.siblings)
            for need in needs:
                known.setdefault(need.skill, set()).update(need.names)
    return [Group(name, tuple(sorted(names))) for name, names in known.items()]


def _gap(group: Group, behind: Mapping[str, list[str]]) -> Gap | None:
    errors = sorted(error for name in group.names for error in behind.get(name, ()))
    if not errors:
        return None
    return Gap(gap_id(group.name), group.name, tuple(group.names), tuple(errors))


def _siblings(
    context: Context, gaps: Sequence[Gap], groups: Sequence[Group], had: Mapping[str, list[str]]
) -> tuple[Sibling, ...]:
    """Closeness is the largest cosine to a gap's name, in [0, 1]."""
    found = [(group, sorted({item for name in group.names for item in had.get(name, ())})) for group in groups]
    found = [(group, items) for group, items in found if items]
    if not found or not gaps:
        return ()
    encode = context.embedder.encode
    cosines = encode([group.name for group, _ in found]) @ encode([gap.skill for gap in gaps]).T
    closeness = np.clip(cosines.max(axis=1), 0.0, 1.0)
    made = [
        Sibling(group.name, tuple(group.names), tuple(items), round(float(close), 4))
        for (group, items), close in zip(found, closeness, strict=True)
    ]
    return tuple(sorted(made, key=lambda sibling: (-len(sibling.answers) * sibling.closeness, sibling.skill)))


def write_form(gaps: Gaps, counts: Mapping[str, int]) -> dict[str, Any]:
    """What stands in gaps.json."""
    return {
        "schema": 1,
        "gaps": [gap.as_row() for gap in gaps.gaps],
        "siblings": [sibling.as_row() for sibling in gaps.siblings],
        "counts": dict(counts),
    }


def read_gaps(path: Path) -> Gaps:
    """Read gaps.json, which a person may have edited. Raises DataError saying what is wrong with it."""
    raw = read_object(path)
    try:
        gaps = tuple(Gap.from_row(each) for each in raw["gaps"])
        return Gaps(gaps, tuple(Sibling.from_row(each) for each in raw["siblings"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not as gaptutor writes it ({error}); put it right, or start the round over") from None
