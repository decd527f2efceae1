"""An adapter merged into its model, for engines that take none: `python -m training.lora.merge MODEL ADAPTER OUT TRUST`.

The merged folder is the model's own with other weights: the same files, the same names of tensors, the same precision.
"""

import asyncio
import os
import shutil
import sys
from pathlib import Path

from safetensors import safe_open

from retrieval.errors import GaptutorError, StudentError
from retrieval.storage.files import digest, file_digest, publish_folder
from training.child.job import child_environment

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
_INDEX = "model.safetensors.index.json"


async def merged_folder(model: str, adapter: Path, work: Path, trust_remote_code: bool) -> Path:
    """The folder of the merged model in `work`, made in a child process if it is not there; other merged models in `work` go.

    Raises StudentError with the child's reason.
    """
    name = f"merged-{digest([model, file_digest(adapter / 'adapter_model.safetensors')])[:12]}"
    out = work / name
    for other in work.glob("merged-*"):
        if other.name != name:
            shutil.rmtree(other, ignore_errors=True)
    if out.is_dir():
        return out
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "training.lora.merge", model, str(adapter), str(out), "1" if trust_remote_code else "",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        start_new_session=True, env=child_environment(),
    )  # fmt: skip
    try:
        _, said = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
        raise StudentError(f"the adapter in {adapter} could not be merged: {lines[-1] if lines else child.returncode}")
    return out


def merge(model: str, adapter: Path, out: Path, trust_remote_code: bool = False) -> None:
    """Write the merged model to `out`, whole or not at all. Needs memory for the model. Raises ConfigError, StudentError."""
    from huggingface_hub import snapshot_download
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    folder = Path(model) if Path(model).is_dir() else Path(snapshot_download(model))
    loaded = AutoModelForImageTextToText.from_pretrained(
        str(folder), dtype="auto", trust_remote_code=trust_remote_code, use_safetensors=True
    )
    adapted = PeftModel.from_pretrained(loaded, str(adapter))
    with publish_folder(out) as scratch:
        adapted.merge_and_unload(safe_merge=True).save_pretrained(str(scratch))
        for file in folder.iterdir():
            if file.is_file() and file.suffix not in _WEIGHTS and file.name != _INDEX:
                shutil.copyfile(file, scratch / file.name)

        changed = _names(folder) ^ _names(scratch)
        if changed:
            raise StudentError(
                f"merging changes the names of weights, the first {min(changed)}; this family cannot be merged"
            )


def _names(folder: Path) -> set[str]:
    """Of all tensors in the files that transformers reads (beside which there may be some in another format)."""
    found: set[str] = set()
    for path in folder.glob("model*.safetensors"):
        with safe_open(str(path), "pt") as file:
            found.update(file.keys())
    return found


if __name__ == "__main__":
    try:
        merge(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), bool(sys.argv[4]))
    except (GaptutorError, OSError, ValueError, RuntimeError, KeyError) as error:
        print(str(error).strip().split("\n")[0], file=sys.stderr)
        os._exit(1)
