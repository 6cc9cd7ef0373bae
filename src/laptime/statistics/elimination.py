"""The search for a number of loader workers: what to try next, whom to keep, what to recommend.

Pure: whoever measures asks ``next_candidate`` after each trial until it is None, runs whole
blocks of the ``survivors``, and asks for the ``plateau``. Candidates that memory does not allow
are left out by the caller.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from laptime.statistics.intervals import moments, t_quantile

CANDIDATES = (0, 1, 2, 4, 8, 12, 16, 24, 32, 48, 64)

CONFIDENCE = 0.95
"""One-sided, of every bound here."""

PROCESS_SD = 0.02
"""What a pair of live processes is off by, in logs, however many turns they take.

Measured on a 2-core virtual machine; turns inside one pair of processes cannot see it.
"""

FUTILE_TRIALS = 2
"""Trials in a row without a possible gain, after which the ascent stops."""

FAR_TRIALS = 2
"""Jumps tried before the search ends.

With one, a second hump two to three octaves up was missed on one simulated curve in eight; with
two, on one in fifty, at a tenth more cost.
"""


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate against the best so far, as two live processes that took turns."""

    candidate: int
    incumbent: int
    log_ratios: tuple[float, ...]
    """ln(epoch of candidate / epoch of incumbent), one a round of turns."""


def futile(trials: Sequence[Trial], zone: float = 0.03) -> list[bool]:
    """Return for each trial whether its gain is surely at most the zone, one-sided 95 %.

    A trial without a value is futile: what cannot be measured cannot be recommended.
    """
    pairs = zip(_gains(trials), _reach(trials), strict=True)
    return [math.isnan(gain) or gain + reach <= math.log1p(zone) for gain, reach in pairs]


def incumbent(trials: Sequence[Trial], first: int, zone: float = 0.03) -> int:
    """Return what the next candidate is compared with: the last that gained more than the zone.

    And more than chance gives. A smaller gain is no reason to change: two of them in a row would
    each look futile against the other, and together they are not.
    """
    holder = first
    for trial, gain, reach in zip(trials, _gains(trials), _reach(trials), strict=True):
        if gain > max(math.log1p(zone), reach):
            holder = trial.candidate
    return holder


def next_candidate(
    trials: Sequence[Trial], candidates: Sequence[int], zone: float = 0.03
) -> int | None:
    """Return the number of workers to try next, or None where the search ends.

    Ascend from the smallest, which needs no trial. After two futile trials in a row try a far
    candidate, about twice the last, and another if that is futile, too: a curve may have a second
    hump. If one of them is not futile go on from there. In the end try what a jump passed over
    beside the incumbent.
    """
    allowed = sorted(set(candidates))
    if not trials:
        return allowed[1] if len(allowed) > 1 else None
    ascent = _ascent(trials)
    last = ascent[-1]
    pointless = _pointless(trials, zone)
    in_a_row = len(list(takewhile(pointless.__contains__, reversed(ascent))))
    above = [candidate for candidate in allowed if candidate > last]
    if above and in_a_row < FUTILE_TRIALS:
        return above[0]
    if above and in_a_row < FUTILE_TRIALS + FAR_TRIALS:
        return next((candidate for candidate in above if candidate >= 2 * last), above[-1])
    return _passed_over(trials, allowed, zone)


def _reach(trials: Sequence[Trial], confidence: float = CONFIDENCE) -> list[float]:
    """Return how far beyond its mean the truth of each trial may lie, on one side.

    The spread of turns is pooled over the trials: four turns alone know little about theirs.
    """
    samples = [moments(trial.log_ratios) for trial in trials]
    degrees = sum(max(0, sample.n - 1) for sample in samples)
    if degrees == 0:
        return [math.inf] * len(samples)
    squares = math.fsum((s.n - 1) * s.sd**2 for s in samples if s.n > 1)
    reach = t_quantile(confidence, degrees) * math.sqrt(squares / degrees)
    return [reach / math.sqrt(sample.n) if sample.n else math.inf for sample in samples]


def _gains(trials: Sequence[Trial]) -> list[float]:
    return [-moments(trial.log_ratios).mean for trial in trials]


def _pointless(trials: Sequence[Trial], zone: float) -> set[int]:
    """Return the candidates whose trials were futile."""
    return {t.candidate for t, vain in zip(trials, futile(trials, zone), strict=True) if vain}


def _ascent(trials: Sequence[Trial]) -> list[int]:
    """Return the candidates that went up; what a jump passed over is tried at the end."""
    ascent: list[int] = []
    for trial in trials:
        if not ascent or trial.candidate > ascent[-1]:
            ascent.append(trial.candidate)
    return ascent


def _passed_over(trials: Sequence[Trial], allowed: Sequence[int], zone: float) -> int | None:
    """Return an untried neighbour of the incumbent, among what was passed over."""
    first = trials[0].incumbent
    tried = {first, *(trial.candidate for trial in trials)}
    holder = incumbent(trials, first, zone)
    below = [candidate for candidate in allowed if candidate < holder]
    above = [candidate for candidate in allowed if holder < candidate < max(tried)]
    return next((c for c in (*below[-1:], *above[:1]) if c not in tried), None)


def survivors(trials: Sequence[Trial], zone: float = 0.03) -> tuple[int, ...]:
    """Return the candidates that deserve whole blocks, in ascending order.

    Left out is who is surely slower than the best by more than the zone, and who is larger than
    the incumbent and futile against it: it could gain nothing and costs more. The best so far and
    the incumbent always stay.

    Trials share incumbents, so that two candidates are compared along the trials between them;
    each adds its own uncertainty and that of its processes. The best of many is the luckiest of
    them: bounds are one-sided 95 % for all candidates together (Bonferroni).
    """
    if not trials:
        return ()
    holder = incumbent(trials, trials[0].incumbent, zone)
    pointless = _pointless(trials, zone)
    found = _positions(trials)
    best = min(found, key=lambda workers: (found[workers].level, workers))
    near = {
        workers
        for workers, position in found.items()
        if position.level - found[best].level - _spread(position, found[best]) <= math.log1p(zone)
    }
    kept = {w for w in near if w <= holder or w not in pointless}
    return tuple(sorted(kept | {holder, best}))


@dataclass(frozen=True, slots=True)
class _Position:
    """Where a candidate stands against the first: ln of the ratio, and the trials it rests on."""

    level: float
    path: Mapping[int, float]
    """Place of a trial, and the square of what it may be off by."""


def _positions(trials: Sequence[Trial]) -> dict[int, _Position]:
    confidence = 1 - (1 - CONFIDENCE) / len(trials)
    reach = _reach(trials, confidence)
    processes = t_quantile(confidence, math.inf) * PROCESS_SD
    found = {trials[0].incumbent: _Position(0.0, {})}
    for place, trial in enumerate(trials):
        sample = moments(trial.log_ratios)
        if sample.n == 0 or trial.incumbent not in found:
            continue
        base = found[trial.incumbent]
        off = reach[place] ** 2 + processes**2
        found[trial.candidate] = _Position(base.level + sample.mean, {**base.path, place: off})
    return found


def _spread(a: _Position, b: _Position) -> float:
    """Return what two candidates may be off by: the trials that only one of them rests on."""
    either = {**a.path, **b.path}
    return math.sqrt(math.fsum(either[place] for place in a.path.keys() ^ b.path.keys()))


@dataclass(frozen=True, slots=True)
class Plateau:
    """The numbers of workers that are as good as the best, and the one to use."""

    members: tuple[int, ...]
    """Shown to be slower than the best by no more than the zone."""
    best: int
    """The fastest on average; often not the one to use."""
    undecided: tuple[int, ...]
    """Neither members nor shown to be slower by more than the zone."""
    recommended: int | None
    regret_bound: float | None = None
    """What would be recommended is slower than the truly best of these by at most this fraction.

    One-sided 95 %; stated where the recommendation itself is withheld, too. None for a single
    arm, which nothing was compared with.
    """


def plateau(
    log_epochs: Mapping[int, Sequence[float]], zone: float = 0.03, *, min_blocks: int = 5
) -> Plateau:
    """Judge the numbers of workers of a study: ``{workers: ln(epoch_s) of each block}``.

    Only blocks in which all arms have a value count. Spreads are pooled over the arms (residuals
    of a table of blocks and arms), so that five blocks of four arms have twelve degrees of freedom
    and not four.

    Recommended is the smallest number whose mean is slower than the best mean by no more than the
    zone. It may be undecided: of two that may be equal the one that costs less memory is the
    better guess, and ``regret_bound`` says how wrong it can be. None where that exceeds twice the
    zone, or with fewer than ``min_blocks`` blocks. benchmarks/simulate_studies.py has what this
    rule is worth on curves of known truth.

    Raises:
        ValueError: No arm has a value.
    """
    arms = {w: list(values) for w, values in sorted(log_epochs.items()) if _any_finite(values)}
    if not arms:
        raise ValueError("A plateau needs at least one arm with an epoch time; there is none.")
    rows = [row for row in zip(*arms.values(), strict=False) if all(map(math.isfinite, row))]
    n = len(rows)
    if n < max(2, min_blocks):
        averages = {w: moments(values).mean for w, values in arms.items()}
        best = min(averages, key=lambda w: averages[w])
        return Plateau((), best, tuple(arms), None)
    means = {
        w: moments(column).mean for w, column in zip(arms, zip(*rows, strict=True), strict=True)
    }
    best = min(means, key=lambda w: (means[w], w))
    slowness = {w: mean - means[best] for w, mean in means.items()}
    return _judged(slowness, best, _pooled_reach(rows), math.log1p(zone))


def _any_finite(values: Sequence[float]) -> bool:
    return any(math.isfinite(value) for value in values)


def _pooled_reach(rows: Sequence[Sequence[float]]) -> float:
    """Return what the difference of two arms may be off by, on one side."""
    blocks, arms = len(rows), len(rows[0])
    if arms < 2:
        return 0.0
    of_block = [math.fsum(row) / arms for row in rows]
    of_arm = [math.fsum(column) / blocks for column in zip(*rows, strict=True)]
    overall = math.fsum(of_block) / blocks
    squares = math.fsum(
        (value - of_block[i] - of_arm[j] + overall) ** 2
        for i, row in enumerate(rows)
        for j, value in enumerate(row)
    )
    degrees = (blocks - 1) * (arms - 1)
    return t_quantile(CONFIDENCE, degrees) * math.sqrt(2 * squares / degrees / blocks)


def _judged(slowness: Mapping[int, float], best: int, reach: float, edge: float) -> Plateau:
    members = {w for w, slower in slowness.items() if w == best or slower + reach <= edge}
    undecided = {w for w, slower in slowness.items() if slower - reach <= edge} - members
    smallest = min(w for w, slower in slowness.items() if slower <= edge)
    rivals = [slower for w, slower in slowness.items() if w != smallest]
    if not rivals:
        return Plateau((best,), best, (), best)
    bound = max(0.0, slowness[smallest] - min(rivals) + reach)
    return Plateau(
        members=tuple(sorted(members)),
        best=best,
        undecided=tuple(sorted(undecided)),
        recommended=smallest if bound <= 2 * edge else None,
        regret_bound=math.expm1(bound),
    )
