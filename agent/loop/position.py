"""Where a run stands: read from what is done (manifests, run.json), never from its checkpoints alone.

A kill between a node's stored result and the next checkpoint leaves a state machine that seems to be at its end. And what failed
for a passing reason (memory, a disk, a server away) is final for the state machine, but not for who starts the run again.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent.loop.manifest import Manifest, manifests
from agent.loop.state import has_failed
from agent.student.adapters import is_sound
from retrieval.storage.files import read_json


def is_finished(run: Path) -> bool:
    """Whether all is done. The mark alone does not say so: a run can be killed between its mark and its last report."""
    if read_json(run / "run.json")["state"] not in ("finished", "failed"):
        return False
    return any(manifest.done for manifest in manifests(run, "finish"))


def reopen(run: Path, extended: bool, lacking: Sequence[int] = ()) -> list[str]:
    """Let the nodes that failed, and the controls that did, be tried again; where the run is `extended`, let the last round be
    decided anew; let the controls of the rounds that are `lacking` one be made; where the run has ended and `best/` is gone or
    damaged, let that be published again. Returns what was reopened, in words; nothing of it costs a paid answer. A kill in here
    leaves a run that is reopened by the next call.
    """
    again = _failed(run)
    if extended:
        again += [each for each in manifests(run, "decide") if each.done and each.update.get("stop_reason")]
    controls = failed_controls(run)
    said = [f"{each.node} of round {each.round}" for each in again] + [
        f"the control of {each.name}" for each in controls
    ]
    said += [f"the control of round {number}, which it lacks" for number in lacking]
    if _has_lost_its_best(run):
        said.append("publishing best/")
    if not said:
        return []
    if controls or lacking:
        again += [each for each in manifests(run, "control") if each.done][-1:]
    for each in again:
        each._replace(done=False, update={}).write()
    for each in manifests(run, "finish"):
        each.path.unlink()
    for folder in controls:
        (folder / "control" / "round.json").unlink()
    return said


def _failed(run: Path) -> list[Manifest]:
    """Nodes that are done in that they failed; `control` and `finish` only hand that on."""
    return [each for each in manifests(run) if each.done and has_failed(each.update.get("stop_reason"))]


def _has_lost_its_best(run: Path) -> bool:
    best = read_json(run / "run.json").get("best_round")
    return bool(best) and is_finished(run) and not is_sound(run / "best")


def failed_controls(run: Path) -> list[Path]:
    """Folders of the rounds whose control was tried, and has no evaluation."""
    tried = [path.parent for path in sorted((run / "rounds").glob("*/control/round.json"))]
    return [folder.parent for folder in tried if not (folder / "evaluation.json").exists()]


def tune_again(run: Path) -> list[str]:
    """Let the adapters that are gone or damaged be tuned again, from the samples that they were tuned on. Returns which, in
    words."""
    lost = []
    for manifest in manifests(run, "tune"):
        adapter = manifest.path.parent.parent / "adapter"
        if manifest.done and not has_failed(manifest.update.get("stop_reason")) and not is_sound(adapter):
            manifest._replace(key="", done=False, update={}).write()
            lost.append(f"the adapter of round {manifest.round}")
    return lost


def beginning(run: Path) -> dict[str, Any]:
    """The state of a run that begins. Where its nodes are done, to begin is to walk to the first that is not: each gives the
    result that its manifest holds."""
    return {"run": str(run), "round": 0, "best_round": 0, "accuracies": [], "stop_reason": None}
