"""The teacher: a stronger model that finds wrong steps, names skills and says which names mean the same."""
