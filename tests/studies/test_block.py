from __future__ import annotations

from itertools import repeat
from typing import Any

import pytest
from tests.studies.fakes import Calm, FakeMachine, Notes, arm

from laptime.replicate import Block
from laptime.studies.block import BlockRun
from laptime.studies.plan import make_plan
from laptime.studies.process import ArmEndedError
from laptime.study import Plan, TurnPolicy

MS = 1_000_000


def steady(name: str, turn: int) -> int:
    return 10 * MS


def noisy(name: str, turn: int) -> int:
    """Differ between arms from turn to turn, so that no block ends early."""
    return 10 * MS + (turn % 2) * (3 * MS if name == "a" else 0)


def plan_of(*names: str, least: int = 4, most: int = 24, **more: Any) -> Plan:
    policy = TurnPolicy(min_turns=least, max_turns=most)
    arms = [arm(name, num_workers=n) for n, name in enumerate(names)]
    return make_plan("workers", arms, names[0], ("num_workers",), turns=policy, **more)


def run(
    plan: Plan, machine: FakeMachine, meter: Calm | None = None, notes: Notes | None = None,
    free_bytes: int = 10**12,
) -> Block:  # fmt: skip
    runner = BlockRun(
        plan, machine.start, meter or Calm(), notes or Notes(), free_bytes=lambda: free_bytes
    )
    return runner.run(1)


def turns_of(block: Block) -> dict[str, int]:
    return {r.arm: len(r.turns) for r in block.replicates}


@pytest.fixture
def machine() -> FakeMachine:
    return FakeMachine(steady)


def test_arms_take_turns_in_the_order_of_the_plan(machine: FakeMachine) -> None:
    plan = plan_of("a", "b", "c")

    run(plan, machine)

    turns = [name for name, do in machine.log if do == "turn"]
    expected = ["abc"[place] for order in plan.orders[0][:4] for place in order]
    assert turns == expected


def test_every_arm_lives_before_the_first_turn_and_is_closed_after_the_last(
    machine: FakeMachine,
) -> None:
    run(plan_of("a", "b"), machine)

    doings = [do for _, do in machine.log]
    assert doings.index("turn") > max(i for i, do in enumerate(doings) if do == "prepare")
    assert [arm.closed for arm in machine.arms] == [True, True]


def test_a_block_ends_once_the_standard_error_is_small(machine: FakeMachine) -> None:
    assert turns_of(run(plan_of("a", "b"), machine)) == {"a": 4, "b": 4}


def test_a_noisy_block_takes_all_turns_and_no_more() -> None:
    assert turns_of(run(plan_of("a", "b", most=9), FakeMachine(noisy))) == {"a": 9, "b": 9}


def test_contaminated_turns_are_kept_flagged_and_run_again_at_most_twice(
    machine: FakeMachine,
) -> None:
    block = run(plan_of("a", "b"), machine, Calm(repeat(2.0)))

    assert turns_of(block) == {"a": 6, "b": 6}
    assert all(turn.contaminated for r in block.replicates for turn in r.turns)


def test_one_contaminated_turn_costs_one_round(machine: FakeMachine) -> None:
    block = run(plan_of("a", "b"), machine, Calm(iter([0.0, 2.0])))

    assert turns_of(block) == {"a": 5, "b": 5}
    assert sum(r.contaminated for r in block.replicates) == 1
    assert all(len(r.counted) in {4, 5} for r in block.replicates)


@pytest.mark.parametrize("request_", ["build", "prepare", "turn", "memory", "alone"])
@pytest.mark.parametrize("status", ["failed", "out_of_memory", "timed_out", "killed", "diverged"])
def test_an_arm_that_ends_is_an_outcome_and_the_others_go_on(request_: str, status: Any) -> None:
    ends = {"b": {request_: ArmEndedError(status, "why")}}
    notes = Notes()
    plan = plan_of("a", "b", "c", design="sequential" if status == "out_of_memory" else "turns")

    block = run(plan, FakeMachine(steady, ends), notes=notes)

    outcomes = {r.arm: (r.status, r.reason) for r in block.replicates}
    done = ("completed", None)
    assert outcomes == {"a": done, "b": (status, "why"), "c": done}
    assert notes.ends == [("b", status, "why")]
    assert turns_of(block)["c"] == 4


def test_arms_that_run_out_of_memory_together_run_one_after_another() -> None:
    ends = {"b": {"prepare": ArmEndedError("out_of_memory", "full")}}
    machine, notes = FakeMachine(steady, ends), Notes()

    block = run(plan_of("a", "b"), machine, notes=notes)

    assert block.design == "sequential"
    assert "one after another" in notes.warnings[0]
    assert {r.arm: r.status for r in block.replicates} == {"a": "completed", "b": "out_of_memory"}


def test_arms_that_memory_does_not_hold_run_one_after_another(machine: FakeMachine) -> None:
    block = run(plan_of("a", "b"), machine, free_bytes=0)

    assert block.design == "sequential"
    doings = [do for _, do in machine.log]
    alive = [doings[:i].count("build") - doings[:i].count("close") for i in range(len(doings))]
    assert max(alive) <= 1 or doings[0] != "build"


def test_one_after_another_an_arm_ends_before_the_next_begins(machine: FakeMachine) -> None:
    run(plan_of("a", "b", design="sequential"), machine)

    closes = [i for i, (_, do) in enumerate(machine.log) if do == "close"]
    prepares = [i for i, (_, do) in enumerate(machine.log) if do == "prepare"]
    assert closes[0] < prepares[1]


def test_arms_are_closed_when_a_block_is_interrupted() -> None:
    def interrupted(name: str, turn: int) -> int:
        if turn == 2:
            raise KeyboardInterrupt
        return 10 * MS

    machine = FakeMachine(interrupted)

    with pytest.raises(KeyboardInterrupt):
        run(plan_of("a", "b"), machine)

    assert all(started.closed for started in machine.arms)


def test_a_turn_discards_what_the_workers_had_under_way_and_no_fewer_than_any_arm(
    machine: FakeMachine,
) -> None:
    block = run(plan_of("a", "b", "c"), machine)

    discarded = {r.arm: r.turns[0].discarded for r in block.replicates}
    assert discarded == {"a": 3, "b": 3, "c": 4}


def test_an_epoch_is_composed_of_edges_and_steady_steps() -> None:
    def step(name: str, turn: int) -> int:
        return 10 * MS

    block = run(plan_of("a"), FakeMachine(step))

    (replicate,) = block.replicates
    assert replicate.epoch_s == pytest.approx(40 * 0.010 + 1500e-9)
    assert replicate.training_s == pytest.approx(0.4)
    assert replicate.loading_s == pytest.approx(1500e-9)
