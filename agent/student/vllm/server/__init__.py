"""A vLLM server over HTTP: what it must have room for, one of our own (`own`), and one that the user names (`named`)."""
