from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from laptime.phase import Phase
from laptime.record import EpochRecord
from laptime.report.comparisons.contrast import headline, render_contrast
from laptime.settings import build_settings
from laptime.statistics.contrast import ArmRatio, Contrast
from laptime.statistics.sides import Difference, Side
from laptime.study import Estimate, Refusal

MS = 1_000_000
RUN = "2026-01-01T00-00-00_resnet18_ab12cd"
STUDY = "2026-01-01T10-00-00_study-workers_ab12cd"


def estimate(value: float, half: float = 0.1, n: int = 5) -> Estimate:
    return Estimate(estimate=value, low=value - half, high=value + half, n=n)


def epoch(number: int, loading_ms: int, **given: Any) -> EpochRecord:
    phases = {Phase.DATA_WAIT: loading_ms * MS, Phase.FORWARD: 9700 * MS, Phase.OTHER: 280 * MS}
    values = {
        "epoch": number,
        "samples": 50_000,
        "steps": 391,
        "loss": 1.234,
        "correct": 30_000,
        "wall_ns": sum(phases.values()),
        "phases_ns": phases,
        "mode": "host",
        "cold": number == 1,
    }
    return EpochRecord(**{**values, **given})


def run_side(loading_ms: int, **given: Any) -> Side:
    def once(value: float) -> Estimate:
        return Estimate(estimate=value, low=None, high=None, n=1)

    values = {
        "id": RUN,
        "directory": f"runs/{RUN}",
        "status": "completed",
        "settings": build_settings({"epochs": 3}).flat(),
        "epochs": tuple(epoch(number, loading_ms + number) for number in (1, 2, 3)),
        "epoch_s": once(loading_ms / 1e3 + 9.98),
        "loading_s": once(loading_ms / 1e3),
        "training_s": once(9.7),
        "other_s": once(0.28),
        "loss": once(1.234),
        "accuracy": once(0.6),
    }
    return Side(**{**values, **given})


def arm_side(epoch_s: float = 10.0, **given: Any) -> Side:
    values = {
        "id": STUDY,
        "directory": f"runs/{STUDY}",
        "study": "workers",
        "arm": "4",
        "status": "completed",
        "settings": build_settings({}).flat(),
        "epoch_s": estimate(epoch_s),
        "loading_s": estimate(epoch_s - 9.5),
        "training_s": estimate(9.2, 0.02),
        "accuracy": estimate(0.6, 0.01),
        "loss": estimate(1.2, 0.02),
        "trained_outcomes": {"completed": 4, "diverged": 1},
        "started": "2026-01-01T10:00:00",
        "blocks": 5,
        "turns": 100,
        "sentinel_ns": 401.25,
    }
    return Side(**{**values, **given})


def contrast(kind: str = "arms", **given: Any) -> Contrast:
    of_runs = {
        "a": run_side(900), "b": run_side(20_900), "ratio": 10.88 / 30.88, "low": None,
        "high": None, "n_a": 1, "n_b": 1, "verdict": "inconclusive", "reason": "single_runs",
        "settings": (Difference(name="num_workers", a=4, b=1),),
        "refusals": (
            Refusal(
                code="single_runs", evidence="there is one of each.",
                next=f"`laptime study workers --like {RUN} --num-workers 1,4` would decide.",
            ),
        ),
    }  # fmt: skip
    of_arms = {
        "a": arm_side(), "b": arm_side(14.5, arm="2"), "ratio": 0.69, "low": 0.68, "high": 0.70,
        "n_a": 5, "n_b": 5, "verdict": "faster", "reason": "interval_outside_zone",
        "is_paired": True, "resolution": 0.021,
        "settings": (Difference(name="num_workers", a=4, b=2),),
    }  # fmt: skip
    values = of_runs if kind == "runs" else of_arms
    return Contrast(**{"kind": kind, "quantity": "epoch", **values, **given})


UNLIKE: Mapping[str, Any] = {
    "environment": (Difference(name="torch", a="2.13.0", b="2.12.0"),),
    "refusals": (
        Refusal(code="environment_differs", evidence="torch 2.13.0 against 2.12.0.", next="Do so."),
    ),
}

UNCONTROLLED = {**UNLIKE, "uncontrolled": True, "verdict": None, "reason": "uncontrolled"}

OTHER_ARMS = (ArmRatio(arm="0", ratio=0.71, low=0.70, high=0.72, n_a=5, n_b=5),)


def text(found: Contrast, **given: Any) -> str:
    return "\n".join(render_contrast(found, **given))


def one_line(found: Contrast) -> str:
    return " ".join(text(found).split())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "Faster: an epoch of A takes 31.0 % less time than one of B [30.0, 32.0]: the 95 %"),
        (
            {"ratio": 1.45, "low": 1.44, "high": 1.46, "verdict": "slower"},
            "Slower: an epoch of A takes 45.0 % more time than one of B [44.0, 46.0]",
        ),
        (
            {"ratio": 1.0, "low": 0.98, "high": 1.02, "verdict": "equivalent",
             "reason": "unpaired_interval_inside_zone", "is_paired": False},
            "Equivalent: an epoch of A and one of B take the same time within 3 %",
        ),
        (
            {"ratio": 1.0, "low": 0.9, "high": 1.1, "verdict": "inconclusive",
             "reason": "interval_too_wide", "blocks_needed": 23},
            "about 23 blocks would decide",
        ),
        (
            {"quantity": "loading"},
            "Faster: loading in A takes 31.0 % less time than in B [30.0, 32.0]",
        ),
        (
            {"quantity": "accuracy", "ratio": 0.021, "low": 0.015, "high": 0.027,
             "verdict": "higher", "reason": "welch_holm"},
            "Higher: top-1 of A minus that of B is +2.1 points [1.5, 2.7]: Welch's test",
        ),
        (
            {"quantity": "loss", "ratio": -0.3, "low": -0.4, "high": -0.2, "verdict": "lower",
             "reason": "welch_holm"},
            "Lower: loss of A minus that of B is -0.30 [-0.40, -0.20]: Welch's test",
        ),
        (
            {"verdict": "not measurable", "reason": "machine_changed", "ratio": None},
            "Not measurable: the machine itself was faster for one of the two.",
        ),
        (
            {"verdict": "not measurable", "reason": "some_new_code"},
            "Not measurable: some new code.",
        ),
    ],
)  # fmt: skip
def test_the_first_sentence_is_the_verdict_and_speaks_of_a(
    given: dict[str, Any], expected: str
) -> None:
    assert expected in headline(contrast(**given))
    assert headline(contrast(**given)).startswith(render_contrast(contrast(**given))[0])


def test_single_runs_show_both_and_say_what_would_decide() -> None:
    shown = text(contrast("runs"))

    assert "one run of each carries no verdict" in one_line(contrast("runs"))
    assert "epoch 1 cold" in shown
    assert "loading 0.900 20.9 0.0431" in one_line(contrast("runs"))
    assert f"`laptime study workers --like {RUN} --num-workers 1,4`" in shown
    assert "num_workers  4  1" in shown
    assert "Not concluded: whether A is faster than B" in shown


def test_the_difference_of_two_epochs_is_taken_apart_in_words() -> None:
    assert (
        "An epoch of A takes 20 s less than one of B: loading 20 s less; in training and other "
        "they differ by less than 0.40 s."
    ) in one_line(contrast("runs"))
    assert "loading 4.5 s less" in one_line(contrast())


def test_a_difference_that_is_not_proven_is_not_taken_apart() -> None:
    assert "An epoch of A takes" not in text(contrast(verdict="inconclusive"))


@pytest.mark.parametrize("kind", ["runs", "arms", "studies"])
def test_no_line_has_a_ratio_without_control_and_does_not_say_so(kind: str) -> None:
    found = contrast(kind, **UNCONTROLLED, arms=OTHER_ARMS, ratio=0.6912, low=0.6789, high=0.7)

    lines = render_contrast(found)
    ratios = [line for line in lines if "0.69" in line or "0.71" in line or "times as long" in line]
    in_tables = [line for line in lines if line.startswith(("loading ", "training ", "epoch  "))]

    assert len(ratios) >= 2
    assert len(in_tables) >= 3
    assert all("UNCONTROLLED" in line for line in (*ratios, *in_tables))
    assert "faster" not in lines[0]
    assert "torch       2.13.0  2.12.0" in lines


def test_a_refusal_for_unlike_conditions_shows_what_differs_and_no_times() -> None:
    refused = contrast(**UNLIKE, verdict="not measurable", reason="environment_differs", ratio=None)

    shown = text(refused)

    assert "conditions  A       B\ntorch       2.13.0  2.12.0" in shown
    assert "Refused, environment differs: torch 2.13.0 against 2.12.0.\nDo so." in shown
    assert "95 %" not in shown


def test_studies_say_that_their_hours_differ_and_what_the_sentinel_took() -> None:
    found = contrast(
        "studies",
        is_paired=False,
        reason="unpaired_interval_outside_zone",
        b=arm_side(14.5, id="other", directory="runs/other"),
        arms=OTHER_ARMS,
    )

    shown = one_line(found)

    assert "the blocks of two studies were measured at different hours" in shown
    assert "drifted between them is in the interval only as far as the blocks of each show" in shown
    assert "the sentinel took 401.2 ns a repetition" in shown
    assert "(not paired)" in shown
    assert "anything of the other arms" in shown


def test_a_missing_sentinel_is_said() -> None:
    found = contrast(is_paired=False, b=arm_side(directory="runs/other", sentinel_ns=None))

    assert "without a sentinel" in one_line(found)


def test_fresh_blocks_contamination_and_resolution_are_said() -> None:
    shown = one_line(contrast(stage="confirmation", a=arm_side(contaminated_turns=7)))

    assert "Paired: one ratio from each of 5 blocks" in shown
    assert "The blocks are fresh" in shown
    assert "7 of 100 turns were contaminated" in shown
    assert "Resolution 2.1 %" in shown


def test_arms_that_ran_one_after_another_are_not_called_side_by_side() -> None:
    assert "one after another" in one_line(contrast(a=arm_side(design="sequential")))


def test_diverged_training_runs_are_counted() -> None:
    shown = one_line(contrast(quantity="accuracy", verdict="higher", reason="welch_holm"))

    assert "A: training runs: 4 completed, 1 diverged." in shown
    assert "60.0 [59.0, 61.0]" in shown
    assert "Resolution 2.1 points" in shown


def test_several_differing_settings_are_not_told_apart() -> None:
    names = ("num_workers", "lr")
    found = contrast(settings=tuple(Difference(name=name, a=1, b=2) for name in names))

    assert "which of num_workers and lr makes a difference" in one_line(found)


def test_equal_settings_and_two_commits_are_said() -> None:
    found = contrast(settings=(), a=arm_side(git_sha="a" * 40), b=arm_side(git_sha="b" * 40))

    assert "The settings are the same." in text(found)
    assert "(commit aaaaaaaa)" in text(found)


def test_what_was_required_is_the_last_line() -> None:
    lines = render_contrast(contrast(), "not-slower", "met")

    assert lines[-1] == "Required of A, not-slower: met, exit status 0."


@pytest.mark.parametrize("off", [True, False])
def test_a_run_without_parts_shows_its_total_only(off: bool) -> None:
    epochs = tuple(epoch(n, 900, mode="off" if off else "host") for n in (1, 2))
    side = run_side(900, epochs=epochs, loading_s=None, training_s=None, other_s=None)

    assert ("n/a" in text(contrast("runs", a=side)).split("mean, s")[0]) == off


def test_runs_of_unequal_length_stand_side_by_side() -> None:
    short = run_side(900, epochs=(epoch(1, 900), epoch(2, 900, complete=False, loss=None)))

    shown = text(contrast("runs", a=short))

    assert "epoch 3" in shown
    assert "epoch 2 cut off" in shown


@pytest.mark.parametrize(
    "found",
    [
        contrast("runs"),
        contrast("runs", **UNCONTROLLED),
        contrast("runs", quantity="accuracy"),
        contrast("runs", a=run_side(1, epochs=())),
        contrast(),
        contrast("studies", arms=OTHER_ARMS, is_paired=False),
        contrast(settings=tuple(Difference(name=n, a="x" * 80, b=None) for n in ("data", "model"))),
        contrast(b=arm_side(arm="\x1b[31mred\n")),
        contrast(resolution=None, low=None, high=None, verdict="inconclusive"),
    ],
)
def test_lines_fit_and_hold_no_control_character(found: Contrast) -> None:
    for line in render_contrast(found):
        assert line.isprintable()
        assert len(line) <= 100
        assert line == line.rstrip()


def test_a_command_longer_than_a_line_is_not_broken() -> None:
    command = f"laptime study workers --like {'x' * 120} --num-workers 1,4"
    refusal = Refusal(code="single_runs", evidence="one.", next=f"`{command}` would decide.")

    assert f"`{command}` would decide." in render_contrast(contrast("runs", refusals=(refusal,)))
