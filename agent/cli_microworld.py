"""`gaptutor microworld …` and what `gaptutor demo` runs on: the only place outside `eval` that knows the micro-world."""

from pathlib import Path
from typing import Annotated, Any

import typer

from agent.config import RunConfig, parse_config
from retrieval.errors import ConfigError

app = typer.Typer(help="The micro-world: a small world with a student that has true gaps, to try things on.", no_args_is_help=True)

#: Samples in the demo's pool.
DEMO_POOL = 8000
