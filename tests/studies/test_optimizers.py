from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.studies.fakes import Notes, arm
from tests.studies.trainings import Trainings, epoch, request_of, workshop_in

from laptime.errors import SettingsError
from laptime.replicate import TrainedReplicate
from laptime.settings import LAB_OPTIMIZERS, RunSettings, build_settings
from laptime.statistics.accuracy import accuracy_comparisons, best_arm
from laptime.statistics.summary import arm_results
from laptime.studies.optimizers import (
    optimizer_arms,
    plan_optimizers,
    run_optimizers,
)
from laptime.studies.plan import make_plan, varied
from laptime.studies.process import ArmEndedError
from laptime.studies.runner import Workshop, open_workshop
from laptime.studies.training_plans import HOLDOUT, LEARNING_RATES, plan_search
from laptime.studies.training_runs import run_trainings
from laptime.studies.tuned_rates import best_rate, edge
from laptime.study import Plan, StudyRecord, TurnPolicy
from laptime.study_store import StudyDirectory
from laptime.timing.environment import usable_cpus
from laptime.units import render_duration

BASE = build_settings({"device": "cpu", "num_workers": 0})
SEEDS = (0, 1, 2, 3, 4)

LEVEL = {"sgd": 4500, "nesterov": 4510, "adagrad": 4000, "adadelta": 3000, "adam": 1000}
"""Of 10,000 right in the last epoch."""


def learned(name: str, seed: int, settings: RunSettings) -> Any:
    """Adam guesses; the others differ by more than their seeds."""
    optimizer = settings.optimizer.optimizer
    if optimizer == "adam":
        return epoch(2.31 + seed / 1000, 990 + seed)
    return epoch(1.5 + seed / 1000, LEVEL[optimizer] + 20 * seed)


def slow_adam(name: str, turn: int) -> int:
    return 36_000_000 if name == "adam" else 30_000_000


def run(path: Path, trainings: Trainings, **given: Any) -> StudyRecord:
    request = request_of("optimizers", BASE, **given)
    workshop = workshop_in(path, request, slow_adam)
    return run_optimizers(workshop, request, train=trainings.train)


def verdicts(record: StudyRecord, quantity: str) -> dict[tuple[str, str], str]:
    return {(r.a, r.b): r.verdict for r in record.comparisons if r.quantity == quantity}


def test_arms_differ_in_the_optimizer_and_in_nothing_else() -> None:
    arms = optimizer_arms(BASE)

    assert tuple(a.name for a in arms) == LAB_OPTIMIZERS
    assert {a.settings.optimizer.lr for a in arms} == {0.1}
    assert {a.settings.optimizer.weight_decay for a in arms} == {5e-4}
    assert len({varied(a.settings, optimizer="sgd") for a in arms}) == 1


def test_the_baseline_is_sgd_or_the_first_and_is_timed_twice() -> None:
    policy = TurnPolicy()
    plan = plan_optimizers(BASE, ("adam", "sgd"), SEEDS, 5, policy)
    other = plan_optimizers(BASE, ("adam", "adagrad"), SEEDS, 5, policy)

    assert (plan.baseline, other.baseline) == ("sgd", "adam")
    assert [(a.name, a.again_of) for a in plan.arms][-1] == ("sgd again", "sgd")
    assert plan.arms[-1].settings == plan.arm("sgd").settings
    assert plan.factors == ("optimizer",)
    assert (plan.seeds, len(plan.orders)) == (SEEDS, 5)


def test_without_blocks_nothing_is_there_twice() -> None:
    plan = plan_optimizers(BASE, LAB_OPTIMIZERS, SEEDS, 0, TurnPolicy())

    assert [a.name for a in plan.arms] == list(LAB_OPTIMIZERS)


def test_unknown_optimizers_and_twins_are_refused() -> None:
    with pytest.raises(SettingsError, match="optimizer is 'addam', which is unknown"):
        plan_optimizers(BASE, ("sgd", "addam"), SEEDS, 5, TurnPolicy())
    with pytest.raises(SettingsError, match="'sgd' is there twice"):
        plan_optimizers(BASE, ("sgd", "sgd"), SEEDS, 5, TurnPolicy())


def test_times_come_from_blocks_and_accuracies_from_whole_runs(tmp_path: Path) -> None:
    trainings = Trainings(learned)

    record = run(tmp_path, trainings)

    assert len(trainings.log) == 25
    assert {arm.name: len(arm.replicates) for arm in record.arms} == dict.fromkeys(
        [*LAB_OPTIMIZERS, "sgd again"], 5
    )
    adam = record.result("adam")
    assert adam.epoch_s is not None
    assert adam.epoch_s.estimate == pytest.approx(40 * 0.036, rel=0.01)
    assert adam.accuracy is not None
    assert (adam.accuracy.n, adam.accuracy.estimate) == (5, pytest.approx(0.0992))
    assert verdicts(record, "epoch_s")["adam", "sgd"] == "slower"
    assert (record.status, record.blocks) == ("completed", 5)


def test_every_pair_is_judged_by_accuracy_and_by_loss(tmp_path: Path) -> None:
    record = run(tmp_path, Trainings(learned))

    found = verdicts(record, "accuracy")
    assert len(found) == len(verdicts(record, "loss")) == 10
    assert found["sgd", "adam"] == "higher"
    assert found["sgd", "nesterov"] == "inconclusive"
    assert verdicts(record, "test_accuracy") == {}
    gaps = record.details["smallest_gap"]
    assert gaps["accuracy"] == max(
        row["gap"] for row in record.details["smallest_gaps"] if row["quantity"] == "accuracy"
    )
    # 2.0 standard deviations for 5 seeds a side.
    assert gaps["accuracy"] == pytest.approx(2.0 * 20e-4 * 2.5**0.5, rel=0.02)


def test_the_test_set_is_judged_where_it_is_read(tmp_path: Path) -> None:
    record = run(tmp_path, Trainings(lambda name, seed, settings: epoch(
        1.0, 3000 + seed, test_loss=1.0, test_correct=5000 + seed, test_samples=10_000
    )))  # fmt: skip

    assert len(verdicts(record, "test_accuracy")) == 10


def test_three_seeds_are_a_table_without_a_verdict(tmp_path: Path) -> None:
    record = run(tmp_path, Trainings(learned), seeds=(0, 1, 2))

    assert set(verdicts(record, "accuracy").values()) == {"not measurable"}
    assert [refusal.code for refusal in record.refusals] == ["seeds"]
    assert verdicts(record, "epoch_s")["adam", "sgd"] == "slower"


def test_the_best_arm_is_named_with_those_it_does_not_exceed(tmp_path: Path) -> None:
    best = run(tmp_path, Trainings(learned)).details["best"]

    assert (best["arm"], best["not_exceeded"]) == ("nesterov", ["sgd"])


def test_diverged_runs_are_counted_and_never_averaged(tmp_path: Path) -> None:
    def outcome(name: str, seed: int, settings: RunSettings) -> Any:
        return "diverged" if name == "adam" and seed < 3 else learned(name, seed, settings)

    record = run(tmp_path, Trainings(outcome))

    adam = record.result("adam")
    assert record.details["diverged"] == {**dict.fromkeys(LAB_OPTIMIZERS, 0), "adam": 3}
    assert adam.accuracy is not None
    assert adam.accuracy.n == 2
    assert adam.outcomes() == {"completed": 7, "diverged": 3}


def test_an_arm_that_has_no_time_still_has_its_accuracies(tmp_path: Path) -> None:
    request = request_of("optimizers", BASE)
    ends = {"adam": {"prepare": ArmEndedError("diverged", "the loss is not finite")}}
    workshop = workshop_in(tmp_path, request, ends=ends)

    record = run_optimizers(workshop, request, train=Trainings(learned).train)

    adam = record.result("adam")
    assert adam.epoch_s is None
    assert adam.outcomes() == {"diverged": 5, "completed": 5}
    assert verdicts(record, "accuracy")["sgd", "adam"] == "higher"
    assert verdicts(record, "epoch_s")["adam", "sgd"] == "not measurable"


def test_a_study_goes_on_where_it_stopped(tmp_path: Path) -> None:
    request = request_of("optimizers", BASE)
    workshop = workshop_in(tmp_path, request)
    first = Trainings(
        lambda name, seed, settings: KeyboardInterrupt() if seed == 3 else epoch()
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        run_optimizers(workshop, request, train=first.train)

    second = Trainings(learned)
    again = workshop_in(workshop.directory.path)
    record = run_optimizers(again, request, train=second.train)

    assert len(second.log) == 10
    assert {seed for _, seed in second.log} == {3, 4}
    assert isinstance(again.listener, Notes)
    assert again.listener.blocks == []
    assert record.status == "completed"


def test_runs_that_the_budget_does_not_hold_leave_the_study_unfinished(tmp_path: Path) -> None:
    request = request_of("optimizers", BASE, blocks=0)
    workshop = workshop_in(tmp_path, request, budget_s=1e-3)

    record = run_optimizers(workshop, request, train=Trainings(learned).train)

    assert record.status == "interrupted"
    assert "seeds" in {refusal.code for refusal in record.refusals}


def test_blocks_get_a_share_of_the_budget_however_long_the_training_runs_are(
    tmp_path: Path,
) -> None:
    request = request_of("optimizers", BASE)
    workshop = workshop_in(tmp_path, request, budget_s=200.0)

    record = run_optimizers(workshop, request, train=Trainings(learned).train)

    # 6 arms have 4 turns of 20 steps of 30 ms: 16 s a block, and 60 s are the blocks' own.
    assert record.plan.blocks == 3
    assert isinstance(workshop.listener, Notes)
    assert workshop.listener.warnings[0].startswith("The budget allows 3 of 5 blocks")


def test_the_cost_of_the_training_runs_is_said_before_the_blocks(tmp_path: Path) -> None:
    request = request_of("optimizers", BASE)
    workshop = workshop_in(tmp_path, request)
    run_optimizers(workshop, request, train=Trainings(learned).train)

    assert isinstance(workshop.listener, Notes)
    # 25 runs of 5 epochs of 391 steps of 30 ms, two at a time where there are two cores.
    runs_s = 25 * 5 * 50_000 / 128 * 0.03
    assert workshop.listener.warnings == [
        f"The training runs, after the blocks, take about {render_duration(runs_s / n)}."
        for n in [min(2, usable_cpus())]
    ]


def test_what_the_study_prints_is_json(tmp_path: Path) -> None:
    document = run(tmp_path, Trainings(learned), tune_lr=True).document()

    assert json.loads(json.dumps(document, allow_nan=False)) == json.loads(json.dumps(document))


# A learning rate of each arm's own.

PEAK = {"sgd": 0.1, "nesterov": 0.01, "adagrad": 0.01, "adadelta": 1.0, "adam": 0.001}


def tunable(name: str, seed: int, settings: RunSettings) -> Any:
    """Every optimizer is best at one rate; adam at 1.0 diverges."""
    optimizer, lr = settings.optimizer.optimizer, settings.optimizer.lr
    if (optimizer, lr) == ("adam", 1.0):
        return "diverged"
    correct = 5000 if lr == PEAK[optimizer] else 2000
    held = {"test_loss": 1.0, "test_correct": correct, "test_samples": 10_000}
    return epoch(1.0, correct + 20 * seed, **(held if settings.data.holdout else {}))


def test_every_arm_tries_the_same_rates_on_a_part_and_is_judged_on_the_rest() -> None:
    plan = plan_optimizers(BASE, LAB_OPTIMIZERS, SEEDS, 5, TurnPolicy())

    searched = plan_search(plan, LEARNING_RATES)

    assert len(searched.arms) == len(LAB_OPTIMIZERS) * len(LEARNING_RATES)
    assert {a.settings.data.holdout for a in searched.arms} == {HOLDOUT}
    assert all(a.settings.training.evaluate for a in searched.arms)
    assert not set(searched.seeds) & set(plan.seeds)
    assert (searched.blocks, len(searched.seeds)) == (0, 1)


def test_the_chosen_rate_trains_every_seed_on_everything(tmp_path: Path) -> None:
    trainings = Trainings(tunable)

    record = run(tmp_path, trainings, tune_lr=True)

    tuned = record.details["tuned"]
    assert {name: found["lr"] for name, found in tuned.items()} == PEAK
    assert [len(found["replicates"]) for found in tuned.values()] == [5] * 5
    assert tuned["adam"]["accuracy"]["estimate"] == pytest.approx(0.504)
    assert tuned["adam"]["tried"][-1] == [1.0, None, "diverged"]
    assert record.details["held_out_samples"] == 10_000
    # 25 at one rate for all, 20 candidates, and 20 more: sgd has been trained at 0.1 already.
    assert len(trainings.log) == 25 + 20 + 20
    chosen = [h.task.arm.settings for h in trainings.started[45:]]
    assert {settings.data.holdout for settings in chosen} == {0.0}
    assert len(record.details["tuned_comparisons"]) == 20


def test_a_rate_that_wins_at_an_end_of_the_grid_is_marked(tmp_path: Path) -> None:
    tuned = run(tmp_path, Trainings(tunable), tune_lr=True).details["tuned"]

    assert {name: found["edge"] for name, found in tuned.items()} == {
        "sgd": None, "nesterov": None, "adagrad": None, "adadelta": "highest", "adam": "lowest",
    }  # fmt: skip


def test_the_smallest_of_equal_rates_is_chosen_and_none_where_no_run_ended() -> None:
    assert best_rate([(0.1, 0.5, "completed"), (0.01, 0.5, "completed")]) == 0.01
    assert best_rate([(0.1, None, "diverged"), (0.01, 0.0, "completed")]) == 0.01
    assert best_rate([(0.1, None, "diverged")]) is None
    assert best_rate([]) is None
    assert edge([(0.1, 0.5, ""), (0.01, 0.5, "")], 0.1) == "highest"


def test_arms_for_which_no_rate_works_are_told(tmp_path: Path) -> None:
    def outcome(name: str, seed: int, settings: RunSettings) -> Any:
        return "diverged" if settings.data.holdout else learned(name, seed, settings)

    record = run(tmp_path, Trainings(outcome), tune_lr=True)

    assert {found["lr"] for found in record.details["tuned"].values()} == {None}
    assert "tuned_comparisons" not in record.details


def test_a_tuned_study_goes_on_where_it_stopped(tmp_path: Path) -> None:
    first = Trainings(tunable)
    record = run(tmp_path, first, tune_lr=True)

    second = Trainings(tunable)
    directory = Path(record.directory)
    request = StudyDirectory(directory).read_request()
    again = run_optimizers(workshop_in(directory), request, train=second.train)

    assert second.log == []
    assert again == record


# Outcomes of every kind.


def accident(name: str, seed: int, settings: RunSettings) -> Any:
    """Half of sixty runs come to harm: every other one, in each arm."""
    accidents = ["out_of_memory"] * 12 + ["diverged"] * 6 + ["timed_out"] * 6 + ["failed"] * 6
    place = seed * 12 + int(name)
    if (place + seed) % 2:
        return accidents[place // 2]
    return epoch(2.0 - int(name) / 10, 3000 + 100 * int(name) + seed)


def trained_plan(names: list[str]) -> Plan:
    arms = [arm(name, lr=0.1 + int(name) / 100, device="cpu") for name in names]
    return make_plan("optimizers", arms, names[0], ("lr",), blocks=0, seeds=SEEDS)


def trained(workshop: Workshop, plan: Plan, trainings: Trainings) -> list[TrainedReplicate]:
    return run_trainings(workshop, plan, start=trainings)


def test_a_study_half_of_whose_runs_come_to_harm_has_a_result(tmp_path: Path) -> None:
    plan = trained_plan([str(n) for n in range(12)])

    runs = trained(workshop_in(tmp_path), plan, Trainings(accident))

    results = arm_results(plan, (), runs)
    rows = accuracy_comparisons(plan, runs)
    best = best_arm(results, rows)
    ends = [status for result in results for status, n in result.outcomes().items()
            for _ in range(n)]  # fmt: skip
    assert len(ends) == 60
    assert (ends.count("completed"), ends.count("out_of_memory")) == (30, 12)
    assert best is not None
    # No arm has all of its runs: the best is that of the runs that are valid.
    assert best["arm"] == "11"
    assert best["accuracy"]["n"] == sum(r.arm == "11" and r.status == "completed" for r in runs)


def test_an_arm_that_sometimes_diverges_is_not_the_best(tmp_path: Path) -> None:
    def outcome(name: str, seed: int, settings: RunSettings) -> Any:
        return "diverged" if (name, seed) == ("2", 4) else epoch(1.0, 1000 + 1000 * int(name))

    plan = trained_plan(["0", "1", "2"])
    runs = trained(workshop_in(tmp_path), plan, Trainings(outcome))

    best = best_arm(arm_results(plan, (), runs), accuracy_comparisons(plan, runs))

    assert best is not None
    assert best["arm"] == "1"


def test_where_no_run_completes_no_arm_is_best(tmp_path: Path) -> None:
    plan = trained_plan(["0", "1"])
    runs = trained(workshop_in(tmp_path), plan, Trainings(lambda *given: "failed"))

    assert best_arm(arm_results(plan, (), runs), accuracy_comparisons(plan, runs)) is None


@pytest.mark.slow
def test_a_tiny_study_runs_from_end_to_end(tmp_path: Path) -> None:
    tiny = {"width": 1, "samples": 96, "batch_size": 16, "epochs": 1, "loader": "batch"}
    base = build_settings({**tiny, "num_workers": 0, "device": "cpu", "data": "synthetic"})
    policy = TurnPolicy(min_steps=2, min_s=0.0, min_turns=2, max_turns=2)
    request = request_of(
        "optimizers", base, optimizers=("sgd", "adam"), seeds=(0, 1), blocks=1, turns=policy,
        tune_lr=True,
    )  # fmt: skip
    directory = workshop_in(tmp_path, request).directory

    record = run_optimizers(open_workshop(directory, Notes()), request)
    directory.write_record(record)

    assert record.status == "completed"
    assert {arm.name: arm.outcomes() for arm in record.arms} == {
        "sgd": {"completed": 3}, "adam": {"completed": 3}, "sgd again": {"completed": 1},
    }  # fmt: skip
    tuned = record.details["tuned"]
    assert [len(found["tried"]) for found in tuned.values()] == [4, 4]
    assert all(found["tried"][0][1] is not None for found in tuned.values())
    assert json.loads((directory.path / "study.json").read_text())["study"] == "optimizers"
