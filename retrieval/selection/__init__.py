"""Which samples to train on: pure functions of a pool's ids, gaps and rankings."""
