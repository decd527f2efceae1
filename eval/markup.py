"""Answers as they are meant, without the LaTeX, Markdown and tags that models wrap them in."""

import re

#: Longer texts (characters) are no short answers, and stay as they are.
_LONGEST = 2000
_TAGS = re.compile(
    r"</?(?:answer|final_answer|final|b|i|u|strong|em|p|span|div|code|mark)\b[^<>]*>|<br ?/?>", re.IGNORECASE
)
_BRACES = r"\{((?:[^{}]|\{[^{}]*\})*)\}"
_WRAPPED = re.compile(
    r"\\(?:boxed|fbox|text(?:bf|it|rm|sf|tt)?|math(?:rm|bf|it|sf|tt|bb|cal)|operatorname|bf|rm|emph|underline)[ \t]*"
    + _BRACES
)
_FRACTION = re.compile(r"\\[dtc]?frac[ \t]*" + _BRACES + r"[ \t]*" + _BRACES)
#: As Pandoc tells formulas from sums of money: no space inside, and no digit behind.
_FORMULA = re.compile(r"\$\$?(?=\S)([^$]*[^$\s])\$?\$(?!\d)|\\\((.*?)\\\)|\\\[(.*?)\\\]", re.DOTALL)
_SIGNS = (
    (r"\^\s*\{?\s*\\circ\s*\}?|\\degree\b|\\circ\b", "°"),
    (r"\\times\b|\\cdot\b", "×"),
    (r"\\(?:left|right|displaystyle|bigl?|bigr?|,|!|quad|qquad)(?![A-Za-z])", ""),
    (r"\\[;: ]|~", " "),
    (r"\\([%$#&_{}])", r"\1"),
    (r"\\(?:neg|lnot)\b", "not "),
    (r"\\pm\b", "±"),
    (r"\\(?:leq?|geq?)\b", "≤"),
    (r"\\(?:approx|sim)\b", "≈"),
)
_BOLD = re.compile(r"(?<![\w*])\*{2,}|\*{2,}(?![\w*])")  # 2**3 is none
_MARKDOWN = re.compile(r"(?<![\w*`_])(\*|_{1,3}|`{1,3})(?=[^\s*_`])(.+?)(?<=[^\s*_`])\1(?![\w*`_])", re.DOTALL)
#: Headings, and points of a list unless it may be a minus sign.
_LINE = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+|[-•][ \t]+(?=[^\W\d]))")


def unmarked(text: str) -> str:
    r"""`\boxed{\text{B}}`, `$B$`, `**B**`, `<answer>B</answer>`, `### B` are B; `\frac{3}{4}` is 3/4. Text without any such
    thing, or of more than 2,000 characters, is as it was."""
    if len(text) > _LONGEST:
        return text
    text = text.rpartition("</think>")[2]
    for _ in range(4):  # one in another
        before = text
        text = _TAGS.sub("", text).replace("{,}", ",")
        if "\\" in text or "$" in text:
            text = _FORMULA.sub(lambda match: next(group for group in match.groups() if group is not None), text)
            text = _FRACTION.sub(r" \1/\2", text)
            text = _WRAPPED.sub(r"\1", text)
            for pattern, sign in _SIGNS:
                text = re.sub(pattern, sign, text)
        text = _LINE.sub("", _MARKDOWN.sub(r"\2", _BOLD.sub("", text)))
        if text == before:
            break
    return text.strip()
