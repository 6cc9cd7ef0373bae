"""``laptime export``: the lab's training as one plain PyTorch file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from laptime.cli.options import SettingsCommand, setting_options, settings_from
from laptime.errors import SettingsError, StoreError
from laptime.files import write_atomically
from laptime.settings import FIELDS

_LEFT_OUT = {
    *("checkpoint_every", "timing", "deterministic", "evaluate", "compile", "precision"),
    *("channels_last", "loader", "prefetch_factor", "persistent_workers", "pin_memory"),
}
"""What the plain script does not have."""

_NAMES = [name for name in FIELDS if name not in _LEFT_OUT]


def export_command(output: Path, force: bool, config: Path | None, **given: Any) -> int:
    """Write the script; refuse to replace a file unless told to."""
    settings = settings_from(config, given)
    if output.exists() and not force:
        raise StoreError(f"{output} is already there. Name another --output, or add --force.")
    if not output.parent.is_dir():
        raise SettingsError(f"output is {str(output)!r}, but {output.parent} is no directory.")
    from laptime.data.catalog import build_data
    from laptime.training.plain import render_plain_script

    script = render_plain_script(settings, build_data(settings.data), output.name)
    write_atomically(output, script.encode())
    click.echo(f"{output}: plain PyTorch, without laptime. Run it with `python {output}`.")
    return 0


command = SettingsCommand(
    "export",
    callback=export_command,
    help="Write the training as one plain PyTorch file without laptime.\n\n"
    "On the same machine it gives the same losses, bit by bit.",
    context_settings={"help_option_names": ["-h", "--help"]},
    params=[
        *setting_options(_NAMES),
        click.Option(
            ["-o", "--output"],
            default="train_plain.py",
            show_default=True,
            metavar="FILE",
            type=click.Path(path_type=Path, dir_okay=False),
            help="The file to write.",
        ),
        click.Option(["--force"], is_flag=True, help="Replace the file if it is there."),
        click.Option(
            ["--config"],
            metavar="FILE.toml",
            type=click.Path(path_type=Path),
            help="Settings from a file; its keys are the names of these options.",
        ),
    ],
)
