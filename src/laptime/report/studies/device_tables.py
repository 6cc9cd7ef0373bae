"""A study of devices as text: a column a device, and what the comparison rests on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from laptime.errors import printable
from laptime.report.words.arms import arm_label, is_beside, main_results
from laptime.report.words.blocks import Block, Prose, Table
from laptime.report.words.lines import counted, shortened
from laptime.report.words.verdicts import digits, interval, times_sentence
from laptime.study import ArmResult, Estimate, StudyRecord


def device_blocks(record: StudyRecord) -> list[Block]:
    """Return the table, the verdicts, what was extrapolated, and what is missing."""
    arms, details = main_results(record), record.details
    head = ["", *(shortened(arm_label(record, arm.name)) for arm in arms)]
    rows = [[title, *(cell(arm) for arm in arms)] for title, cell in _ROWS.items()]
    blocks: list[Block] = [Table.of(head, rows, "<" * len(head))]
    for arm in arms:
        blocks += _extrapolated(arm.name, (details.get("extrapolated") or {}).get(arm.name))
    for row in record.comparisons:
        if row.quantity == "epoch_s" and not is_beside(record, row.a):
            names = arm_label(record, row.a), arm_label(record, row.b)
            blocks.append(Prose(times_sentence(row, record.plan.zone, *names) + "."))
    if details.get("losses_agree") is False:
        text = "The first losses differ between devices: they did not compute the same."
        blocks.append(Prose(text))
    if len(arms) == 1:
        blocks.append(Prose("One device: nothing is compared."))
    if details.get("missing"):
        blocks.append(Prose(str(details["missing"])))
    return blocks


def _extrapolated(name: str, steps: Mapping[str, float] | None) -> list[Block]:
    if not steps:
        return []
    text = (
        f"{printable(name)}: an epoch of {counted(round(steps['steps_per_epoch']), 'step')} is "
        f"extrapolated; a block timed {round(steps['timed_steps'])} of them."
    )
    return [Prose(text)]


def _device_name(arm: ArmResult) -> str:
    found = next((r.environment for r in arm.replicates if r.environment), None)
    return shortened(found.device_name, 30) if found else "-"


def _with_interval(value: Estimate | None) -> str:
    return f"{digits(value)} {interval(value)}".rstrip()


_ROWS: Mapping[str, Callable[[ArmResult], str]] = {
    "device": _device_name,
    "epoch s [95 %]": lambda arm: _with_interval(arm.epoch_s),
    "loading s": lambda arm: _with_interval(arm.loading_s),
    "training s": lambda arm: _with_interval(arm.training_s),
    "loader alone s": lambda arm: _with_interval(arm.loader_alone_s),
    "workers": lambda arm: str(arm.settings.loader.num_workers),
    "blocks": lambda arm: ", ".join(
        f"{n} {status.replace('_', ' ')}" for status, n in arm.outcomes().items()
    ),
}
