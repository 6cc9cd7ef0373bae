from __future__ import annotations

import pytest
from tests.tuning.records import DIFF, record, row, tried

from laptime.report.pages.html import render_html
from laptime.report.pages.markdown import render_markdown
from laptime.report.pages.terminal import render_document
from laptime.report.tuning.tune import answer, render_tuning, tune_command, tune_document
from laptime.study import Refusal
from laptime.tune import LossFinding


def text(**more: object) -> str:
    return "\n".join(render_tuning(record(**more)))


def test_the_answer_is_the_gain_of_fresh_blocks_with_its_interval() -> None:
    assert answer(record()) == (
        "Verified on 5 fresh blocks: num_workers 4 takes 58.0 % less time [56.7, 59.3] for an "
        "epoch, evaluation and checkpoints left out, 5.00 s to 2.10 s; same numbers; equal losses."
    )


@pytest.mark.parametrize(
    ("conclusion", "said"),
    [
        (
            "nothing to gain",
            "Nothing to gain: nothing that was tried was shown to save more than 3 %",
        ),
        ("not verified", "No gain is verified"),
        ("interrupted", "Interrupted after 12 blocks"),
    ],
)
def test_what_is_not_a_gain_is_not_called_one(conclusion: str, said: str) -> None:
    found = answer(record(conclusion=conclusion, gain=None))

    assert found.startswith(said)
    assert "Verified" not in found


def test_nothing_worth_a_try_is_said_so() -> None:
    found = answer(record(conclusion="nothing to gain", gain=None, tried=()))

    assert found == "Nothing to gain: nothing that could be tried would save more than 3 %."


def test_what_is_faster_and_changes_the_training_is_named() -> None:
    refused = tried(
        "num_workers 4", outcome="refused", why="mean loss off by 0.4",
        losses=LossFinding(reason="beyond_spread", difference=0.4, allowed=0.1, steps=80),
    )  # fmt: skip

    found = answer(record(conclusion="nothing to gain", gain=None, tried=(refused,)))

    assert found.endswith("num_workers 4 would change it.")
    assert "refused: mean loss off by 0.4" in text(gain=None, tried=(refused,))


def test_everything_tried_is_in_the_table_and_the_rest_has_its_reason() -> None:
    found = text()

    assert "channels_last" in found
    assert "it is slower" in found
    assert "failed: no compiler" in found
    assert "fused (the optimizer is 0.6 %)" in found
    assert "bf16 (budget)" in found
    assert "what bf16 would do, which the budget did not hold" in found


def test_the_chosen_row_is_marked() -> None:
    (line,) = [line for line in text().splitlines() if "<--" in line]

    assert line.startswith("num_workers 4")


def test_the_patch_is_printed_as_it_is() -> None:
    assert DIFF.rstrip() in text()


def test_a_refusal_says_why_and_what_next() -> None:
    refusal = Refusal(code="aa_differs", evidence="It differs.", next="try again")

    found = text(conclusion="refused", gain=None, refusals=(refusal,))

    assert "Refused (A/A differs): It differs. Next: try again." in found
    assert "Nothing is concluded: the tuning refuses (A/A differs)." in found


def test_an_untold_change_against_another_arm_says_which() -> None:
    follower = tried(
        "num_workers 4 + persistent_workers", stage="scout", outcome="screened out",
        why="no gain beyond 3 % in sight",
        row=row("x", 0.99, b="num_workers 4", low=None, high=None),
    )  # fmt: skip

    assert "no gain beyond 3 % in sight (against num_workers 4)" in text(tried=(follower,))


def test_a_longer_start_is_earned_back_after_so_many_steps() -> None:
    found = text(tried=(tried("compile", break_even_steps=1200),))

    assert "kept; its start is earned back after 1,200 steps" in found


def test_the_command_makes_the_same_tuning_once_more() -> None:
    assert tune_command(record()) == "laptime tune -- python train.py"


def test_a_page_and_its_markdown_hold_the_patch_and_the_answer() -> None:
    document = tune_document(record())

    page, markdown = render_html(document), render_markdown(document)

    assert "+loader = DataLoader(data, batch_size=8, num_workers=4)" in page
    assert f"```\n{DIFF}```" in markdown
    assert "fresh blocks: num_workers 4 takes" in page
    assert "58.0 % less time" in "\n".join(render_document(document))


def test_names_that_would_be_markup_are_text() -> None:
    hostile = "<script>alert(1)</script>"
    page = render_html(tune_document(record(diff=hostile)))

    assert hostile not in page
