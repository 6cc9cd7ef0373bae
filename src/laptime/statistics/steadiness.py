"""Rules on the machine while arms took turns: other programs, clocks, drift, the A/A pair."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, median

from laptime.replicate import Block, NoiseRecord, Replicate, Turn
from laptime.statistics.advice import again, refusal_of_arms
from laptime.statistics.intervals import ratio_interval
from laptime.statistics.summary import block_log_ratios, measured, twin_pairs
from laptime.statistics.verdict import judge_times
from laptime.study import Estimate, Plan, Refusal
from laptime.timing.noise import QUIET
from laptime.units import render_change, render_share

MOST_CONTAMINATED = 0.2
"""Share of the turns of a study."""

MOST_OF_ONE_ARM = 0.5
"""Share of one arm's turns: beyond it, the clean ones are too few to rest on."""

FEWEST_TURNS = 4
"""In a block, to say that an arm became slower or faster in it."""

FEWEST_BLOCKS = 3
"""To say that it does so always."""

DRIFT_CONFIDENCE = 0.99
"""With 95 %, four turns a block that spread by 5 % would refuse up to 4 % of steady studies."""

_WORTH_SAYING = 0.05


def contaminated(plan: Plan, blocks: Sequence[Block]) -> list[Refusal]:
    """Refuse a study of which more than a fifth of the turns was disturbed.

    Or an arm, when more than half of its own were: whatever it starts outside of its loader, for
    example, is another program's. Turns count that were flagged when they were taken, and those
    beside which other programs used more CPUs than allowed: arms that run one after another have
    no round to be compared with.
    """
    turns = [turn for block in blocks for r in block.replicates for turn in r.turns]
    disturbed = [turn for turn in turns if is_disturbed(turn)]
    remedy = f"End other programs (`top` names them), then {again(plan, blocks)}"
    if len(disturbed) > MOST_CONTAMINATED * len(turns):
        evidence = f"{_share_of(disturbed, turns)} were contaminated{_how(disturbed, turns)}."
        return [Refusal(code="contaminated", evidence=evidence, next=remedy)]
    found: dict[str, str] = {}
    for arm in plan.arms:
        own = [t for b in blocks for r in b.replicates if r.arm == arm.name for t in r.turns]
        bad = [turn for turn in own if is_disturbed(turn)]
        if len(bad) > MOST_OF_ONE_ARM * len(own):
            found[arm.name] = f"{_share_of(bad, own)} were contaminated{_how(bad, own)}"
    return refusal_of_arms("contaminated", found, remedy)


def is_disturbed(turn: Turn) -> bool:
    """Tell whether a turn was flagged, or foreign load alone is reason enough."""
    foreign = turn.noise.foreign_cores if turn.noise else None
    return turn.contaminated or (foreign is not None and foreign > QUIET.foreign_cores)


def _share_of(some: Sequence[Turn], turns: Sequence[Turn]) -> str:
    return f"{len(some)} of {len(turns)} turns"


def _how(disturbed: Sequence[Turn], turns: Sequence[Turn]) -> str:
    """Say what was seen beside the disturbed turns, as far as it could be read."""
    noises = _noises(disturbed)
    parts = [
        *_foreign_words([n.foreign_cores for n in noises if n.foreign_cores is not None]),
        *_sentinel_words(noises, _noises([turn for turn in turns if not is_disturbed(turn)])),
        *_steal_words([n.steal for n in noises if n.steal is not None]),
    ]
    return f": {', '.join(parts)}" if parts else ""


def _noises(turns: Sequence[Turn]) -> list[NoiseRecord]:
    return [turn.noise for turn in turns if turn.noise]


def _foreign_words(cores: Sequence[float]) -> list[str]:
    if not cores:
        return []
    return [f"other programs used {fmean(cores):.2f} CPUs on average, {max(cores):.2f} at most"]


def _sentinel_words(disturbed: Sequence[NoiseRecord], clean: Sequence[NoiseRecord]) -> list[str]:
    if not disturbed or not clean:
        return []
    usual_ns = median(noise.sentinel_ns for noise in clean)
    ratio = median(noise.sentinel_ns for noise in disturbed) / max(1.0, usual_ns)
    if abs(ratio - 1) < _WORTH_SAYING:
        return []
    return [f"the sentinel took {ratio:.2f} times as long as beside clean turns"]


def _steal_words(shares: Sequence[float]) -> list[str]:
    return [f"the hypervisor took {render_share(fmean(shares))}"] if any(shares) else []


def clock_change(plan: Plan, blocks: Sequence[Block]) -> list[Refusal]:
    """Refuse arms whose CPU clock, read beside their turns, was another than the baseline's.

    By more than 5 %, over all blocks. Two arms that each differ less from the baseline but more
    from each other are refused too: a search compares them.
    """
    clocks = {arm.name: _clock_mhz(measured(blocks, arm.name)) for arm in plan.arms}
    known = {arm: mhz for arm, mhz in clocks.items() if mhz}
    if not known:
        return []
    usual = known.get(plan.baseline)
    off = [arm for arm, mhz in known.items() if usual and _apart(mhz, usual)]
    slowest, fastest = (pick(known, key=lambda arm: known[arm]) for pick in (min, max))
    if not off and _apart(known[slowest], known[fastest]):
        off = [slowest, fastest]
    found = {arm: f"the CPU clock was {known[arm]:,.0f} MHz" for arm in off}
    if usual:
        found = {arm: f"{text}, in the baseline {usual:,.0f}" for arm, text in found.items()}
    remedy = (
        f"Let the machine cool, or fix its clock (governor, mains power), then "
        f"{again(plan, blocks)}"
    )
    return refusal_of_arms("clock_change", found, remedy)


def _clock_mhz(replicates: Sequence[Replicate]) -> float | None:
    noises = _noises([turn for replicate in replicates for turn in replicate.counted])
    clocks = [noise.clock_mhz for noise in noises if noise.clock_mhz is not None]
    return fmean(clocks) if clocks else None


def _apart(a: float, b: float) -> bool:
    return max(a, b) > min(a, b) * (1 + QUIET.clock_share)


def no_steady_state(plan: Plan, blocks: Sequence[Block]) -> list[Refusal]:
    """Refuse arms that become slower or faster in the course of every block.

    In each block with at least four counted turns the mean step of the second half is compared
    with that of the first; a middle turn is left out. Refused is what differs by more than the
    zone: the 99 % interval over at least three blocks lies outside of it. So few blocks give
    that only where most of them agree. Fewer give no verdict anyway.

    Simulated, six arms, turns that spread by 5 % and nothing else: under 1 % of the studies are
    refused with 3, 5 and 7 blocks, 4 to 24 turns, independent or AR(1) with 0.7. A jump of 10 %
    is found in 96 % of the arms with 5 blocks of 4 turns that spread by 2 %, or of 24 by 5 %.
    """
    found: dict[str, str] = {}
    for arm in plan.arms:
        drifts = [drift for r in measured(blocks, arm.name) if (drift := half_drift(r)) is not None]
        seen = _steady_drift(drifts, plan.zone)
        if seen:
            found[arm.name] = _drift_words(seen, drifts)
    remedy = (
        f"Look for what grows or fades within a block (a cache, memory, a clock, heat) and "
        f"{again(plan, blocks)}"
    )
    return refusal_of_arms("no_steady_state", found, remedy)


def half_drift(replicate: Replicate) -> float | None:
    """Return ln(mean step of the second half of the turns / of the first half).

    None with fewer than four counted turns.
    """
    turns = sorted(replicate.counted, key=lambda turn: turn.round)
    if len(turns) < FEWEST_TURNS:
        return None
    half = len(turns) // 2
    first, second = (fmean(t.step_s for t in part) for part in (turns[:half], turns[-half:]))
    return math.log(second / first)


def _steady_drift(drifts: Sequence[float], zone: float) -> Estimate | None:
    """Return the ratio of the halves with its interval where that lies outside of the zone."""
    if len(drifts) < FEWEST_BLOCKS:
        return None
    found = ratio_interval(drifts, DRIFT_CONFIDENCE)
    if found.low is None or found.high is None:
        return None
    outside = found.low > 1 + zone or found.high < 1 / (1 + zone)
    return found if outside else None


def _drift_words(seen: Estimate, drifts: Sequence[float]) -> str:
    same = sum((drift > 0) == (seen.estimate > 1) for drift in drifts)
    change = render_change(seen.estimate, seen.low, seen.high)
    return (
        f"from the first half of a block to the second a step's time changed by {change}, "
        f"the same way in {same} of {len(drifts)} blocks"
    )


def aa_differs(plan: Plan, blocks: Sequence[Block]) -> list[Refusal]:
    """Refuse a study in which the same settings, run as two arms, come out faster or slower."""
    refused = []
    for twin, original in twin_pairs(plan):
        ratios = block_log_ratios(blocks, twin.name, original.name)
        row = judge_times(twin.name, original.name, ratios, plan.zone)
        if row.verdict in {"faster", "slower"} and row.ratio and row.low and row.high:
            refused.append(
                Refusal(
                    code="aa_differs",
                    evidence=(
                        f"{twin.name} and {original.name} have the same settings, yet their "
                        f"epochs differ: {render_change(row.ratio, row.low, row.high)} over "
                        f"{row.n} blocks."
                    ),
                    next=(
                        f"`laptime selftest` (half a minute) tells whether this machine measures "
                        f"truly now; then {again(plan, blocks)}"
                    ),
                )
            )
    return refused
