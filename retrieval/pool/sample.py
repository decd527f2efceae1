"""A sample: one training example of the pool."""

from dataclasses import dataclass, field

from retrieval.pool.rationale import parse_rationale


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and its answer."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One training example. `images` are names in the pool's image folder (content hash + suffix); `source` is the user's name
    of the data set that it comes from, "" if there is none. Most samples have one turn; later turns build on earlier ones."""

    id: str
    turns: tuple[Turn, ...]
    images: tuple[str, ...] = field(default=())
    source: str = ""

    @property
    def question(self) -> str:
        """All questions of the sample, one a line: what retrieval compares."""
        return "\n".join(turn.question for turn in self.turns)

    @property
    def has_steps(self) -> bool:
        """Whether the last answer is a whole rationale (steps and a final answer); such samples are selected before others."""
        return parse_rationale(self.turns[-1].answer).whole
