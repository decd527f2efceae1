"""What the teacher is asked and what it must reply: a prompt file and a model a kind, or a user's own."""
