import math
from statistics import fmean

import pytest

from laptime.replicate import Replicate
from laptime.statistics.intervals import geometric_interval, resolution
from laptime.statistics.summary import (
    arm_results,
    block_log_ratios,
    comparisons,
    is_measured,
    measured,
    not_measurable,
    optimizer_s,
    study_resolution,
)
from laptime.study import Comparison, Refusal


def result(plan, blocks, arm, trained=()):
    return next(found for found in arm_results(plan, blocks, trained) if found.name == arm)


def failed(replicate: Replicate) -> Replicate:
    return Replicate(arm=replicate.arm, block=replicate.block, status="failed", reason="boom")


def test_results_follow_the_order_of_the_plan(builder) -> None:
    plan = builder.plan()

    names = [found.name for found in arm_results(plan, builder.blocks(plan), ())]

    assert names == ["w0", "w2", "w4", "w2 again", "resident"]


def test_a_time_is_the_geometric_mean_over_blocks(builder) -> None:
    plan = builder.plan()
    blocks = builder.blocks(plan)
    epochs_s = [block.replicates[1].epoch_s for block in blocks]

    found = result(plan, blocks, "w2").epoch_s

    assert found == geometric_interval(epochs_s)
    assert found.n == 5
    assert found.low < found.estimate < found.high


def test_columns_of_an_arm_sum_to_about_its_epoch(builder) -> None:
    plan = builder.plan()

    found = result(plan, builder.blocks(plan), "w2")

    other_s = 0.01 * found.epoch_s.estimate
    columns_s = found.loading_s.estimate + found.training_s.estimate + other_s
    assert columns_s == pytest.approx(found.epoch_s.estimate, rel=1e-3)


def test_loading_that_a_device_hid_completely_is_a_plain_mean_of_zero(builder) -> None:
    plan = builder.plan()
    still = {"loader_start_ns": (), "loader_end_ns": ()}
    blocks = builder.change_turns(
        builder.blocks(plan, **still),
        lambda turn: builder.turn(turn.step_s, turn.round, loading=0.0),
    )

    assert result(plan, blocks, "w2").loading_s.estimate == 0


def test_only_blocks_of_the_stage_count(builder) -> None:
    plan = builder.plan()
    main = builder.blocks(plan)
    fresh = [builder.changed(block, stage="confirmation") for block in builder.blocks(plan, 2)]

    found = result(plan, [*main, *fresh], "w2")
    confirmed = arm_results(plan, [*main, *fresh], (), stage="confirmation")

    assert (found.epoch_s.n, len(found.replicates)) == (5, 5)
    assert confirmed[1].epoch_s.n == 2


def test_an_arm_that_never_completed_has_outcomes_and_no_estimates(builder) -> None:
    plan = builder.plan()
    blocks = builder.change_replicates(builder.blocks(plan), failed, "w4")

    found = result(plan, blocks, "w4")

    assert found.outcomes() == {"failed": 5}
    assert found.epoch_s is found.loading_s is found.training_s is None
    assert found.worker_bytes is found.worker_cpu_s is None


def test_a_failed_replicate_is_counted_and_not_averaged(builder) -> None:
    plan = builder.plan()
    blocks = builder.blocks(plan)
    blocks[0] = builder.change_replicates(blocks[:1], failed, "w4")[0]

    found = result(plan, blocks, "w4")

    assert found.epoch_s.n == 4
    assert found.outcomes() == {"failed": 1, "completed": 4}


def test_memory_of_workers_is_the_most_that_any_block_saw(builder) -> None:
    plan = builder.plan()
    blocks = builder.blocks(plan)
    blocks[3] = builder.block(plan, 4, worker_bytes=900_000_000)

    assert result(plan, blocks, "w2").worker_bytes == 900_000_000


def test_memory_that_no_block_could_read_is_unknown(builder) -> None:
    plan = builder.plan()

    assert result(plan, builder.blocks(plan, worker_bytes=None), "w2").worker_bytes is None


def test_work_of_workers_is_an_epoch_of_what_counted_steps_cost(builder) -> None:
    plan = builder.plan()
    turns = tuple(builder.turn(0.05, n, steps=20, worker_cpu_ns=10**9) for n in range(1, 5))

    found = result(plan, builder.blocks(plan, turns=turns, steps_per_epoch=200.0), "w2")

    assert found.worker_cpu_s == pytest.approx(1 / 20 * 200)


def test_a_devices_optimizer_time_is_its_own_not_the_hosts(builder) -> None:
    turn = builder.device_turn(0.05)
    replicate = builder.replicate(turns=(turn,), steps_per_epoch=100.0)

    assert optimizer_s(replicate) == pytest.approx(100 * turn.step_s / 20, rel=1e-3)
    assert turn.phases_ns["optimizer"] == 0


def test_mode_off_knows_the_epoch_and_no_columns(builder) -> None:
    plan = builder.plan([builder.arm("w2", timing="off")])

    found = result(plan, builder.blocks(plan), "w2")

    assert found.epoch_s is not None
    assert found.loading_s is found.training_s is found.optimizer_s is None


def test_loss_and_accuracy_are_means_over_seeds_that_completed(builder) -> None:
    plan = builder.plan(seeds=(0, 1, 2))
    runs = [builder.trained(seed=seed) for seed in (0, 1)]
    runs.append(builder.trained(seed=2, status="diverged"))

    found = result(plan, (), "w2", runs)

    assert found.accuracy.n == found.loss.n == 2
    assert found.accuracy.estimate == pytest.approx(fmean(run.last.accuracy for run in runs[:2]))
    assert found.outcomes() == {"completed": 2, "diverged": 1}


@pytest.mark.parametrize(
    "given",
    [
        {"status": "diverged"},
        {"turns": ()},
        {"steps_per_epoch": 0.0},
    ],
)
def test_without_an_end_turns_or_an_epoch_nothing_is_measured(builder, given) -> None:
    assert is_measured(builder.replicate())
    assert not is_measured(builder.replicate(**given))


def test_a_block_gives_one_ratio_where_both_arms_completed(builder) -> None:
    plan = builder.plan()
    blocks = builder.blocks(plan)
    blocks[2] = builder.change_replicates(blocks[2:3], failed, "w4")[0]

    ratios = block_log_ratios(blocks, "w4", "w2")

    assert len(ratios) == 4
    first = {r.arm: r.epoch_s for r in blocks[0].replicates}
    assert ratios[0] == pytest.approx(math.log(first["w4"] / first["w2"]))


def test_a_ratio_of_zero_waits_is_left_out(builder) -> None:
    plan = builder.plan()
    blocks = builder.blocks(plan, loader_start_ns=(), loader_end_ns=())
    blocks = builder.change_turns(blocks, lambda t: builder.turn(t.step_s, t.round, 0.0), "w4")

    assert block_log_ratios(blocks, "w4", "w2", "loading_s") == []
    assert len(block_log_ratios(blocks, "w4", "w2", "step_s")) == 5


def test_every_arm_is_compared_with_the_baseline_and_the_twin_comes_last(builder) -> None:
    plan = builder.plan()

    rows = comparisons(plan, builder.blocks(plan))

    assert [(row.a, row.b) for row in rows] == [("w0", "w2"), ("w4", "w2"), ("w2 again", "w2")]
    assert [row.verdict for row in rows] == ["slower", "faster", "equivalent"]


def test_the_twin_does_not_count_in_holms_correction(builder) -> None:
    arms = [builder.arm("w2"), builder.arm("w4", num_workers=4)]
    twin = builder.arm("w2 again", again_of="w2")
    plan, with_twin = builder.plan(arms), builder.plan([*arms, twin])
    blocks = builder.blocks(with_twin, step_s={"w4": 0.0325}, block_sd=0.012)

    assert comparisons(plan, blocks) == comparisons(with_twin, blocks)[:1]


def test_a_study_without_timing_compares_no_times(builder) -> None:
    assert comparisons(builder.plan(blocks=0), ()) == ()


def test_an_arm_that_never_completed_is_compared_without_a_ratio(builder) -> None:
    plan = builder.plan()
    blocks = builder.change_replicates(builder.blocks(plan), failed, "w4")

    row = comparisons(plan, blocks)[1]

    assert (row.a, row.ratio, row.n) == ("w4", None, 0)


def test_the_resolution_is_that_of_the_twins(builder) -> None:
    plan = builder.plan()
    blocks = builder.blocks(plan)

    assert study_resolution(plan, blocks) == resolution(block_log_ratios(blocks, "w2 again", "w2"))


def test_without_twins_the_resolution_is_the_median_of_the_comparisons(builder) -> None:
    arms = [builder.arm(f"w{n}", num_workers=n) for n in (0, 2, 4, 8)]
    plan = builder.plan(arms)
    blocks = builder.blocks(plan)
    each = sorted(resolution(block_log_ratios(blocks, a, "w2")) for a in ("w0", "w4", "w8"))

    assert study_resolution(plan, blocks) == each[1]


def test_a_twin_that_failed_leaves_the_resolution_to_the_others(builder) -> None:
    plan = builder.plan()
    blocks = builder.change_replicates(builder.blocks(plan), failed, "w2 again")

    assert study_resolution(plan, blocks) is not None


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_blocks_have_no_resolution(builder, count) -> None:
    plan = builder.plan()

    assert study_resolution(plan, builder.blocks(plan, count)) is None


def rows() -> list[Comparison]:
    times = [
        Comparison(
            a=a, b="w2", ratio=0.8, low=0.75, high=0.85, n=5, verdict="faster", reason="interval"
        )
        for a in ("w0", "w4")
    ]
    accuracy = Comparison(
        a="sgd", b="adam", quantity="accuracy", ratio=0.02, low=0.01, high=0.03, n=5,
        verdict="higher", reason="welch_holm",
    )  # fmt: skip
    return [*times, accuracy]


def refused(code: str, *arms: str) -> Refusal:
    return Refusal(code=code, evidence="seen", next="do", arms=arms)


def test_a_refusal_of_the_study_takes_every_verdict_and_leaves_the_ratios() -> None:
    found = not_measurable(rows(), [refused("contaminated")])

    assert [row.verdict for row in found[:2]] == ["not measurable"] * 2
    assert found[0].reason == "contaminated"
    assert (found[0].ratio, found[0].low, found[0].high) == (0.8, 0.75, 0.85)


def test_a_refusal_of_one_arm_takes_its_verdicts_only() -> None:
    found = not_measurable(rows(), [refused("overhead", "w4")])

    assert [row.verdict for row in found[:2]] == ["faster", "not measurable"]


def test_a_refusal_of_the_baseline_takes_every_verdict() -> None:
    found = not_measurable(rows(), [refused("overhead", "w2")])

    assert [row.verdict for row in found[:2]] == ["not measurable"] * 2


def test_a_refusal_about_seeds_leaves_times_and_takes_accuracies() -> None:
    found = not_measurable(rows(), [refused("seeds")])

    assert [row.verdict for row in found] == ["faster", "faster", "not measurable"]


def test_a_refusal_about_the_machine_leaves_accuracies() -> None:
    assert not_measurable(rows(), [refused("contaminated")])[2].verdict == "higher"


def test_arms_that_differ_in_more_than_declared_lose_times_and_accuracies() -> None:
    found = not_measurable(rows(), [refused("arms_differ", "sgd", "w0")])

    assert [row.verdict for row in found] == ["not measurable", "faster", "not measurable"]


def test_an_explanation_that_is_only_suspected_takes_no_verdict() -> None:
    assert not_measurable(rows(), [refused("unconfirmed_explanation")]) == tuple(rows())


def test_of_several_refusals_the_first_gives_the_reason() -> None:
    found = not_measurable(rows(), [refused("overhead", "w4"), refused("contaminated")])

    assert [row.reason for row in found[:2]] == ["contaminated", "overhead"]


def test_blocks_without_an_arm_leave_it_unmeasured(builder) -> None:
    plan = builder.plan()

    assert measured(builder.blocks(plan), "w99") == []
