"""`gaptutor run CONFIG --dry-run`: what a run will ask of its teacher, and about what that costs, before anything is paid.

Nobody is asked, nothing is started and nothing is written. What is known is counted: items, samples, and in a run that goes
on its answers and what its requests took. What is not is assumed, and said.
"""

from agent.estimate.printed import show_estimate
from agent.estimate.reckoning import estimate

__all__ = ["estimate", "show_estimate"]
