"""Samples of the pool that show an item of the validation set or the holdout."""

from agent.run.context import Context
from eval.task import Item
from retrieval.pool.overlap import overlap
from retrieval.pool.pool import Pool
from retrieval.storage.files import digest, file_digest, read_jsonl, read_object, write_json, write_jsonl


def excluded(context: Context, pool: Pool, items: list[Item]) -> set[str]:
    """Samples that show a validation or holdout item, with the reasons in excluded.jsonl."""
    path, done = context.folder.path / "excluded.jsonl", context.folder.path / "excluded.json"
    # Other pictures under the same paths are other items.
    items_held = [file_digest(context.folder.path / name) for name in ("items.jsonl", "pictures.jsonl")]
    found_for = {"pool": pool.key, "items": digest(items_held)}
    if not done.exists() or not found_for.items() <= read_object(done).items():
        images = [image for item in items for image in item.images]
        found = overlap(pool, images, [item.question for item in items if not item.images])
        write_jsonl(
            path, ({"schema": 1, "sample": sample, "reason": reason} for sample, reason in sorted(found.items()))
        )
        write_json(done, {"schema": 1, **found_for, "excluded": len(found)})
        context.reporter.say(f"  {len(found)} samples of the pool show a validation item and are left out")
    return {row["sample"] for row in read_jsonl(path)}
