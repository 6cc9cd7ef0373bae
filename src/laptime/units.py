"""Seconds, bytes, counts and shares as text."""

from __future__ import annotations

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
