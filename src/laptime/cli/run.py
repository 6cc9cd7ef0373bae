"""``laptime run``: any command that trains, timed, unedited."""

from __future__ import annotations

from pathlib import Path

import click

from laptime.cli.options import RUNS_DIR
from laptime.launch.recorded import end_like, full_command, recorder_environment, run_attached
from laptime.launch.recorded_end import end_of, nothing_recorded
from laptime.script_store import ScriptDirectory, create_script, new_script_status
from laptime.timing.clock import read_ns

_HELP = """Run a command that trains, unedited, and say where its time went.

COMMAND is what you would type without us: `python train.py`, `torchrun ...`, `srun ...`, a shell
script; `train.py` alone is short for `python train.py`. Its output, files, signals and exit status
are its own; what was measured is printed on standard error at its end. What stands before COMMAND
is meant for us, what stands after it never is.
"""


def run_command(
    command: tuple[str, ...],
    steps: int | None,
    headroom: bool,
    workers: bool,
    quiet: bool,
    runs_dir: Path,
) -> int:
    """Run the command with the recorder in it, keep what it found, return the exit status."""
    words = full_command(command)
    directory = create_script(runs_dir, _word(words))
    status = new_script_status(words, steps)
    directory.write_status(status)
    environ = recorder_environment(
        directory.path,
        STEPS=str(steps or ""),
        HEADROOM="1" if headroom else "",
        WORKERS="1" if workers else "",
    )
    start_ns = read_ns()
    returncode = run_attached(words, environ)
    ended = end_of(status, returncode, directory.path, read_ns() - start_ns)
    directory.write_status(ended)
    if not quiet:
        _tell(directory)
    return end_like(returncode)


def _tell(directory: ScriptDirectory) -> None:
    """Print what was measured, on standard error: standard output belongs to the script."""
    record = directory.read_record()
    if record.main is None:
        click.echo(f"laptime: {nothing_recorded(record.status, directory.path)}", err=True)
        return
    from laptime.report.scripts.run import render_script

    click.echo("\n".join(["", *render_script(record)]), err=True)


def _word(command: tuple[str, ...]) -> str:
    """Return what a run is called after: the script, else the command."""
    scripts = [Path(word).stem for word in command[1:] if word.endswith(".py")]
    modules = [command[i + 1] for i, word in enumerate(command[:-1]) if word == "-m"]
    return (scripts or modules or [Path(command[0]).name])[0]


command = click.Command(
    "run",
    callback=run_command,
    help=_HELP,
    epilog="Exit status: the command's own; 2 where it cannot be started.",
    context_settings={"help_option_names": ["-h", "--help"], "allow_interspersed_args": False},
    params=[
        click.Argument(["command"], metavar="[--] COMMAND ...", nargs=-1, type=click.UNPROCESSED),
        click.Option(
            ["--steps"],
            type=click.IntRange(min=1),
            metavar="N",
            help="Stop the script after so many optimizer steps, as sys.exit(0) would.",
        ),
        click.Option(
            ["--headroom"],
            is_flag=True,
            help="Replay batches that are in memory for some steps: what perfect loading would "
            "save, measured. The script's own training is left aside meanwhile, then stopped.",
        ),
        click.Option(
            ["--workers"],
            is_flag=True,
            help="Say what making a sample takes: __getitem__, each transform, collate, queue.",
        ),
        click.Option(["--quiet"], is_flag=True, help="Print nothing; `laptime report` shows it."),
        RUNS_DIR,
    ],
)
