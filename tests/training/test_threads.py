"""OpenMP's threads."""

import os
import subprocess
import sys

import pytest

from training.child import threads
from training.child.job import child_environment
from training.child.threads import thread_environment, usable_cores


def test_threads_wait_asleep_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert child_environment()["OMP_WAIT_POLICY"] == "passive"
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert child_environment()["OMP_WAIT_POLICY"] == "active"
    said = "import os, sys; import agent.cli; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, env=environment)
    assert done.stdout.split() == ["passive", "False"], "before torch is imported"


def test_no_more_threads_than_cores_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = usable_cores()
    monkeypatch.setattr(os, "cpu_count", lambda: cores + 1)
    monkeypatch.setattr(threads, "usable_cores", lambda: cores)
    assert thread_environment()["OMP_NUM_THREADS"] == str(cores)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert "OMP_NUM_THREADS" not in thread_environment()
