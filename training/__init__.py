"""Tuning: LoRA adapters on selected samples, in a child process."""

from training.child.job import Progress, TuningJob, TuningResult, tune

__all__ = ["Progress", "TuningJob", "TuningResult", "tune"]
