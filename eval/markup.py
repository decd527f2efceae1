r"""What a text says once its markup is taken off: LaTeX, Markdown, tags, JSON.

`\boxed{B}`, `**B**`, `$B$`, `<answer>B</answer>` and `{"answer": "B"}` say B. Only what is known is taken off; an unknown
command, a tag without its end or a lone dollar sign stay as they are. All of it takes time in proportion to the text.
"""

import json
import re
from contextlib import suppress

_MARKS = re.compile(r"[\\$*_`#<>{•\-\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_INVISIBLE = re.compile(r"[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
#: Braces deeper than this are text.
_DEEPEST = 40
#: Markup in markup is taken off so often.
_ROUNDS = 8
#: Characters of a JSON answer; a longer text is one.
_LONGEST_JSON = 1 << 14
_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\^\{|[{}]|[^\\{}^]+|\^|\\", re.DOTALL)
_BOXES = {"boxed", "fbox", "framebox"}
_STYLES = {
    "text",
    "mathrm",
    "mathbf",
    "mathit",
    "mathsf",
    "mathtt",
    "mathcal",
    "textbf",
    "textit",
    "textrm",
    "textsf",
    "texttt",
}
_STYLES |= {"operatorname", "mbox", "emph", "underline", "bm", "boldsymbol", *_BOXES}
_FRACTIONS = {"frac", "dfrac", "tfrac", "cfrac"}
_SIGNS = {
    **{
        "circ": "°",
        "degree": "°",
        "times": "×",
        "cdot": "·",
        "div": "÷",
        "pm": "±",
        "approx": "≈",
        "sim": "~",
        "pi": "π",
    },
    **{"le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "lt": "<", "gt": ">", "ne": "≠", "neq": "≠", "infty": "∞"},
    **{"left": "", "right": "", "displaystyle": "", "quad": " ", "qquad": " ", "percent": "%", "textdegree": "°"},
}
#: What follows a backslash and is no letter. A thin space is one between thousands.
_ESCAPES = {
    ",": "\u202f",
    ";": " ",
    ":": " ",
    " ": " ",
    "!": "",
    "(": "",
    ")": "",
    "[": "",
    "]": "",
    **{c: c for c in "$%#&_{}"},
}

_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[\w-]*[ \t]*$", re.MULTILINE)
_LINE_START = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+|(?:>|[-*•])[ \t]+(?=[^\s\d]))", re.MULTILINE)
_STARS = re.compile(r"(?<![A-Za-z0-9*])\*{1,3}([^*\s](?:[^*\n]*[^*\s])?)\*{1,3}(?![A-Za-z0-9*])")
_UNDERSCORES = re.compile(r"(?<![A-Za-z0-9_])_{1,3}([^_\s](?:[^_\n]*[^_\s])?)_{1,3}(?![A-Za-z0-9_])")
_CODE = re.compile(r"(?<!`)`+([^`\n]+)`+")
# Pandoc's rule: no space inside the dollars, no digit behind them; so “$5 to $6” are prices.
_MATH = re.compile(r"\$\$([^$]+)\$\$|\$(?!\s)([^$\n]*[^$\s])\$(?!\d)")
_STYLE_TAG = re.compile(
    r"<(b|strong|i|em|u|mark|code|p|span|div|sub|math)(?:\s[^<>]*)?>([^<>]*\S[^<>]*)</\1>", re.IGNORECASE
)
_ANSWER_TAG = re.compile(
    r"<(?P<tag>answer|ans|final|final_answer|finalanswer|choice|option)>(?P<said>[^<>]*\S[^<>]*)</(?P=tag)>"
    r"|<\|begin_of_box\|>(?P<glm>[^<>]*\S[^<>]*)<\|end_of_box\|>",
    re.IGNORECASE,
)
_KEYS = ("answer", "final_answer", "final answer", "choice", "option", "prediction")


def unwrap(text: str) -> str:
    r"""The text without its markup. What a text puts into a box (`\boxed`, `<answer>`, the answer of a JSON object) is all it
    says, unless two boxes say different things; a text that is nothing but markup stays as it is."""
    if not _MARKS.search(text):
        return text
    said = _INVISIBLE.sub("", text)
    said = said.rpartition("</think>")[2] or said  # what was thought is not said
    for _ in range(_ROUNDS):  # bold in tags, tags in boxes
        before, said = said, _unwrap_once(said)
        if said == before:
            break
    return said if said.strip() else text


def _unwrap_once(text: str) -> str:
    said = _of_json(text)
    boxes = [_inside(match) for match in _ANSWER_TAG.finditer(said)]
    said = _one_of(boxes, _ANSWER_TAG.sub(_inside, said))
    if "\\" in said or "^{" in said or "{,}" in said:
        said, boxes = _latex(said)
        said = _one_of(boxes, said)
    return _markdown(said)


def _inside(match: re.Match[str]) -> str:
    return match["said"] or match["glm"]


def _one_of(boxes: list[str], otherwise: str) -> str:
    """What all boxes hold if they hold the same."""
    kept = {box.strip() for box in boxes} - {""}
    return kept.pop() if len(kept) == 1 else otherwise


def _of_json(text: str) -> str:
    """The answer inside a JSON object."""
    bare = _FENCE.sub("", text).strip() if len(text) < _LONGEST_JSON else ""
    if bare.startswith("{") and bare.endswith("}"):
        with suppress(ValueError, RecursionError):
            found = {str(key).casefold(): value for key, value in json.loads(bare).items()}
            answers = [found[key] for key in _KEYS if key in found]
            if len(answers) == 1 and isinstance(answers[0], str | int | float) and not isinstance(answers[0], bool):
                return str(answers[0])
    return text


def _markdown(text: str) -> str:
    text = _LINE_START.sub("", _FENCE.sub("", text))
    text = _CODE.sub(r"\1", text)
    text = _MATH.sub(lambda match: match[1] or match[2], text)
    if (bare := text.strip()).startswith("$") and bare.endswith("$") and bare.count("$") == 2 and bare[1:-1].strip():
        text = bare[1:-1]
    text = _UNDERSCORES.sub(r"\1", _STARS.sub(r"\1", text))
    return _STYLE_TAG.sub(r"\2", text)


class _Frame:
    """An open brace: how it was opened, and what came since. `over`: the numerator, where this is a denominator."""

    __slots__ = ("kind", "opening", "over", "parts")

    def __init__(self, kind: str, opening: str, over: str | None = None) -> None:
        self.kind, self.opening, self.over = kind, opening, over
        self.parts: list[str] = []


def _latex(text: str) -> tuple[str, list[str]]:
    """A text with its LaTeX read, and what its boxes hold."""
    frames, boxes = [_Frame("", "")], list[str]()
    tokens = _TOKEN.findall(re.sub(r"(\\[A-Za-z]+)[ \t]+\{", r"\1{", text))
    place = 0
    while place < len(tokens):
        token = tokens[place]
        place += 1
        braced = tokens[place : place + 1] == ["{"]
        deep = len(frames) > _DEEPEST
        name = token[1:] if token.startswith("\\") else ""
        if braced and not deep and (name in _STYLES or name in _FRACTIONS):
            frames.append(_Frame(name, token + "{"))
            place += 1
        elif token in ("{", "^{") and not deep:
            frames.append(_Frame(token, token))
        elif token == "}" and len(frames) > 1:
            frame = frames.pop()
            over = _close(frame, frames[-1], boxes, braced)
            if over is not None:
                frames.append(_Frame("under", frame.opening + over + "}{", over))
                place += 1
        elif name in _FRACTIONS and (short := re.match(r"\s*(\d)(\d)", tokens[place] if place < len(tokens) else "")):
            frames[-1].parts.append(_fraction(short[1], short[2], frames[-1]))  # \frac34
            tokens[place] = tokens[place][short.end() :]
        else:
            frames[-1].parts.append(_SIGNS.get(name, _ESCAPES.get(name, token)) if name else token)
    while len(frames) > 1:  # never closed
        frame = frames.pop()
        frames[-1].parts += [frame.opening, *frame.parts]
    return re.sub(r"\^[ ]?°", "°", "".join(frames[0].parts)), boxes


def _close(frame: _Frame, parent: _Frame, boxes: list[str], braced: bool) -> str | None:
    """Put what a brace held into what is around it; the numerator of a fraction, whose denominator comes next, is returned."""
    held = "".join(frame.parts)
    if frame.kind in _FRACTIONS and braced:
        return held
    if frame.kind == "under":
        held = _fraction(frame.over or "", held, parent)
    elif frame.kind == "^{":
        held = held if held.strip() == "°" else "^" + held
    elif frame.kind in _BOXES:
        boxes.append(held)
    elif frame.kind not in _STYLES and held.strip() not in (",", "."):  # {,} is a comma without its space
        held = frame.opening + held + "}"
    parent.parts.append(held)
    return None


def _fraction(over: str, under: str, parent: _Frame) -> str:
    before = parent.parts[-1] if parent.parts else ""
    parts = [part.strip() if re.fullmatch(r"[\w.]*", part.strip()) else f"({part.strip()})" for part in (over, under)]
    return (" " if before[-1:].isdigit() else "") + "/".join(parts)
