"""A strategy end to end: what the needs of a round are, and which samples of the pool meet them."""

import asyncio
from collections.abc import Collection, Iterable, Mapping

from agent.chat.stream import all_done
from agent.diagnosis.diagnosis import diagnosis_id
from agent.diagnosis.gaps import Gaps
from agent.diagnosis.skills import match_pool_skills
from agent.run.context import Context, Data
from agent.run.error_budget import check_teacher
from retrieval.selection.needs import Gap, Selected, Shares, Sibling
from retrieval.selection.targeted import select_targeted
from retrieval.storage.files import write_json

#: Skill texts of the pool that are shown to the teacher for each need at most.
PROPOSALS = 64


async def select(context: Context, gaps: Gaps, number: int, taken: Collection[str]) -> list[Selected]:
    """The targeted selection of a round, none of it `taken`; what was owed to each need is written to quotas.json, also where
    nothing was found. Raises TeacherError, PoolError."""
    data, config = context.data, context.config
    matches = await match_needs(context, gaps, number)
    items = {item.id: item.question for item in data.items}
    questions = items | {diagnosis_id(number, item): question for item, question in items.items()}
    await asyncio.to_thread(embed_candidates, context, data, matches)  # in a thread, so that signals are heard
    selection = select_targeted(
        data.index,
        gaps.gaps,
        gaps.siblings,
        matches,
        questions=questions,
        budget=config.selection.budget,
        shares=Shares(config.selection.gaps, config.selection.siblings, config.selection.rehearsal),
        taken=taken,
        excluded=data.excluded,
        seed=f"{config.seed}/{number}",
        mode=config.selection.search,
    )
    write_json(context.folder.round(number) / "quotas.json", selection.quotas.as_json())
    return selection.samples


async def match_needs(context: Context, gaps: Gaps, number: int) -> dict[str, list[str]]:
    """For each need (gap or sibling) that the teacher replied on, the skill texts of the pool that it calls the same skill.

    The index proposes, over all the need's wordings; twins are near in both, so the teacher decides.
    """
    data = context.data
    needs: list[Gap | Sibling] = [*gaps.gaps, *gaps.siblings]
    search = context.config.selection.search

    async def match(need: Gap | Sibling) -> list[str] | None:
        proposals = data.index.propose([need.skill, *need.names], PROPOSALS, search)
        return await match_pool_skills(context.teacher, need.skill, [hit.text for hit in proposals])

    before = context.teacher.tally("same_skill")
    with context.reporter.bar(f"matching {len(needs)} skills with the pool's"), context.waiting("teacher"):
        found = await all_done(needs, match, context.config.teacher.concurrency, context.stop)
    asked = context.teacher.tally("same_skill").since(before)
    check_teacher(context.teacher, asked.lost, asked.asked, context.config.error_budget)
    # A need that the teacher gave no reply on is left out, so that the best hits of the search stand in for it.
    matches = {need.skill: names for need, names in zip(needs, found, strict=True) if names is not None}
    write_json(context.folder.round(number) / "matches.json", {"schema": 1, "matches": matches})
    return matches


def embed_candidates(context: Context, data: Data, matches: Mapping[str, Iterable[str]]) -> None:
    """Embed the questions of all samples that match a need, for the selection to rank; each is embedded once for all runs."""
    samples = {sample for texts in matches.values() for text in texts for sample in data.index.samples(text)}
    questions = sorted(set(data.index.questions(sorted(samples))))
    with context.reporter.bar(f"indexing {len(questions)} questions of the pool") as advance, context.waiting("pool"):
        data.index.question_vectors(questions, advance)
