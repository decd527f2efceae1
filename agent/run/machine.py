"""What a configuration leaves to the machine: settled when a run begins, so that it is the same wherever the run goes on."""

from agent.config.schema import RunConfig
from retrieval.errors import ConfigError


def resolved(config: RunConfig) -> RunConfig:
    """The configuration with what `auto` stands for on this machine: the student's engine and precision, and the precision of
    tuning. On vLLM the student's precision stays what vLLM makes of the model's own. Raises ConfigError."""
    # Imported here because it takes seconds: a second process on a run must hear at once that it is held.
    from agent.student import engine_of
    from training.families.families import resolve_dtype

    def dtype(name: str) -> str:
        return str(resolve_dtype(name)).removeprefix("torch.")

    student = {"engine": engine_of(config.student)}
    if student["engine"] == "embedded":
        student["dtype"] = dtype(config.student.dtype)
    return config.model_copy(
        update={
            "student": config.student.model_copy(update=student),
            "tuning": config.tuning.model_copy(update={"dtype": dtype(config.tuning.dtype)}),
        }
    )


def check_machine(config: RunConfig) -> None:
    """Raise ConfigError if a run that began elsewhere cannot go on on this machine: no vLLM for its engine, or no bfloat16."""
    import torch

    from agent.student.vllm.beforehand import check_installed

    if config.student.engine == "vllm":
        check_installed(config.student.vllm)
    used = {"tuning.dtype": config.tuning.dtype}
    if config.student.engine == "embedded":
        used["student.dtype"] = config.student.dtype
    if torch.cuda.is_available() and not torch.cuda.is_bf16_supported(including_emulation=False):
        for key, dtype in used.items():
            if dtype == "bfloat16":
                raise ConfigError(
                    f"{key} of this run is bfloat16, which this machine's GPU does not have; go on where the run began, or "
                    "start another with --run-dir"
                )
