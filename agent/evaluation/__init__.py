"""Answering items and judging the answers: a round's sets, a control's, or a test set outside any run."""
