"""Lines of text: prose that wraps, tables that align, words that headers share."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from laptime.errors import printable
from laptime.record import EnvironmentRecord
from laptime.units import render_bytes, render_count

WIDTH = 100
"""Columns that a line of prose takes at most; commands and paths are never broken."""

GAP = "  "
"""Between the columns of a table."""

_GLUE = "\N{NO-BREAK SPACE}"
_JOINT = "\N{NON-BREAKING HYPHEN}"

_UNBROKEN = re.compile(
    r"(?<=\d) (?=(?:%|[mu]?s\b|min\b|[kMGT]?B\b))|(?<=\d min) (?=\d)|\[[^\]\n]{1,40}\]|`[^`\n]*`"
)
"""A number and its unit, an interval, a command."""

_UNUSUAL = {
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "prefetch_factor": 2,
    "persistent_workers": False,
    "pin_memory": False,
    "channels_last": False,
    "compile": False,
    "cuda_graphs": False,
    "schedule": "constant",
    "fused": False,
    "cudnn_benchmark": False,
    "keep_memory": False,
    "deterministic": False,
}
"""Settings that a header names where they are not as usual."""


def prose(text: str) -> list[str]:
    """Break a sentence into lines, but not between a number and its unit."""
    glued = _UNBROKEN.sub(_glued, text)
    return [_loosened(line) for line in textwrap.wrap(glued, WIDTH)]


def joined(words: Sequence[str], lead: str = "", indent: str = "") -> list[str]:
    """Join words with dots, and break lines only between them; later lines are indented."""
    text = lead + f"{_GLUE}· ".join(map(_whole, words))
    lines = textwrap.wrap(text, WIDTH, subsequent_indent=indent)
    return [_loosened(line) for line in lines]


def _whole(word: str) -> str:
    """Return words as one that is not broken, unless it hardly fits into a line."""
    if len(word) > WIDTH // 2:
        return _UNBROKEN.sub(_glued, word)
    return word.replace(" ", _GLUE).replace("-", _JOINT)


def _glued(found: re.Match[str]) -> str:
    return found[0].replace(" ", _GLUE).replace("-", _JOINT)


def _loosened(line: str) -> str:
    return line.replace(_GLUE, " ").replace(_JOINT, "-")


def as_it_is(line: str) -> str:
    """Return a line with its spaces as they are, unless something in it would be an escape."""
    return line if line.isprintable() else printable(line)


def listed(words: Sequence[str], last: str = "and") -> str:
    """Return words as a sentence lists them: ``a, b and c``."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def counted(count: int, word: str) -> str:
    """Return a count and its word, which takes an s unless there is one: ``1 worker``."""
    plural = "es" if word.endswith(("ss", "tch")) else "s"
    return f"{render_count(count)} {word}{'' if count == 1 else plural}"


def shortened(name: str, width: int = 24) -> str:
    """Return a name, which may be a user's, in so many columns at most."""
    text = printable(name)
    return text if len(text) <= width else f"{text[: width - 1]}…"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], align: str) -> list[str]:
    """Return lines whose columns align: ``<`` left, ``>`` right, ``.`` at the decimal point.

    A head may have more than one line; without a row there is no table.
    """
    if not rows:
        return []
    columns = [
        _aligned(title.split("\n"), cells, how)
        for title, cells, how in zip(head, zip(*rows, strict=True), align, strict=True)
    ]
    height = max(len(column) for column in columns)
    padded = [[" " * len(column[0])] * (height - len(column)) + column for column in columns]
    return [GAP.join(cells).rstrip() for cells in zip(*padded, strict=True)]


def _aligned(titles: Sequence[str], cells: Sequence[str], how: str) -> list[str]:
    """Return titles and cells of one column, all of one width."""
    if how == ".":
        tail = max(len(_fraction(cell)) for cell in cells)
        cells = [cell + " " * (tail - len(_fraction(cell))) for cell in cells]
    width = max(map(len, (*titles, *cells)))
    side = "<" if how == "<" else ">"
    return [f"{text:{side}{width}}" for text in (*titles, *cells)]


def _fraction(cell: str) -> str:
    """Return what stands from the decimal point on."""
    return "".join(cell.partition(".")[1:])


def model_words(settings: Mapping[str, Any], *parameters: int) -> str:
    """Return the model in words: its name, what is unusual in its shape, its sizes."""
    model = settings["model"]
    shape = [] if model != "resnet18" else differences(settings, width=64, norm="batch")
    sizes = " or ".join(map(render_count, parameters))
    return ", ".join([model, *shape, *([f"{sizes} parameters"] if sizes else [])])


def how_words(settings: Mapping[str, Any], without: Collection[str] = ()) -> list[str]:
    """Return with what is trained; settings that a study varies are left out."""
    workers = settings["num_workers"]
    words = {
        "optimizer": settings["optimizer"],
        "lr": f"lr {settings['lr']:g}",
        "batch_size": f"batch {settings['batch_size']}",
        "loader": f"{settings['loader']} loader",
        "num_workers": f"{workers} worker{'' if workers == 1 else 's'}",
        "seed": f"seed {settings['seed']}",
        "precision": settings["precision"],
    }
    usual = {name: value for name, value in _UNUSUAL.items() if name not in without}
    kept = {name: text for name, text in words.items() if name not in without}
    if {"optimizer", "lr"} <= kept.keys():
        kept["optimizer"] += f" {kept.pop('lr')}"
    return [*kept.values(), *differences(settings, **usual)]


def machine_words(machine: EnvironmentRecord) -> list[str]:
    """Return where something ran: device, cores, memory, torch and its threads."""
    return [
        f"{machine.device_name}" + ("" if machine.device == "cpu" else f" ({machine.device})"),
        f"{machine.cpus_usable} of {machine.cpus_total} cores",
        render_bytes(machine.memory_bytes),
        f"torch {machine.torch}, {machine.threads} thread{'' if machine.threads == 1 else 's'}",
    ]


def differences(settings: Mapping[str, object], **usual: object) -> list[str]:
    """Return the settings that are not as usual, as words."""
    return [
        name.replace("_", " ") + ("" if settings[name] is True else f" {settings[name]}")
        for name, value in usual.items()
        if settings[name] != value
    ]
