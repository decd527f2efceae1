"""Samples of the pool that show an item of the validation set or the holdout."""

from rich.markup import escape

from agent.run import wording
from agent.run.context import Context
from eval.task import Item
from retrieval.pool.overlap import VERSION, overlap
from retrieval.pool.pool import Pool
from retrieval.storage.files import digest, file_digest, read_jsonl, read_object, write_json, write_jsonl

#: A larger share of a pool, or of one of its sources, is no accident.
MANY = 0.05


def excluded(context: Context, pool: Pool, items: list[Item]) -> set[str]:
    """Samples that show a validation or holdout item, with the reasons in excluded.jsonl and their shares in excluded.json."""
    path, done = context.folder.path / "excluded.jsonl", context.folder.path / "excluded.json"
    # Other pictures under the same paths are other items.
    items_held = [file_digest(context.folder.path / name) for name in ("items.jsonl", "pictures.jsonl")]
    found_for = {"pool": pool.key, "items": digest(items_held), "looked": VERSION}
    if not done.exists() or not found_for.items() <= read_object(done).items():
        images = [image for item in items for image in item.images]
        with context.reporter.bar("looking for validation items in the pool") as advance:
            found = overlap(pool, images, [item.question for item in items if not item.images], advance)
        write_jsonl(
            path, ({"schema": 1, "sample": sample, "reason": reason} for sample, reason in sorted(found.items()))
        )
        sources = pool.sources(found)
        write_json(done, {"schema": 1, **found_for, "excluded": len(found), "of": len(pool), "sources": sources})
        context.folder.status(excluded_from=sources)
        context.reporter.say(f"  {escape(wording.left_out(sources))}")
        _warn(context, [row["source"] for row in sources if row["excluded"] > MANY * row["of"]], len(found) / len(pool))
    return {row["sample"] for row in read_jsonl(path)}


def _warn(context: Context, sources: list[str], share: float) -> None:
    if not sources and share <= MANY:
        return
    where = f" of {', '.join(name or 'samples without a source' for name in sources[:5])}" if share <= MANY else ""
    said = (
        f"more than {wording.percent(MANY, 0)} of the pool{where} show what you validate on: it may have been made from the same "
        "pictures, and what is alike but no copy is still in it; excluded.jsonl names each"
    )
    context.folder.event("excluded", said=said)
    context.reporter.say(f"  [yellow]{escape(said)}[/yellow]")
