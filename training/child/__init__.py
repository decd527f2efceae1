"""The child process that tunes: watched, given room, and resumed."""
