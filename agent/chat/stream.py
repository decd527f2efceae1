"""Many awaitables, few at a time, results as they come."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

from agent.chat.stop import Stop, StoppedError

T = TypeVar("T")
R = TypeVar("R")


async def as_done(
    work: Iterable[T], do: Callable[[T], Awaitable[R]], limit: int, stop: Stop | None = None
) -> AsyncGenerator[R, None]:
    """Do `do(w)` for each w of `work`, `limit` at a time, and yield the results in the order in which they are ready.

    `work` is drawn from only as there is room, so it may be endless. The first exception ends it; what is under way is
    then cancelled and waited for. Close the iterator (`contextlib.aclosing`) when leaving it early.

    When a `stop` is asked for, nothing more is begun; what is under way is waited for and yielded, as far as it comes to an end
    without asking anything more, and StoppedError raised then, if there was more to do.
    """
    stop = stop or Stop()
    pending: set[asyncio.Task[R]] = set()
    source = iter(work)
    stopped = False
    try:
        while True:
            while len(pending) < limit and not stopped and (nxt := next(source, _END)) is not _END:
                if stopped := stop.is_asked:
                    break
                pending.add(asyncio.ensure_future(do(nxt)))  # type: ignore[arg-type]
            if not pending:
                break
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task.exception() is None:
                    yield task.result()
            for task in done:
                if isinstance(task.exception(), StoppedError):
                    stopped = True
                else:
                    task.result()
        if stopped:
            stop.check()
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def see_through(work: Coroutine[Any, Any, R], is_sending: Callable[[asyncio.Task[R]], bool], seconds: float) -> R:
    """Do `work`. If this is cancelled while `is_sending` says that something of it is on its way, it is seen through, for so
    many seconds at most, and only then cancelled."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        end = time.monotonic() + seconds
        while is_sending(task) and time.monotonic() < end:
            await asyncio.wait([task], timeout=0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise


async def all_done(work: Iterable[T], do: Callable[[T], Awaitable[R]], limit: int, stop: Stop | None = None) -> list[R]:
    """`as_done`, all results at once and in the order of `work`."""

    async def numbered(pair: tuple[int, T]) -> tuple[int, R]:
        return pair[0], await do(pair[1])

    found = [result async for result in as_done(enumerate(work), numbered, limit, stop)]
    return [result for _, result in sorted(found, key=lambda pair: pair[0])]


async def together(work: Iterable[Coroutine[Any, Any, R]]) -> list[R]:
    """All results, in the order of `work`, done side by side. The first error ends the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


_END = object()
