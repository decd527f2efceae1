"""What is costly to make and asked for again and again is made once."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from threading import Lock


class Once:
    """Bytes by what they were made of, the last used up to `most` bytes in all. What several threads want at one time, one of
    them makes, and the others wait; what could not be made is tried again."""

    def __init__(self, most: int) -> None:
        self._most, self._held = most, 0
        self._made: OrderedDict[Hashable, Future[bytes]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """What `make` gave for this key, now or earlier. Raises what it raises."""
        with self._lock:
            found = self._made.get(key)
            if found is None:
                mine = self._made[key] = Future()
            else:
                self._made.move_to_end(key)
        if found is not None:
            return found.result()
        try:
            made = make()
        except BaseException as error:
            with self._lock:
                del self._made[key]
            mine.set_exception(error)
            raise
        mine.set_result(made)
        with self._lock:
            self._held += len(made)
            for old in [each for each, one in self._made.items() if one.done()]:
                if self._held <= self._most or old == key:
                    break
                self._held -= len(self._made.pop(old).result())
        return made
