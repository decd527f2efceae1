"""Files that survive a kill, and orders that depend on a seed alone."""
