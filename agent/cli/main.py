"""The command `gaptutor`.

Exit codes: 0 done · 1 failed (what was best is kept, and the run can go on) · 2 a mistake of the user's (one sentence says
which) · 3 stopped by a signal (the run can go on) · 4 waiting for a person to review the gaps · 5 the teacher's
budget is used up (the run can go on under a higher one) · 130 stopped now, by a second signal.
"""

import asyncio
import importlib.metadata
import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Never

import typer
from rich.markup import escape

from agent.cli import microworld as cli_microworld
from agent.config.loading import load_config
from agent.config.schema import RunConfig
from agent.run.console import Reporter, terminal, visible
from agent.run.reading import RunRecords
from agent.run.resume import IfExists
from eval.gold import Answers
from retrieval.errors import GaptutorError

app = typer.Typer(
    name="gaptutor",
    help="Adapt a vision-language model to a task of which you have only a validation set.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(cli_microworld.app, name="microworld")

_EXIT = {"finished": 0, "failed": 1, "stopped": 3, "waiting": 4, "budget": 5}

DEMO_TASK, DEMO_RUN = "extremes", Path("runs/demo")


def _version(asked: bool) -> None:
    if asked:
        print(f"gaptutor {importlib.metadata.version('gaptutor')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version, and end.")
    ] = False,
) -> None:
    pass


ConfigFile = Annotated[Path, typer.Argument(help="Configuration of the run (YAML); `gaptutor init` writes one.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C", help="Change one value of the configuration.")
]
Existing = Annotated[
    IfExists,
    typer.Option(
        "--if-exists",
        help="What to do with a run that is there: resume it; raise, that is refuse; delete it and start over, but keep the "
        "teacher's replies, which are paid for; delete-all: those too.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


@app.command()
def run(
    config: ConfigFile,
    set_: Overrides = None,
    run_dir: Annotated[Path | None, typer.Option(help="Folder of the run; runs/NAME if not given.")] = None,
    if_exists: Existing = "resume",
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first so many items (for a trial).")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what the teacher would be asked, and about what that costs.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Adapt a student: start a run, or go on with it where it was left."""
    overrides = [*(set_ or []), *([f"data.limit={limit}"] if limit else [])]
    loaded = load_config(config, overrides)
    path = run_dir or Path("runs") / loaded.name
    if dry_run:
        return _estimate(loaded, path, if_exists, as_json)
    again = shlex.join(
        [
            *("gaptutor", "run", str(config)),
            *(["--run-dir", str(run_dir)] if run_dir else []),
            *(word for each in set_ or [] for word in ("--set", each)),
            *(["--limit", str(limit)] if limit else []),
        ]
    )
    raise typer.Exit(start(loaded, path, if_exists, as_json, again))


def _estimate(config: RunConfig, path: Path, if_exists: IfExists, as_json: bool) -> None:
    from agent.estimate import estimate, show_estimate

    found = estimate(config, path, if_exists, Reporter(quiet=as_json))
    if as_json:
        print(json.dumps(found))
    else:
        show_estimate(found, terminal())


def start(config: RunConfig, path: Path, if_exists: IfExists, as_json: bool, again: str) -> int:
    """Drive a run and print how it ended; `again` is the command that goes on with it. Returns the exit code."""
    from agent.loop.drive import drive
    from agent.run.summary import summary, table

    reporter = Reporter()
    try:
        ending = asyncio.run(drive(config, path, if_exists, reporter))
    except (KeyboardInterrupt, asyncio.CancelledError):
        reporter.say(escape(f"stopped; go on with: {again}"))
        return 130
    found = summary(path)
    if as_json:
        print(json.dumps(found))
    reporter.table(table(found))
    hints = {
        "finished": f"read why: {path}/report.html"
        + (f" · use it: {path}/best" if found["best_round"] else "")
        + (f" · more rounds: {again} --set max_rounds=MORE" if found["stop_reason"] == "max_rounds" else ""),
        "failed": f"{found['stop_reason']}; see {path}/events.jsonl",
        "stopped": f"stopped; go on with: {again}",
        "budget": f"stopped by its budget; go on with: {again} --set teacher.budget_usd=MORE",
        "waiting": f"read the gaps in {max(path.glob('rounds/*/gaps.json'), default=path)}, edit them, then: {again}",
    }
    reporter.say(escape(hints[ending]))
    return _EXIT[ending]


@app.command()
def show(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, or its name in runs/.")],
    as_json: AsJson = False,
) -> None:
    """Show how a run stands: its rounds, its gaps, what it cost."""
    from agent.run.summary import summary, table

    path = _run_path(run_folder)
    found = summary(path)
    if as_json:
        print(json.dumps(found))
    else:
        terminal().print(table(found))


def _run_path(named: Path) -> Path:
    """The folder of a run that is named by it, or by its name in runs/."""
    by_name = Path("runs") / named
    return by_name if by_name.exists() and not named.exists() else named


@app.command()
def report(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, or its name in runs/.")],
) -> None:
    """Write the run's page, report.html, anew: of an older run, or after its figures were moved."""
    from agent.report import write_report

    path = _run_path(run_folder)
    RunRecords(path)  # says in a sentence if there is no run
    write_report(path)
    print(visible(str(path / "report.html")))


@app.command()
def demo(
    if_exists: Existing = "resume",
    task: Annotated[str, typer.Option(help="Task of the micro-world.")] = DEMO_TASK,
    run_dir: Annotated[Path, typer.Option(help="Folder of the run.")] = DEMO_RUN,
    as_json: AsJson = False,
) -> None:
    """Run the whole loop on the micro-world: a small student with true gaps, on this machine, without network."""
    config = cli_microworld.demo_config(task, run_dir)
    again = shlex.join(
        [
            *("gaptutor", "demo"),
            *(["--task", task] if task != DEMO_TASK else []),
            *(["--run-dir", str(run_dir)] if run_dir != DEMO_RUN else []),
        ]
    )
    raise typer.Exit(start(config, run_dir, if_exists, as_json, again))


@app.command()
def evaluate(
    config: ConfigFile,
    items: Annotated[Path, typer.Option(help="The test set: any format that validation sets may have.")],
    adapter: Annotated[
        Path | None, typer.Option(help="Folder of the adapter, e.g. runs/NAME/best; none: the student as it is.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the answers here (JSONL).")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Answer only the first so many items.")] = None,
    set_: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Answer a test set with the student, with or without an adapter, and print its accuracy."""
    from agent.evaluation.answering import evaluate_file

    asked = evaluate_file(load_config(config, set_), items, adapter, out, Reporter(quiet=as_json), limit)
    result = asyncio.run(asked)
    if as_json:
        print(json.dumps(result))
    else:
        print(visible("\n".join(_evaluated(result))))


def _evaluated(result: dict[str, Any]) -> list[str]:
    """What `evaluate` says, a line each."""
    low, high = result["interval"]
    lines = [
        f"accuracy {result['accuracy']:.3f} (95% interval {low:.3f}–{high:.3f}, n = {result['n']})",
        f"scored by `{result['scorer']['name']}` ({result['scorer']['why']})",
    ]
    if result["format"]:
        lines.append(f"{result['format']} answers could not be read and count as wrong")
    if result["errors"]:
        lines.append(f"{result['errors']} items got no answer, or no verdict on it, and count neither way")
    if aside := result["set_aside"]:
        lines.append(f"{len(aside)} items could not be read; the first, {aside[0]['where']}: {aside[0]['reason']}")
    return lines


@app.command()
def init(
    validation: Annotated[Path, typer.Argument(help="Validation set: JSONL, JSON, CSV or Parquet.")],
    student: Annotated[str, typer.Option(help="Folder or hub name of the model to adapt.")],
    teacher: Annotated[str, typer.Option(help="Name of the teacher model.")],
    pool: Annotated[Path | None, typer.Option(help="Pool of training samples.")] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder that the validation set's image paths are relative to.")
    ] = None,
    holdout: Annotated[
        Path | None, typer.Option(help="Items of a file of its own that decide nothing: the figure to believe.")
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(help="Address of the teacher's endpoint, e.g. http://127.0.0.1:8080/v1; else OpenAI's."),
    ] = None,
    answers: Annotated[
        Answers, typer.Option(help="What digits are as gold answers among choices, if that is not plain.")
    ] = "auto",
    out: Annotated[Path, typer.Option(help="Configuration to write.")] = Path("gaptutor.yaml"),
    force: Annotated[bool, typer.Option(help="Replace a file that is there.")] = False,
) -> None:
    """Write a configuration that explains itself, after looking at the validation set and the student."""
    from agent.cli.init import Given, write_config

    given = Given(validation, student, teacher, pool, images, holdout, base_url, answers)
    for line in write_config(given, out, force):
        print(visible(line))


@app.command()
def prompts(folder: Annotated[Path, typer.Argument(help="Where to write them.")]) -> None:
    """Write down what the teacher is asked with, to be changed and named at `teacher.prompts`."""
    from agent.teacher.prompts.own import write_prompts

    for path in write_prompts(folder):
        print(visible(str(path)))
    print(visible(f"change what you like and delete the rest; then set teacher.prompts to {folder}"))


@app.command()
def doctor(
    config: Annotated[Path | None, typer.Argument(help="A configuration to look at too.", show_default=False)] = None,
    set_: Overrides = None,
    gpu_gib: Annotated[
        float | None, typer.Option(help="Memory of the GPU (GiB) that the run is meant for, if it is not here.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what this machine has, what is missing, and the command that cures it; with CONFIG, whether that can run."""
    from agent.cli.doctor import examine, sorted_lines

    found = examine(key=config is None)
    if config is not None:
        from agent.cli.checkup import examine_config

        found = [*examine_config(load_config(config, set_), gpu_gib), *found]
    if as_json:
        print(json.dumps([check._asdict() for check in found]))
    else:
        console = terminal()
        for line in sorted_lines(found):
            console.print(line, highlight=False)
    raise typer.Exit(0 if all(check.ok or check.optional for check in found) else 1)


def main(argv: list[str] | None = None) -> None:
    """Entry point: turns our own errors into one sentence and an exit code; where JSON was asked for, into that as well."""
    try:
        app(argv, standalone_mode=True)
    except GaptutorError as error:
        _fail(error, error.exit_code, argv)
    except OSError as error:  # of a disk or a path that no border of ours has named
        _fail(error, 1, argv)
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("gaptutor: stopped", file=sys.stderr)
        sys.exit(130)


def _fail(error: Exception, code: int, argv: list[str] | None) -> Never:
    if "--json" in (sys.argv[1:] if argv is None else argv):
        print(json.dumps({"schema": 1, "error": str(error), "exit_code": code}))
    print(visible(f"gaptutor: {error}"), file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
