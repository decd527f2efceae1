"""One picture that is shown to an endpoint, to learn whether it takes pictures at all, and what comes of them."""

import io
import re
from functools import cache
from typing import Any

from PIL import Image

from agent.chat.attachments import data_url

#: Side of the picture in pixels: no model scales it down, and none refuses it as too small.
_SIDE = 224
_RED = re.compile(r"\bred\b|crimson|scarlet", re.IGNORECASE)
#: What one says who was shown nothing: that, or any colour.
_BLIND = re.compile(
    r"\b(can ?not|can['’]t|unable|(don|didn|haven)['’]t|do not|did not|no (image|picture)|not (see|able|visible)|provide|upload"
    r"|attach|text[- ](only|based)|black|white|gr[ae]y|blue|green|yellow|orange|purple|brown|pink)",
    re.IGNORECASE,
)


@cache
def picture() -> dict[str, Any]:
    """A red square as a part of a message."""
    buffer = io.BytesIO()
    Image.new("RGB", (_SIDE, _SIDE), (220, 20, 30)).save(buffer, "PNG")
    return {"type": "image_url", "image_url": {"url": data_url(buffer.getvalue())}}


def question() -> list[dict[str, Any]]:
    """A message about that picture, asked as the teacher's questions are."""
    asked = {"type": "text", "text": "Which colour fills the picture? Reply with one word."}
    system = {"role": "system", "content": "You look at a picture and answer a question about it."}
    return [system, {"role": "user", "content": [picture(), asked]}]


def seems_blind(reply: str) -> bool:
    """Whether a reply to `question` is that of one who did not see it."""
    return _RED.search(reply) is None and _BLIND.search(reply) is not None
