"""What came of a question, as data; and when many came to nothing in the same way."""

import re
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from agent.teacher.endpoint.received import RejectedError
from agent.teacher.ledger.journal import Completion
from retrieval.errors import DataError, TeacherError

#: So many failures in a row with one message end the run.
SAME_FAILURES = 10

R = TypeVar("R")
Fault = Literal["refused", "filtered", "cut", "malformed", "failed"]
State = Literal["ok"] | Fault


@dataclass(frozen=True, slots=True)
class Asked(Generic[R]):
    """What came of a question. `ok` has a value; `refused`: the teacher would not; `filtered`: a content filter stopped
    the question or the reply; `cut`: the reply ran into `max_tokens`; `malformed`: no value could be read, also after one
    repair; `failed`: no reply. `divisible`: asking about half as much at a time may help."""

    value: R | None
    state: State
    reason: str = ""
    divisible: bool = False

    @property
    def fault(self) -> Fault | None:
        """The state, if it is one of the teacher's faults."""
        return None if self.state == "ok" else self.state


class Tally(NamedTuple):
    """Questions of a kind that came back in this process (from the journal too), and those of them without a value."""

    asked: int = 0
    lost: int = 0

    def since(self, before: "Tally") -> tuple[int, int]:
        """What was lost, and asked, after `before`."""
        return self.lost - before.lost, self.asked - before.asked


def refusal_in(reply: Completion) -> Asked[Any] | None:
    """What the teacher, or its provider, would not answer; None if it did."""
    if reply.refusal:
        return Asked(None, "refused", reply.refusal[:300], True)
    if reply.finish == "content_filter":
        return Asked(None, "filtered", "stopped by the provider's content filter", True)
    return None


class Failures:
    """Failures in a row with one message."""

    def __init__(self) -> None:
        self._message, self._count = "", 0

    def end(self) -> None:
        """Something was answered."""
        self._message, self._count = "", 0

    def add(self, error: RejectedError | DataError, where: str) -> Asked[Any]:
        """What comes of a question that failed so. Raises TeacherError, naming the teacher as `where`, at too many in a row."""
        if isinstance(error, DataError):
            return Asked(None, "failed", str(error), True)
        if error.state != "failed":
            return Asked(None, error.state, error.reason, True)
        # Request ids and times differ in one and the same failure.
        message = re.sub(r"[0-9a-fA-F-]{8,}|\d+", "#", error.reason)
        self._count = self._count + 1 if message == self._message else 1
        self._message = message
        if self._count >= SAME_FAILURES:
            raise TeacherError(
                f"the teacher at {where} failed {self._count} times in a row with one message: {error.reason}"
            )
        return Asked(None, "failed", error.reason, error.status in (400, 413, 422))
