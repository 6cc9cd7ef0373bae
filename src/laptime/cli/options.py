"""Settings as options of the command line: one for each field, with its docstring as help."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from laptime.errors import SettingsError
from laptime.settings import FIELDS, GROUPS, RunSettings, build_settings, choices, suggestion

ALIASES: dict[str, tuple[str, ...]] = {
    "num_workers": ("--workers",),
    "epochs": ("--epoch",),
}
"""Words that people already type for a setting."""

_WORDS: dict[str, dict[str, str]] = {
    "optimizer": {
        "sgd-nesterov": "nesterov",
        "sgd_nesterov": "nesterov",
        "adadelata": "adadelta",
    },
    "device": {"gpu": "cuda"},
    "norm": {"bn": "batch", "batchnorm": "batch", "batch_norm": "batch", "off": "none"},
}
"""Values that people already type, and ours for them."""

_TITLES = {
    "model": "Model",
    "data": "Data",
    "loader": "Loader",
    "optimizer": "Optimizer",
    "training": "Training",
}

RUNS_DIR = click.Option(
    ["--runs-dir"],
    default="runs",
    show_default=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where run directories are kept.",
)

JSON = click.Option(
    ["--json"], is_flag=True, help="Print one JSON document on standard output, and nothing else."
)


class SettingsCommand(click.Command):
    """A command whose help groups the settings as they are grouped in a run's record."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each group of settings and one for the rest, as they are listed."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and record[1]:
                sections.setdefault(_section(parameter.name or ""), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def setting_options(names: Iterable[str] = FIELDS) -> list[click.Parameter]:
    """Return the options of some settings; their values are text until settings are built."""
    return [_option(name) for name in names]


def settings_from(
    config: Path | None, given: Mapping[str, Any], base: RunSettings | None = None
) -> RunSettings:
    """Build settings: what is given on the command line, over the TOML file, over the base.

    Raises:
        SettingsError: The file cannot be read, a key is unknown, or a value is refused.
    """
    values = base.flat() if base else {}
    values |= read_config(config) if config else {}
    values |= {name: value for name, value in given.items() if value is not None}
    return build_settings({name: translate(name, value) for name, value in values.items()})


def translate(name: str, value: Any) -> Any:
    """Return our word for one that people type; others as they are."""
    if not isinstance(value, str):
        return value
    known = choices(name)
    lowered = value.strip().lower() if known or name == "device" else value
    return _WORDS.get(name, {}).get(lowered, lowered)


def read_config(path: Path) -> dict[str, Any]:
    """Read settings from a TOML file whose keys are the flags' names, flat.

    Raises:
        SettingsError: The file cannot be read or holds a key that is no setting.
    """
    try:
        with path.open("rb") as file:
            document = tomllib.load(file)
    except OSError as error:
        raise SettingsError(
            f"config {path} cannot be read: {error.strerror}. Check the path."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(f"config {path} is not TOML: {error}. Correct it.") from error
    values = {key.replace("-", "_"): value for key, value in document.items()}
    for key in values:
        if key not in FIELDS:
            raise SettingsError(
                f"config {path} has the key {key!r}, which is no setting.{suggestion(key, FIELDS)}"
            )
    return values


def _option(name: str) -> click.Option:
    field = FIELDS[name]
    flags = [f"--{name.replace('_', '-')}", *ALIASES.get(name, ()), name]
    default = "" if field.default is None else f" [default: {_shown(field.default)}]"
    words = choices(name)
    switch = field.annotation is bool
    option: dict[str, Any] = {"is_flag": False, "flag_value": "true"} if switch else {}
    return click.Option(
        flags,
        metavar=f"[{'|'.join(words)}]" if words else "[true|false]" if switch else _metavar(name),
        help=f"{field.description}{default}",
        **option,
    )


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _metavar(name: str) -> str:
    kind = str(FIELDS[name].annotation)
    return "N" if "int" in kind else "X" if "float" in kind else "TEXT"


def _section(name: str) -> str:
    for group, model in GROUPS.items():
        if name in model.model_fields:
            return _TITLES[group]
    return "Run"
