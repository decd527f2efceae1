"""The report of a run: one HTML file that needs no network, for the person who wants to read why the student fails.

Everything from samples, students and teachers is data: the template escapes it, and the page's own policy runs no
script but ours and loads nothing from anywhere.
"""

import base64
import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from agent.report.caveats import caveats_of
from agent.report.charts import accuracy_panels
from agent.report.costs import cost_table, costs_in_words
from agent.report.ending import ending_of
from agent.report.fetched import selection_table, shares_of
from agent.report.gallery import make_gallery
from agent.report.headline import make_headline
from agent.report.pictures import Picture, Pictures
from agent.report.tables import gap_table, round_table
from agent.report.whatnow import what_now
from agent.run import wording
from agent.run.reading import RunRecords
from retrieval.storage.files import write_bytes

#: The page is kept below this many bytes by showing fewer errors and pictures.
MAX_BYTES = 5_000_000
_MOST_ERRORS = 200


def write_report(run: Path) -> Path:
    """Write report.html into a run folder, whatever state the run is in. Raises RunError, StorageError."""
    records = RunRecords(run)
    made: dict[tuple[Path, int], Picture] = {}
    page, errors = _render(records, _MOST_ERRORS, made), _MOST_ERRORS
    while len(page) > MAX_BYTES and errors > 1:
        errors //= 2
        page = _render(records, errors, made)
    path = run / "report.html"
    write_bytes(path, page)
    return path


def _render(records: RunRecords, errors: int, made: dict[tuple[Path, int], Picture]) -> bytes:
    style, script = _asset("page.css"), _asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = (
        _environment()
        .get_template("page.html.j2")
        .render(
            run=records,
            headline=make_headline(records),
            ending=ending_of(records),
            costs_said=costs_in_words(records),
            facts=what_now(records),
            understood=_lines(records.status.get("understood")),
            pool_understood=_lines(records.status.get("pool_understood")),
            caveats=caveats_of(records),
            panels=accuracy_panels(records),
            rounds=round_table(records),
            gaps=gap_table(records),
            selection=selection_table(records),
            shares=shares_of(records),
            gallery=make_gallery(records, Pictures(MAX_BYTES * 6 // 10, made), errors),
            costs=cost_table(records),
            style=Markup(style),
            script=Markup(script),
            script_hash=digest,
        )
    )
    return page.encode("utf-8", "replace")


def _lines(found: object) -> list[str]:
    return [str(line) for line in found] if isinstance(found, list) else []


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("agent.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["words"] = wording
    return environment


@cache
def _asset(name: str) -> str:
    return files("agent.report").joinpath(name).read_text(encoding="utf-8")
