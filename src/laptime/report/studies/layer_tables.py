"""The first step layer by layer: gradients and activations of each arm on one axis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from laptime.report.words.arms import arm_label
from laptime.report.words.blocks import GAP, Block, Prose, Table
from laptime.report.words.lines import shortened
from laptime.report.words.verdicts import significant
from laptime.study import StudyRecord

_AXIS_WIDTH = 36
_MARKS = "●○◆◇"

TITLES = {
    "gradients": "Norm of the gradient of each layer's weights, of one batch before any update:",
    "activations": "Standard deviation of what each layer puts out, of one batch before any "
    "update:",
}
"""What is known of a first step, and what it is called."""

Norms = dict[str, dict[str, float]]
"""Arm to layer to figure."""


def norms_of(record: StudyRecord, what: str) -> Norms:
    """Return a figure of each layer of each arm, as the study keeps it among its details."""
    given: Mapping[str, Sequence[Sequence[Any]]] = record.details.get(what) or {}
    return {arm: {str(name): float(value) for name, value in rows} for arm, rows in given.items()}


def layers_of(norms: Norms) -> list[str]:
    """Return the layers of all arms in the order of the model."""
    return list(dict.fromkeys(name for rows in norms.values() for name in rows))


def layer_blocks(record: StudyRecord) -> list[Block]:
    """Return a table of the first step's figures, where they were looked at."""
    blocks: list[Block] = []
    for what, title in TITLES.items():
        norms = norms_of(record, what)
        if any(value > 0 for rows in norms.values() for value in rows.values()):
            blocks += [GAP, Prose(title), _layers(record, norms)]
    return blocks


def _layers(record: StudyRecord, norms: Norms) -> Table:
    values = [value for rows in norms.values() for value in rows.values() if value > 0]
    low = math.floor(math.log10(min(values)))
    high = max(low + 1, math.ceil(math.log10(max(values))))
    labels = [shortened(arm_label(record, arm), 18) for arm in norms]
    marks = [f"{mark} {label}" for mark, label in zip(_MARKS, labels, strict=False)]
    rows = []
    for layer in layers_of(norms):
        found = [of_arm.get(layer) for of_arm in norms.values()]
        cells = ["-" if value is None else significant(value) for value in found]
        rows.append([shortened(layer, 26), *cells[: len(marks)], _strip(found, low, high)])
    head = ("layer", *marks, f"1e{low} to 1e{high}, logarithmic")
    return Table.of(head, rows, "<" + ">" * len(marks) + "<", sketched=True)


def _strip(values: Sequence[float | None], low: int, high: int) -> str:
    """Return an axis with a mark a value; of two on one place the later is seen."""
    strip = ["·"] * _AXIS_WIDTH
    for mark, value in zip(_MARKS, values, strict=False):
        if value:
            share = (math.log10(value) - low) / (high - low)
            strip[round(share * (_AXIS_WIDTH - 1))] = mark
    return "".join(strip)
