from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from laptime.errors import SettingsError
from laptime.phase import Phase
from laptime.record import DataRecord, EpochRecord, RunRecord
from laptime.settings import build_settings
from laptime.statistics.contrast import Contrast, contrast_arms, contrast_runs
from laptime.statistics.sides import StudyEvidence, find_arm, on_fresh_blocks
from laptime.statistics.summary import comparisons

MS = 1_000_000


def epoch(number: int, loading_ms: int = 1000, **given: Any) -> EpochRecord:
    phases = {Phase.DATA_WAIT: loading_ms * MS, Phase.FORWARD: 3000 * MS, Phase.LOGGING: 500 * MS}
    values = {
        "epoch": number,
        "samples": 1000,
        "steps": 10,
        "loss": 1.0,
        "correct": 600,
        "wall_ns": sum(phases.values()),
        "phases_ns": phases,
        "mode": "host",
        "cold": number == 1,
    }
    return EpochRecord(**{**values, **given})


@pytest.fixture
def run(builder: Any) -> Callable[..., RunRecord]:
    def build(name: str = "run-a", loading_ms: int = 1000, **given: Any) -> RunRecord:
        data = given.pop("data", {})
        environment = builder.environment(**given.pop("environment", {}))
        settings = given.pop("settings", {})
        values = {
            "id": name,
            "directory": f"runs/{name}",
            "status": "completed",
            "settings": build_settings({"data": "synthetic", "epochs": 3, **settings}).flat(),
            "environment": environment,
            "data": DataRecord(
                **{
                    "name": "synthetic",
                    "source": "generator",
                    "verified": True,
                    "label": "embedded set",
                    "sha256": "ab" * 32,
                    "train_samples": 1000,
                    "test_samples": 100,
                    "num_classes": 10,
                    **data,
                }
            ),
            "parameters": 10,
            "setup_ns": 1,
            "epochs": tuple(epoch(number, loading_ms) for number in (1, 2, 3)),
        }
        return RunRecord(**{**values, **given})

    return build


@pytest.fixture
def study(builder: Any) -> Callable[..., StudyEvidence]:
    def build(name: str = "study-a", factor: float = 1.0, **given: Any) -> StudyEvidence:
        plan = given.pop("plan", None) or builder.plan()
        count = given.pop("count", None)
        steps = {"w0": 0.050, "w2": 0.035, "w4": 0.030, "w2 again": 0.035, "resident": 0.028}
        blocks = builder.blocks(
            plan, count, step_s={arm: factor * s for arm, s in steps.items()}, **given
        )
        return StudyEvidence(
            id=name, directory=f"runs/{name}", plan=plan, blocks=tuple(blocks),
            sentinel_repetitions=1000,
        )  # fmt: skip

    return build


def codes(contrast: Contrast) -> list[str]:
    return [refusal.code for refusal in contrast.refusals]


def arms(a: StudyEvidence, b: StudyEvidence, of_a: str | None, of_b: str | None) -> Any:
    return find_arm(a, of_a), find_arm(b, of_b)


def test_two_single_runs_get_the_ratio_of_their_steady_epochs_and_no_verdict(run: Any) -> None:
    cold = tuple(epoch(n, 99_000 if n == 1 else 1000) for n in (1, 2, 3))

    found = contrast_runs(run(epochs=cold), run("run-b", loading_ms=5500))

    assert found.ratio == pytest.approx(4.5 / 9.0)
    assert (found.low, found.high) == (None, None)
    assert (found.n_a, found.n_b) == (1, 1)
    assert (found.verdict, found.reason) == ("inconclusive", "single_runs")


@pytest.mark.parametrize("loading_ms", [1, 1000, 10**6])
def test_no_ratio_of_two_single_runs_however_large_makes_a_verdict(
    run: Any, loading_ms: int
) -> None:
    found = contrast_runs(run(), run("run-b", loading_ms=loading_ms))

    assert found.verdict == "inconclusive"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"num_workers": 12}, "laptime study workers --like run-b --num-workers 2,12"),
        ({"num_workers": 4, "lr": 0.5}, "it holds lr fixed, as in B"),
        ({"optimizer": "adam"}, "laptime study optimizers --like run-b --optimizers adam,sgd"),
        ({"norm": "none"}, "laptime study batchnorm --like run-b"),
        ({"lr": 0.5}, "laptime study devices --like run-a"),
        ({}, "laptime compare STUDY_A:cpu STUDY_B:cpu"),
    ],
)
def test_the_next_step_of_two_runs_is_the_study_of_what_they_differ_in(
    run: Any, settings: dict[str, Any], expected: str
) -> None:
    found = contrast_runs(run(settings=settings), run("run-b"))

    assert codes(found) == ["single_runs"]
    assert expected in found.refusals[0].next


@pytest.mark.parametrize(
    ("directory", "expected"),
    [
        ("runs/x", "--like x "),
        ("kept here/x", "--like x --runs-dir 'kept here' "),
        ("/data/runs/x", "--like /data/runs/x "),
    ],
)
def test_the_next_step_finds_the_run_where_it_is(run: Any, directory: str, expected: str) -> None:
    other = run("x", directory=directory, settings={"num_workers": 4})

    assert expected in contrast_runs(run(), other).refusals[0].next


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"environment": {"torch": "2.12.0"}}, ["torch"]),
        ({"environment": {"python": "3.12.1", "threads": 4}}, ["python", "threads"]),
        ({"environment": {"cpus_usable": 2}}, ["cpus_usable"]),
        ({"environment": {"start_method": "spawn"}}, ["start_method"]),
        ({"environment": {"laptime": "0.2.0"}}, ["laptime"]),
        ({"environment": {"variables": (("OMP_NUM_THREADS", "1"),)}}, ["variables"]),
        ({"data": {"label": "unverified copy"}}, ["data"]),
        ({"data": {"sha256": "cd" * 32}}, ["data_sha256"]),
        ({"data": {"train_samples": 500}}, ["samples"]),
    ],
)
def test_unlike_conditions_are_refused_and_leave_no_ratio(
    run: Any, given: dict[str, Any], names: list[str]
) -> None:
    found = contrast_runs(run(), run("run-b", **given))

    assert (found.verdict, found.reason) == ("not measurable", "environment_differs")
    assert found.ratio is None
    assert [difference.name for difference in found.environment] == names
    assert codes(found)[0] == "environment_differs"


@pytest.mark.parametrize(
    "given", [{"memory_usable_bytes": 1}, {"shm_bytes": None}, {"git_sha": "ab", "git_dirty": True}]
)
def test_free_memory_and_the_commit_are_no_conditions(run: Any, given: dict[str, Any]) -> None:
    assert not contrast_runs(run(), run("run-b", environment=given)).environment


def test_data_without_a_checksum_is_the_same_only_under_the_same_name(run: Any) -> None:
    mine, yours = (
        run(f"run-{name}", data={"sha256": None}, settings={"data": f"{name}.py:build"})
        for name in ("a", "b")
    )

    assert [d.name for d in contrast_runs(mine, yours).environment] == ["data_sha256"]


def test_uncontrolled_gives_a_ratio_and_no_verdict(run: Any) -> None:
    other = run("run-b", environment={"torch": "2.12.0"})

    found = contrast_runs(run(), other, uncontrolled=True)

    assert found.uncontrolled
    assert found.ratio == pytest.approx(1)
    assert (found.verdict, found.reason) == (None, "uncontrolled")
    assert "environment_differs" in codes(found)


def test_asking_for_uncontrolled_changes_nothing_where_conditions_are_the_same(run: Any) -> None:
    found = contrast_runs(run(), run("run-b"), uncontrolled=True)

    assert not found.uncontrolled
    assert found.verdict == "inconclusive"


def test_runs_on_two_devices_are_sent_to_the_study_of_devices(run: Any) -> None:
    gpu = run("run-b", environment={"device": "cuda:0", "device_name": "A GPU", "cuda": "12.8"})

    assert "laptime study devices --like run-b" in contrast_runs(run(), gpu).refusals[0].next


@pytest.mark.parametrize("status", ["diverged", "failed", "out_of_memory"])
def test_a_run_that_ended_badly_is_not_measurable(run: Any, status: str) -> None:
    found = contrast_runs(run(), run("run-b", status=status, reason="why it ended"))

    assert (found.verdict, found.reason) == ("not measurable", status)
    assert codes(found) == [status]
    assert "why it ended" in found.refusals[0].evidence


@pytest.mark.parametrize(
    "epochs",
    [
        (),
        (epoch(1),),
        (epoch(1), epoch(2, segments=2)),
        (epoch(1), epoch(2, complete=False, loss=None)),
    ],
    ids=["none", "cold", "resumed", "cut off"],
)
def test_a_run_without_a_steady_epoch_is_not_measurable(run: Any, epochs: Any) -> None:
    found = contrast_runs(run(epochs=epochs), run("run-b"))

    assert (found.verdict, found.reason) == ("not measurable", "no_steady_state")
    assert found.ratio is None


def test_an_interrupted_run_is_compared_by_the_epochs_that_it_has(run: Any) -> None:
    stopped = run(status="interrupted", epochs=(epoch(1), epoch(2)))

    times = contrast_runs(stopped, run("run-b"))
    accuracies = contrast_runs(stopped, run("run-b"), "accuracy")

    assert (times.verdict, times.ratio) == ("inconclusive", pytest.approx(1))
    assert (accuracies.verdict, accuracies.reason) == ("not measurable", "incomplete")


def test_a_run_with_timing_off_has_a_total_and_no_parts(run: Any) -> None:
    off = run(epochs=tuple(epoch(n, mode="off") for n in (1, 2, 3)), settings={"timing": "off"})

    assert contrast_runs(off, run("run-b")).verdict == "inconclusive"
    assert contrast_runs(off, run("run-b")).a.loading_s is None
    assert contrast_runs(off, run("run-b"), "loading").reason == "timing_off"


def test_parts_of_an_epoch_are_compared_by_name(run: Any) -> None:
    slow = run("run-b", loading_ms=4000)

    assert contrast_runs(run(), slow, "loading").ratio == pytest.approx(0.25)
    assert contrast_runs(run(), slow, "training").ratio == pytest.approx(1)


def test_no_ratio_is_formed_with_a_time_of_nothing(run: Any) -> None:
    found = contrast_runs(run(), run("run-b", loading_ms=0), "loading")

    assert (found.ratio, found.verdict, found.reason) == (None, "not measurable", "no_estimate")


def test_of_two_runs_accuracy_is_a_difference_of_the_last_epochs(run: Any) -> None:
    better = run(epochs=(epoch(1), epoch(2, correct=700)))

    found = contrast_runs(better, run("run-b"), "accuracy")

    assert found.ratio == pytest.approx(0.1)
    assert found.verdict == "inconclusive"
    assert "laptime study optimizers" in found.refusals[0].next


def test_what_was_learned_does_not_depend_on_threads_and_cores(run: Any) -> None:
    other = run("run-b", environment={"threads": 1, "cpus_usable": 1, "python": "3.12.0"})

    assert not contrast_runs(run(), other, "loss").environment
    assert contrast_runs(run(), run("c", environment={"torch": "2.1"}), "loss").environment


def test_two_arms_of_a_study_say_what_the_study_itself_says(study: Any) -> None:
    mine = study()

    for row in comparisons(mine.plan, mine.blocks):
        found = contrast_arms(*arms(mine, mine, row.a, row.b))
        assert found.is_paired
        assert (found.verdict, found.reason) == (row.verdict, row.reason)
        assert (found.ratio, found.low, found.high) == (row.ratio, row.low, row.high)


def test_turned_around_two_arms_have_the_opposite_verdict(study: Any) -> None:
    mine = study()

    forth, back = (contrast_arms(*arms(mine, mine, *p)) for p in (("w4", "w0"), ("w0", "w4")))

    assert (forth.verdict, back.verdict) == ("faster", "slower")
    assert (forth.ratio or 0) * (back.ratio or 0) == pytest.approx(1)


def test_arms_that_both_have_fresh_blocks_are_compared_on_these(study: Any, builder: Any) -> None:
    plan = builder.plan([builder.arm("w2", num_workers=2), builder.arm("w4", num_workers=4)])
    main = study()
    fresh = [
        builder.changed(block, stage="confirmation")
        for block in builder.blocks(plan, step_s={"w2": 0.035, "w4": 0.0345}, block_sd=0.001)
    ]
    evidence = StudyEvidence(
        id="s", directory="runs/s", plan=main.plan, blocks=(*main.blocks, *fresh), confirmation=plan
    )

    found = contrast_arms(*on_fresh_blocks(*arms(evidence, evidence, "w4", "w2")))
    other = contrast_arms(*on_fresh_blocks(*arms(evidence, evidence, "w4", "w0")))

    assert (found.stage, found.verdict) == ("confirmation", "equivalent")
    assert (other.stage, other.verdict) == ("main", "faster")


def test_an_arm_of_the_fresh_blocks_only_is_not_paired_with_one_of_the_others(
    study: Any, builder: Any
) -> None:
    plan = builder.plan([builder.arm("w2", num_workers=2), builder.arm("w1", num_workers=1)])
    fresh = [builder.changed(b, stage="confirmation") for b in builder.blocks(plan)]
    main = study()
    evidence = StudyEvidence(
        id="s", directory="runs/s", plan=main.plan, blocks=(*main.blocks, *fresh), confirmation=plan
    )

    found = contrast_arms(*on_fresh_blocks(*arms(evidence, evidence, "w1", "w4")))

    assert not found.is_paired
    assert found.reason.startswith("unpaired_")


def test_two_studies_are_compared_by_their_baselines_without_pairing(study: Any) -> None:
    before, after = study(), study("study-b", factor=1.3)

    found = contrast_arms(*arms(before, after, None, None), whole=True)

    assert (found.kind, found.a.arm, found.b.arm) == ("studies", "w2", "w2")
    assert not found.is_paired
    assert (found.verdict, found.reason) == ("faster", "unpaired_interval_outside_zone")
    assert found.ratio == pytest.approx(1 / 1.3, rel=0.02)
    assert [arm.arm for arm in found.arms] == ["w0", "w4"]
    assert all(arm.ratio == pytest.approx(1 / 1.3, rel=0.02) for arm in found.arms)


def test_fewer_blocks_than_declared_are_refused_and_the_ratio_stays(study: Any) -> None:
    found = contrast_arms(*arms(study(), study("study-b", count=3), None, None))

    assert (found.verdict, found.reason) == ("not measurable", "too_few_blocks")
    assert found.refusals[0].evidence.startswith("B: 3 of 5 blocks")
    assert found.ratio is not None
    assert (found.n_a, found.n_b) == (5, 3)


def test_a_study_declared_with_few_blocks_is_inconclusive(study: Any, builder: Any) -> None:
    few = study("study-b", plan=builder.plan(blocks=3))

    found = contrast_arms(*arms(study(), few, None, None))

    assert (found.verdict, found.reason) == ("inconclusive", "too_few_blocks")


def test_a_machine_that_became_faster_or_slower_between_studies_is_refused(
    study: Any, builder: Any
) -> None:
    def slow(turn: Any) -> Any:
        readings = {"sentinel_before_ns": 66_000_000, "sentinel_after_ns": 66_000_000}
        return builder.changed(turn, noise=builder.noise(**readings))

    later = study("study-b")
    changed = StudyEvidence(
        id="study-b",
        directory=later.directory,
        plan=later.plan,
        blocks=tuple(builder.change_turns(later.blocks, slow)),
        sentinel_repetitions=1000,
    )

    found = contrast_arms(*arms(study(), changed, None, None))
    anyway = contrast_arms(*arms(study(), changed, None, None), uncontrolled=True)

    assert (found.verdict, found.reason) == ("not measurable", "machine_changed")
    assert found.ratio is None
    assert anyway.uncontrolled
    assert anyway.ratio is not None


def test_sentinels_are_compared_by_repetition_since_each_study_calibrates_its_own(
    study: Any, builder: Any
) -> None:
    def longer(turn: Any) -> Any:
        readings = {"sentinel_before_ns": 90_000_000, "sentinel_after_ns": 90_000_000}
        return builder.changed(turn, noise=builder.noise(**readings))

    later = study("study-b")
    recalibrated, slower = (
        StudyEvidence(
            id="study-b",
            directory="runs/study-b",
            plan=later.plan,
            blocks=tuple(builder.change_turns(later.blocks, longer)),
            sentinel_repetitions=repetitions,
        )
        for repetitions in (1500, 1000)
    )

    assert contrast_arms(*arms(study(), recalibrated, None, None)).verdict == "equivalent"
    assert contrast_arms(*arms(study(), slower, None, None)).reason == "machine_changed"


def test_another_cpu_clock_between_studies_is_refused(study: Any, builder: Any) -> None:
    later = study("study-b")
    slowed = builder.change_turns(
        later.blocks, lambda turn: builder.changed(turn, noise=builder.noise(clock_mhz=2000.0))
    )
    changed = StudyEvidence(
        id="study-b", directory="runs/study-b", plan=later.plan, blocks=tuple(slowed)
    )

    assert contrast_arms(*arms(study(), changed, None, None)).reason == "clock_change"


def test_studies_without_a_sentinel_are_compared_and_say_that_there_was_none(
    study: Any, builder: Any
) -> None:
    mine = study()
    silent = builder.change_turns(mine.blocks, lambda turn: builder.changed(turn, noise=None))
    bare = StudyEvidence(id="bare", directory="runs/bare", plan=mine.plan, blocks=tuple(silent))

    found = contrast_arms(*arms(study("study-b"), bare, None, None))

    assert found.b.sentinel_ns is None
    assert found.verdict == "equivalent"


def test_studies_on_unlike_machines_are_refused(study: Any, builder: Any) -> None:
    elsewhere = study("study-b", environment=builder.environment(cpu="Another", threads=4))

    found = contrast_arms(*arms(study(), elsewhere, None, None), whole=True)

    assert (found.verdict, found.reason) == ("not measurable", "environment_differs")
    assert [difference.name for difference in found.environment] == ["cpu", "threads"]
    assert found.arms == ()


def test_what_a_factor_changes_by_itself_is_no_difference_within_a_study(builder: Any) -> None:
    devices = [builder.arm("cpu"), builder.arm("cuda", device="cuda")]
    plan = builder.plan(devices, study="devices", baseline="cuda", factors=("device",))
    gpu = builder.environment(device="cuda", device_name="A GPU", cuda="12.8")
    blocks = builder.change_replicates(
        builder.blocks(plan, step_s={"cpu": 0.4, "cuda": 0.03}),
        lambda replicate: builder.changed(replicate, environment=gpu),
        "cuda",
    )
    mine = StudyEvidence(id="s", directory="runs/s", plan=plan, blocks=tuple(blocks))

    found = contrast_arms(*arms(mine, mine, "cpu", "cuda"))
    across = contrast_arms(
        find_arm(mine, "cpu"),
        find_arm(StudyEvidence(id="t", directory="runs/t", plan=plan, blocks=mine.blocks), "cuda"),
    )

    assert not found.environment
    assert [d.name for d in across.environment] == ["device", "device_name", "cuda"]


def test_a_refusal_of_the_study_itself_takes_the_verdict(study: Any, builder: Any) -> None:
    mine = study()
    blocks = builder.change_replicates(
        mine.blocks, lambda r: builder.changed(r, first_losses=(9.0, 9.0)), "w4"
    )
    broken = StudyEvidence(id="s", directory="runs/s", plan=mine.plan, blocks=tuple(blocks))

    assert contrast_arms(*arms(broken, broken, "w4", "w2")).reason == "losses_differ"
    assert contrast_arms(*arms(broken, broken, "w0", "w2")).verdict == "slower"


def test_accuracies_of_arms_are_compared_over_seeds(builder: Any) -> None:
    plan = builder.plan(
        [builder.arm(name, optimizer=name) for name in ("sgd", "adam")],
        study="optimizers", baseline="sgd", factors=("optimizer",), blocks=0, seeds=range(5),
    )  # fmt: skip
    good = [builder.trained("sgd", seed) for seed in range(5)]
    poor = [
        builder.trained("adam", seed, epochs=(builder.epoch(1, correct=300 + seed),))
        for seed in range(4)
    ]
    lost = builder.trained("adam", 4, status="diverged", epochs=())
    mine = StudyEvidence(id="s", directory="runs/s", plan=plan, trained=(*good, *poor, lost))
    again = StudyEvidence(id="t", directory="runs/t", plan=plan, trained=tuple(good))

    few = contrast_arms(*arms(mine, mine, "adam", "sgd"), "accuracy")
    same = contrast_arms(*arms(mine, again, "sgd", "sgd"), "accuracy")
    times = contrast_arms(*arms(mine, mine, "adam", "sgd"))

    assert (few.verdict, few.reason) == ("inconclusive", "too_few_seeds")
    assert few.ratio is not None
    assert few.ratio < -0.1
    assert (few.n_a, few.n_b) == (4, 5)
    assert few.a.trained_outcomes == {"completed": 4, "diverged": 1}
    assert same.ratio == 0
    assert (times.verdict, times.reason) == ("not measurable", "no_estimate")


def test_an_arm_that_is_not_there_is_refused_with_those_that_are(study: Any) -> None:
    with pytest.raises(SettingsError, match=r"'w3' is no arm of study-a\. Use one of: w0, w2,"):
        find_arm(study(), "w3")


def test_batches_in_memory_are_a_bound_and_compared_with_nothing(study: Any) -> None:
    with pytest.raises(SettingsError, match="compared with nothing"):
        find_arm(study(), "resident")


def test_the_document_holds_what_was_promised_and_is_json(run: Any, study: Any) -> None:
    documents = [
        contrast_runs(run(), run("run-b", settings={"lr": 0.5})).document(),
        contrast_arms(*arms(study(), study("study-b"), None, None), whole=True).document(),
    ]

    for document in documents:
        assert json.loads(json.dumps(document, allow_nan=False)) == document
        assert {
            "a", "b", "kind", "quantity", "ratio", "low", "high", "n_a", "n_b", "verdict",
            "reason", "uncontrolled", "differences", "refusals",
        } <= document.keys()  # fmt: skip
    assert documents[0]["differences"]["settings"] == {"lr": {"a": 0.1, "b": 0.5}}
    assert len(documents[0]["a"]["epochs"]) == 3
