"""What a user names as MODULE:ATTRIBUTE in the configuration: a scorer of their own, an application to talk to."""

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from retrieval.errors import ConfigError


def find_callable(name: str, key: str) -> Callable[..., Any]:
    """What MODULE:ATTRIBUTE stands for; modules in the working folder are found, as with `python -m`.

    Raises ConfigError, which speaks of the configuration's `key`, if it is not there or cannot be called.
    """
    module, _, attribute = name.partition(":")
    here = os.getcwd()
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except (Exception, SystemExit) as error:  # a script's last line may well be sys.exit()
        said = f"{module!r} cannot be imported ({type(error).__name__}: {error})"
        raise ConfigError(f"{key} {name}: {said}; write it as MODULE:ATTRIBUTE") from error
    finally:
        if added:
            sys.path.remove(here)
    if not callable(found):
        said = f"{module!r} has nothing named {attribute!r} that can be called"
        raise ConfigError(f"{key} {name}: {said}; write it as MODULE:ATTRIBUTE")
    return found  # type: ignore[no-any-return]
