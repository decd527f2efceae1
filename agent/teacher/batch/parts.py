"""The input file of a batch, while it is being filled."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from uuid import uuid4

from agent.teacher.request import ChatRequest
from retrieval.storage.files import storage_errors

#: Requests and bytes that a batch may hold (OpenAI's limits).
MOST_REQUESTS, MOST_BYTES = 50_000, 200_000_000


@dataclass
class Part:
    """`kinds`: the kind of each request by its key; `size` in bytes; `most` US dollars that all of it can cost."""

    tag: str
    path: Path
    kinds: dict[str, str] = field(default_factory=dict)
    size: int = 0
    most: float = 0.0

    @classmethod
    def beside(cls, log: Path) -> Self:
        """An empty one, whose file will lie beside the log of batches."""
        tag = uuid4().hex
        return cls(tag, log.with_name(f".{tag}.jsonl.tmp"))

    def has_room(self, line: bytes, requests: int) -> bool:
        """Whether a line fits into a batch of at most so many requests."""
        return len(self.kinds) < requests and self.size + len(line) <= MOST_BYTES

    def append(self, request: ChatRequest, line: bytes, most: float) -> None:
        """Write a request down. Raises StorageError."""
        with storage_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "ab") as file:
                file.write(line)
        self.kinds[request.key()] = request.kind
        self.size += len(line)
        self.most += most

    def discard(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)
