"""Ending a process group, also one that an earlier, killed process has left."""

import contextlib
import os
import signal

import psutil


def end_group(pid: int, began: float, ours: bool, seconds: float) -> None:
    """Kill the processes of a group, unless its number has gone to others since, and wait until they have let go of port and
    GPU, for so many seconds at most."""
    if not ours and not _is_left(pid, began):
        return
    members = [process for process in psutil.process_iter() if process.pid != pid and _group_of(process) == pid]
    if not ours:
        with contextlib.suppress(psutil.NoSuchProcess):
            members.append(psutil.Process(pid))
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    psutil.wait_procs(members, seconds)


def _group_of(process: psutil.Process) -> int | None:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return None


def _is_left(pid: int, began: float) -> bool:
    """Whether the group is that of the server that was started then; its first process may have died before its engine."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return abs(psutil.Process(pid).create_time() - began) <= 1
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if _group_of(process) == pid and "vllm" in " ".join(process.cmdline()).lower():
                return True
    return False
