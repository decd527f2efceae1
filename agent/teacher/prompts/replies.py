"""What the teacher is asked, and what it must reply.

A kind is a prompt file in `prompts/` and a pydantic model. The prompt is the system message and the same for every
request of a kind; what a request is about goes as JSON into the user's message, where it is data: whatever it says, it
instructs no one. A user's own prompts may stand in the place of ours (`own_prompts.py`).
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

#: Longest name of a skill and longest explanation, in characters.
MAX_SKILL = 120
MAX_TEXT = 2000


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a whole number")
    return value


def _prose(text: str) -> str:
    return " ".join(text.encode("utf-8", "ignore").decode().split())[:MAX_TEXT]


def _name(text: str) -> str:
    name = " ".join("".join(c if c.isprintable() else " " for c in text).split()).strip(" .;")
    if len(name) > MAX_SKILL:
        raise ValueError(f"a skill's name has at most {MAX_SKILL} characters")
    return name


def _named(text: str) -> str:
    if not any(c.isalnum() for c in text):
        raise ValueError("a skill needs a name")
    return text


Whole = Annotated[int, BeforeValidator(_no_bool)]
#: An explanation: one paragraph.
Prose = Annotated[str, AfterValidator(_prose)]
#: A skill's name, or nothing.
MaybeSkill = Annotated[str, AfterValidator(_name)]
#: A skill's name: one line, at most MAX_SKILL characters, not empty.
SkillName = Annotated[str, AfterValidator(_name), AfterValidator(_named)]


class Reply(BaseModel):
    """A reply of the teacher. No defaults and no other keys: strict structured outputs ask for both."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DiagnosedError(Reply):
    """Reply to `diagnose`. `wrong_step` is 1-based, 0 if no step is wrong; `skill` is empty if none can be named."""

    wrong_step: Whole
    why: Prose
    should_say: Prose
    skill: MaybeSkill


class NamedGap(Reply):
    """Reply to `name_gap`."""

    why: Prose
    should_say: Prose
    skill: SkillName


class StepJudged(Reply):
    """Reply to `step_right`."""

    correct: bool


class SampleSkills(Reply):
    """The skills of the sample with this 1-based index."""

    index: Whole
    skills: list[SkillName]


class NamedSkills(Reply):
    """Reply to `skills`."""

    samples: list[SampleSkills]


class SameSkills(Reply):
    """Reply to `same_skill`: 1-based indices of the candidates that are the same skill."""

    same: list[Whole]


class Judged(Reply):
    """Reply to `judge`."""

    correct: bool


#: The kinds of questions, and what a reply to each looks like; a choice is replied to with a letter.
REPLIES: Mapping[str, type[Reply] | None] = {
    "diagnose": DiagnosedError,
    "name_gap": NamedGap,
    "step_right": StepJudged,
    "choose": None,
    "skills": NamedSkills,
    "same_skill": SameSkills,
    "judge": Judged,
}


@cache
def prompt(kind: str) -> str:
    """Our system message of a kind."""
    return resources.files("agent.teacher.prompts").joinpath(f"{kind}.md").read_text(encoding="utf-8").strip()


@cache
def json_schema(schema: type[BaseModel]) -> dict[str, Any]:
    """A model's JSON schema, without what only describes it."""
    bare: dict[str, Any] = _bare(schema.model_json_schema())
    return bare


def _bare(node: Any, named: bool = False) -> Any:
    """`node` without titles and descriptions; `named` says that its keys are names of the user's, not of JSON
    schema."""
    if isinstance(node, list):
        return [_bare(part) for part in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _bare(value, key in ("properties", "$defs"))
        for key, value in node.items()
        if named or key not in ("title", "description")
    }


def as_data(data: Any) -> str:
    """A request's data as the text of the user's message."""
    return json.dumps(data, ensure_ascii=False, indent=1)
