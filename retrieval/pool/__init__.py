"""The pool: records in many formats, imported once with their images, and the samples that overlap with others."""
