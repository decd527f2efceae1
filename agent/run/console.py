"""What a run says in the terminal: a line for each step, a bar for what takes more than a second, figures as they come.

Paths, ids, errors and texts of teachers may hold what a terminal obeys. Whatever is printed for people goes through here
(`terminal`, or `visible`), where it is shown instead.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderHook, RenderResult
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment

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


class Reporter:
    """Writes to the terminal; with `quiet`, nothing at all."""

    def __init__(self, console: Console | None = None, quiet: bool = False) -> None:
        self.console = terminal(console or Console(stderr=True))
        self.quiet = quiet

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
        """A progress bar; call what it gives with (done, total). What stays is a line that says how long it took."""
        start = time.monotonic()
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        hidden = self.quiet or not self.console.is_terminal
        with Progress(*columns, console=self.console, transient=True, disable=hidden) as progress:
            task = progress.add_task(visible(what), total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)
        self.say(f"  {what}: {time.monotonic() - start:.1f} s")

    def table(self, table: Any) -> None:
        """Print something that rich can draw."""
        if not self.quiet:
            self.console.print(table)
