"""What a run says in the terminal: a line for each step, a bar for what takes more than a second, figures as they come.

Paths, ids, errors and texts of teachers may hold what a terminal obeys. Whatever is printed for people goes through here
(`terminal`, or `visible`), where it is shown instead.
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderHook, RenderResult
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment

#: Seconds between two signs of life of what works or waits.
EVERY = 60.0

Advance = Callable[[int, int], None]

_WORDS = {
    "prepare": "reading the items and the pool",
    "evaluate": "the student answers",
    "diagnose": "the teacher looks for the wrong steps",
    "retrieve": "fetching samples from the pool",
    "tune": "tuning an adapter",
    "finish": "writing the report",
}

#: Control characters but tab and line feed, marks that turn the direction of text, and halves of surrogate pairs, which cannot
#: be printed (names of files that are not UTF-8 hold them).
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """A text with what a terminal would obey written as an escape, as in \\x1b."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def terminal(console: Console | None = None) -> Console:
    """A console (standard output, unless one is given) that shows what a terminal would obey."""
    console = console or Console()
    console.push_render_hook(_Shown())
    return console


class _Shown(RenderHook):
    def process_renderables(self, renderables: list[Any]) -> list[Any]:
        return [_Visible(each) for each in renderables]


class _Visible:
    """Something that rich can draw, of whose text nothing is obeyed; what rich itself says to the terminal is."""

    def __init__(self, inner: RenderableType) -> None:
        self.inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for each in console.render(self.inner, options):
            yield each if each.control else Segment(visible(each.text), each.style)


@contextmanager
def _beating(beat: Callable[[], None], pause: Callable[[Event], bool]) -> Iterator[None]:
    """Call `beat` after each pause, in a thread: also while the event loop waits, or a computation keeps it."""
    over = Event()

    def until_over() -> None:
        while not pause(over):
            beat()

    thread = Thread(target=until_over, name="sign of life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Reporter:
    """Writes to the terminal; with `quiet`, nothing at all."""

    def __init__(
        self,
        console: Console | None = None,
        quiet: bool = False,
        pause: Callable[[Event], bool] = lambda over: over.wait(EVERY),
    ) -> None:
        """`pause` waits until the next sign of life, or until that event is set; it returns whether it is."""
        self.console = terminal(console or Console(stderr=True))
        self.quiet = quiet
        #: What holds things up, asked for each sign of life; "" for nothing.
        self.notes: Sequence[Callable[[], str]] = ()
        #: Gets each sign of life, for who comes later.
        self.keep: Callable[[str], None] = lambda text: None
        self._pause = pause

    def node(self, name: str, number: int) -> None:
        """A node begins."""
        if name in _WORDS:
            self.say(f"[bold]round {number}[/bold] · {_WORDS[name]}")

    def say(self, text: str) -> None:
        """One line, with rich's markup."""
        if not self.quiet:
            self.console.print(text, highlight=False, soft_wrap=not self.console.is_terminal)

    @contextmanager
    def bar(self, what: str) -> Iterator[Advance]:
        """A progress bar; call what it gives with (done, total). What stays is a line that says how long it took.

        Once a minute there is a sign of life: how far it is, and what holds it up; beside the bar, or without a terminal as a
        line. It is kept, too."""
        start = time.monotonic()
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        hidden = self.quiet or not self.console.is_terminal
        with Progress(*columns, console=self.console, transient=True, disable=hidden) as progress:
            task = progress.add_task(visible(what), total=None)
            far = ""

            def advance(done: int, total: int) -> None:
                nonlocal far
                far = f"{done:,} of {total:,}, "
                progress.update(task, completed=done, total=total)

            def beat() -> None:
                held = "; ".join(filter(None, (note() for note in self.notes)))
                text = f"{what}: {far}{(time.monotonic() - start) / 60:.0f} min" + (f"; {held}" if held else "")
                progress.update(task, description=visible(f"{what} ({held})" if held else what))
                if hidden:
                    self.say(f"  {escape(text)}")
                with suppress(OSError):  # a disk without room ends the run where something is lost by it
                    self.keep(text)

            with _beating(beat, self._pause):
                yield advance
        self.say(f"  {what}: {time.monotonic() - start:.1f} s")

    def table(self, table: Any) -> None:
        """Print something that rich can draw."""
        if not self.quiet:
            self.console.print(table)
