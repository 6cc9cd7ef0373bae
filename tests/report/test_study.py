from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.report.studies import (
    FIVE,
    Learning,
    Truth,
    batchnorm_record,
    devices_record,
    noisy,
    optimizers_record,
    tuned_details,
    workers_record,
)

from laptime.report.studies import explanations
from laptime.report.studies.study import not_concluded, render_study
from laptime.report.words.lines import WIDTH, joined, prose, table
from laptime.report.words.verdicts import digits, interval, significant, spelled, turned
from laptime.study import Comparison, Estimate, Refusal, StudyRecord

NO_GPU = (
    "Only the CPU was timed: torch finds no GPU here (torch 2.13.0, built with no CUDA). On a "
    "machine with an NVIDIA GPU and a torch built with CUDA, `laptime study devices` compares the "
    "two."
)
QUICK = {"model": "resnet18 width 64", "step_s": 0.92, "enough": 1}


def explained(record: StudyRecord) -> StudyRecord:
    explain = getattr(explanations, f"explain_{record.plan.study}")
    return record.model_copy(update={"explanation": explain(record)})


STUDIES = {
    "workers": workers_record(tables=True),
    "workers_noisy": workers_record(noisy(Truth(), 0.08)),
    "workers_flat": workers_record(Truth(load_s=0.01)),
    "workers_contention": workers_record(
        Truth(contention=0.03),
        machine={"cpus_usable": 2, "device": "cpu", "device_name": "Xeon 8268", "threads": 2},
        details={
            "usable_cpus": 2,
            "predicted": {**QUICK, "epoch_s": {"0": 389.2, "1": 360.1, "2": 359.9}},
        },
    ),
    "workers_out_of_memory": workers_record(out_of_memory=16),
    "workers_interrupted": workers_record(blocks=2),
    "workers_three_blocks": workers_record(blocks=3, declared=3),
    "workers_aa_differs": workers_record(truths={"2 again": Truth(compute_s=0.04)}),
    "workers_ascended": workers_record(counts=(2, 4, 8), scouted={0: 39.4, 1: 29.8, 16: 10.3}),
    "workers_as_they_are": workers_record(current=4, contaminated_turns=12),
    "optimizers": optimizers_record(details=tuned_details()),
    "optimizers_one_seed": optimizers_record(seeds=1, blocks=0),
    "batchnorm": batchnorm_record(),
    "devices": devices_record(
        details={"extrapolated": {"cpu": {"timed_steps": 40, "steps_per_epoch": 390.625}}}
    ),
    "one_device": devices_record({"cpu": Truth(compute_s=0.9)}, details={"missing": NO_GPU}),
}

GOLDEN = Path(__file__).parent / "golden_studies"


def text(record: StudyRecord) -> str:
    return "\n".join(render_study(record))


def flowing(record: StudyRecord) -> str:
    """Return the text as one line, however it is broken."""
    return " ".join(text(record).split())


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_reads_like_its_golden_text(name: str) -> None:
    """Read the difference; where it is meant, copy what is printed into the golden folder."""
    assert text(explained(STUDIES[name])) + "\n" == (GOLDEN / f"{name}.txt").read_text("utf-8")


def test_no_golden_text_of_a_study_is_without_its_record() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(STUDIES)


@pytest.mark.parametrize("name", STUDIES)
def test_no_line_is_wider_than_a_terminal_but_paths_and_commands(name: str) -> None:
    lines = render_study(explained(STUDIES[name]))

    assert not [line for line in lines if len(line) > WIDTH and "--resume" not in line]
    assert not [line for line in lines if line != line.rstrip()]


@pytest.mark.parametrize("noise", [0.0005, 0.01, 0.2])
@pytest.mark.parametrize("scale", [0.001, 1.0, 120.0, 3000.0])
def test_tables_fit_whatever_an_epoch_takes(scale: float, noise: float) -> None:
    truth = Truth(
        compute_s=0.025 * scale,
        load_s=0.076 * scale,
        update_s=0.002 * scale,
        noise=noise,
        worker_bytes=123_456_789_012,
    )
    alike = {"sgd": Learning(truth=truth), "nesterov": Learning(truth=truth)}
    for record in (
        workers_record(truth, counts=(0, 1, 2, 128), current=128),
        optimizers_record(alike, factor="optimizer"),
        devices_record({"cpu": truth, "mps": truth, "cuda:0": truth}),
    ):
        assert not [n for n in render_study(record) if len(n) > WIDTH and "--resume" not in n]


@pytest.mark.parametrize("study", ["workers", "optimizers", "batchnorm", "devices"])
def test_a_study_that_has_nothing_yet_is_rendered(study: str) -> None:
    made = {"workers": workers_record, "devices": devices_record}
    whole: Any = made.get(study) or {"optimizers": optimizers_record}.get(study, batchnorm_record)
    record = whole()
    empty = [arm.model_copy(update=dict.fromkeys(EMPTY) | NO_RUNS) for arm in record.arms]
    bare = record.model_copy(
        update={
            "arms": tuple(empty), "comparisons": (), "details": {}, "environment": None,
            "resolution": None, "blocks": 0, "status": "interrupted", "data_label": "",
        }
    )  # fmt: skip

    lines = render_study(explained(bare))

    assert "Go on:  laptime study" in "\n".join(lines)
    assert "None" not in "\n".join(lines)


EMPTY = (
    "epoch_s", "loading_s", "training_s", "loader_alone_s", "optimizer_s", "loss", "accuracy",
    "worker_bytes", "worker_cpu_s",
)  # fmt: skip
NO_RUNS: dict[str, Any] = {"replicates": (), "trained": ()}


def test_what_is_not_verified_is_not_called_official() -> None:
    record = workers_record(data_label="unverified copy")

    assert "CIFAR-10, unverified copy" in text(record)
    assert "official" not in text(record)


def test_the_embedded_set_is_called_what_it_is_and_its_accuracies_too() -> None:
    record = optimizers_record(data_label="embedded set")

    assert "synthetic, embedded set" in text(record)
    assert "accuracies on CIFAR-10: the embedded set has" in flowing(record)


def row(verdict: Any, **given: Any) -> Comparison:
    values: dict[str, Any] = {
        "a": "4", "b": "2", "ratio": 0.69, "low": 0.68, "high": 0.70, "n": 5, "verdict": verdict,
        "reason": "interval_outside_zone",
    }  # fmt: skip
    return Comparison(**{**values, **given})


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (row("faster"), "4 takes 31.0 % less time than 2 [30.0, 32.0]: the 95 % interval lies "),
        (
            row("slower", ratio=1.1, low=1.08, high=1.12),
            "4 takes 10.0 % more time than 2 [8.0, 12.0]: the 95 %",
        ),
        (
            row("slower", ratio=3.0, low=2.9, high=3.1),
            "4 takes 3.00 times as long as 2 [2.90, 3.10]: the 95 %",
        ),
        (
            row("equivalent", ratio=1.0, low=0.99, high=1.01, reason="interval_inside_zone"),
            "4 and 2 take the same time within 3 % (0.0 % [-1.0, +1.0]): the 90 % interval lies "
            "inside ±3 %",
        ),
        (
            row("small difference", ratio=0.98, low=0.965, high=0.995,
                reason="excludes_zero_meets_zone"),
            "4 takes 2.0 % less time than 2 [0.5, 3.5], maybe no more than the 3 % that matter: "
            "the 95 % interval excludes 0",
        ),
        (
            row("inconclusive", ratio=0.98, low=0.9, high=1.06, reason="interval_too_wide",
                blocks_needed=23),
            "4 and 2 cannot be told apart (-2 % [-10, +6], about 23 blocks would decide): the "
            "interval is too wide",
        ),
        (
            row("not measurable", ratio=None, low=None, high=None, reason="no_estimate"),
            "4 and 2 cannot be compared: one of them has no estimate",
        ),
        (
            row("not measurable", reason="aa_differs"),
            "nothing is said of 4 against 2: refused: A/A differs",
        ),
    ],
)  # fmt: skip
def test_what_fresh_blocks_say_is_said_with_its_reason(found: Comparison, said: str) -> None:
    record = workers_record(details={"confirmation": found.model_dump(mode="json")})

    assert f"Fresh blocks (5): {said}" in flowing(record)


def test_a_gain_that_fresh_blocks_did_not_confirm_is_not_quoted() -> None:
    record = workers_record(details={"confirmation": None})

    assert "Not confirmed on fresh blocks: what 4 gains over 2 is not quoted." in text(record)


def test_a_count_that_is_only_near_on_average_is_a_guess() -> None:
    plateau = {"members": [8], "best": 8, "undecided": [4], "eliminated": []}
    record = workers_record(details={"plateau": plateau})

    assert "Best guess: 4 workers. On average it is within 3 % of 8" in text(record)
    assert "Best: " not in text(record)
    assert "whether 4 belongs to the plateau" in flowing(record)


def test_the_largest_count_that_was_tried_is_called_that() -> None:
    assert "16 is the largest number measured" in flowing(workers_record(Truth(load_s=0.6)))


def test_no_count_is_recommended_by_a_study_that_refuses() -> None:
    said = flowing(STUDIES["workers_aa_differs"])

    assert "No number of workers is recommended: the study refuses to conclude" in said
    assert not re.search(r"Best|Plateau|Fresh blocks", said)
    assert "Refused, A/A differs: 2 again and 2 have the same settings" in said
    assert "A/A failed" in said


def test_every_undecided_pair_is_among_what_is_not_concluded() -> None:
    record = STUDIES["workers_noisy"]
    undecided = [row("inconclusive", a=arm, reason="interval_too_wide") for arm in ("1", "8")]
    said = " ".join(not_concluded(record.model_copy(update={"comparisons": tuple(undecided)})))

    assert "epoch time of 1 and 8 against 2" in said or "epoch time of any two arms" in said
    assert "whether 4 and 8 belong to the plateau" in said


@pytest.mark.parametrize("name", STUDIES)
def test_every_text_says_that_one_machine_is_not_all_machines(name: str) -> None:
    assert "from one stretch of time on one machine" in flowing(STUDIES[name])


def test_every_refusal_has_its_evidence_and_its_next_step() -> None:
    refusal = Refusal(code="short_window", evidence="turns of 0.1 s.", next="use longer turns")
    said = flowing(workers_record(refusals=(refusal,)))

    assert "Refused, short window: turns of 0.1 s. Use longer turns." in said
    assert "what the refusals forbid (short window)" in said


def test_processes_that_did_not_complete_are_counted_with_their_reason() -> None:
    said = flowing(STUDIES["workers_out_of_memory"])

    assert (
        "5 of 40 processes of the blocks out of memory (16: 5): RuntimeError: not enough memory"
        in said
    )
    assert re.search(r"16\s+-\s+out of memory 5x", text(STUDIES["workers_out_of_memory"]))


def test_contaminated_turns_are_counted() -> None:
    assert "12 of 160 turns were taken while the machine" in flowing(STUDIES["workers_as_they_are"])


def test_runs_that_diverged_or_learned_nothing_are_counted_and_not_averaged() -> None:
    said = flowing(optimizers_record())

    assert "diverged 2 of 5 · not learned 3 of 5: no better than guessing" in said
    assert re.search(r"Adam +10\.59 .* 5 blocks, 3 of 5 seeds", said)
    assert "2 of 25 training runs diverged (Adam: 2)" in said


def test_every_seed_is_shown() -> None:
    said = flowing(optimizers_record())

    assert all(f"seed {seed}: " in said for seed in range(5))
    assert said.count("seed 3: ") == len(FIVE)


def test_equal_accuracies_are_not_told_apart_and_the_gap_is_named() -> None:
    alike = {"sgd": Learning(), "nesterov": Learning(accuracy=0.758)}
    said = flowing(optimizers_record(alike))

    assert not re.search(r"is (higher|lower) than", said)
    assert "top-1, not distinguishable with 5 seeds: SGD and SGD with Nesterov" in said
    assert re.search(r"The smallest gap that can be seen is [\d.]+ points", said)


def test_too_few_seeds_give_a_table_and_no_verdict() -> None:
    said = flowing(optimizers_record(seeds=3))

    assert not re.search(r"is (higher|lower) than", said)
    assert "Highest mean" not in said
    assert "top-1: no two arms can be told apart (refused: seeds)" in said


def test_a_chosen_rate_at_the_end_of_the_grid_is_called_that() -> None:
    said = flowing(STUDIES["optimizers"])

    assert "Adam at lr 0.001: loss 0.800" in said
    assert "the lowest rate tried: a lower one may do better" in said
    assert "Adagrad: no learning rate led to the end of a run" in said


def test_one_device_says_what_another_would_need() -> None:
    said = flowing(STUDIES["one_device"])

    assert "One device: nothing is compared." in said
    assert NO_GPU in said


def test_an_extrapolated_epoch_is_called_that() -> None:
    said = flowing(STUDIES["devices"])

    assert "cpu: an epoch of 391 steps is extrapolated; a block timed 40 of them." in said


def test_devices_that_do_not_compute_the_same_are_called_that() -> None:
    said = flowing(devices_record(details={"losses_agree": False}))

    assert "The first losses differ between devices" in said


HOSTILE = "net\x1b]0;title\x07[bold]<b>.py:build\u202e"


def test_control_characters_in_names_do_not_reach_the_terminal() -> None:
    record = workers_record(
        settings={"model": HOSTILE, "data": HOSTILE},
        directory="runs/\x1b[2J",
        data_label=HOSTILE,
        refusals=(Refusal(code=HOSTILE, evidence=HOSTILE, next=HOSTILE),),
        explanation=(HOSTILE,),
        machine={"device_name": HOSTILE},
    )

    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text(record))


def test_a_directory_with_blanks_can_be_typed_as_it_is_printed() -> None:
    record = workers_record(directory="my runs/it's")

    assert "laptime study workers --resume 'my runs/it'\"'\"'s'" in text(record)


estimates = st.builds(
    lambda value, share, n: Estimate(
        estimate=value, low=value * (1 - share), high=value * (1 + share), n=n
    ),
    st.floats(1e-4, 1e5),
    st.floats(1e-4, 0.5),
    st.integers(2, 20),
)


@given(estimates)
def test_no_digit_is_printed_that_the_interval_does_not_support(value: Estimate) -> None:
    assert value.low is not None
    assert value.high is not None
    half = (value.high - value.low) / 2
    shown = digits(value, most=9)
    decimals = len(shown.partition(".")[2])

    assert abs(float(shown) - value.estimate) <= max(half, 10**-(decimals) / 2)
    assert decimals == 0 or 10**-decimals >= half / 30
    assert len(interval(value, most=9).split(",")[0].partition(".")[2]) == decimals


def test_an_interval_of_any_number_of_digits_is_not_printed() -> None:
    wide = Estimate(estimate=2.9, low=1e-9, high=6e10, n=2)
    disturbed = {"1": Truth(noise=3.0), "2": Truth(noise=3.0)}
    said = text(workers_record(blocks=2, truths=disturbed))

    assert (digits(wide), interval(wide)) == ("2.9", "[too wide]")
    assert spelled(wide) == "2.9 s [too wide]"
    assert "[too wide]" in said
    assert not re.search(r"\d{7}", said.replace("11,173,962", "").partition("Record:")[0])


def test_a_single_replicate_has_no_interval_and_says_so() -> None:
    once = Estimate(estimate=12.3456, low=None, high=None, n=1)

    assert (digits(once), interval(once)) == ("12.3", "n = 1")


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0000058, "5.8e-6"), (29.6, "30"), (0.0, "0"), (7.44, "7.4")]
)
def test_a_number_without_an_interval_has_two_digits(value: float, shown: str) -> None:
    assert significant(value) == shown


def test_a_comparison_that_is_turned_says_the_same_from_the_other_side() -> None:
    other = turned(row("faster", ratio=0.5, low=0.4, high=0.8))

    assert (other.a, other.b, other.verdict) == ("2", "4", "slower")
    assert (other.ratio, other.low, other.high) == (2.0, 1.25, 2.5)
    assert turned(row("higher", quantity="loss", ratio=0.2, low=0.1, high=0.3)).low == -0.3


def test_columns_align_at_the_decimal_point() -> None:
    lines = table(("a", "b"), [["1", "10.5"], ["2", "0.025"], ["3", "-"]], "<.")

    assert lines == ["a       b", "1  10.5", "2   0.025", "3   -"]


def test_numbers_units_intervals_and_commands_are_not_broken() -> None:
    whole = ("12 %", "7.4 s", "[1.0, 2.0]", "`laptime study workers --num-workers 1`")
    for filled in range(40, WIDTH):
        words = " ".join(["x" * filled, *whole, "end"])
        lines = prose(words)

        assert " ".join(lines) == words
        assert all(any(piece in line for line in lines) for piece in whole)


def test_words_that_are_joined_break_between_words_only() -> None:
    lines = joined(["seed 1: 0.70, 75 %"] * 9, lead="  ", indent="  ")

    assert all(line.startswith("  seed") and len(line) <= WIDTH for line in lines)


def test_a_fit_without_loading_names_only_what_workers_add() -> None:
    record = workers_record()
    fit = {"compute_s": 0.03, "load_s": 3.7e-18, "overhead_s": 0.002, "residual": 0.01}
    told = flowing(record.model_copy(update={"details": {**record.details, "fit": fit}}))

    assert "of computing or 0.78 s x workers, whichever is longer" in told
    assert "of loading / workers" not in told


def test_threads_of_training_runs_are_named_where_they_are_not_those_of_the_timing() -> None:
    record = optimizers_record()
    alone = {"details": {**record.details, "trained_threads": 1}}

    assert "had 1 thread each" in flowing(record.model_copy(update=alone))
    assert "thread each" not in flowing(record)
