"""The teacher's key: read from the environment, and never shown."""

import json
import os
from urllib.parse import quote

from retrieval.errors import TeacherSetupError

#: Characters of a key from which on it is one.
SECRET = 8


def read_key(variable: str) -> str:
    """The key in an environment variable, "" if there is none. Raises TeacherSetupError, which does not quote it, if it holds
    what no key does."""
    key = os.environ.get(variable, "").strip()
    if "\n" in key or "\r" in key:
        what = "a line break"
    elif not key.isascii():
        what = "a character that is not ASCII"
    elif any(not "!" <= character <= "~" for character in key):
        what = "a space or a control character"
    else:
        return key
    raise TeacherSetupError(f"the key in {variable} holds {what}, as no key does; set it again")


def forms_of(key: str) -> list[str]:
    """How a key may look in a message: as it is, quoted by Python or JSON, in a URL; the longest first. None for one that is
    too short to be secret: local servers take any key, say EMPTY, and replies must not lose that word."""
    if len(key) < SECRET:
        return []
    forms = {key, repr(key)[1:-1], repr(key.encode())[2:-1], json.dumps(key)[1:-1], quote(key), quote(key, safe="")}
    return sorted(forms, key=len, reverse=True)
