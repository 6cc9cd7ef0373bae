"""Rules on what one arm's own figures rule out: sums, clocks, physics, our own cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from laptime.phase import Phase
from laptime.record import DeviceTimes
from laptime.replicate import Block, Replicate, Turn
from laptime.statistics.advice import again, command, refusal_of_arms
from laptime.statistics.intervals import ratio_interval
from laptime.statistics.summary import block_log_ratios, measured
from laptime.study import Arm, Plan, Refusal
from laptime.units import render_change, render_count, render_duration, render_share, seconds

SHORTEST_TURN_NS = 450_000_000
"""Half a second, less what a turn of fixed steps may be faster than its forecast."""

FEWEST_TICKS = 100
"""Of the clock, in anything that a verdict rests on."""

MOST_OVERHEAD = 0.02
"""Share of a step that our own bookkeeping may take."""

RESTS_ON: Mapping[str, tuple[Phase, ...]] = {"optimizers": (Phase.OPTIMIZER,)}
"""Phases of a step that a kind of study compares, beside the whole."""

_FED_ONLY = frozenset(
    {"loader", "num_workers", "prefetch_factor", "persistent_workers", "pin_memory"}
)
"""Settings that change how batches arrive, and not what a step computes."""


@dataclass(frozen=True)
class Roof:
    """What no device can exceed, as far as it is known."""

    flops_per_s: float | None = None
    """Peak of the device at the precision used."""
    bus_bytes_per_s: float | None = None
    """From the host to the device."""
    sample_bytes: int | None = None
    """Of one input, as it crosses the bus."""


def ledger_closure(plan: Plan, blocks: Sequence[Block]) -> list[Refusal]:
    """Refuse arms with a turn whose parts do not sum to its wall, on the host or on the device."""
    found: dict[str, str] = {}
    for arm, turns in _counted(plan, blocks).items():
        gaps = [gap for turn in turns if (gap := _gap(turn))]
        if gaps:
            found[arm] = f"{len(gaps)} of {len(turns)} turns do not close ({gaps[0]})"
    remedy = f"`laptime selftest` (half a minute) tests the timing here; then {again(plan, blocks)}"
    return refusal_of_arms("ledger_closure", found, remedy)


def _gap(turn: Turn) -> str | None:
    """Return what does not add up in a turn, or None."""
    phases_ns = sum(turn.phases_ns.values())
    if phases_ns != turn.wall_ns:
        return f"phases {render_count(phases_ns)} ns, wall {render_count(turn.wall_ns)} ns"
    device = turn.device_ns
    if device and device.invalid_windows:
        return (
            f"{device.invalid_windows} device windows invalid, "
            f"{device.closure_ns / 1e6:.1f} ms of {render_duration(seconds(device.wall_ns))} "
            f"unexplained"
        )
    if device and _device_sum_ns(device) != device.wall_ns:
        return (
            f"device parts {render_count(_device_sum_ns(device))} ns, "
            f"window {render_count(device.wall_ns)} ns"
        )
    if min(turn.loading_ns, turn.other_ns, turn.training_ns) < 0:
        return f"a column is negative in a turn of {render_duration(seconds(turn.wall_ns))}"
    return None


def _device_sum_ns(device: DeviceTimes) -> int:
    """Return the sum of all that a device window is divided into; it is the wall, exactly."""
    work_ns = device.transfer_ns + device.forward_ns + device.backward_ns + device.optimizer_ns
    return work_ns + device.stall_ns + device.host_gap_ns + device.closure_ns


def short_window(plan: Plan, blocks: Sequence[Block]) -> list[Refusal]:
    """Refuse arms whose turns, or the phases compared, are too short for clock and machine.

    A turn by the median of an arm, since single turns vary: half a second, and 100 clock ticks.
    A phase by its mean in a step: 100 clock ticks.
    """
    found: dict[str, str] = {}
    steps = plan.turns.min_steps
    for arm in plan.arms:
        replicates = measured(blocks, arm.name)
        turns = [turn for replicate in replicates for turn in replicate.counted]
        if not turns:
            continue
        typical_ns = median(turn.wall_ns for turn in turns)
        text = _short_turn(typical_ns, replicates) or _short_phase(plan, arm, turns, replicates)
        if text:
            found[arm.name] = text
            step_ns = typical_ns / median(turn.steps for turn in turns)
            needed_ns = max(5e8, FEWEST_TICKS * _tick_ns(replicates))
            steps = max(steps, math.ceil(needed_ns / step_ns))
    remedy = f"Take turns of {steps} steps or more, or more work in a step (batch_size, width)"
    return refusal_of_arms("short_window", found, f"{remedy}, and {again(plan, blocks)}")


def _short_turn(typical_ns: float, replicates: Sequence[Replicate]) -> str | None:
    shown = f"half of its turns last {render_duration(typical_ns / 1e9)} or less"
    if typical_ns < SHORTEST_TURN_NS:
        return f"{shown}, under half a second"
    tick_ns = _tick_ns(replicates)
    if typical_ns < FEWEST_TICKS * tick_ns:
        return f"{shown}, under {FEWEST_TICKS} clock ticks of {_ticks(tick_ns)}"
    return None


def _short_phase(
    plan: Plan, arm: Arm, turns: Sequence[Turn], replicates: Sequence[Replicate]
) -> str | None:
    # Events have a clock of their own, and mode off has no phases.
    if arm.settings.training.timing == "off" or any(turn.device_ns for turn in turns):
        return None
    tick_ns = _tick_ns(replicates)
    steps = sum(turn.steps for turn in turns)
    for phase in RESTS_ON.get(plan.study, ()):
        spent_ns = sum(turn.phases_ns[phase] for turn in turns) / steps
        if spent_ns < FEWEST_TICKS * tick_ns:
            return (
                f"{phase.value} takes {_ticks(spent_ns)} in a step, under {FEWEST_TICKS} clock "
                f"ticks of {_ticks(tick_ns)}"
            )
    return None


def _tick_ns(replicates: Sequence[Replicate]) -> int:
    found = [r.environment.clock_resolution_ns for r in replicates if r.environment]
    return max(found, default=1)


def _ticks(ns: float) -> str:
    return f"{ns / 1e3:.4g} us"


def physics(plan: Plan, blocks: Sequence[Block], roof: Roof | None = None) -> list[Refusal]:
    """Refuse arms that are faster than can be.

    Faster than the same steps on resident batches: the 95 % interval of the ratio of step times
    lies below the zone. Or beyond the roof: more FLOP/s than the device's peak, more bytes/s than
    its bus.
    """
    found: dict[str, str] = {}
    for arm in plan.arms:
        text = _beyond_resident(plan, blocks, arm) or _beyond_roof(blocks, arm, roof or Roof())
        if text:
            found[arm.name] = text
    remedy = (
        f"Check with `{command(plan)} --timing sync`, which waits at every edge (about as long), "
        f"that the arm does all the work it is timed for; then {again(plan, blocks)}"
    )
    return refusal_of_arms("physics", found, remedy)


def _beyond_resident(plan: Plan, blocks: Sequence[Block], arm: Arm) -> str | None:
    if arm.feed == "resident":
        return None
    for bound in plan.arms:
        if bound.feed != "resident" or _step_settings(bound) != _step_settings(arm):
            continue
        ratios = block_log_ratios(blocks, arm.name, bound.name, "step_s")
        found = ratio_interval(ratios) if ratios else None
        if found and found.high is not None and found.high < 1 / (1 + plan.zone):
            change = render_change(found.estimate, found.low, found.high)
            return (
                f"a step's time is {change} against batches that are on the device already, "
                f"over {found.n} blocks"
            )
    return None


def _step_settings(arm: Arm) -> dict[str, object]:
    flat = arm.settings.flat()
    return {name: value for name, value in flat.items() if name not in _FED_ONLY}


def _beyond_roof(blocks: Sequence[Block], arm: Arm, roof: Roof) -> str | None:
    rates = [r for r in measured(blocks, arm.name) if r.step_s]
    if not rates:
        return None
    step_s = fmean(r.step_s for r in rates if r.step_s)
    flops = max((r.flops_per_step for r in rates if r.flops_per_step), default=0.0)
    if roof.flops_per_s and flops / step_s > roof.flops_per_s:
        return f"{flops / step_s:.3g} FLOP/s, above the peak of {roof.flops_per_s:.3g} FLOP/s"
    crosses = arm.feed == "loader" and arm.settings.loader.loader != "device"
    moved = arm.settings.loader.batch_size * (roof.sample_bytes or 0) if crosses else 0
    if roof.bus_bytes_per_s and moved / step_s > roof.bus_bytes_per_s:
        return (
            f"{moved / step_s:.3g} bytes/s to the device, above the bus's "
            f"{roof.bus_bytes_per_s:.3g} bytes/s"
        )
    return None


def asynchronous_host(plan: Plan, blocks: Sequence[Block]) -> list[Refusal]:
    """Refuse arms on a device that runs ahead of the host and was timed without waiting for it."""
    found: dict[str, str] = {}
    for arm in plan.arms:
        mode = arm.settings.training.timing
        for replicate in measured(blocks, arm.name) if mode in {"host", "off"} else ():
            device = replicate.environment.device if replicate.environment else "cpu"
            waited = all(turn.device_ns for turn in replicate.counted)
            if device.startswith(("cuda", "mps")) and not waited:
                found[arm.name] = f"timed in mode {mode} on {device}, which nobody waited for"
    remedy = f"Leave --timing out (events on cuda, sync on mps) and {again(plan, blocks)}"
    return refusal_of_arms("asynchronous_host", found, remedy)


def overhead(plan: Plan, blocks: Sequence[Block]) -> list[Refusal]:
    """Refuse arms in which our own bookkeeping takes more than 2 % of a step."""
    found: dict[str, str] = {}
    for arm in plan.arms:
        shares = [replicate.overhead_share for replicate in measured(blocks, arm.name)]
        if shares and median(shares) > MOST_OVERHEAD:
            found[arm.name] = f"our own bookkeeping takes {render_share(median(shares))} of a step"
    remedy = (
        f"Give a step more work (a larger --batch-size), or --timing off, which keeps the wall "
        f"only, and {again(plan, blocks)}"
    )
    return refusal_of_arms("overhead", found, remedy)


def _counted(plan: Plan, blocks: Sequence[Block]) -> dict[str, list[Turn]]:
    """Return the turns that each arm's estimates rest on."""
    return {
        arm.name: [turn for r in measured(blocks, arm.name) for turn in r.counted]
        for arm in plan.arms
    }
