"""Seconds, bytes, counts and shares as text."""

from __future__ import annotations

import math

NANOSECONDS_PER_SECOND = 1_000_000_000


def seconds(ns: int) -> float:
    """Convert integer nanoseconds to seconds."""
    return ns / NANOSECONDS_PER_SECOND


def nanoseconds(s: float) -> int:
    """Convert seconds to whole nanoseconds."""
    return round(s * NANOSECONDS_PER_SECOND)


def render_seconds(value_s: float) -> str:
    """Render seconds for a table: two decimals, three below a tenth."""
    return f"{value_s:.3f}" if 0 < abs(value_s) < 0.1 else f"{value_s:.2f}"


def render_duration(value_s: float) -> str:
    """Render a duration for a sentence: ``80 ms``, ``38 s``, ``4 min 10 s``, ``2 h 05 min``."""
    if 0 < value_s < 0.0995:
        return f"{value_s * 1e3:.0f} ms"
    if value_s < 9.95:
        return f"{value_s:.1f} s"
    whole = round(value_s)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def render_step_time(value_s: float) -> str:
    """Render the time of one step in the unit that suits it."""
    return f"{value_s * 1e3:.1f} ms" if value_s < 1 else f"{value_s:.2f} s"


def render_share(share: float) -> str:
    """Render a fraction as whole per cents; small ones keep their first digit."""
    if 0 < share < 0.0001:
        return "under 0.01 %"
    return (
        f"{share:.2%}".replace("%", " %") if 0 < share < 0.01 else f"{share:.0%}".replace("%", " %")
    )


def render_percent(fraction: float) -> str:
    """Render an accuracy as per cent with two decimals."""
    return f"{fraction * 100:.2f} %"


def render_count(count: int) -> str:
    """Render a whole number with thousands separated."""
    return f"{count:,}"


def render_bytes(size: int) -> str:
    """Render a size in decimal units, as disks and networks are sold."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def render_rate(samples_per_s: float) -> str:
    """Render a throughput with as many digits as a reader can use."""
    return f"{samples_per_s:,.1f}" if samples_per_s < 100 else f"{samples_per_s:,.0f}"


def render_estimate(value: float, low: float | None, high: float | None) -> str:
    """Render an estimate with the digits that its interval supports: ``40.2 [39.7, 40.7]``.

    Half of the interval keeps one digit, two if the first is a 1 or 2. Without an interval: three
    significant digits.
    """
    if low is None or high is None:
        return f"{_rounded(value, 2 - _magnitude(value))}"
    decimals = supported_decimals(value, low, high)
    return f"{_rounded(value, decimals)} {render_interval(low, high, decimals)}"


def render_interval(low: float, high: float, decimals: int | None = None) -> str:
    """Render an interval, rounded as the estimate that it belongs to."""
    if decimals is None:
        decimals = supported_decimals((low + high) / 2, low, high)
    return f"[{_rounded(low, decimals)}, {_rounded(high, decimals)}]"


def render_estimate_percent(value: float, low: float | None, high: float | None) -> str:
    """Render a fraction and its interval as per cent: ``91.2 % [90.9, 91.5]``."""
    if low is None or high is None:
        return f"{render_estimate(value * 100, None, None)} %"
    text, _, interval = render_estimate(value * 100, low * 100, high * 100).partition(" ")
    return f"{text} % {interval}"


def render_change(ratio: float, low: float | None, high: float | None) -> str:
    """Render a ratio as a change with its sign: ``+8.9 % [+8.1, +9.7]`` for 1.089."""
    percent = [None if r is None else (r - 1) * 100 for r in (ratio, low, high)]
    value, least, most = percent
    assert value is not None
    if least is None or most is None:
        return f"{_rounded(value, 2 - _magnitude(value), '+')} %"
    decimals = supported_decimals(value, least, most)
    sides = ", ".join(_rounded(side, decimals, "+") for side in (least, most))
    return f"{_rounded(value, decimals, '+')} % [{sides}]"


def supported_decimals(value: float, low: float, high: float) -> int:
    """Return the decimals that an interval supports; negative: whole tens, hundreds ..."""
    finest = 5 - _magnitude(value)  # no measurement here has more than six digits
    half = (high - low) / 2
    if not 0 < half < math.inf:
        return finest - 2
    place = _magnitude(half)
    decimals = min(finest, -place + (half / 10.0**place < 2.95))
    # Of a time or a rate the first digit stays: 0.8 [0.0, 5200.0] is wide, 0 [0, 5200] wrong.
    return max(decimals, -_magnitude(value)) if value > 0 and low >= 0 else decimals


def _magnitude(value: float) -> int:
    """Return the power of ten of the first digit; 0 for what has none."""
    if not value or not math.isfinite(value):
        return 0
    return int(f"{abs(value):.9e}".partition("e")[2])  # 9.9999999999 is a 10 that lost its last bit


def _rounded(value: float, decimals: int, sign: str = "-") -> str:
    if not math.isfinite(value):
        return f"{value:{sign}}"
    rounded = round(value, decimals) + 0.0  # no minus in front of 0
    return f"{rounded:{sign if rounded else '-'}.{max(0, decimals)}f}"
