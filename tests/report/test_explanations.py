"""Each sentence is there when the planted truth carries it, and absent when it does not."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.report.studies import (
    Learning,
    Truth,
    batchnorm_record,
    devices_record,
    noisy,
    optimizers_record,
    tuned_details,
    workers_record,
)

from laptime.report.studies.explanations import (
    explain_batchnorm,
    explain_devices,
    explain_optimizers,
    explain_workers,
)
from laptime.study import Refusal, StudyRecord

EXPLAIN: dict[str, Callable[[StudyRecord], tuple[str, ...]]] = {
    "workers": explain_workers,
    "devices": explain_devices,
    "optimizers": explain_optimizers,
    "batchnorm": explain_batchnorm,
}


def words(record: StudyRecord) -> str:
    return "\n".join(EXPLAIN[record.plan.study](record))


def test_one_worker_is_held_against_the_recommended_with_intervals() -> None:
    said = words(workers_record())

    assert "One worker against 4" in said
    assert re.search(r"1 worker takes 2\.96\d times as long as 4 workers \[2\.9\d+, 2\.97\d]", said)
    assert re.search(r"loading 19\.\d+ s \[19\.\d+, 19\.\d+] shorter \(20\.00 to 0\.248 s\)", said)
    assert "training is the same within 3 %" in said


def test_a_wait_that_batches_in_memory_take_away_is_confirmed() -> None:
    said = words(workers_record())

    assert re.search(r"1 worker alone makes 13\.\d+ batches/s .*, fewer: training waits", said)
    assert re.search(r"4 workers alone make 52\.\d+ batches/s .*, more: loading can hide", said)
    assert re.search(r"batches in memory take 100\.\d % \[.*] of that away: confirmed", said)


def test_a_wait_that_batches_in_memory_leave_is_only_suspected() -> None:
    slow_anyway = {"resident": Truth(compute_s=0.060)}
    said = words(workers_record(truths=slow_anyway, refusals=()))

    assert "confirmed" not in said
    assert "is suspected (batches in memory take" in said
    assert "More blocks would decide: `laptime study workers --blocks 10`" in said


def test_a_loader_that_keeps_up_is_not_called_slow() -> None:
    said = words(workers_record(Truth(load_s=0.01), current=1))

    assert not re.search(r"waits for|fewer|confirmed|suspected", said)
    assert "1 worker alone makes 100.1 batches/s" in said


def test_rates_whose_intervals_meet_are_not_told_apart() -> None:
    # Two workers make as many batches as the steps take.
    said = words(workers_record(noisy(Truth(load_s=0.050), 0.02), counts=(1, 2), current=1))

    assert re.search(r"2 workers alone make [^.]*\.\d+ batches/s [^,]*,[^,]*, not disting", said)
    assert "can hide" not in said


def test_workers_in_the_training_process_hide_nothing() -> None:
    said = words(workers_record(Truth(load_s=0.0004), counts=(0, 1, 2), current=0))

    assert "With 0 workers the training process makes" in said
    assert "itself: nothing overlaps." in said
    assert "0 workers alone" not in said


def test_the_bound_is_measured_and_ends_the_work_where_it_is_small() -> None:
    said = words(workers_record(Truth(load_s=0.01)))

    assert re.search(r"Perfect loading, .* takes 9\.77 s \[9\.71, 9\.84] an epoch, measured", said)
    assert "Less than the 3 % that matter: stop here." in said


def test_the_bound_does_not_end_the_work_where_its_interval_reaches_beyond_the_zone() -> None:
    said = words(workers_record(noisy(Truth(), 0.02)))

    assert "Perfect loading" in said
    assert "stop here" not in said


def test_a_bound_that_noise_hides_is_an_upper_end_only() -> None:
    said = words(workers_record(noisy(Truth(), 0.05)))

    assert "It is not distinguishable from an epoch with 4 workers" in said
    assert re.search(r"better loading saves at most 1\d %", said)
    assert "the most that loading can save" not in said


@pytest.mark.parametrize(
    "given",
    [
        {"resident": False},
        {"refusals": (Refusal(code="short_window", evidence="e", next="n", arms=("resident",)),)},
    ],
    ids=["not measured", "refused"],
)
def test_there_is_no_bound_without_batches_in_memory(given: dict[str, Any]) -> None:
    said = words(workers_record(**given))

    assert not re.search(r"Perfect loading|steps alone|confirmed", said)


def test_workers_that_slow_training_are_named_and_their_cause_is_suspected() -> None:
    said = words(workers_record(Truth(contention=0.03), details={"usable_cpus": 2}))

    assert re.search(
        r"Workers slow training itself down, against 1 worker: \+9\.0 % \[.*] with 4", said
    )
    assert "Suspected: 16 workers and torch's 16 threads share 2 CPUs." in said
    assert "OMP_NUM_THREADS=1, or on more CPUs, would decide" in said


def test_cores_are_not_suspected_where_there_is_one_for_each() -> None:
    said = words(workers_record(Truth(contention=0.03), details={"usable_cpus": 64}))

    assert "share 64 CPUs" not in said
    assert "Suspected: they share the memory's bandwidth or the caches" in said


@pytest.mark.parametrize("noise", [0.004, 0.02, 0.05])
@pytest.mark.parametrize("seed", range(8))
def test_noise_is_never_called_contention(noise: float, seed: int) -> None:
    said = words(workers_record(noisy(Truth(), noise), seed=seed))

    assert "slow training itself" not in said


def test_a_difference_of_training_in_pure_noise_is_claimed_as_rarely_as_promised() -> None:
    claims = 0
    for seed in range(40):
        record = workers_record(noisy(Truth(), 0.02), counts=(1, 4), current=1, seed=seed)
        claims += "training changes by" in words(record)

    assert claims <= 6  # of 40, at 5 % each: more has a chance under 1 %


def test_a_gain_of_loading_in_noise_is_not_told() -> None:
    truth = noisy(Truth(load_s=0.001, start_s=0.0, start_per_worker_s=0.0), 0.3)
    plateau = {"members": [2], "best": 2, "undecided": [], "eliminated": []}
    chosen = {"num_workers": 2, "worker_bytes": None, "worker_cpu_s": None}
    record = workers_record(
        truth, counts=(1, 2), current=1, details={"plateau": plateau, "recommended": chosen}
    )
    said = words(record)

    assert "cannot be told apart" in said
    assert "an epoch not distinguishably different" in said
    assert not re.search(r"an epoch [\d.]+ s \[.*?] (shorter|longer)", said)


def test_a_start_that_takes_a_tenth_of_the_epoch_is_named_and_its_cause_suspected() -> None:
    slow = Truth(start_per_worker_s=0.4)

    assert "pass before its first batch. Suspected: starting the workers" in words(
        workers_record(slow)
    )
    assert "first batch" not in words(workers_record())
    assert "first batch" not in words(workers_record(slow, settings={"persistent_workers": True}))


def test_the_price_is_what_was_measured_and_nothing_else() -> None:
    assert "4 workers 800 MB of memory and 30 CPU-seconds an epoch" in words(workers_record())

    unknown = workers_record(replace(Truth(), worker_bytes=0))
    assert "of memory" not in words(unknown)


def test_one_worker_is_not_held_against_itself() -> None:
    record = workers_record(Truth(load_s=0.01))

    assert record.details["recommended"]["num_workers"] == 1
    assert "One worker against" not in words(record)


def test_one_worker_that_was_not_measured_beside_the_best_is_not_explained() -> None:
    assert "not explained, because no block holds both" in words(workers_record(counts=(0, 2, 4)))


def test_arms_that_a_refusal_names_are_not_explained() -> None:
    refusal = Refusal(code="clock_change", evidence="e", next="n", arms=("1",))
    said = words(workers_record(refusals=(refusal,)))

    assert "One worker against 4, on the blocks that chose 4: not explained (clock change)." in said
    assert not re.search(r"confirmed|times as long|shorter", said)


@pytest.mark.parametrize(
    "record",
    [
        workers_record(blocks=3, declared=3),
        workers_record(blocks=2),
        workers_record(truths={"2 again": Truth(compute_s=0.04)}),
    ],
    ids=["too few blocks", "interrupted", "A/A differs"],
)
def test_nothing_is_explained_where_nothing_is_recommended(record: StudyRecord) -> None:
    assert words(record) == ""


def test_nothing_is_explained_of_a_count_that_a_refusal_names() -> None:
    refusal = Refusal(code="physics", evidence="e", next="n", arms=("4",))

    assert words(workers_record(refusals=(refusal,))) == (
        "What limits an epoch is not explained: the study refuses (physics)."
    )


def test_a_refusal_about_accuracy_leaves_times_alone() -> None:
    refusal = Refusal(code="seeds", evidence="e", next="n")

    assert "Perfect loading" in words(workers_record(refusals=(refusal,)))


def test_an_optimizer_that_takes_longer_says_how_much_of_it_is_the_update() -> None:
    said = words(optimizers_record())

    assert re.search(r"Adadelta against SGD: an epoch 1\.\d+ s \[.*] longer", said)
    assert re.search(r"the update, a part of training, 1\.\d+ s \[.*] longer", said)
    assert "Adagrad against" not in said


def test_an_update_that_does_not_explain_a_longer_epoch_is_not_blamed() -> None:
    heavier = Learning(truth=Truth(compute_s=0.035, update_s=0.0028))
    arms = {"sgd": Learning(truth=noisy(Truth(), 0.01)), "adam": replace(
        heavier, truth=noisy(replace(heavier.truth, update_s=0.002), 0.01))}  # fmt: skip
    said = words(optimizers_record(arms))

    assert "Adam against SGD: an epoch" in said
    assert "the update, a part of training, not distinguishably different" in said


def test_a_learning_rate_is_suspected_until_another_one_cures() -> None:
    assert "Suspected: lr 0.1 is too large for it. The same study with `--tune-lr`" in words(
        optimizers_record()
    )

    cured = words(optimizers_record(details=tuned_details()))
    assert "With lr 0.001 instead of 0.1, the only change, top-1 is 74.2 % [74.0, 74.4]" in cured
    assert "Suspected" not in cured


def test_a_rate_that_does_not_cure_is_not_called_the_cause() -> None:
    said = words(optimizers_record(details=tuned_details(cured=False)))

    assert "the learning rate was the cause" not in said
    assert "A learning rate of its own did not show the cause." in said


def test_arms_that_learn_are_not_suspected_of_anything() -> None:
    said = words(optimizers_record({"sgd": Learning(), "nesterov": Learning(accuracy=0.76)}))

    assert "Suspected" not in said
    assert "All have lr 0.1: one rule for all" in said


def test_one_rule_for_all_is_not_said_of_times_alone() -> None:
    assert "one rule" not in words(optimizers_record(seeds=0))


def test_gradients_are_suspected_only_where_learning_is_worse_and_their_spread_wider() -> None:
    assert "Suspected: layers whose gradients are small hardly learn" in words(batchnorm_record())

    equal = words(batchnorm_record(without=Learning()))
    assert "Suspected" not in equal
    assert "Gradient norms by layer at the first step" in equal

    flat = {"gradients": {name: [["a", 0.2], ["b", 1.1]] for name in ("batch", "none")}}
    assert "Suspected" not in words(batchnorm_record(details=flat))


def test_without_a_look_at_gradients_nothing_is_said_of_them() -> None:
    said = words(batchnorm_record(details={"gradients": {}}))

    assert "radient" not in said


def test_too_few_seeds_raise_no_suspicion_of_gradients() -> None:
    assert "Suspected" not in words(batchnorm_record(seeds=3))


def test_the_slower_device_says_where_its_time_goes() -> None:
    said = words(devices_record())

    assert re.search(r"cpu against cuda:0: an epoch 342\.\d s \[.*] longer", said)
    assert re.search(r"training 342\.\d s \[.*] longer", said)
    assert "loading not distinguishably different" in said


def test_devices_that_do_not_agree_explain_nothing() -> None:
    assert words(devices_record(details={"losses_agree": False})) == ""


def test_a_device_that_waits_for_data_is_told_from_one_that_does_not() -> None:
    slow_loader = {"cpu": Truth(compute_s=0.9), "cuda:0": Truth(load_s=0.3)}
    said = words(devices_record(slow_loader))

    assert re.search(r"On cuda:0 6\d\.\d % \[.*] of an epoch is loading", said)
    assert "On cpu" not in said
    assert "is loading" not in words(devices_record())


@pytest.mark.parametrize("study", ["optimizers", "batchnorm", "devices"])
def test_no_difference_in_time_is_explained_that_the_blocks_do_not_show(study: str) -> None:
    alike: dict[str, Callable[[], StudyRecord]] = {
        "optimizers": lambda: optimizers_record({"sgd": Learning(), "adagrad": Learning()}),
        "batchnorm": lambda: batchnorm_record(without=Learning()),
        "devices": lambda: devices_record({"cpu": Truth(), "cuda:0": Truth()}),
    }

    assert " against " not in words(alike[study]())


@pytest.mark.parametrize("blocks", [0, 3])
def test_too_few_blocks_explain_no_time(blocks: int) -> None:
    assert " against " not in words(optimizers_record(blocks=blocks))
