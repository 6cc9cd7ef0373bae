"""``laptime tune``: which settings of an unedited job make it faster, proven by experiment."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from laptime.cli.options import JSON, RUNS_DIR, SettingsCommand, setting_options, settings_from
from laptime.cli.study import parse_budget
from laptime.errors import LaptimeError, SettingsError
from laptime.settings import FIELDS, build_settings

if TYPE_CHECKING:
    from laptime.tune import TuneRecord, TuneRequest

REFUSED = 3


def tune_command(
    command: tuple[str, ...],
    runs_dir: Path,
    scale: str,
    apply: bool,
    json: bool,
    **given: Any,
) -> int:
    """Tune, print what was found, apply the diff if that is asked for; return the exit status."""
    from laptime.cli.live_tune import LiveTune
    from laptime.tuning.run import run_tuning

    if apply and not command:
        raise SettingsError("--apply writes a diff of a script: name its command after --.")
    request = request_from(command, scale, given)
    live = LiveTune()
    live.began(" ".join(command) if command else "the built-in job")
    try:
        tuned = run_tuning(request, runs_dir, live)
    finally:
        live.close()
    written = _apply(tuned) if apply else None
    _print(tuned.record, written, json=json)
    _remember(tuned.record)
    return status_of(tuned.record)


def request_from(command: tuple[str, ...], scale: str, given: dict[str, Any]) -> TuneRequest:
    """Return what is asked for, checked before anything is started.

    Raises:
        LaptimeError: A value is refused, or the command cannot be found.
    """
    from laptime.launch.recorded import full_command
    from laptime.studies.scale import QUICK
    from laptime.tune import TuneRequest
    from laptime.tuning.choice.candidates import JOB_KINDS, KINDS, check_only

    own = {name: given.pop(name) for name in tuple(given) if name not in FIELDS}
    asked = {name: value for name, value in given.items() if value is not None}
    if command and (asked or scale != "full"):
        name = next(iter(asked), "scale").replace("_", "-")
        raise SettingsError(
            f"--{name} is a setting of the built-in job, but a command is given. Leave it out, or "
            f"give the command its own option, after it."
        )
    if scale == "quick":
        asked = {**QUICK, **asked}
    only = _names(own["only"])
    check_only(only, KINDS if command else JOB_KINDS)
    return TuneRequest(
        command=full_command(command) if command else (),
        settings=None if command else settings_from(None, asked),
        cwd=str(Path.cwd()),
        budget_s=parse_budget(own["budget"]),
        allow_numerics=own["allow_numerics"],
        blocks=own["blocks"],
        only=only,
        timeout_s=own["timeout"],
    )


def _names(text: str | None) -> tuple[str, ...]:
    """Return the names of ``num_workers,bf16``, however their words are joined."""
    words = (word.strip().replace("-", "_") for word in (text or "").split(","))
    return tuple(dict.fromkeys(filter(None, words)))


def _apply(tuned: Any) -> tuple[Path, ...]:
    """Write what the diff says, and nothing else; return the files."""
    from laptime.tuning.edits import apply

    return apply(tuned.edits)


def _remember(record: TuneRecord) -> None:
    """Keep a gain that was verified of the built-in job, for ``train --preset fast``."""
    from laptime.presets import Machine, Proven, job_words, remember, speed_of
    from laptime.report.words.tuning import gain_words
    from laptime.timing.clock import calendar_now

    settings, gain, pilot = record.request.settings, record.gain, record.pilot
    if settings is None or gain is None or gain.row.ratio is None:
        return
    saved = gain_words(gain.row.ratio, gain.row.low, gain.row.high)
    proven = Proven(
        machine=str(Machine(pilot.device_name, pilot.cpus, pilot.torch)),
        job=job_words(settings),
        changes=speed_of(build_settings({**settings.flat(), **dict(gain.changes)})),
        words=f"{saved} on {gain.row.n} fresh blocks",
        day=calendar_now().date().isoformat(),
    )
    try:
        remember(proven)
    except LaptimeError as error:  # the tuning itself is kept in its directory
        click.echo(f"laptime: not kept for --preset fast: {error}", err=True)
    else:
        click.echo("laptime: kept for `laptime train --preset fast` on this machine.", err=True)


def _print(record: TuneRecord, written: tuple[Path, ...] | None, *, json: bool) -> None:
    if json:
        applied = None if written is None else [str(path) for path in written]
        click.echo(json_text.dumps({**record.document(), "applied": applied}, allow_nan=False))
        return
    from laptime.report.tuning.tune import render_tuning

    click.echo("\n".join(render_tuning(record)))
    if written is not None:
        names = ", ".join(map(str, written))
        click.echo(f"Applied to {names}." if written else "Nothing was applied: there is no diff.")


def status_of(record: TuneRecord) -> int:
    """Return the exit status: 3 where the tuning refuses to conclude."""
    return REFUSED if record.conclusion == "refused" else 0


_HELP = """Find what makes a training faster without an edit, and prove it on fresh blocks.

COMMAND is what you would type without us. Its script runs unedited in fresh processes, again and
again, some steps each; overrides come from outside, one at a time, then the best at once. Kept is
what gains more than 3 % for certain while the losses stay what they are. What its runs write they
write again: give it a place of its own if that matters. Without COMMAND it is the built-in job
whose settings are tuned: the options from Model on.
"""

command = SettingsCommand(
    "tune",
    callback=tune_command,
    help=_HELP,
    epilog="Exit status: 0 done, with or without a gain; 1 the command fails by itself; 2 wrong "
    "usage; 3 refuses to conclude, or nothing in the command trains; 130 interrupted.",
    context_settings={"help_option_names": ["-h", "--help"], "allow_interspersed_args": False},
    params=[
        click.Argument(["command"], metavar="[--] [COMMAND ...]", nargs=-1, type=click.UNPROCESSED),
        click.Option(
            ["--budget"], default="10m", show_default=True, metavar="TIME",
            help="Take at most so long: 90s, 10m, 2h. What does not fit is said.",
        ),
        click.Option(
            ["--allow-numerics"], is_flag=True,
            help="Try what computes other numbers, too: TF32 and bf16.",
        ),
        click.Option(
            ["--blocks"], type=click.IntRange(1, 100), default=5, show_default=True, metavar="N",
            help="Replicates of a verdict. Fewer than 5 give a table and no verdict.",
        ),
        click.Option(
            ["--only"], metavar="NAME,NAME,...", help="Try only these: num_workers,threads ...",
        ),
        click.Option(
            ["--apply"], is_flag=True, help="Write the diff that is shown, and nothing else.",
        ),
        click.Option(
            ["--timeout"], type=click.FloatRange(1, 86_400), default=600.0, show_default=True,
            metavar="S", help="End a process that answers nothing for so many seconds.",
        ),
        click.Option(
            ["--scale"], type=click.Choice(["quick", "full"]), default="full", show_default=True,
            help="Of the built-in job: quick has a narrower network and fewer images.",
        ),
        RUNS_DIR,
        JSON,
        *setting_options(),
    ],
)  # fmt: skip
