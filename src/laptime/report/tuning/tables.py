"""The tables of a tuning: everything that was tried, and what was not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from laptime.report.words.blocks import CHOSEN, GAP, Block, Prose, Table
from laptime.report.words.lines import counted, listed
from laptime.report.words.tuning import loss_cell
from laptime.report.words.verdicts import change_cell
from laptime.tune import BASELINE, NotTried, Numbers, Tried, TuneRecord
from laptime.units import render_bytes

_NUMBERS: dict[Numbers, str] = {
    "same numbers": "same",
    "same up to rounding": "rounded",
    "other numbers": "other",
}
_STAGES = {"confirmation": 0, "together": 1, "main": 2, "scout": 3}


def tried_blocks(record: TuneRecord) -> list[Block]:
    """Return a row for everything that was tried, losers too, and why it was kept or not."""
    ordered = sorted(record.tried, key=lambda tried: (_STAGES[tried.stage], _ratio(tried)))
    rows = [_row(tried, record) for tried in ordered]
    if not rows:
        return []
    head = ["", "", "change [95 %]", "verdict", "numbers", "losses", "memory", "why"]
    table = Table.of(head, rows, "<<<<<<><").without_empty()
    return [table, *_legend(ordered)]


def _ratio(tried: Tried) -> float:
    return tried.row.ratio if tried.row and tried.row.ratio else float("inf")


def _row(tried: Tried, record: TuneRecord) -> list[str]:
    row = tried.row
    is_winner = record.gain is not None and record.gain.name == tried.name
    judged = row is not None and tried.stage != "scout"
    return [
        tried.name,
        CHOSEN if is_winner else "",
        change_cell(row),
        row.verdict if row and judged else "",
        _NUMBERS[tried.numbers],
        loss_cell(tried.losses),
        render_bytes(tried.worker_bytes) if tried.worker_bytes else "",
        _why(tried),
    ]


def _why(tried: Tried) -> str:
    if tried.outcome == "kept":
        steps = tried.break_even_steps
        start = f"; its start is earned back after {counted(steps, 'step')}" if steps else ""
        return f"kept{start}"
    against = ""
    if tried.row and tried.row.b != BASELINE:
        against = f" (against {tried.row.b})"
    if tried.outcome in {"refused", "failed"}:
        return f"{tried.outcome}: {tried.why}{against}"
    return f"{tried.why}{against}"


def _legend(tried: Sequence[Tried]) -> Iterable[Block]:
    """Return what the rows rest on, and what overrides do to numbers."""
    judged = sorted({one.row.n for one in tried if one.row and one.stage != "scout"})
    words = []
    if judged:
        words.append(f"Rows with a verdict rest on {listed([str(n) for n in judged])} blocks.")
    if any(one.stage == "scout" for one in tried):
        words.append("Those without rest on one or two: enough to leave them out.")
    if words:
        yield Prose(" ".join(words))
    if any(one.losses and one.losses.allowed is not None for one in tried):
        yield Prose(
            "Losses: how far their mean is off that of the unchanged job, of what other seeds make "
            "it differ by in 95 of 100 cases."
        )
    notes: dict[str, list[str]] = {}
    for one in tried:
        for note in filter(None, one.note.split("; ")):
            notes.setdefault(note, []).append(one.name)
    for note, names in notes.items():
        yield Prose(f"{_which(names)}: {note}.")


def _which(names: Sequence[str]) -> str:
    """Return whom a note is about, the shortest names of each kind."""
    kinds = dict.fromkeys(name.split(" + ")[0].split(" ")[0] for name in names)
    return listed(list(kinds))


def not_tried_blocks(record: TuneRecord) -> list[Block]:
    """Return what was not tried, by why not."""
    if not record.not_tried:
        return []
    by_reason = sorted(record.not_tried, key=lambda left: left.why)
    words = [
        f"{listed([left.name for left in group])} ({why})"
        for why, group in groupby(_as_found(by_reason), key=lambda left: left.why)
    ]
    return [GAP, Prose(f"Not tried: {'; '.join(words)}.")]


def _as_found(left: Sequence[NotTried]) -> list[NotTried]:
    return list(left)
