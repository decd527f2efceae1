"""The state machine and who drives it: the graph and its nodes, what every round needs, the position that survives a
kill (`node`, `checkpoints`), and what signals do.
"""
