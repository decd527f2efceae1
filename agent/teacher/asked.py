"""What came of a question, as data; and when so many came to nothing that the run ends."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from agent.teacher.endpoint.received import RejectedError
from agent.teacher.endpoint.sizes import same_words
from agent.teacher.ledger.journal import Completion
from retrieval.errors import DataError, TeacherError

#: So many failures in a row with one message end the run.
SAME_FAILURES = 10
#: So many questions of a kind, its first, end the run if none of them has a value, whatever the reasons.
FIRST_FAILURES = 32

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
    """Questions of a kind that came back in this process (from the journal too), and what was wrong with those that have no
    value."""

    asked: int = 0
    lost: tuple["Lost", ...] = ()

    def since(self, before: "Tally") -> "Tally":
        """What came after `before`."""
        return Tally(self.asked - before.asked, self.lost[len(before.lost) :])


class Lost(NamedTuple):
    """A question that came to nothing: which of the teacher's faults it was (None if none of its own), and why."""

    fault: Fault | None
    reason: str


def commonest(lost: Iterable[Lost]) -> str:
    """The reason that most have, as the first of them words it; "" for none."""
    by_words: dict[str, list[str]] = defaultdict(list)
    for each in lost:
        by_words[same_words(each.reason)].append(each.reason)
    return max(by_words.values(), key=len, default=[""])[0]


def refusal_in(reply: Completion) -> Asked[Any] | None:
    """What the teacher, or its provider, would not answer; None if it did."""
    if reply.refusal:
        return Asked(None, "refused", reply.refusal[:300], True)
    if reply.finish == "content_filter":
        return Asked(None, "filtered", "stopped by the provider's content filter", True)
    return None


def what_failed(error: RejectedError | DataError) -> Asked[Any]:
    """What comes of a question that got no reply. Half of what an endpoint refused may be taken, whatever its status."""
    if isinstance(error, DataError):
        return Asked(None, "failed", str(error), True)
    return Asked(None, error.state, error.reason, error.state != "failed" or error.status is not None)


class Failures:
    """Failures in a row with one message, and kinds of which nothing was answered yet. A question that is asked again in halves
    counts for nothing: an endpoint may take less at a time."""

    def __init__(self) -> None:
        self._message, self._count = "", 0
        self._answered: set[str] = set()
        self._first: dict[str, list[Lost]] = defaultdict(list)

    def end(self) -> None:
        """Something was answered."""
        self._message, self._count = "", 0

    def add(self, kind: str, asked: Asked[Any], where: str) -> None:
        """Count what came of a question of a kind. Raises TeacherError, naming the teacher as `where`, if that was too much."""
        if asked.state == "ok":
            self._answered.add(kind)
            return
        if kind not in self._answered:
            self._first[kind].append(Lost(asked.fault, asked.reason))
            if len(lost := self._first[kind]) >= FIRST_FAILURES:
                raise TeacherError(
                    f"the teacher at {where} gave no usable reply to any of the first {len(lost)} requests of kind `{kind}`"
                    f"{_counted(lost)}, most often: {commonest(lost)}; take another model or server, then run again"
                )

    def again(self, reason: str, where: str) -> None:
        """Count a request that failed. Raises TeacherError at too many in a row."""
        message = same_words(reason)
        self._count = self._count + 1 if message == self._message else 1
        self._message = message
        if self._count >= SAME_FAILURES:
            raise TeacherError(f"the teacher at {where} failed {self._count} times in a row with one message: {reason}")


def _counted(lost: Iterable[Lost]) -> str:
    counts = Counter(each.fault for each in lost if each.fault).most_common()
    return f" ({', '.join(f'{number} {fault}' for fault, number in counts)})"
