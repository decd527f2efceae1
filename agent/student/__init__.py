"""The student under evaluation, behind one interface."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

from agent.chat.stop import Stop
from agent.config.schema import StudentConfig
from agent.student.engine import Reply, Request, Student, prompt_for

__all__ = ["Reply", "Request", "Student", "engine_of", "make_student", "prompt_for"]


def make_student(config: StudentConfig, work: Path, say: Callable[[str], None], stop: Stop | None = None) -> Student:
    """The engine that the configuration asks for. Nothing is loaded before the first call. A server's log and its weights go to
    `work`; `say` gets a line for what a user would want to know; `stop` is looked at between requests. Raises ConfigError."""
    # Imported here so that commands which need no student do not pay seconds for importing torch.
    if engine_of(config) == "vllm":
        from agent.student.vllm.beforehand import check_python
        from agent.student.vllm.student import VllmStudent

        check_python(config.vllm)
        return VllmStudent(config, work, say, stop)
    from agent.student.embedded import EmbeddedStudent

    return EmbeddedStudent(config, stop)


def engine_of(config: StudentConfig) -> str:
    """The engine that `auto` stands for on this machine and with this model, or the one that is named. Raises ConfigError."""
    if config.engine != "auto":
        return config.engine
    if config.vllm.url:
        return "vllm"
    import torch

    there = config.vllm.python is not None or importlib.util.find_spec("vllm") is not None
    if not (there and torch.cuda.is_available()):
        return "embedded"
    from training.families.families import family_of, load_config

    unserved = family_of(load_config(config.model, config.trust_remote_code)).unserved
    return "embedded" if unserved else "vllm"
