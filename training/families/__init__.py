"""The model families that can be tuned, and their processors."""
