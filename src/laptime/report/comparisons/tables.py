"""The figures of a comparison: epochs side by side, columns of an epoch, arms, sizes in words."""

from __future__ import annotations

from itertools import zip_longest

from laptime.errors import printable
from laptime.record import EpochRecord, EpochTimes
from laptime.report.words.blocks import GAP, Block, Prose, Table
from laptime.report.words.lines import listed, shortened
from laptime.report.words.verdicts import digits, interval, significant
from laptime.statistics.contrast import Contrast
from laptime.statistics.sides import Side
from laptime.study import Estimate
from laptime.units import (
    render_estimate,
    render_percent,
    render_seconds,
    seconds,
)

UNCONTROLLED = "UNCONTROLLED"

_COLUMNS = ("loading", "training", "other")

_SMALLEST_TOLD = 0.005
"""Of an epoch: a smaller difference is not taken apart."""

_SMALLEST_PART = 0.02
"""Of a difference: smaller parts of it are not named."""


def name_of(side: Side) -> str:
    """Return the name of a side as it can be typed."""
    return side.id if side.arm is None else f"{side.id}:{side.arm}"


def size_words(contrast: Contrast) -> str:
    """Return the size of the difference as words that fit on a line."""
    if contrast.ratio is None:
        return "there is no ratio"
    ends = contrast.ratio, contrast.low, contrast.high
    if contrast.is_timed:
        what = {
            "epoch": "an epoch of A", "step": "a step of A", "loading": "loading in A",
            "training": "training in A",
        }  # fmt: skip
        than = "one of B" if contrast.quantity in {"epoch", "step"} else "in B"
        number, _, bounds = render_estimate(*ends).partition(" ")
        return f"{what[contrast.quantity]} takes {number} times as long as {than} {bounds}".rstrip()
    scale, unit, what_ = (100, " points", "top-1") if contrast.quantity == "accuracy" else (
        1, "", "loss"
    )  # fmt: skip
    scaled = [None if end is None else end * scale for end in ends]
    assert scaled[0] is not None
    number, _, bounds = render_estimate(scaled[0], scaled[1], scaled[2]).partition(" ")
    sign = "" if number.startswith("-") else "+"
    return f"{what_} of A minus that of B is {sign}{number}{unit} {bounds}".rstrip()


def figure_blocks(contrast: Contrast) -> list[Block]:
    """Return all tables; none where the conditions differ and no ratio was asked for."""
    if contrast.environment and not contrast.uncontrolled:
        return []
    blocks: list[Block] = []
    if contrast.kind == "runs":
        blocks += [*_epochs(contrast), GAP]
    blocks.append(_means(contrast) if contrast.is_timed else _learned(contrast))
    taken_apart = _taken_apart(contrast)
    blocks += [Prose(taken_apart)] if taken_apart else []
    return blocks + _arms(contrast)


def _epochs(contrast: Contrast) -> list[Block]:
    """Return the epochs of two runs side by side."""
    cells = _timed_cells if contrast.is_timed else _learned_cells
    titles = ("loading", "training", "other", "total s")
    names = titles if contrast.is_timed else ("loss", "top-1")
    empty = [""] * len(names)
    rows = []
    for a, b in zip_longest(contrast.a.epochs, contrast.b.epochs):
        epoch = a or b
        rows.append(
            [
                f"epoch {epoch.epoch}{_mark(epoch)}",
                *(cells(a) if a else empty),
                "",
                *(cells(b) if b else empty),
            ]
        )
    if not rows:
        return []
    of_a, of_b = ([f"{label if n == 0 else ''}\n{name}" for n, name in enumerate(names)]
                  for label in "AB")  # fmt: skip
    align = "<" + ">" * len(names) + "<" + ">" * len(names)
    return [Table.of(["", *of_a, "", *of_b], rows, align)]


def _mark(epoch: EpochTimes) -> str:
    if not epoch.complete:
        return " cut off"
    return " cold" * epoch.cold if epoch.is_whole else " resumed"


def _timed_cells(epoch: EpochTimes) -> list[str]:
    parts = [render_seconds(seconds(getattr(epoch, f"{name}_ns"))) for name in _COLUMNS]
    return [
        *(parts if epoch.mode != "off" else ["n/a"] * 3),
        render_seconds(seconds(epoch.wall_ns)),
    ]


def _learned_cells(epoch: EpochTimes) -> list[str]:
    top = render_percent(epoch.accuracy) if isinstance(epoch, EpochRecord) else "-"
    return ["NaN" if epoch.loss is None else f"{epoch.loss:.3f}", top]


def _means(contrast: Contrast) -> Table:
    """Return the columns of an epoch, A beside B, each with the ratio of the two."""
    names = ("loading", "training", "other", "epoch")
    found = [
        (name, getattr(contrast.a, f"{name}_s"), getattr(contrast.b, f"{name}_s"))
        for name in names
        if name != "other" or contrast.kind == "runs"
    ]
    if contrast.quantity == "step" and contrast.kind == "runs":
        found.insert(0, ("step", contrast.a.step_s, contrast.b.step_s))
    rows = [[name, *_cells(a), *_cells(b), *_ratio(contrast, a, b)] for name, a, b in found]
    is_single = contrast.kind == "runs"
    what = "mean, s" if is_single else "s an epoch"
    bounds = "" if is_single else "95 %"
    head = (what, "A", bounds, "B", bounds, "A / B", "")
    return Table.of(head, rows, "<.<.<.<")


def _cells(value: Estimate | None) -> tuple[str, str]:
    if value is None:
        return "n/a", ""
    return digits(value), "" if value.n == 1 and value.low is None else interval(value)


def _ratio(contrast: Contrast, a: Estimate | None, b: Estimate | None) -> tuple[str, str]:
    """Return the ratio of two means; where it is not controlled, the word that says so."""
    if a is None or b is None or not b.estimate:
        return "n/a", ""
    ratio = render_estimate(a.estimate / b.estimate, None, None)
    return ratio, UNCONTROLLED if contrast.uncontrolled else ""


def _learned(contrast: Contrast) -> Table:
    """Return loss and top-1 of the last epoch, A beside B."""
    rows = []
    for label, side in (("A", contrast.a), ("B", contrast.b)):
        loss, top = side.loss, side.accuracy
        percent = top and top.model_copy(
            update={
                name: None if value is None else 100 * value
                for name, value in (("estimate", top.estimate), ("low", top.low),
                                    ("high", top.high))
            }
        )  # fmt: skip
        n = str(loss.n) if loss else "0"
        rows.append([label, *_cells(loss), *_cells(percent or None), n])
    return Table.of(("last epoch", "loss", "", "top-1 %", "", "runs"), rows, "<.<.<>")


def _taken_apart(contrast: Contrast) -> str:
    """Say how much of the difference lies in loading, in training and in the rest."""
    told = contrast.kind == "runs" or contrast.verdict in {"faster", "slower", "small difference"}
    pairs = [
        (getattr(contrast.a, f"{name}_s"), getattr(contrast.b, f"{name}_s"))
        for name in ("epoch", "loading", "training")
    ]
    if not told or contrast.uncontrolled or not contrast.is_timed:
        return ""
    if contrast.verdict == "not measurable" or any(a is None or b is None for a, b in pairs):
        return ""
    whole, loading, training = (b.estimate - a.estimate for a, b in pairs)
    if abs(whole) < _SMALLEST_TOLD * pairs[0][1].estimate:
        return ""
    parts = {"loading": loading, "training": training, "other": whole - loading - training}
    limit = _SMALLEST_PART * abs(whole)
    words = [f"{name} {_less(size)}" for name, size in parts.items() if abs(size) >= limit]
    rest = [name for name, size in parts.items() if abs(size) < limit]
    end = f"; in {listed(rest)} they differ by less than {significant(limit)} s" if rest else ""
    return f"An epoch of A takes {_less(whole)} than one of B: {', '.join(words)}{end}."


def _less(size_s: float) -> str:
    return f"{significant(abs(size_s))} s {'less' if size_s > 0 else 'more'}"


def _arms(contrast: Contrast) -> list[Block]:
    """Return the other arms that two studies share: ratios, and no verdict."""
    if not contrast.arms:
        return []
    rows = []
    for arm in contrast.arms:
        ratio = "n/a" if arm.ratio is None else render_estimate(arm.ratio, arm.low, arm.high)
        mark = UNCONTROLLED if contrast.uncontrolled and arm.ratio is not None else ""
        rows.append([shortened(printable(arm.arm)), ratio, f"{arm.n_a}, {arm.n_b}", mark])
    what = "A / B [95 %]" if contrast.is_timed else "A - B [95 %]"
    return [GAP, Table.of(("other arms", what, "n", ""), rows, "<<<<")]
