"""Rows as they are trained: the chat format, tokens and labels, batches."""
