"""The student behind a vLLM server, ours or one that is named: what is sent, who lives, what fits, what is refused."""
