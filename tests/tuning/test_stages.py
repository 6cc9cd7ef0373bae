from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.studies.fakes import Calm
from tests.tuning.records import row, tried
from tests.tuning.scripts import LOADER, Machine, Overrides, Script, TuneNotes, request

from laptime.replicate import Replicate
from laptime.timing.clock import read_ns
from laptime.tune import PilotRecord
from laptime.tune_store import create_tuning
from laptime.tuning.choice.candidates import Candidate, merged, workers_candidate
from laptime.tuning.ground.blocks import Ground, Memory
from laptime.tuning.ground.costs import Costs
from laptime.tuning.ground.price import SCREENING
from laptime.tuning.judging.measures import Yardstick
from laptime.tuning.stages.climb import Climb
from laptime.tuning.stages.screening import Screen
from laptime.tuning.stages.together import climb_ladder, ladder

ENOUGH = 10**12


@pytest.fixture
def ground_of(tmp_path: Path) -> Callable[..., Ground]:
    def ground_of(script: Script, free_bytes: int = ENOUGH, **more: Any) -> Ground:
        asked = request(**more)
        directory = create_tuning(tmp_path, asked, "train")
        costs = Costs(script.pilot(), turn_s=0.01)
        memory = Memory(lambda: free_bytes, 10**9)
        return Ground(
            directory, asked, Machine(script).start, Calm(), TuneNotes(), costs, read_ns(), memory
        )

    return ground_of


def climbed(
    ground: Ground, script: Script, free_bytes: int = ENOUGH
) -> tuple[Climb, list[str], PilotRecord]:
    pilot = script.pilot()
    climb = Climb(pilot, Yardstick.of(pilot, is_script=True))
    climb.run(ground, SCREENING, lambda: free_bytes, 0.0)
    return climb, [candidate.name for candidate in climb.contenders()], pilot


def quiet(**more: Any) -> Script:
    return Script(noise=1e-4, process_noise=1e-4, **more)


def test_zero_one_two_and_four_are_tried_whatever_the_cpus(
    ground_of: Callable[..., Ground],
) -> None:
    script = quiet(compute_ms=10, load_ms=40)

    climb, contenders, _ = climbed(ground_of(script), script)

    assert [arm.name for arm in climb.first_arms()] == [
        "unchanged", "num_workers 1", "num_workers 2", "num_workers 4",
    ]  # fmt: skip
    assert contenders == ["num_workers 4"]


def test_the_ascent_goes_on_while_more_gains(ground_of: Callable[..., Ground]) -> None:
    script = quiet(compute_ms=4, load_ms=60)

    climb, contenders, _ = climbed(ground_of(script), script)

    assert contenders[-1] == "num_workers 16"
    assert max(int(name.split()[-1]) for name in (c.name for c in climb.tried())) == 24


def test_memory_ends_the_ascent(ground_of: Callable[..., Ground]) -> None:
    script = quiet(compute_ms=4, load_ms=60)

    _, contenders, _ = climbed(ground_of(script), script, free_bytes=9 * 10**8)

    assert contenders == ["num_workers 4"]


def test_fewer_workers_are_a_candidate_where_more_cost_a_long_start(
    ground_of: Callable[..., Ground],
) -> None:
    script = quiet(compute_ms=10, load_ms=1, num_workers=8, start_ms=400, steps_per_epoch=40.0)

    _, contenders, _ = climbed(ground_of(script), script)

    assert contenders == ["num_workers 0"]


def test_a_count_that_the_job_has_is_no_candidate(ground_of: Callable[..., Ground]) -> None:
    script = quiet(compute_ms=10, load_ms=20, num_workers=2)

    _, contenders, _ = climbed(ground_of(script), script)

    assert contenders == []


def candidates(*names: str) -> list[Candidate]:
    return [Candidate(name, name, ((name, True),), "same up to rounding") for name in names]


def test_what_shows_no_gain_in_one_block_gets_no_second(ground_of: Callable[..., Ground]) -> None:
    def speed(overrides: Overrides) -> float:
        return 0.96 if overrides.get("fused") else 1.0

    script = quiet(compute_ms=10, speed=speed)
    ground = ground_of(script)
    screen = Screen(ground, Yardstick(100.0), SCREENING, LOADER)

    found = screen.run(candidates("fused", "foreach"), 0.0)

    assert [one.outcome for one in found] == [None, "screened out"]
    assert len(ground.blocks) == 2
    assert [arm.name for arm in ground.blocks[1].arms] == ["unchanged", "fused"]


def test_what_compiles_is_looked_at_alone_and_last(ground_of: Callable[..., Ground]) -> None:
    script = quiet(compute_ms=10)
    ground = ground_of(script)

    Screen(ground, Yardstick(100.0), SCREENING, LOADER).run(
        candidates("compile", "fused", "foreach"), 0.0
    )

    arms = [[arm.name for arm in block.arms[1:]] for block in ground.blocks]
    assert arms == [["fused", "foreach"], ["compile"]]


def test_what_the_budget_does_not_hold_is_said(ground_of: Callable[..., Ground]) -> None:
    script = quiet(compute_ms=10)
    screen = Screen(ground_of(script), Yardstick(100.0), SCREENING, LOADER)

    found = screen.run(candidates("fused"), kept_s=10**6)

    assert found[0].outcome == "budget"


def test_arms_that_memory_does_not_hold_run_one_after_another(
    ground_of: Callable[..., Ground],
) -> None:
    ground = ground_of(quiet(), free_bytes=10**9)
    arms = [candidate.arm() for candidate in candidates("fused", "foreach")]

    (block,) = ground.run(arms, "scout", 1, SCREENING)

    assert block.block.design == "sequential"


def test_all_arms_of_a_block_have_its_number_for_a_seed(ground_of: Callable[..., Ground]) -> None:
    ground = ground_of(quiet())
    arms = [candidate.arm() for candidate in candidates("fused", "foreach")]
    ground.run(arms, "scout", 2, SCREENING)
    (third,) = ground.run(arms, "scout", 1, SCREENING)

    losses = {replicate.losses for replicate in third.block.replicates}
    assert third.block.block == 3
    assert len(losses) == 1
    assert losses != {r.losses for r in ground.blocks[0].block.replicates}


def test_a_ladder_adds_one_at_a_time() -> None:
    fused, bf16 = candidates("fused", "bf16")

    assert [rung.name for rung in ladder([workers_candidate(4), fused, bf16])] == [
        "num_workers 4", "num_workers 4 + fused", "num_workers 4 + fused + bf16",
    ]  # fmt: skip


def test_what_sets_the_same_thing_is_no_rung() -> None:
    assert [rung.name for rung in ladder([workers_candidate(4), workers_candidate(2)])] == [
        "num_workers 4"
    ]


@pytest.mark.parametrize(
    ("ratio", "outcome", "standing"),
    [(0.8, "kept", "a + b"), (0.99, "kept", "a"), (1.2, "kept", "a"), (0.8, "refused", "a")],
)
def test_a_rung_is_taken_if_it_gains_over_the_one_below_and_is_kept(
    ratio: float, outcome: str, standing: str
) -> None:
    a, b = candidates("a", "b")
    rungs = [a, merged([a, b])]
    findings = {"a": tried("a"), "a + b": tried("a + b", outcome=outcome)}

    found, rows = climb_ladder(rungs, findings, {("a + b", "a"): row("a + b", ratio, b="a")})

    assert found.name == standing
    assert len(rows) == 1


def replicate(**more: Any) -> Replicate:
    turn = {"round": 1, "discarded": 0, "steps": 10, "wall_ns": 10**9, "phases_ns": {}}
    given = {
        "arm": "x", "block": 1, "status": "completed", "steps_per_epoch": 100.0, "turns": (turn,),
        "cold_start_ns": 5 * 10**9,
    }  # fmt: skip
    return Replicate.model_validate({**given, **more})


def test_an_epoch_of_a_script_is_its_steps_and_its_edges() -> None:
    yardstick = Yardstick(100.0)

    warm = replicate(loader_start_ns=(2 * 10**9,), loader_end_ns=(10**9,), num_workers=2)

    assert yardstick.seconds(warm) == pytest.approx(100 * 0.1 + 3)


def test_the_first_start_counts_only_where_workers_have_no_other() -> None:
    yardstick = Yardstick(100.0)

    assert yardstick.seconds(replicate(num_workers=2)) == pytest.approx(100 * 0.1 + 5)
    assert yardstick.seconds(replicate(num_workers=0)) == pytest.approx(100 * 0.1)


def test_without_an_epoch_a_step_is_measured() -> None:
    assert Yardstick(0.0).seconds(replicate(steps_per_epoch=0.0)) == pytest.approx(0.1)
    assert Yardstick(0.0).quantity == "step_s"
