"""One node of the graph a file, in the order of a round: `prepare`, `evaluate`, `diagnose` to `tune`, `decide`, `finish`."""
