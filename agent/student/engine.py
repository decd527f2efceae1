"""What the loop needs of a student, whichever engine runs it."""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


def prompt_for(template: str, question: str) -> str:
    """A prompt of the configuration with the question in its place."""
    return template.replace("{question}", question)


@dataclass(frozen=True, slots=True)
class Request:
    """One thing to ask the student. `prompt` is the whole text of the user's turn (the template is filled in by the
    caller), `images` come before it, and `prefix` is the part of the student's own answer that is given and to be
    continued."""

    id: str
    prompt: str
    images: tuple[Path, ...] = ()
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the student wrote (`text`, without the request's prefix). `cut` says that it ran into the token limit;
    `error` says why there is no answer (an unreadable image, say), and is None where there is one."""

    id: str
    text: str
    cut: bool = False
    error: str | None = None


class Student(Protocol):
    """A student under evaluation. Every method raises StudentError if the engine itself is lost."""

    def answer(
        self, requests: Sequence[Request], adapter: str | None = None, done: Collection[str] = ()
    ) -> AsyncIterator[Reply]:
        """Answer all requests but those whose ids are in `done`; replies come as they are ready, in any order.

        What is asked together must not depend on `done`, so that a killed run that goes on gives the same answers.
        `adapter` is a name given to `load_adapter`, or None for the base model. Greedy decoding.
        """
        ...

    async def score(
        self, requests: Sequence[Request], continuations: Sequence[Sequence[str]], adapter: str | None = None
    ) -> list[list[float]]:
        """Mean log-probability per token (nats) of each continuation of each request's prefix, in their order."""
        ...

    async def load_adapter(self, name: str, path: Path) -> None:
        """Load a LoRA adapter (a folder in peft's format) under a new name."""
        ...

    async def drop_adapter(self, name: str) -> None:
        """Forget an adapter; one that is not loaded is no error."""
        ...

    async def release(self) -> None:
        """Give memory and cores back for a while (before tuning); the next call brings the student up again."""
        ...

    def standing(self) -> str:
        """What answers wait for, "" for nothing that is worth a word."""
        ...

    async def close(self) -> None:
        """End for good."""
        ...
