"""From gaps to what is trained: samples selected from the pool, rehearsal of what was right, and the rows of a training set."""
