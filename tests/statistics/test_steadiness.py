import pytest

from laptime.statistics.steadiness import (
    aa_differs,
    clock_change,
    contaminated,
    half_drift,
    no_steady_state,
)
from laptime.timing.noise import QUIET, flag_round

RULES = (contaminated, clock_change, no_steady_state, aa_differs)


@pytest.mark.parametrize("rule", RULES)
def test_a_quiet_study_breaks_no_rule(builder, rule) -> None:
    plan = builder.plan()

    assert rule(plan, builder.blocks(plan)) == []


def test_two_busy_loops_contaminate_a_study(builder) -> None:
    """The meter beside each turn sees them; the round flags it, as it does while one runs."""

    def hogged(turn):
        noise = builder.noise(
            sentinel_before_ns=round(95e6 * builder.factor(0.1)),
            sentinel_after_ns=round(95e6 * builder.factor(0.1)),
            foreign_cores=1.2 * builder.factor(0.2),
        )
        return builder.changed(turn, noise=noise, contaminated=flag_round([noise])[0])

    plan = builder.plan()
    blocks = builder.blocks(plan)
    loops = builder.change_turns(blocks[2:], hogged)

    [found] = contaminated(plan, [*blocks[:2], *loops])

    assert (found.code, found.arms) == ("contaminated", ())
    assert "90 of 150 turns were contaminated" in found.evidence
    assert "other programs used 1." in found.evidence
    assert "times as long as beside clean turns" in found.evidence
    assert "5 blocks took 6 min 40 s" in found.next


def flagged(builder, blocks, rounds, *arms):
    """Flag the turns of some rounds of each block."""
    return builder.change_turns(
        blocks, lambda t: builder.changed(t, contaminated=t.round in rounds), *arms
    )


def test_a_fifth_of_the_turns_may_be_contaminated(builder) -> None:
    plan = builder.plan()
    blocks = builder.blocks(plan, num_turns=5)

    fifth = flagged(builder, blocks, {3})
    assert contaminated(plan, fifth) == []
    one_more = [*flagged(builder, fifth[:1], {3, 4}, "w0"), *fifth[1:]]
    assert "26 of 125 turns" in contaminated(plan, one_more)[0].evidence


def test_foreign_load_counts_where_no_round_was_flagged(builder) -> None:
    plan = builder.plan(design="sequential")
    hog = builder.noise(foreign_cores=QUIET.foreign_cores + 0.01)
    quiet = builder.noise(foreign_cores=QUIET.foreign_cores)
    blocks = builder.blocks(plan)

    for noise, refused in ((hog, True), (quiet, False)):
        noisy = builder.change_turns(blocks, lambda t, n=noise: builder.changed(t, noise=n))
        assert bool(contaminated(plan, noisy)) is refused


def test_an_arm_that_contaminates_its_own_turns_is_refused_alone(builder) -> None:
    plan = builder.plan()
    blocks = builder.blocks(plan)

    assert contaminated(plan, flagged(builder, blocks, {1, 2, 3}, "w4")) == []
    [found] = contaminated(plan, flagged(builder, blocks, {1, 2, 3, 4}, "w4"))
    assert found.arms == ("w4",)
    assert "w4: 20 of 30 turns" in found.evidence


def test_contamination_of_unknown_cause_is_still_counted(builder) -> None:
    plan = builder.plan()
    blocks = builder.change_turns(
        builder.blocks(plan), lambda t: builder.changed(t, noise=None, contaminated=True)
    )

    assert contaminated(plan, blocks)[0].evidence == "150 of 150 turns were contaminated."


def clocked(builder, **mhz):
    """Return a study of three arms at these clocks."""
    plan = builder.plan([builder.arm(name) for name in ("w0", "w2", "w4")])
    blocks = builder.blocks(plan)
    for arm, clock in mhz.items():
        blocks = builder.change_turns(
            blocks, lambda t, c=clock: builder.changed(t, noise=builder.noise(clock_mhz=c)), arm
        )
    return plan, blocks


def test_an_arm_at_another_clock_is_refused(builder) -> None:
    [found] = clock_change(*clocked(builder, w0=2900.0, w2=2900.0, w4=2700.0))

    assert (found.code, found.arms) == ("clock_change", ("w4",))
    assert "2,700 MHz, in the baseline 2,900" in found.evidence


def test_clocks_within_five_per_cent_are_the_same(builder) -> None:
    assert clock_change(*clocked(builder, w0=2900.0, w2=2900.0, w4=2780.0)) == []


def test_two_arms_on_either_side_of_the_baseline_are_refused(builder) -> None:
    [found] = clock_change(*clocked(builder, w0=2800.0, w2=2900.0, w4=3000.0))

    assert found.arms == ("w0", "w4")


def test_clocks_that_nobody_could_read_are_no_reason(builder) -> None:
    assert clock_change(*clocked(builder, w0=None, w2=None, w4=None)) == []
    assert clock_change(*clocked(builder, w0=2000.0, w2=None, w4=None)) == []


def drifting(builder, growth, *, num_turns=4, turn_sd=0.01, count=5, signs=(1,)):
    """Return a study in which one arm's steps grow by so much in the second half of a block."""
    plan = builder.plan([builder.arm("w2"), builder.arm("w4")])
    blocks = []
    for number in range(1, count + 1):
        block = builder.block(plan, number, num_turns=num_turns, turn_sd=turn_sd)
        factor = 1 + growth * signs[number % len(signs)]

        def grow(turn, factor=factor):
            late = turn.round > num_turns / 2
            return builder.turn(turn.step_s * factor, turn.round) if late else turn

        blocks += builder.change_turns([block], grow, "w4")
    return plan, blocks


@pytest.mark.parametrize(("growth", "sign"), [(0.10, "+"), (-0.10, "-")])
def test_an_arm_that_drifts_in_every_block_is_refused(builder, growth, sign) -> None:
    [found] = no_steady_state(*drifting(builder, growth))

    assert (found.code, found.arms) == ("no_steady_state", ("w4",))
    assert f"a step's time changed by {sign}" in found.evidence
    assert "the same way in 5 of 5 blocks" in found.evidence


def test_a_drift_within_the_zone_is_steady(builder) -> None:
    assert no_steady_state(*drifting(builder, 0.025)) == []


@pytest.mark.parametrize("growth", [0.04, -0.035])
def test_a_drift_that_may_lie_within_the_zone_is_steady(builder, growth) -> None:
    plan, blocks = drifting(builder, growth)

    assert all(abs(half_drift(block.replicates[1])) > 0.02 for block in blocks)
    assert no_steady_state(plan, blocks) == []


def test_a_drift_that_turns_from_block_to_block_is_noise(builder) -> None:
    assert no_steady_state(*drifting(builder, 0.10, signs=(1, -1))) == []


def test_two_blocks_show_no_habit(builder) -> None:
    assert no_steady_state(*drifting(builder, 0.10, count=2)) == []
    assert no_steady_state(*drifting(builder, 0.10, count=3))


def test_three_turns_have_no_halves(builder) -> None:
    assert no_steady_state(*drifting(builder, 0.10, num_turns=3)) == []
    assert half_drift(builder.replicate(num_turns=3)) is None


def test_the_halves_follow_the_rounds_and_leave_out_the_middle(builder) -> None:
    rounds = ((5, 0.04), (1, 0.02), (3, 9.0), (4, 0.04), (2, 0.02))
    turns = tuple(builder.turn(step_s, number) for number, step_s in rounds)

    assert half_drift(builder.replicate(turns=turns)) == pytest.approx(0.6931, abs=1e-3)


def test_turns_that_only_spread_are_refused_in_one_study_of_a_hundred_at_most(builder) -> None:
    """Spread 5 %, four turns a block, five blocks, six arms: the case with the least to go by."""
    plan = builder.plan([builder.arm(name) for name in "abcdef"], baseline="a")
    blocks = builder.blocks(plan, num_turns=4)
    studies = 300

    def spread(turn):
        return turn.model_copy(update={"wall_ns": round(7e8 * builder.factor(0.05)), "steps": 20})

    refused = sum(
        bool(no_steady_state(plan, builder.change_turns(blocks, spread))) for _ in range(studies)
    )

    assert refused <= studies // 100


def test_twins_that_agree_are_believed(builder) -> None:
    plan = builder.plan()

    assert aa_differs(plan, builder.blocks(plan, step_s={"w2 again": 0.0355})) == []


def test_twins_of_which_one_is_slower_refuse_the_whole_study(builder) -> None:
    plan = builder.plan()

    [found] = aa_differs(plan, builder.blocks(plan, step_s={"w2": 0.035, "w2 again": 0.040}))

    assert (found.code, found.arms) == ("aa_differs", ())
    assert "w2 again and w2 have the same settings" in found.evidence
    assert "over 5 blocks" in found.evidence


def test_twins_in_four_blocks_are_too_few_to_differ(builder) -> None:
    plan = builder.plan(blocks=4)
    blocks = builder.blocks(plan, step_s={"w2": 0.035, "w2 again": 0.040})

    assert aa_differs(plan, blocks) == []


def test_a_study_without_twins_has_nothing_to_check(builder) -> None:
    plan = builder.plan([builder.arm("w2"), builder.arm("w4")])

    assert aa_differs(plan, builder.blocks(plan)) == []
