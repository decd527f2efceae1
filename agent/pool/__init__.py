"""The pool's part of a run: where it is kept, the names of its skills, and which samples show a validation item."""
