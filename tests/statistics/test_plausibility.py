import pytest

from laptime.phase import Phase
from laptime.statistics.plausibility import (
    Roof,
    asynchronous_host,
    ledger_closure,
    overhead,
    physics,
    short_window,
)

RULES = (ledger_closure, short_window, physics, asynchronous_host, overhead)


def on_device(builder, **given):
    """Return a study in which one arm was timed by events on a GPU."""
    plan = builder.plan()
    blocks = builder.change_turns(
        builder.blocks(plan), lambda t: builder.device_turn(t.step_s, t.round, **given), "w4"
    )
    return plan, blocks


def lasting(builder, wall_s, steps=20, **plan):
    """Return a study in which the turns of one arm last so long."""
    made = builder.plan(**plan)

    def change(turn):
        return builder.turn(number=turn.round, steps=steps, wall_ns=round(wall_s * 1e9))

    return made, builder.change_turns(builder.blocks(made), change, "w4")


@pytest.mark.parametrize("rule", RULES)
def test_a_clean_study_breaks_no_rule(builder, rule) -> None:
    plan = builder.plan()

    assert rule(plan, builder.blocks(plan)) == []


def test_phases_that_do_not_sum_to_the_wall_are_refused(builder) -> None:
    plan = builder.plan()
    blocks = builder.change_turns(
        builder.blocks(plan), lambda t: builder.changed(t, wall_ns=t.wall_ns + 1), "w4"
    )

    [found] = ledger_closure(plan, blocks)

    assert (found.code, found.arms) == ("ledger_closure", ("w4",))
    assert "30 of 30 turns do not close" in found.evidence
    assert " ns, wall " in found.evidence


def test_a_device_window_that_closes_is_believed(builder) -> None:
    assert ledger_closure(*on_device(builder)) == []


def test_one_invalid_device_window_is_refused(builder) -> None:
    plan = builder.plan()
    blocks = builder.blocks(plan)
    bad = builder.device_turn(invalid_windows=1, closure_ns=20_000_000, forward_ns=0)
    blocks[0] = builder.change_turns(blocks[:1], lambda t: bad if t.round == 2 else t, "w4")[0]

    [found] = ledger_closure(plan, blocks)

    assert "1 of 30 turns" in found.evidence
    assert "20.0 ms of 0.7 s unexplained" in found.evidence


def test_device_parts_that_do_not_sum_to_their_window_are_refused(builder) -> None:
    [found] = ledger_closure(*on_device(builder, host_gap_ns=5))

    assert "device parts" in found.evidence


def test_a_column_below_zero_is_refused(builder) -> None:
    [found] = ledger_closure(*on_device(builder, host_phases_ns={Phase.LOGGING: 10**9}))

    assert "negative" in found.evidence


def test_a_turn_under_half_a_second_is_refused(builder) -> None:
    [found] = short_window(*lasting(builder, 0.30))

    assert (found.code, found.arms) == ("short_window", ("w4",))
    assert "half of its turns last 0.3 s or less, under half a second" in found.evidence
    assert "turns of 34 steps or more" in found.next


def test_a_turn_a_little_faster_than_its_forecast_is_long_enough(builder) -> None:
    assert short_window(*lasting(builder, 0.46)) == []


def test_one_short_turn_among_many_is_no_reason(builder) -> None:
    plan = builder.plan()
    short = builder.turn(steps=20, wall_ns=300_000_000)
    blocks = builder.change_turns(
        builder.blocks(plan), lambda t: short if t.round == 1 else t, "w4"
    )

    assert short_window(plan, blocks) == []


def coarse(builder, plan, blocks, tick_ns):
    environment = builder.environment(clock_resolution_ns=tick_ns)
    return plan, builder.change_replicates(
        blocks, lambda r: builder.changed(r, environment=environment), "w4"
    )


def test_a_turn_under_a_hundred_clock_ticks_is_refused(builder) -> None:
    [found] = short_window(*coarse(builder, *lasting(builder, 1.0), 15_600_000))

    assert "under 100 clock ticks of 1.56e+04 us" in found.evidence
    assert "turns of 32 steps or more" in found.next


def test_a_turn_of_more_than_a_hundred_clock_ticks_is_long_enough(builder) -> None:
    assert short_window(*coarse(builder, *lasting(builder, 1.6), 15_600_000)) == []


def test_a_phase_that_is_compared_needs_a_hundred_clock_ticks_a_step(builder) -> None:
    plan, blocks = lasting(builder, 1.0, study="optimizers")  # 2.5 ms of optimizer in a step

    assert short_window(*coarse(builder, plan, blocks, 24_000)) == []
    [found] = short_window(*coarse(builder, plan, blocks, 26_000))
    assert "optimizer takes 2500 us in a step, under 100 clock ticks of 26 us" in found.evidence


def test_a_phase_that_nobody_compares_may_be_short(builder) -> None:
    plan, blocks = lasting(builder, 1.0, study="workers")

    assert short_window(*coarse(builder, plan, blocks, 26_000)) == []


def test_faster_than_resident_batches_is_refused(builder) -> None:
    plan = builder.plan()
    blocks = builder.blocks(plan, step_s={"w4": 0.026, "resident": 0.028})

    [found] = physics(plan, blocks)

    assert (found.code, found.arms) == ("physics", ("w4",))
    assert "a step's time is -" in found.evidence
    assert "against batches that are on the device already, over 5 blocks" in found.evidence


def test_as_fast_as_resident_batches_within_the_zone_is_possible(builder) -> None:
    plan = builder.plan()

    assert physics(plan, builder.blocks(plan, step_s={"w4": 0.0275, "resident": 0.028})) == []


def test_faster_than_resident_batches_by_noise_alone_is_possible(builder) -> None:
    plan = builder.plan()
    step_s = {"w4": 0.0265, "resident": 0.028}

    assert physics(plan, builder.blocks(plan, step_s=step_s, block_sd=0.08)) == []


def test_resident_batches_bound_only_arms_of_the_same_step(builder) -> None:
    arms = [
        builder.arm("w2"),
        builder.arm("adam", optimizer="adam"),
        builder.arm("resident", feed="resident", num_workers=0),
    ]
    plan = builder.plan(arms, study="optimizers", factors=("optimizer",))
    blocks = builder.blocks(plan, step_s={"w2": 0.03, "adam": 0.02, "resident": 0.028})

    assert physics(plan, blocks) == []


def test_more_flops_than_the_devices_peak_are_refused(builder) -> None:
    plan = builder.plan()
    blocks = builder.change_replicates(
        builder.blocks(plan), lambda r: builder.changed(r, flops_per_step=3.3e11), "w4"
    )

    [found] = physics(plan, blocks, Roof(flops_per_s=1e13))

    assert (found.code, found.arms) == ("physics", ("w4",))
    assert "1.1e+13 FLOP/s, above the peak of 1e+13 FLOP/s" in found.evidence


@pytest.mark.parametrize("roof", [None, Roof(), Roof(flops_per_s=1e14), Roof(bus_bytes_per_s=1e9)])
def test_rates_under_the_roof_or_without_one_are_possible(builder, roof) -> None:
    plan = builder.plan()

    assert physics(plan, builder.blocks(plan, flops_per_step=4.3e11), roof) == []


def test_more_bytes_than_the_bus_carries_are_refused_where_batches_cross_it(builder) -> None:
    arms = [builder.arm("w2"), builder.arm("device", loader="device")]
    plan = builder.plan(arms, factors=("loader",))
    sample_bytes = 3 * 32 * 32 * 4
    roof = Roof(bus_bytes_per_s=1e6, sample_bytes=sample_bytes)

    [found] = physics(plan, builder.blocks(plan), roof)

    assert found.arms == ("w2",)
    assert "bytes/s to the device, above the bus's 1e+06 bytes/s" in found.evidence


def timed(builder, timing, device):
    plan = builder.plan([builder.arm("w2"), builder.arm("gpu", device="cuda", timing=timing)])
    environment = builder.environment(device=device)
    blocks = builder.change_replicates(
        builder.blocks(plan), lambda r: builder.changed(r, environment=environment), "gpu"
    )
    return plan, blocks


@pytest.mark.parametrize("timing", ["host", "off"])
@pytest.mark.parametrize("device", ["cuda:0", "mps"])
def test_a_device_that_nobody_waited_for_is_refused(builder, timing, device) -> None:
    [found] = asynchronous_host(*timed(builder, timing, device))

    assert (found.code, found.arms) == ("asynchronous_host", ("gpu",))
    assert f"mode {timing} on {device}" in found.evidence


@pytest.mark.parametrize(
    ("timing", "device"), [("sync", "cuda:0"), ("auto", "mps"), ("host", "cpu")]
)
def test_a_device_that_was_waited_for_is_believed(builder, timing, device) -> None:
    assert asynchronous_host(*timed(builder, timing, device)) == []


def test_events_on_the_device_are_believed(builder) -> None:
    plan, blocks = timed(builder, "host", "cuda:0")
    seen = builder.change_turns(blocks, lambda t: builder.device_turn(t.step_s, t.round), "gpu")

    assert asynchronous_host(plan, seen) == []


@pytest.mark.parametrize(("share", "refused"), [(0.019, False), (0.021, True)])
def test_bookkeeping_may_take_two_per_cent_of_a_step(builder, share, refused) -> None:
    plan = builder.plan()
    blocks = builder.change_replicates(
        builder.blocks(plan), lambda r: builder.changed(r, overhead_share=share), "w4"
    )

    found = overhead(plan, blocks)

    assert [refusal.arms for refusal in found] == ([("w4",)] if refused else [])


def test_one_slow_calibration_is_no_reason(builder) -> None:
    plan = builder.plan()
    blocks = builder.blocks(plan)
    blocks[0] = builder.block(plan, overhead_share=0.3)

    assert overhead(plan, blocks) == []
