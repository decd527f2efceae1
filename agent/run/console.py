"""What a run says in the terminal: a line for each step, a bar for what takes more than a second, figures as they come."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Advance = Callable[[int, int], None]

_WORDS = {
    "prepare": "reading the items and the pool",
    "evaluate": "the student answers",
    "diagnose": "the teacher looks for the wrong steps",
    "retrieve": "fetching samples from the pool",
    "tune": "tuning an adapter",
    "finish": "writing the report",
}


class Reporter:
    """Writes to the terminal; with `quiet`, nothing at all."""

    def __init__(self, console: Console | None = None, quiet: bool = False) -> None:
        self.console = console or Console(stderr=True)
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
            task = progress.add_task(what, total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)
        self.say(f"  {what}: {time.monotonic() - start:.1f} s")

    def table(self, table: Any) -> None:
        """Print something that rich can draw."""
        if not self.quiet:
            self.console.print(table)
