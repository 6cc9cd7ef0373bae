import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laptime.phase import Phase
from laptime.record import EnvironmentRecord
from laptime.replicate import Block, NoiseRecord, Replicate, TrainedReplicate, Turn
from laptime.settings import build_settings
from laptime.statistics.plausibility import Roof
from laptime.statistics.refusals import refusals, unconfirmed_explanation
from laptime.statistics.summary import (
    arm_results,
    comparisons,
    not_measurable,
    study_resolution,
)
from laptime.study import Arm, Plan

FIVE = (0, 1, 2, 3, 4)


def codes(found) -> list[str]:
    return [refusal.code for refusal in found]


def test_a_clean_study_is_not_refused(builder) -> None:
    plan = builder.plan()

    assert refusals(plan, builder.blocks(plan)) == ()


def test_a_clean_study_on_a_gpu_is_not_refused(builder) -> None:
    plan = builder.plan()
    environment = builder.environment(device="cuda:0", device_name="H200", driver="570.1")
    blocks = builder.blocks(plan, environment=environment)

    def timed_by_events(turn):
        return builder.changed(
            builder.device_turn(turn.step_s, turn.round), noise=builder.noise(clock_mhz=None)
        )

    assert refusals(plan, builder.change_turns(blocks, timed_by_events)) == ()


def test_a_clean_study_of_accuracy_is_not_refused(builder) -> None:
    plan = builder.plan([builder.arm("sgd")], study="optimizers", blocks=0, seeds=FIVE)

    assert refusals(plan, (), [builder.trained("sgd", seed) for seed in FIVE]) == ()


def test_noise_alone_refuses_one_clean_study_of_fifty_at_most(builder) -> None:
    plan = builder.plan()
    studies = 50

    refused = [
        refusals(plan, builder.blocks(plan, block_sd=0.02, turn_sd=0.05)) for _ in range(studies)
    ]

    assert sum(map(bool, refused)) <= studies // 50, refused


def test_only_blocks_of_the_stage_are_judged(builder) -> None:
    plan = builder.plan()
    dirty = builder.change_turns(
        builder.blocks(plan), lambda t: builder.changed(t, contaminated=True)
    )
    scouted = [builder.changed(block, stage="scout") for block in dirty]
    blocks = [*scouted, *builder.blocks(plan)]

    assert refusals(plan, blocks) == ()
    assert codes(refusals(plan, blocks, stage="scout")) == ["contaminated"]


def test_a_cause_comes_before_its_effect(builder) -> None:
    plan = builder.plan()
    blocks = builder.blocks(plan, step_s={"w2": 0.035, "w2 again": 0.045})
    blocks = builder.change_turns(blocks, lambda t: builder.changed(t, contaminated=True))

    found = refusals(plan, blocks)

    assert codes(found) == ["contaminated", "aa_differs"]
    rows = not_measurable(comparisons(plan, blocks), found)
    assert {(row.verdict, row.reason) for row in rows} == {("not measurable", "contaminated")}


def test_every_refusal_says_what_was_seen_and_what_to_do(builder) -> None:
    plan = builder.plan(seeds=(0, 0))
    blocks = builder.change_turns(
        builder.blocks(plan, 4, overhead_share=0.5), lambda t: builder.changed(t, contaminated=True)
    )

    found = refusals(plan, blocks, suspected=[("loader-bound", "laptime study workers")])

    assert codes(found) == [
        *("too_few_blocks", "overhead", "contaminated", "seeds", "unconfirmed_explanation")
    ]
    assert all(refusal.evidence and refusal.next for refusal in found)


def test_too_few_seeds_leave_the_times_alone(builder) -> None:
    plan = builder.plan(seeds=(0,))
    blocks = builder.blocks(plan)

    found = refusals(plan, blocks, [builder.trained(arm, 0) for arm in ("w0", "w2", "w4")])

    assert codes(found) == ["seeds"]
    assert not_measurable(comparisons(plan, blocks), found) == comparisons(plan, blocks)


def test_an_explanation_without_its_experiment_is_called_suspected(builder) -> None:
    [found] = unconfirmed_explanation([("the loader is the limit.", "feed resident batches")])

    assert found.code == "unconfirmed_explanation"
    assert found.evidence == "Suspected: the loader is the limit."
    assert found.next == "feed resident batches"


def test_an_explanation_that_nobody_suspects_is_not_refused() -> None:
    assert unconfirmed_explanation(()) == []


COUNTS = st.sampled_from([0, 1, 7])
NS = st.sampled_from([0, 1, 10**9])
MAYBE = st.none() | st.floats(0, 1e12)

NOISES = st.builds(
    NoiseRecord,
    sentinel_before_ns=NS,
    sentinel_after_ns=NS,
    foreign_cores=MAYBE,
    steal=st.none() | st.floats(0, 1),
    clock_mhz=MAYBE,
)
TURNS = st.builds(
    Turn,
    round=COUNTS,
    discarded=COUNTS,
    steps=st.sampled_from([1, 7]),
    wall_ns=st.sampled_from([1, 10**9]),
    phases_ns=st.dictionaries(st.sampled_from(Phase), NS, max_size=3),
    noise=st.none() | NOISES,
    contaminated=st.booleans(),
)
ENVIRONMENTS = st.builds(
    EnvironmentRecord,
    torch=st.sampled_from(["2.12", "2.13"]),
    device=st.sampled_from(["cpu", "cuda:0"]),
    variables=st.just(()),
    clock_resolution_ns=st.sampled_from([0, 1, 10**7]),
)
NAMES = st.sampled_from(["a", "b", "b again", "resident"])
REPLICATES = st.builds(
    Replicate,
    arm=NAMES,
    block=COUNTS,
    status=st.sampled_from(["completed", "failed", "diverged"]),
    steps_per_epoch=st.sampled_from([0.0, 2.5]),
    num_workers=COUNTS,
    loader_start_ns=st.just(()),
    loader_end_ns=st.just(()),
    turns=st.lists(TURNS, max_size=5).map(tuple),
    alone_batches=COUNTS,
    alone_ns=NS,
    first_losses=st.lists(st.none() | st.floats(-9, 9), max_size=2).map(tuple),
    environment=st.none() | ENVIRONMENTS,
    flops_per_step=MAYBE,
    overhead_share=st.floats(0, 1),
)
BLOCKS = st.builds(
    Block,
    block=COUNTS,
    started=st.just(""),
    wall_ns=NS,
    replicates=st.lists(REPLICATES, max_size=4).map(tuple),
)
RUNS = st.builds(
    TrainedReplicate,
    arm=NAMES,
    seed=COUNTS,
    status=st.sampled_from(["completed", "failed"]),
    epochs=st.just(()),
    wall_ns=NS,
)


@settings(max_examples=150, deadline=None)
@given(
    blocks=st.lists(BLOCKS, max_size=6),
    runs=st.lists(RUNS, max_size=3),
    declared=COUNTS,
    study=st.sampled_from(["workers", "optimizers"]),
    baseline=st.sampled_from(["a", "nobody"]),
)
def test_partial_data_are_refused_and_never_an_error(
    blocks, runs, declared, study, baseline
) -> None:
    arms = tuple(
        Arm(name=name, settings=build_settings({"timing": "host"}), again_of=again, feed=feed)
        for name, again, feed in [
            ("a", None, "loader"),
            ("b", None, "loader"),
            ("b again", "b", "loader"),
            ("resident", None, "resident"),
        ]
    )
    plan = Plan(
        study=study, arms=arms, baseline=baseline, factors=(), blocks=declared, seeds=(0, 1)
    )

    found = refusals(plan, blocks, runs, roof=Roof(1e9, 1e9, 4))

    rows = not_measurable(comparisons(plan, blocks), found)
    assert all(row.verdict != "faster" for row in rows if len(blocks) < 5)
    arm_results(plan, blocks, runs)
    study_resolution(plan, blocks)


def test_nothing_at_all_is_refused_without_an_error(builder) -> None:
    plan = builder.plan(seeds=FIVE)

    assert codes(refusals(plan, ())) == ["too_few_blocks", "seeds"]


@pytest.mark.parametrize("num_turns", [1, 2, 3])
def test_a_study_of_a_few_turns_is_judged_as_far_as_it_goes(builder, num_turns) -> None:
    plan = builder.plan()

    assert refusals(plan, builder.blocks(plan, num_turns=num_turns)) == ()
