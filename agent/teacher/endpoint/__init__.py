"""One request to an OpenAI-compatible API: its dialect, its pace, its outages, and what came back."""
