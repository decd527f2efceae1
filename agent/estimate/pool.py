"""What naming a pool's skills would take of the teacher. A pool that is not imported yet is read, and not imported."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from agent.config.schema import RunConfig
from agent.estimate.earlier import PerCall, mean_tokens
from agent.estimate.tokens import Sizes, per_call, sample_letters
from agent.pool.store import pool_source, pool_store, skills_folder
from agent.run.console import Advance
from agent.run.reading import read_rows
from agent.teacher.prompts.own import Prompts
from retrieval.errors import DataError, PoolError
from retrieval.pool.formats import PoolRow, read_pool
from retrieval.pool.pool import Pool

#: Samples that stand for the pool.
_LOOKED_AT = 200


class Naming(NamedTuple):
    """`samples` of the pool, `named` of them already; the requests that are left, and what each takes. `measured`: as earlier
    requests for the same pool took; `looked_at`: samples that the tokens were reckoned from otherwise. `imported`: what
    cannot be used of the pool is known, and not counted."""

    samples: int
    named: int
    calls: int
    each: PerCall
    measured: bool
    looked_at: int
    imported: bool


class _Looked(NamedTuple):
    """A sample's letters and images."""

    letters: int
    images: Sequence[Path | bytes]


def naming(config: RunConfig, run: Path, prompts: Prompts, sizes: Sizes, advance: Advance) -> Naming:
    """Look at the pool and at what is named of it. Raises PoolError."""
    pool = Pool.find(store=pool_store(config, run), **pool_source(config))
    if pool is None:
        try:
            count, looked = _read(config, advance)
        except DataError as error:
            raise PoolError(str(error)) from None
        ids, named, measured = [], set[str](), None
    else:
        folder = skills_folder(pool, config, prompts)
        count, looked, ids = len(pool), list(_some(pool, config.seed)), pool.ids
        named = {row.get("sample", "") for row in read_rows(folder / "skills.jsonl") if row.get("state") == "named"}
        measured = mean_tokens(read_rows(folder / "teacher.jsonl"))
    size = config.diagnosis.per_request
    calls = (
        sum(not named.issuperset(ids[at : at + size]) for at in range(0, len(ids), size)) if ids else -(-count // size)
    )
    letters = sum(each.letters for each in looked) / len(looked)
    images = sum(sizes.images(each.images) for each in looked) / len(looked)
    each = measured or per_call("skills", sizes, letters, images, count / -(-count // size))
    return Naming(count, len(named), calls, each, measured is not None, len(looked), pool is not None)


def _some(pool: Pool, seed: int) -> Iterator[_Looked]:
    for place in random.Random(seed).sample(range(len(pool)), min(len(pool), _LOOKED_AT)):
        sample = pool.sample(place)
        answer = "\n".join(turn.answer for turn in sample.turns)
        yield _Looked(sample_letters(sample.question, answer), [pool.image_path(name) for name in sample.images])


def _read(config: RunConfig, advance: Advance) -> tuple[int, list[_Looked]]:
    """How many samples the file has, at most `pool.limit`, and some of them, drawn as they come by."""
    some: list[_Looked] = []
    drawn = random.Random(config.seed)
    count = 0
    for row in read_pool(config.pool.path, config.pool.images, config.pool.images_anywhere):
        if not isinstance(row, PoolRow):
            continue
        count += 1
        if count % 1000 == 0:
            advance(count, count)
        place = len(some) if len(some) < _LOOKED_AT else drawn.randrange(count)
        if place < _LOOKED_AT:
            some[place : place + 1] = [_looked(row)]
    if not count:
        raise PoolError(f"{config.pool.path} is no pool: none of its records is a sample")
    return min(count, config.pool.limit or count), some


def _looked(row: PoolRow) -> _Looked:
    question = "\n".join(turn.question for turn in row.turns)
    answer = "\n".join(turn.answer for turn in row.turns)
    return _Looked(sample_letters(question, answer), row.images)
