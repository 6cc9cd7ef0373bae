"""Estimates and verdicts as words: only the digits that an interval supports, and the reason."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from typing import Any

from laptime.errors import printable
from laptime.report.words.blocks import Words
from laptime.report.words.lines import counted
from laptime.statistics.summary import ACCURACY_ONLY, EXPLANATION_ONLY
from laptime.study import Comparison, Estimate, Refusal, StudyRecord, VerdictWord
from laptime.units import (
    render_change,
    render_estimate,
    render_interval,
    render_share,
    supported_decimals,
)

REASONS = {
    "interval_outside_zone": "the 95 % interval lies outside ±{zone}",
    "interval_inside_zone": "the 90 % interval lies inside ±{zone}",
    "excludes_zero_meets_zone": "the 95 % interval excludes 0 and reaches into ±{zone}",
    "interval_too_wide": "the interval is too wide to decide",
    "too_few_blocks": "too few blocks for a verdict",
    "too_few_seeds": "too few seeds for a verdict",
    "robust_test_disagrees": "a test that assumes no shape of the noise does not agree",
    "holm": "more was not shown once corrected for several comparisons",
    "no_estimate": "one of them has no estimate",
    "welch_holm": "Welch's test, p under 5 % after Holm's correction",
    "not_distinguishable": "Welch's test does not tell them apart",
}

_CODES = {"aa_differs": "A/A differs"}

_OPPOSITE: dict[VerdictWord, VerdictWord] = {
    "faster": "slower",
    "slower": "faster",
    "higher": "lower",
    "lower": "higher",
}

TOO_WIDE = "[too wide]"

_FARTHEST = 10.0
"""The end of an interval beyond so many times its middle is not printed."""

_TWICE = 2.0
"""A ratio from which on "times as long" reads better than per cents."""


def reason_words(row: Comparison, zone: float) -> str:
    """Return why a verdict is what it is; codes of refusals are named as they are."""
    if row.quantity in {"loss", "accuracy"} and row.reason == "interval_inside_zone":
        return "the 90 % interval lies inside what counts as equal"
    words = REASONS.get(row.reason)
    return words.format(zone=render_share(zone)) if words else f"refused: {code_words(row.reason)}"


def code_words(code: str) -> str:
    """Return the code of a refusal as words."""
    return _CODES.get(code, printable(code).replace("_", " "))


def time_refusal(record: StudyRecord, arms: Collection[str]) -> Refusal | None:
    """Return the first refusal that forbids to speak of the times of some arms."""
    silent = ACCURACY_ONLY | EXPLANATION_ONLY
    for refusal in record.refusals:
        concerned = not refusal.arms or bool(set(refusal.arms) & set(arms))
        if refusal.code not in silent and concerned:
            return refusal
    return None


def reasons(
    rows: Iterable[Comparison], zone: float, label: Callable[[str], str] = printable
) -> Words:
    """Return what the verdicts of some rows rest on, each reason once."""
    found: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        arms = found.setdefault(reason_words(row, zone), {}).setdefault(row.verdict, [])
        arms.append(label(row.a))
    words = []
    for reason, verdicts in found.items():
        which = ", ".join(f"{verdict} ({', '.join(arms)})" for verdict, arms in verdicts.items())
        words.append(f"{which}: {reason}")
    return Words(tuple(words))


def find_comparison(
    record: StudyRecord, a: str, b: str, quantity: str = "epoch_s"
) -> Comparison | None:
    """Return the row of two arms, turned so that it speaks of a against b."""
    for row in record.comparisons:
        if row.quantity == quantity and (row.a, row.b) == (a, b):
            return row
        if row.quantity == quantity and (row.a, row.b) == (b, a):
            return turned(row)
    return None


def turned(row: Comparison) -> Comparison:
    """Return the same finding, spoken of from the other side."""
    flip: Callable[[float], float] = (
        (lambda value: 1 / value) if row.quantity.endswith("_s") else (lambda value: -value)
    )
    ends = [None if end is None else flip(end) for end in (row.ratio, row.high, row.low)]
    changes = {"a": row.b, "b": row.a, "ratio": ends[0], "low": ends[1], "high": ends[2]}
    verdict = _OPPOSITE.get(row.verdict, row.verdict)
    return row.model_copy(update={**changes, "verdict": verdict})


def times_sentence(row: Comparison, zone: float, a: str, b: str) -> str:
    """Return what blocks say of two times, the arms called a and b: a sentence, no full stop."""
    if row.ratio is None:
        return f"{a} and {b} cannot be compared: {reason_words(row, zone)}"
    size, change = _size(row), change_cell(row)
    match row.verdict:
        case "faster" | "slower":
            words = size.format(a=a, b=b)
        case "small difference":
            words = (
                f"{size.format(a=a, b=b)}, maybe no more than the {render_share(zone)} that matter"
            )
        case "equivalent":
            words = f"{a} and {b} take the same time within {render_share(zone)} ({change})"
        case "not measurable":
            words = f"nothing is said of {a} against {b}"
        case _:
            more = f", {_blocks_needed(row)}" if row.blocks_needed else ""
            words = f"{a} and {b} cannot be told apart ({change}{more})"
    return f"{words}: {reason_words(row, zone)}"


def _blocks_needed(row: Comparison) -> str:
    return f"about {counted(row.blocks_needed or 0, 'block')} would decide"


def _size(row: Comparison) -> str:
    """Return the difference with its interval, with places for the names."""
    assert row.ratio is not None
    if row.ratio >= _TWICE:
        times, _, interval = render_estimate(row.ratio, row.low, row.high).partition(" ")
        return f"{{a}} takes {times} times as long as {{b}} {interval}".rstrip()
    sign = 1 if row.ratio >= 1 else -1
    ends = [None if end is None else sign * (end - 1) * 100 for end in (row.low, row.high)]
    low, high = ends if sign > 0 else ends[::-1]
    size, _, interval = render_estimate(abs(row.ratio - 1) * 100, low, high).partition(" ")
    word = "more" if sign > 0 else "less"
    return f"{{a}} takes {size} % {word} time than {{b}} {interval}".rstrip()


def change_cell(row: Comparison | None) -> str:
    """Return the change for a table: ``-31 % [-32, -30]``."""
    if row is None or row.ratio is None:
        return ""
    if is_too_wide(row.ratio, row.low, row.high):
        return TOO_WIDE
    return render_change(row.ratio, row.low, row.high)


def verdict_cell(row: Comparison | None) -> str:
    """Return change and verdict for a table: ``-31 % [-32, -30] faster``."""
    return f"{change_cell(row)} {row.verdict}".lstrip() if row else ""


def is_too_wide(value: float, low: float | None, high: float | None) -> bool:
    """Return whether the interval of a time or ratio is so wide that its ends say nothing.

    Two blocks of which one was disturbed give ends of any number of digits.
    """
    return low is not None and high is not None and low >= 0 and high > _FARTHEST * value > 0


def digits(value: Estimate | None, most: int = 3) -> str:
    """Return an estimate with the digits that its interval supports, ``most`` decimals at most."""
    if value is None:
        return "-"
    if value.low is None or value.high is None:
        return render_estimate(value.estimate, None, None)
    if is_too_wide(value.estimate, value.low, value.high):
        return significant(value.estimate)
    decimals = _decimals(value, most)
    return f"{round(value.estimate, decimals) + 0.0:.{max(0, decimals)}f}"


def interval(value: Estimate | None, most: int = 3) -> str:
    """Return the interval of an estimate for a table; of a single replicate that it is one."""
    if value is None:
        return ""
    if value.low is None or value.high is None:
        return "n = 1" if value.n == 1 else "no interval"
    if is_too_wide(value.estimate, value.low, value.high):
        return TOO_WIDE
    return render_interval(value.low, value.high, _decimals(value, most))


def spelled(value: Estimate, unit: str = "s", scale: float = 1.0) -> str:
    """Return an estimate for a sentence: ``40.2 s [39.7, 40.7]``."""
    ends = (value.estimate, value.low, value.high)
    if is_too_wide(*ends):
        return f"{significant(value.estimate * scale)} {unit} {TOO_WIDE}"
    scaled = [None if end is None else end * scale for end in ends]
    assert scaled[0] is not None
    number, _, bounds = render_estimate(scaled[0], scaled[1], scaled[2]).partition(" ")
    return f"{number} {unit} {bounds or f'(n = {value.n})'}"


def _decimals(value: Estimate, most: int) -> int:
    assert value.low is not None
    assert value.high is not None
    return min(most, supported_decimals(value.estimate, value.low, value.high))


def estimate_of(dump: Any) -> Estimate | None:
    """Return an estimate that a study keeps among its details, or None."""
    return None if dump is None else Estimate.model_validate(dump)


def is_above(a: Estimate, b: Estimate) -> bool:
    """Return whether two intervals lie apart, a's above b's: what one may call more."""
    return a.low is not None and b.high is not None and a.low > b.high


def significant(value: float) -> str:
    """Return a number without an interval: two digits, more would pretend to know."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if abs(value) < 1e-3:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    decimals = 1 - math.floor(math.log10(abs(value)))
    return f"{round(value, decimals):.{max(0, decimals)}f}"


def per_cent(value: Estimate) -> str:
    """Return a fraction for a sentence, of tenths of a per cent at most: ``31 % [30, 32]``."""
    scaled = Estimate(
        estimate=value.estimate * 100,
        low=None if value.low is None else value.low * 100,
        high=None if value.high is None else value.high * 100,
        n=value.n,
    )
    if scaled.low is None or scaled.high is None:
        return f"{significant(scaled.estimate)} %"
    return f"{digits(scaled, most=1)} % {interval(scaled, most=1)}"
