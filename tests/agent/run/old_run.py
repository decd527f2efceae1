"""A run that gaptutor 0.1.0 (commit 863c708) made, as a kill left it while round 2 was diagnosed: run_of_0_1_0.zip.

It was made at that commit under /srv/gaptutor, and its folder packed without `lock` and `checkpoints.sqlite-shm`:

    root = Path("/srv/gaptutor")
    make_data(root / "data", "arithmetic", 60)
    shutil.copytree(WEIGHTS, root / "student")
    config = world_config("old", root / "data", "arithmetic", 60, max_rounds=3, patience=3, alpha=0.9, control="off",
        data={"limit": 12}, student={"rationale_prompt": "{question}", "model": str(root / "student")},
        selection={"budget": 12}, tuning={"rank": 2, "epochs": 3, "batch_size": 4, "checkpoint_minutes": 0.001})
    # with pool.store = root / "pools", rendered to old.yaml; then, in a shell:
    python -m tests.faults.killing /srv/gaptutor/old.yaml /srv/gaptutor/runs/old diagnose 2 inside:6
"""

import zipfile
from pathlib import Path

from agent.cli.microworld import make_data
from agent.run.resume import read_config
from eval.microworld import WEIGHTS
from retrieval.pool.pool import Pool
from retrieval.storage.files import digest, file_digest, read_json, write_json

PACKED = Path(__file__).with_name("run_of_0_1_0.zip")
#: Where it was made, and what is named after that place.
_ROOT, _POOL = "/srv/gaptutor", "pool-4f22adcb3eb5"


def unpack(root: Path) -> Path:
    """The run folder, as if it had been made under `root`."""
    run = root / "runs" / "old"
    with zipfile.ZipFile(PACKED) as packed:
        packed.extractall(run)
    keys = {manifest: _diagnose_key(run, manifest) for manifest in run.glob("rounds/*/.manifests/diagnose.json")}
    assert all(read_json(manifest)["key"] == key for manifest, key in keys.items())
    _replace(run, {f"{_ROOT}/student": str(WEIGHTS), _ROOT: str(root)})
    for manifest in keys:
        write_json(manifest, {**read_json(manifest), "key": _diagnose_key(run, manifest)})
    return run


def with_data(run: Path) -> Path:
    """The run, with its data and its pool beside it, so that it can go on; its configuration is config.yaml in its own folder."""
    config = read_config(run)
    make_data(run.parents[1] / "data", "arithmetic", 60)
    assert config.pool.store
    pool = Pool.build(config.pool.path, None, config.pool.store)
    _replace(run, {_POOL: pool.folder.name})
    return run


def _replace(run: Path, words: dict[str, str]) -> None:
    for path in [*run.rglob("*.json*"), run / "config.yaml"]:
        text = path.read_text()
        for old, new in words.items():
            text = text.replace(old, new)
        path.write_text(text)


def _diagnose_key(run: Path, manifest: Path) -> str:
    """The key that the node had in 0.1.0, in a run in which nothing was kept yet; its items hold paths."""
    held = [["../../items.jsonl", file_digest(run / "items.jsonl")]]
    return digest([read_json(run / "run.json")["id"], "diagnose", int(manifest.parents[1].name), 0, None, held])
