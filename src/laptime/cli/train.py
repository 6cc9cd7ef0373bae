"""``laptime train``: one run, timed."""

from __future__ import annotations

import contextlib
import json as json_text
import sys
from pathlib import Path
from typing import Any

import click

from laptime.cli.options import (
    JSON,
    RUNS_DIR,
    SettingsCommand,
    setting_options,
    settings_from,
)
from laptime.errors import SettingsError
from laptime.presets import PRESETS
from laptime.record import RunRecord
from laptime.settings import RunSettings

_EXAMPLES = """Examples: `laptime train --samples 2048`; `laptime train --data ./data --evaluate`;
`laptime train --model mynet.py:build --data mydata.py:build`; `laptime train --resume`."""

EXIT_STATUS = {"completed": 0, "interrupted": 130}
"""Exit status by the status of the run; every other one is 1."""


def train_command(
    resume: str | None,
    config: Path | None,
    runs_dir: Path,
    json: bool,
    gpu: bool,
    disable_batch_norm: bool,
    preset: str | None,
    **given: Any,
) -> int:
    """Train, print what was measured, and return the exit status."""
    if gpu:
        given["device"] = _agreeing("device", given["device"], "cuda", "--gpu")
    if disable_batch_norm:
        given["norm"] = _agreeing("norm", given["norm"], "none", "--disable-batch-norm")
    if preset is not None and resume is not None:
        raise SettingsError(
            f"preset is {preset!r}, but --resume goes on with a run's own settings. "
            f"Leave one of them out."
        )
    record = _run(resume, config, given, runs_dir, preset, json=json)
    return EXIT_STATUS.get(record.status, 1)


def _run(
    resume: str | None,
    config: Path | None,
    given: dict[str, Any],
    runs_dir: Path,
    preset: str | None,
    *,
    json: bool,
) -> RunRecord:
    streamed = sys.stdout.isatty() and not json
    if resume is None:
        settings = settings_from(config, given)
        if preset is not None:
            settings = settings_from(config, given, base=_preset(preset, settings))
    else:
        # Before torch is imported: a run that is not there is refused at once.
        from laptime.store import find_run

        found = find_run(runs_dir, resume or None)
        settings = settings_from(config, given, base=found.read_settings())
    from laptime.cli.live import LiveRun
    from laptime.training import loop

    live = LiveRun(stream_rows=streamed)
    try:
        # What the user's own code prints is no result of ours.
        with contextlib.redirect_stdout(sys.stderr):
            if resume is None:
                record = loop.train(settings, runs_dir, live)
            else:
                record = loop.resume(found, settings, live)
    finally:
        live.close()
    with contextlib.suppress(BrokenPipeError):  # the run's own status counts, not its reader's
        _print(record, json=json, rows_are_out=live.started and streamed)
    return record


def _print(record: RunRecord, *, json: bool, rows_are_out: bool) -> None:
    if json:
        click.echo(json_text.dumps(record.document(), allow_nan=False))
        return
    from laptime.report.runs.run import closing_lines, render_run

    for line in closing_lines(record) if rows_are_out else render_run(record):
        click.echo(line)


def _preset(name: str, asked: RunSettings) -> RunSettings:
    """Return the settings of a preset on the device that is asked for, and say what they are."""
    from laptime.presets import Machine, build_preset
    from laptime.timing.environment import collect_environment
    from laptime.training.device import choose_device

    device = choose_device(asked.training.device)
    found = collect_environment(str(device))
    machine = Machine(found.device_name, found.cpus_usable, found.torch)
    base, words = build_preset(name, asked, machine, device.type)
    if words:
        click.echo(f"laptime: {words}", err=True)
    return base


def _agreeing(name: str, given: str | None, meant: str, flag: str) -> str:
    """Return what a short flag means, unless the long one says something else."""
    if given is not None and given.lower() != meant and not given.startswith(f"{meant}:"):
        raise SettingsError(
            f"{name} is {given!r}, but {flag} means {meant!r}. Leave one of them out."
        )
    return given or meant


command = SettingsCommand(
    "train",
    callback=train_command,
    help="Train, and say where every second of each epoch went.\n\n"
    "Without options: the lab's training, ResNet-18 on CIFAR-10 where it is on disk, else on an "
    "embedded set of the same shape.",
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
    params=[
        *setting_options(),
        click.Option(
            ["-r", "--resume"],
            is_flag=False,
            flag_value="",
            metavar="[RUN]",
            help="Go on with a run: its directory, its name, or the newest.",
        ),
        click.Option(
            ["--config"],
            metavar="FILE.toml",
            type=click.Path(path_type=Path),
            help="Settings from a file; its keys are the names of these options.",
        ),
        click.Option(
            ["--preset"],
            type=click.Choice(PRESETS),
            help="lab: as assigned, the default; fast: what `laptime tune` has proven of this job "
            "on this machine, else what often helps, unproven. Other options hold over it.",
        ),
        RUNS_DIR,
        JSON,
        click.Option(["--gpu"], is_flag=True, help="The same as --device cuda."),
        click.Option(["--disable-batch-norm"], is_flag=True, help="The same as --norm none."),
    ],
)
