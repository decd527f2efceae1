"""The folder that a file's pictures lie in: a path in a file that someone else wrote may not lead out of it.

A pool or a validation set is often downloaded, and its pictures are shown to the teacher. One that names `/home/…/private.png`,
`../…`, or a link that leads out, would send what was never meant to leave the machine. Not covered: hard links.
"""

import os
from pathlib import Path

from retrieval.errors import DataError


class ImageFolder:
    """Finds pictures by their paths, relative to `folder` or absolute; `anywhere`: also outside of it. `key` is the setting that
    says so."""

    def __init__(self, folder: Path, anywhere: bool, key: str) -> None:
        self.folder = folder
        self._anywhere, self._key = anywhere, key
        self._real = os.path.realpath(folder)
        #: Folders that pictures lie in, and where links in their paths lead to.
        self._parents: dict[str, str] = {}

    def find(self, name: str) -> Path:
        """Where the picture of that path lies, if there is one. Raises DataError if the path leads out of the folder."""
        path = self.folder / name
        if "\\" in name and not path.exists():  # as Windows writes paths
            path = self.folder / name.replace("\\", "/")
        if self._anywhere or self._holds(path):
            return path
        raise DataError(
            f"its image {path} lies outside the image folder {self.folder}; put it there, or set {self._key} to true if you "
            "know what the file names"
        )

    def _holds(self, path: Path) -> bool:
        parent, last = os.path.split(path)
        if last in ("", ".", "..") or os.path.islink(path):
            real = os.path.realpath(path)
        else:
            if parent not in self._parents:
                self._parents[parent] = os.path.realpath(parent)
            real = os.path.join(self._parents[parent], last)
        return real.startswith(os.path.join(self._real, ""))
