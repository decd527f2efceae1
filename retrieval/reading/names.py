"""A row's fields by what they mean, under the names that data sets give them, and which of them were of use.

What nobody asked for is told to the user: a column that is passed over without a word is a picture, a hint or a gold answer lost.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from retrieval.reading.cells import is_missing

CHAT = ("conversations", "messages", "conversation")
QUESTION = ("question", "prompt", "instruction", "query", "problem", "question_text")
ANSWER = ("answer", "response", "completion", "output")
#: Where a validation set keeps the gold answer; the first of them that a row has.
GOLD = (
    *(
        "answer",
        "gold",
        "gold_answer",
        "correct_answer",
        "ground_truth",
        "gt_answer",
        "answer_key",
        "correct",
        "correct_option",
    ),
    *("response", "completion", "output", "target", "label"),
)
ALL_GOLD = ("answers", "gold_answers", "direct_answers", "ground_truths")
#: Names that say that the gold answer is a place among the choices, from 0.
INDEX = (
    "correct_choice_idx",
    "correct_choice_index",
    "answer_index",
    "answer_idx",
    "correct_index",
    "correct_idx",
    "gold_index",
)
CHOICES = ("choices", "options", "candidates", "answer_choices", "multiple_choices", "endings")
#: Of columns with one choice each: `A`, `option_a`, `choice1`; the last is its letter or number.
_COLUMN = re.compile(r"([a-z])|(?:option|choice|opt|op)([a-z]|\d{1,2})")
ID = ("id", "question_id", "qid", "pid", "sample_id", "item_id", "uid", "uuid", "index", "idx")
SEVERAL_IMAGES = ("images", "image_paths", "imgs", "pictures")
IMAGE = (
    *SEVERAL_IMAGES,
    *("image", "image_path", "img", "img_path", "image_file", "image_name", "file_name", "picture", "photo"),
    *("image_bytes", "image_base64", "image_url", "jpg", "png"),
)
#: Of several columns with one picture each, as in MMMU.
_NUMBERED = re.compile(r"(?:image|img|picture)(\d{1,2})")
SOURCE = ("source", "task_name", "dataset", "data_source")
SYSTEM = ("system", "system_prompt")
#: What is not read: a row that has some is no sample for a model of pictures.
_MEDIA = {
    "a video": {"video", "videos", "videopath", "videofile", "videourl"},
    "a sound": {"audio", "audios", "audiopath", "audiofile", "audiourl", "inputaudio"},
}
_PICTURE_NAME = re.compile(r"image|img|pic|photo|figure|screenshot|file", re.IGNORECASE)
_PICTURE_FILE = re.compile(r".+\.(png|jpe?g|webp|gif|bmp|tiff?|avif)", re.IGNORECASE)


@lru_cache(maxsize=4096)
def folded(name: str) -> str:
    """A name as names are compared: `Image Path`, `image_path` and `imagePath` are one."""
    return re.sub(r"[\W_]+", "", name.casefold())


class Row:
    """The fields of one record, looked up by any of their names; `used` gains the names of those that held what was wanted."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields
        self.used: set[str] = set()
        self._names: dict[str, str] = {}
        for name in fields:
            self._names.setdefault(folded(str(name)), name)

    def first(self, *names: str) -> Any:
        """The first of the named fields that holds something, None if none does."""
        return next(iter(self._held(map(folded, names))), (None, None))[1]

    def named(self, *names: str) -> str | None:
        """The user's name of the first of the fields that holds something."""
        return next(iter(self._held(map(folded, names))), (None, None))[0]

    def _held(self, keys: Iterable[str]) -> Iterable[tuple[str, Any]]:
        for key in keys:
            name = self._names.get(key)
            if name is not None and not is_missing(self.fields[name]):
                self.used.add(name)
                yield name, self.fields[name]

    def images(self) -> Any:
        """What the row names as its pictures, however many columns they stand in; None if nothing."""
        numbered = sorted((int(found[1]), key) for key in self._names if (found := _NUMBERED.fullmatch(key)))
        several = [value for _, value in self._held(key for _, key in numbered)]
        return several or self.first(*IMAGE)

    def choice_columns(self) -> dict[str, Any]:
        """The choices of a row that has a column for each, by letter or number, empty ones kept; {} if it has none. One column
        alone is not enough, nor are columns that do not begin with the first letter or number."""
        found = {}
        for key, name in self._names.items():
            if column := _COLUMN.fullmatch(key):
                found[column[1] or column[2]] = name
        marks = _consecutive(found)
        if len(marks) < 2:
            return {}
        self.used.update(found[mark] for mark in marks)
        return {mark: self.fields[found[mark]] for mark in marks}

    def medium(self) -> str | None:
        """What the row shows that is no picture: "a video", "a sound"; None if nothing."""
        held = (name for name in self.columns() if isinstance(self.fields.get(name), str | bytes | list | dict))
        return next((word for name in held if (word := other_medium(name))), None)

    def columns(self) -> list[str]:
        """The user's names of the fields that hold something."""
        return [str(name) for name, value in self.fields.items() if not is_missing(value)]

    def picture_like(self) -> list[str]:
        """Fields that nothing was made of though they may name pictures."""
        return [
            name
            for name in self.columns()
            if name not in self.used and _looks_like_picture(name, self.fields.get(name))
        ]


def _consecutive(found: dict[str, str]) -> list[str]:
    """The longest series of letters from `a`, or of numbers from 0 or 1, that a row has columns for."""
    letters = [chr(ord("a") + place) for place in range(26)]
    series = (letters, [str(n) for n in range(1, 27)], [str(n) for n in range(26)])
    return max((_run(each, found) for each in series), key=len)


def _run(marks: list[str], found: dict[str, str]) -> list[str]:
    missing = next((place for place, mark in enumerate(marks) if mark not in found), len(marks))
    return marks[:missing]


def other_medium(name: Any) -> str | None:
    """The medium that a field or a part of a message is called after if it is none that is read, None otherwise."""
    return next((word for word, names in _MEDIA.items() if folded(str(name)) in names), None)


def _looks_like_picture(name: str, value: Any) -> bool:
    """Whether a field may name a picture: by its name, or since it holds the name of a picture's file."""
    return bool(_PICTURE_NAME.search(name)) or (isinstance(value, str) and bool(_PICTURE_FILE.fullmatch(value.strip())))
