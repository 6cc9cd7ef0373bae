"""``laptime study``: one question, answered by experiment."""

from __future__ import annotations

import json as json_text
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from laptime.cli.options import JSON, RUNS_DIR, SettingsCommand, setting_options, settings_from
from laptime.errors import SettingsError
from laptime.settings import FIELDS, LAB_OPTIMIZERS, RunSettings, choices, suggestion

QUESTIONS = {
    "workers": "How many loader workers: both curves, the plateau, and fresh blocks for proof.",
    "devices": "The same work on each device found, and their ratio.",
    "optimizers": "Update rules: epoch time in turns; loss and accuracy over seeds.",
    "batchnorm": "With batch normalisation against without.",
}
"""The studies and the question that each answers."""

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def study_command(
    study: str,
    resume: str | None,
    like: str | None,
    scale: str,
    runs_dir: Path,
    json: bool,
    budget: str | None,
    **given: Any,
) -> int:
    """Run a study or go on with one; print what was found; return the exit status."""
    from laptime.cli.live_study import LiveStudy
    from laptime.report.studies.study import render_study
    from laptime.studies.catalog import continue_study, start_study
    from laptime.study_store import find_study

    budget_s = parse_budget(budget) if budget else None
    live = LiveStudy()
    try:
        if resume is not None:
            directory = find_study(runs_dir, resume or None, study)
            refuse_changes(directory.read_request(), given, like, scale)
            record = continue_study(directory, live, budget_s)
        else:
            request = request_from(study, like, scale, runs_dir, given)
            record = start_study(request, runs_dir, live, budget_s)
    finally:
        live.close()
    if json:
        click.echo(json_text.dumps(record.document(), allow_nan=False))
    else:
        click.echo("\n".join(render_study(record)))
    return 0 if any(arm.epoch_s or arm.accuracy for arm in record.arms) else 1


def request_from(
    study: str, like: str | None, scale: str, runs_dir: Path, given: dict[str, Any]
) -> Any:
    """Return what is asked for, checked before anything is started.

    Raises:
        LaptimeError: A value is refused, or the run to be like is not there.
    """
    from laptime.studies.scale import QUICK
    from laptime.study import StudyRequest, TurnPolicy

    own = {name: given.pop(name) for name in tuple(given) if name not in FIELDS}
    grid = parse_grid(given.pop("num_workers", None)) if study == "workers" else None
    base = _base(like, runs_dir)
    if scale == "quick":
        given = {**QUICK, **{name: value for name, value in given.items() if value is not None}}
    settings = settings_from(None, given, base)
    least, most = parse_turns(own["turns"])
    return StudyRequest(
        study=study,
        settings=settings,
        grid=grid,
        most_workers=own.get("max_workers"),
        optimizers=parse_optimizers(own.get("optimizers")) if study == "optimizers" else (),
        seeds=_seeds(settings, own.get("seeds")),
        tune_lr=bool(own.get("tune_lr")),
        blocks=own["blocks"],
        turns=TurnPolicy(min_turns=least, max_turns=most),
        timeout_s=own["timeout"],
        table_epochs=5 if own.get("tables", True) else 0,
        full=settings_from(None, {}) if scale == "quick" and study == "workers" else None,
    )


def refuse_changes(request: Any, given: dict[str, Any], like: str | None, scale: str) -> None:
    """Refuse a setting that differs from what the study was started with.

    Raises:
        SettingsError: It would be another study.
    """
    if like is not None or scale != "full":
        raise SettingsError("--resume goes on with what was asked: leave --like and --scale out.")
    was = request.settings.flat()
    for name, value in given.items():
        if name not in was or value is None or name == "num_workers":
            continue
        now = settings_from(None, {name: value}, request.settings).flat()[name]
        if now != was[name]:
            raise SettingsError(
                f"{name} is {now!r}, but the study was started with {was[name]!r}. Leave it out, "
                f"or start a new study."
            )
    grid = parse_grid(given.get("num_workers"))
    if grid is not None and request.study == "workers" and grid != request.grid:
        raise SettingsError(
            f"num-workers is {given['num_workers']!r}, but the study was started with another "
            f"grid. Leave it out, or start a new study."
        )


def parse_grid(text: str | None) -> tuple[int, ...] | None:
    """Return the worker counts of ``0,4,8``; each once, in the order given.

    Raises:
        SettingsError: A count is no whole number from 0 to 512, or is there twice.
    """
    if text is None:
        return None
    counts = []
    for word in text.split(","):
        if not re.fullmatch(r"\s*\d{1,3}\s*", word) or int(word) > 512:
            raise SettingsError(
                f"num-workers is {text[:60]!r}, but must be counts from 0 to 512: "
                f"--num-workers 0,4,8,12,16."
            )
        counts.append(int(word))
    if len(set(counts)) != len(counts):
        raise SettingsError(f"num-workers is {text[:60]!r}: name each count once.")
    if len(counts) < 2:
        raise SettingsError(
            f"num-workers is {text[:60]!r}, but one count compares nothing. Give two or more, or "
            f"leave it out."
        )
    return tuple(counts)


def parse_optimizers(text: str | None) -> tuple[str, ...]:
    """Return the names of ``sgd,adam``; without any, the lab's five.

    Raises:
        SettingsError: A name is unknown or there twice.
    """
    if text is None:
        return LAB_OPTIMIZERS
    from laptime.cli.options import translate

    names = tuple(translate("optimizer", word) for word in text.split(","))
    for name in names:
        if name not in choices("optimizer"):
            known = choices("optimizer")
            raise SettingsError(f"arm {name[:60]!r} is no optimizer.{suggestion(name[:60], known)}")
    if len(set(names)) != len(names) or len(names) < 2:
        raise SettingsError(
            f"optimizers is {text[:60]!r}: name two or more, each once, as in sgd,adam."
        )
    return names


def parse_budget(text: str) -> float:
    """Return the seconds of ``10m``, ``90s``, ``1.5h``.

    Raises:
        SettingsError: It is no positive time.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|min|h)?\s*", text)
    seconds = float(match[1]) * _UNITS[match[2] or ""] if match else 0.0
    if not 0 < seconds <= 30 * 86_400:
        raise SettingsError(f"budget is {text[:60]!r}, but must be a time such as 90s, 10m or 2h.")
    return seconds


def parse_turns(text: str) -> tuple[int, int]:
    """Return the fewest and the most turns of ``4-24`` or ``8``.

    Raises:
        SettingsError: They are no two numbers from 2 to 1000 in order.
    """
    match = re.fullmatch(r"\s*(\d{1,4})\s*(?:-\s*(\d{1,4})\s*)?", text)
    least = int(match[1]) if match else 0
    most = int(match[2] or match[1]) if match else 0
    if not 2 <= least <= most <= 1000:
        raise SettingsError(
            f"turns is {text[:60]!r}, but must be a number from 2 on such as 8, or the fewest and "
            f"the most such as 4-24."
        )
    return least, most


def _base(like: str | None, runs_dir: Path) -> RunSettings | None:
    if like is None:
        return None
    from laptime.store import find_run

    return find_run(runs_dir, like).read_settings()


def _seeds(settings: RunSettings, count: int | None) -> tuple[int, ...]:
    first = settings.training.seed
    return tuple(range(first, first + count)) if count else ()


def _options(study: str) -> list[click.Parameter]:
    """Return the options of one study, beside the settings of its runs."""
    own: list[click.Parameter] = []
    if study == "workers":
        own += [
            click.Option(
                ["--num-workers", "--workers", "num_workers"], metavar="N,N,...",
                help="Run exactly these counts; without it the study climbs until it is of no use.",
            ),
            click.Option(
                ["--max-workers"], type=click.IntRange(1, 512), metavar="N",
                help="Climb to this count at most.",
            ),
            click.Option(
                ["--tables/--no-tables"], default=True,
                help="Hold one worker against the recommended count, on fresh blocks where the "
                "grid leaves it out, and make one whole run with each.",
            ),
        ]  # fmt: skip
    if study in {"optimizers", "batchnorm"}:
        own.append(
            click.Option(
                ["--seeds"], type=click.IntRange(1, 100), default=5, show_default=True,
                metavar="N", help="Training runs an arm, for loss and accuracy.",
            )
        )  # fmt: skip
    if study == "optimizers":
        own += [
            click.Option(
                ["--optimizers"], metavar="NAME,NAME,...",
                help=f"What to compare [default: {','.join(LAB_OPTIMIZERS)}].",
            ),
            click.Option(
                ["--tune-lr"], is_flag=True,
                help="Add a table with a learning rate chosen for each, on a held-out split.",
            ),
        ]  # fmt: skip
    return [*own, *_COMMON]


_COMMON: Sequence[click.Parameter] = [
    click.Option(["--like"], metavar="RUN", help="Take the settings of a recorded run."),
    click.Option(
        ["--scale"],
        type=click.Choice(["quick", "full"]),
        default="full",
        show_default=True,
        help="quick has a narrower network and fewer images.",
    ),
    click.Option(
        ["--blocks"],
        type=click.IntRange(1, 100),
        default=5,
        show_default=True,
        metavar="N",
        help="Replicates: sets of fresh processes. Fewer than 5 give a table and no verdict.",
    ),
    click.Option(
        ["--turns"],
        default="4-24",
        show_default=True,
        metavar="N[-N]",
        help="Fewest and most turns of an arm in a block.",
    ),
    click.Option(["--budget"], metavar="TIME", help="Take at most so long: 90s, 10m, 2h."),
    click.Option(
        ["--timeout"],
        type=click.FloatRange(1, 86_400),
        default=600.0,
        show_default=True,
        metavar="S",
        help="End an arm that answers nothing for so many seconds; it counts as timed out.",
    ),
    click.Option(
        ["--resume"],
        is_flag=False,
        flag_value="",
        metavar="[STUDY]",
        help="Go on with a study: its directory, its name, or the newest.",
    ),
    RUNS_DIR,
    JSON,
]


def _command(study: str) -> click.Command:
    left_out = {"workers": {"num_workers"}, "optimizers": {"optimizer"}, "batchnorm": {"norm"}}
    names = [name for name in FIELDS if name not in left_out.get(study, set())]
    return SettingsCommand(
        study,
        callback=lambda **given: study_command(study, **given),
        help=QUESTIONS[study],
        short_help=QUESTIONS[study],
        params=[*_options(study), *setting_options(names)],
        context_settings={"help_option_names": ["-h", "--help"]},
    )


command = click.Group(
    "study",
    commands={study: _command(study) for study in QUESTIONS},
    help="Answer one question by experiment: fresh processes that take turns, blocks, intervals "
    "and a verdict, or a reason why there is none.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
