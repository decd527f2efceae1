"""The micro-world: pictures, questions, a student with true gaps, and a teacher that looks, all made here and seen in minutes."""

from pathlib import Path

#: Folder of the student that ships.
WEIGHTS = Path(__file__).parent / "weights" / "student"
