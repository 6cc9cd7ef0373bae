"""``laptime inspect``: what a model is made of, and what a training step leaves behind."""

from __future__ import annotations

import contextlib
import json as json_text
import math
import re
import sys
from pathlib import Path
from typing import Any

import click

from laptime.cli.options import (
    JSON,
    SettingsCommand,
    setting_options,
    settings_from,
    translate,
)
from laptime.errors import SettingsError, printable
from laptime.inspection.optimizers import choose_optimizers
from laptime.settings import LAB_OPTIMIZERS, ModelSettings

_NAMES = (
    *("width", "norm", "batch_size", "lr", "momentum", "weight_decay"),
    *("device", "precision", "seed"),
)

_SHAPE = re.compile(r"\s*\d{1,9}(\s*[,x]\s*\d{1,9}){0,4}\s*")

_MOST_VALUES = 1 << 28
"""In a sample: a gigabyte of float32."""

_EXAMPLES = """Examples: `laptime inspect`; `laptime inspect --norm none --optimizers all`;
`laptime inspect mynet.py:build --input 1,28,28`; `laptime inspect torchvision:resnet50 --input
3,224,224`; `laptime inspect mylm.py:build --input 128 --tokens 32000`."""


def inspect_command(
    model: str | None,
    named: str | None,
    optimizers: str,
    input: str,  # noqa: A002 - the option's name
    tokens: int | None,
    depth: int | None,
    roofs: bool,
    config: Path | None,
    json: bool,
    **given: Any,
) -> int:
    """Count a model, print what was found, and return the exit status."""
    if model and named:
        raise SettingsError(f"model is {model!r}, and --model {named!r}. Leave one of them out.")
    settings = settings_from(config, {**given, "model": model or named})
    shape = parse_shape(input)
    asked = choose_optimizers(parse_names(optimizers), settings.optimizer)
    for name in ("width", "norm"):
        if given[name] is not None and settings.model.model != ModelSettings().model:
            click.echo(f"--{name} does nothing here: it is resnet18's.", err=True)
    click.echo(printable(f"Counting {settings.model.model} on random samples ..."), err=True)
    from laptime.inspection.inspect import inspect

    # What the user's own code prints is no result of ours.
    with contextlib.redirect_stdout(sys.stderr):
        found = inspect(settings, asked, shape, tokens=tokens, with_roofs=roofs)
    if json:
        click.echo(json_text.dumps(found.document(), allow_nan=False))
        return 0
    from laptime.report.models.census import render_inspection

    click.echo("\n".join(render_inspection(found, depth)))
    return 0


def parse_shape(text: str) -> tuple[int, ...]:
    """Return the shape of one sample: ``3,32,32`` or ``3x32x32``.

    Raises:
        SettingsError: It is none, or a sample would not fit into memory.
    """
    if not _SHAPE.fullmatch(text):
        raise SettingsError(
            f"input is {text[:60]!r}, but must be the sizes of one sample such as 3,32,32."
        )
    shape = tuple(int(size) for size in re.split("[,x]", text))
    if not 0 < math.prod(shape) <= _MOST_VALUES:
        raise SettingsError(
            f"input is {text[:60]!r}, a sample of {math.prod(shape):,} values, but must have 1 to "
            f"{_MOST_VALUES:,}. Give sizes such as 3,32,32."
        )
    return shape


def parse_names(text: str) -> tuple[str, ...]:
    """Return the names of ``sgd,adam``, each once; ``all`` is the lab's five."""
    if text.strip().lower() == "all":
        return LAB_OPTIMIZERS
    return tuple(dict.fromkeys(str(translate("optimizer", word)) for word in text.split(",")))


class _Model(click.Argument):
    """An argument with a help text, which click's own has since 8.5 only."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        """Return the row that stands among the settings of the model."""
        return self.make_metavar(ctx), (
            "resnet18; a factory of your own, package.module:factory or file.py:factory; timm:NAME "
            "or torchvision:NAME where that library is installed. [default: resnet18]"
        )


command = SettingsCommand(
    "inspect",
    callback=inspect_command,
    help="Count a model: layers, parameters, gradients, optimizer state, arithmetic.\n\n"
    "Needs no data, trains nothing and stores nothing: random samples go through the model.",
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
    params=[
        _Model(["model"], required=False, metavar="[MODEL]"),
        click.Option(["--model", "named"], hidden=True),  # as `laptime train` has it
        *setting_options(_NAMES),
        click.Option(
            ["--optimizers"],
            default="sgd,adam",
            show_default=True,
            metavar="NAME,NAME,...",
            help=f"Step with each of these; all is {','.join(LAB_OPTIMIZERS)}. sgd comes with and "
            f"without momentum.",
        ),
        click.Option(
            ["--input"],
            default="3,32,32",
            show_default=True,
            metavar="C,H,W",
            help="Shape of one sample, without the batch.",
        ),
        click.Option(
            ["--tokens"],
            type=click.IntRange(2, 1 << 31),
            metavar="N",
            help="Give the model whole numbers below N, as text models read.",
        ),
        click.Option(
            ["--depth"],
            type=click.IntRange(1, 100),
            metavar="N",
            help="List modules that are nested so deep [default: as deep as fits 80 rows].",
        ),
        click.Option(
            ["--roofs/--no-roofs"],
            default=True,
            show_default=True,
            help="Measure what this machine does at best, and what that means for an epoch.",
        ),
        click.Option(
            ["--config"],
            metavar="FILE.toml",
            type=click.Path(path_type=Path),
            help="Settings from a file; its keys are the names of these options.",
        ),
        JSON,
    ],
)
