"""Diagnoses against an endpoint that fails in many ways: does each end exactly once, and is none paid twice?

    python -m benchmarks.teacher_faults                    # 1,000 diagnoses; writes benchmarks/teacher_faults.md
    python -m benchmarks.teacher_faults --diagnoses 150    # fewer; prints

The endpoint is a server of its own, over HTTP on loopback. What becomes of a request is drawn by its content and by how
often it came before: 30% get a 429 (Retry-After 0 or 5), 10% a 503, 2% no answer while the client waits, 5% an answer
that cannot be used, the rest one that can. The diagnoses are made by the loop's own step, with its client, journal and
log; only the errors are made up.
"""

import argparse
import asyncio
import random
import resource
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import httpx2
from PIL import Image

from agent.config.loading import parse_config
from agent.loop.nodes.diagnose import diagnose_all
from agent.run.console import Reporter
from agent.run.context import Context
from agent.run.folder import RunFolder
from agent.teacher.client import Teacher
from agent.teacher.endpoint.dialect import Learned
from benchmarks.faulty_endpoint import serving
from eval.answers import Answer
from eval.task import Item
from retrieval.storage.files import iter_jsonl, read_jsonl, write_text

HERE = Path(__file__).parent
#: Seconds in a Retry-After, that the client waits for an answer, and that the endpoint holds a request that hangs.
RETRY_AFTER, TIMEOUT, HANG = (0, 5), 5.0, 15.0


class Result(NamedTuple):
    """What came of it. `states`: diagnoses by state, those set aside by the teacher's fault; `twice`: rows of the journal
    beyond the first of a request; `seen`: what the endpoint did."""

    diagnoses: int
    rows: int
    items: int
    states: Counter[str]
    journalled: int
    twice: int
    outages: int
    seen: dict[str, Any]
    wall: float
    own: float


async def measure(folder: Path, count: int, url: str, timeout: float) -> Result:
    """Diagnose so many errors, and count."""
    context = _context(folder, url, timeout)
    errors = [_error(folder / "images", number) for number in range(count)]
    items = {item.id: item for item, _ in errors}
    wall, own = time.monotonic(), _own_seconds()
    try:
        await diagnose_all(context, 1, [answer for _, answer in errors], items)
        wall, own = time.monotonic() - wall, _own_seconds() - own
        async with httpx2.AsyncClient() as client:
            seen = (await client.get(f"{url}/seen")).json()
    finally:
        await context.teacher.close()
        context.folder.close()
    rows = read_jsonl(context.folder.round(1) / "diagnoses.jsonl")
    keys = Counter(row["key"] for row in iter_jsonl(context.folder.path / "teacher.jsonl"))
    said = [row for row in iter_jsonl(context.folder.path / "events.jsonl") if row["event"] == "teacher"]
    return Result(
        diagnoses=count,
        rows=len(rows),
        items=len({row["item"] for row in rows} & items.keys()),
        states=Counter(str(row["fault"] or row["state"]) for row in rows),
        journalled=keys.total(),
        twice=keys.total() - len(keys),
        outages=len(said) // 2,
        seen=seen,
        wall=wall,
        own=own,
    )


def _context(folder: Path, url: str, timeout: float) -> Context:
    """What the step needs: a run folder and a teacher. There is no student and no pool."""
    raw = {
        "name": "faults",
        "error_budget": 1.0,
        "data": {"validation": "none.jsonl"},
        "pool": {"path": "none.jsonl"},
        "student": {"model": "none"},
        "teacher": {"model": "faulty", "base_url": f"{url}/v1", "timeout": timeout},
    }
    config = parse_config(raw, "benchmark")
    run, nothing = RunFolder.open(folder / "run", config), _nothing()
    teacher = Teacher(
        config.teacher,
        run.path / "teacher.jsonl",
        learned=Learned(run.path / "endpoint.json"),
        say=lambda text: run.event("teacher", said=text),
    )
    return Context(config, run, Reporter(quiet=True), nothing, teacher, nothing)


def _nothing() -> Any:
    return None


def _error(images: Path, number: int) -> tuple[Item, Answer]:
    """A wrong answer to a question about a picture of its own."""
    images.mkdir(parents=True, exist_ok=True)
    path, drawn = images / f"{number:04d}.png", random.Random(number)
    Image.frombytes("RGB", (64, 64), drawn.randbytes(3 * 64 * 64)).save(path)
    a, b = drawn.randrange(10), drawn.randrange(10)
    name, steps = f"item-{number:04d}", (f"The numbers are {a} and {b}.", f"{a} + {b} = {a + b + 1}.")
    item = Item(name, "What is the sum of the two numbers?", (str(a + b),), (), (path,))
    return item, Answer(name, "\n".join(steps), steps, str(a + b + 1), False, "wrong")


def _own_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def table(result: Result, timeout: float, retry_after: tuple[int, ...]) -> str:
    """The page."""
    fates, states = Counter(result.seen["fates"]), result.states
    aside = {fault: states[fault] for fault in ("malformed", "failed", "refused", "filtered", "cut") if states[fault]}
    shares = [("429", f"429, Retry-After {' or '.join(map(str, retry_after))}"), ("503", "503")]
    shares += [("hang", f"no answer within {timeout:g} s"), ("malformed", "an answer that cannot be used")]
    shares += [("good", "a good answer")]
    total = fates.total()
    lines = [
        ("diagnoses asked for", f"{result.diagnoses:,}"),
        ("ended: rows, items", f"{result.rows:,}, {result.items:,}"),
        ("with a skill", f"{states['diagnosed']:,}"),
        ("set aside", ", ".join(f"{count} {fault}" for fault, count in aside.items()) or "0"),
        ("requests that the endpoint got", f"{total:,}"),
        *((f"… {said}", f"{fates[fate]:,} ({fates[fate] / total:.1%})") for fate, said in shares),
        ("replies that it gave, of them to a repair", f"{result.seen['answered']:,}, {result.seen['repairs']}"),
        ("replies in the journal", f"{result.journalled:,}"),
        ("paid twice: in the journal twice, answered twice", f"{result.twice}, {result.seen['answered_twice']}"),
        ("given up by the client, answered when asked again", f"{result.seen['hung_then_answered']}"),
        ("outages waited for; plain questions answered", f"{result.outages}; {result.seen['plain']}"),
        ("seconds", f"{result.wall:,.0f}"),
        ("seconds of the client's own processor time", f"{result.own:.1f}"),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {left} | {right} |" for left, right in lines)]) + "\n"


def page(result: Result, command: str) -> str:
    """What stands in benchmarks/teacher_faults.md."""
    return f"""# Diagnoses against an endpoint that fails

`{command}`

{table(result, TIMEOUT, RETRY_AFTER)}
Fates are drawn for each request anew, 30% 429, 10% 503, 2% hangs, 5% malformed. A malformed answer is repaired once; it and its
repair are two requests, each paid once. What the endpoint left hanging was given up by the client and asked again: whether a
provider charges for such a request is not seen here, so these stand apart ("given up …").
"""


def main() -> None:
    """Measure, print, and with all 1,000 diagnoses write benchmarks/teacher_faults.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--diagnoses", type=int, default=1000)
    parser.add_argument(
        "--out", type=Path, help="write the page here; benchmarks/teacher_faults.md for 1,000 diagnoses"
    )
    given = parser.parse_args()
    with TemporaryDirectory() as folder, serving(RETRY_AFTER, HANG) as url:
        result = asyncio.run(measure(Path(folder), given.diagnoses, url, TIMEOUT))
    print(table(result, TIMEOUT, RETRY_AFTER))
    out = given.out or (HERE / "teacher_faults.md" if given.diagnoses == 1000 else None)
    if out is not None:
        write_text(out, page(result, "python -m benchmarks.teacher_faults"))


if __name__ == "__main__":
    main()
