"""What is out: the batches that were submitted, looked at until they end, and what they bring, put into the journal."""

from collections.abc import Callable
from dataclasses import dataclass

from agent.teacher.batch.api import Look, MissingError
from agent.teacher.batch.log import Submitted
from agent.teacher.batch.means import Fates, Means, limit_of
from agent.teacher.batch.queue import Wave, is_crowded_out, rest
from agent.teacher.endpoint.received import PassingError, RejectedError
from agent.teacher.prompts.replies import REPLIES
from retrieval.errors import TeacherError, TeacherSetupError

#: Looks at a batch that has ended, for results that are not there, before they are taken to be gone.
LOOKS = 5

Progress = Callable[[int, int], None]


@dataclass
class _Watched:
    """A batch that is out: its requests that are done, the status that was last told, and looks at its end without results."""

    batch: Submitted
    done: int = 0
    told: str = ""
    short: int = 0
    crowded_out: bool = False


class Fetcher:
    """Waits for batches and takes in what they bring."""

    def __init__(self, means: Means, fates: Fates) -> None:
        self._means, self._fates = means, fates

    def ids(self) -> str:
        """The provider's names of the batches that are under way."""
        return ", ".join(batch.id for batch in self._means.log.open.values() if batch.id)

    async def fetch(self, on_progress: Progress) -> Wave:
        """Wait for the batches that are under way, and put what they bring into the journal."""
        await self._find_made()
        out, waited = self._means.log.open, 0.0
        watched = [_Watched(batch) for batch in out.values()]
        total = sum(len(each.batch.kinds) for each in watched)
        while out:
            for each in watched:
                if each.batch.tag in out:
                    await self._look(each)
            on_progress(sum(each.done for each in watched), total)
            if out:
                waited = await rest(self._means, waited, f"batch {self.ids()} has not ended")
        crowded = tuple(len(each.batch.kinds) for each in watched if each.crowded_out)
        return Wave(len(watched) - len(crowded), crowded)

    async def _find_made(self) -> None:
        """Find the batches again that were begun before this process died, if they were made."""
        for batch in list(self._means.log.open.values()):
            if not batch.file and not batch.id:
                await self._means.give_up(batch)
                continue
            api = self._means.api()
            if batch.endpoint != api.endpoint.name:
                raise self._not_there(batch, "no batch")
            if batch.id:
                continue
            await self._means.until_listed()  # in full: nothing says when, before this start, it may have been made
            if (found := await api.find(batch.tag, batch.file)) is None:
                await self._means.give_up(batch)
            else:
                self._means.log.note(batch.tag, id=found.id)
                self._means.say(f"batch {found.id} of an earlier start is found again")

    def _not_there(self, batch: Submitted, what: str) -> TeacherSetupError:
        name, which = self._means.api().endpoint.name, batch.id or f"of {batch.file}"
        return TeacherSetupError(
            f"the teacher at {name} has {what} {which}, which was submitted to {batch.endpoint}; go on with the address and "
            f"the key of then, or delete {self._means.log.path}, and its requests are asked and paid for once more"
        )

    async def _look(self, watched: _Watched) -> None:
        """Look at a batch, and take in what there is if it has ended."""
        batch = watched.batch
        try:
            look = await self._means.api().look(batch.id)
        except MissingError:
            raise self._not_there(batch, "no batch") from None
        if look is None:
            return
        if look.ended:
            taken = await self._take_in(watched, look)
            watched.done = len(batch.kinds) if taken else look.done
            return
        watched.done = look.done
        if watched.told != look.status:
            watched.told = look.status
            self._means.say(f"batch {batch.id}: {look.status}, {look.done:,} of {len(batch.kinds):,} requests done")
        if not self._means.config.batch and look.status != "cancelling":
            await self._means.api().cancel(batch.id)

    async def _take_in(self, watched: _Watched, look: Look) -> bool:
        """Put the results of a batch that has ended into the journal, where some of them may be already; whether they were
        there."""
        batch, means = watched.batch, self._means
        if (results := await self._results(watched, look)) is None:
            return False
        problem: TeacherError | None = None
        answered = set[str]()
        for key, row in results:
            try:
                if self._enter(batch, key, batch.kinds[key], row):
                    answered.add(key)
            except TeacherError as error:  # after all that was paid is in the journal
                problem = error
        watched.crowded_out = is_crowded_out(look)
        if not watched.crowded_out:
            self._fates.unanswered.update(key for key in batch.kinds if key not in answered)
            left = len(batch.kinds) - len(answered)
            means.say(f"batch {look.id}: {look.status}, {len(answered):,} requests answered, {left:,} not")
        means.ledger.sync()
        means.log.end(batch.tag, look.status, len(answered))
        means.ledger.budget.settle(batch.tag)
        await means.api().tidy([look.input, *look.files])
        if problem := problem or self._failure(look):
            raise problem
        return True

    def _failure(self, look: Look) -> TeacherSetupError | None:
        """What is wrong with a batch that the provider failed; None if it did not, or only had no room for it."""
        if look.status != "failed" or look.failure is None or is_crowded_out(look):
            return None
        name, (code, said) = self._means.api().endpoint.name, look.failure
        return TeacherSetupError(
            f"the teacher at {name} failed the batch {look.id} ({code}: {said}); mend that, or set teacher.batch to false"
        )

    async def _results(self, watched: _Watched, look: Look) -> list[tuple[str, dict[str, object]]] | None:
        """The results of a batch that has ended, with their keys; None if they are not all there yet, though paid for."""
        batch = watched.batch
        try:
            rows = await self._means.api().results(look)
        except MissingError:
            raise self._not_there(batch, "no results of batch") from None
        found = [(key, row) for row in rows if isinstance(key := row.get("custom_id"), str) and key in batch.kinds]
        if not look.is_short(len({key for key, _ in found})):
            return found
        watched.short += 1
        if watched.short >= LOOKS:
            raise self._not_there(batch, "no results of batch")
        self._means.say(f"batch {look.id}: {look.status}, but its results are not there; they are looked for again")
        return None

    def _enter(self, batch: Submitted, key: str, kind: str, row: dict[str, object]) -> bool:
        """Put one result into the journal; whether it is there then. Raises TeacherError."""
        ledger, limit = self._means.ledger, limit_of(kind, batch.limit)
        if ledger.find(key, limit) is not None:
            return True
        try:
            reply = self._means.api().endpoint.read_result(row, limit)
            if REPLIES[kind] is None and not reply.top and not reply.refusal and reply.finish != "content_filter":
                raise RejectedError("the reply came without log-probabilities")
        except RejectedError as error:
            self._fates.rejected[key] = error
            return False
        except PassingError:
            return False
        ledger.enter(key, kind, batch.scope, reply, batch.most / len(batch.kinds), in_batch=True)
        return True
