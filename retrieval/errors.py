"""The errors of gaptutor: one root, one leaf for each border that can be crossed.

A leaf also inherits the standard type that a caller would expect there. The message says what was wrong, where (file, line,
id) and what to do next; the command prints it as one sentence, without a traceback. What goes wrong with a single sample,
answer or diagnosis is no exception but a recorded row; these are for what stops a run.
"""


class GaptutorError(Exception):
    """Root of everything that gaptutor raises on purpose."""

    #: Exit code of the command when this error ends it; 2 for what the user can put right, 1 for the rest.
    exit_code = 1


def first_line(error: BaseException) -> str:
    """What an error of a library says, as a sentence of ours can quote it: its first line without a full stop, or its type
    if it says nothing."""
    return str(error).strip().partition("\n")[0].rstrip(" .\r") or type(error).__name__


class ConfigError(GaptutorError, ValueError):
    """The configuration, or a path or name in it, is wrong."""

    exit_code = 2


class DataError(GaptutorError, ValueError):
    """A validation set, or a file of the user's, cannot be read as what it should be."""

    exit_code = 2


class PoolError(GaptutorError, ValueError):
    """A pool or its index is missing, broken, or was built for something else."""

    exit_code = 2


class StudentError(GaptutorError, RuntimeError):
    """The student cannot be loaded or has stopped answering."""


class AdapterError(StudentError):
    """An adapter cannot be served: the engine does not take it, or takes it without applying it. The student itself is well."""


class TeacherError(GaptutorError, ConnectionError):
    """The teacher was away for too long, or failed more often than the error budget allows."""


class TeacherSetupError(TeacherError):
    """The teacher refuses the key, has no credit, or is not at the address that was given: for the user to put right, at the
    start of a run and whenever one goes on."""

    exit_code = 2


class BudgetError(GaptutorError, RuntimeError):
    """The next request to the teacher could take the run over its budget."""

    exit_code = 5


class TuningError(GaptutorError, RuntimeError):
    """Tuning failed, or made an adapter that must not be served."""


class RunError(GaptutorError, RuntimeError):
    """The run folder is held by another process, or holds something else than this run."""

    exit_code = 2


class StorageError(GaptutorError, OSError):
    """A file could not be written: no room, no permission. What was there before is whole."""
