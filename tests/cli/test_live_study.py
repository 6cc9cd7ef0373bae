from __future__ import annotations

import io
import re
from typing import Any

import pytest
from tests.report.studies import S, Truth, blocks_of, epoch_record, workers_record

from laptime.cli import study_progress
from laptime.cli.live_study import LiveStudy
from laptime.replicate import Block, TrainedReplicate
from laptime.studies.plan import make_plan
from laptime.studies.price import Price
from laptime.study import Plan, TurnPolicy

PRICE = Price(blocks=5, least_block_s=36.0, most_block_s=60.0)


class Clock:
    """Stands in for the real one, which moves by itself."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns

    def advance(self, s: float) -> None:
        self.now_ns += round(s * S)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(study_progress, "read_ns", made)
    return made


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("LINES", "40")
    monkeypatch.setenv("TERM", "xterm")


def plan() -> Plan:
    return workers_record(counts=(0, 2), current=2).plan


def block(number: int = 1) -> Block:
    made = plan()
    return blocks_of(made, {arm.name: Truth() for arm in made.arms}, number)[number - 1]


def trained(**given: Any) -> TrainedReplicate:
    values: dict[str, Any] = {
        "arm": "sgd", "seed": 3, "status": "completed", "wall_ns": 60 * S,
        "epochs": (epoch_record(1, loss=0.7, correct=37_850),),
    }  # fmt: skip
    return TrainedReplicate(**{**values, **given})


def shown(stream: io.StringIO) -> str:
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", stream.getvalue())


def last_frame(stream: io.StringIO) -> str:
    """Return the table as it stands on the screen last."""
    return re.split(r"\x1b\[2K", stream.getvalue())[-1]


def test_a_log_says_the_price_first_then_a_line_a_block_and_a_run() -> None:
    log = io.StringIO()
    live = LiveStudy(log)
    live.stage_started(plan(), "main", PRICE)
    live.block_started(1, 5)
    live.turn_taken("2", 1, 0.04)
    live.block_ended(block(), plan())
    live.training_ended(trained(), 12, 25)
    live.close()

    assert log.getvalue().splitlines() == [
        "workers, blocks: 0, 2, 2 again, resident; 5 blocks take between 3 min 00 s and 5 min 00 s",
        "block 1/5, 1 min 20 s; an epoch takes 0: 39 s, 2: 15 s, 2 again: 15 s, resident: 9.8 s",
        "run 12/25, 1 min 00 s: sgd, seed 3: loss 0.700, top-1 75.70 %",
    ]


def test_an_arm_that_ended_early_is_told_at_once_with_its_reason() -> None:
    log = io.StringIO()
    live = LiveStudy(log)
    live.stage_started(plan(), "main", None)
    live.arm_ended("0", "out_of_memory", "RuntimeError: not enough memory")

    assert "0: out of memory: RuntimeError: not enough memory" in log.getvalue().splitlines()


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (trained(status="diverged", reason="the loss is not finite", epochs=()),
         "diverged: the loss is not finite"),
        (trained(status="timed_out", epochs=()), "timed out"),
        (trained(epochs=(epoch_record(1, loss=None, correct=5000),)), "loss NaN, top-1 10.00 %"),
    ],
)  # fmt: skip
def test_every_way_in_which_a_run_ends_is_said(run: TrainedReplicate, said: str) -> None:
    log = io.StringIO()
    LiveStudy(log).training_ended(run, 1, 5)

    assert log.getvalue() == f"run 1/5, 1 min 00 s: sgd, seed 3: {said}\n"


def test_a_trial_of_the_search_has_a_line_without_a_total() -> None:
    log = io.StringIO()
    live = LiveStudy(log)
    live.stage_started(plan(), "scout", None)
    live.block_started(1, 4)
    live.block_ended(block().model_copy(update={"stage": "scout"}), plan())

    assert "search for worker counts" in log.getvalue()
    assert "block 1, 1 min 20 s;" in log.getvalue()


@pytest.mark.usefixtures("on_terminal")
def test_a_terminal_gets_a_table_that_fills_and_goes_away(clock: Clock) -> None:
    stream = io.StringIO()
    live = LiveStudy(stream)
    live.stage_started(plan(), "main", PRICE)
    for number in (1, 2):
        live.block_started(number, 5)
        live.turn_taken("2", 1, 0.038)
        live.block_ended(block(number), plan())
    frame = " ".join(re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", last_frame(stream)).split())
    live.close()
    live.close()

    assert re.search(r"0 0 - 39\.\d+ \[3\d\.\d+, \d+\.\d+] s 2", frame)
    assert re.search(r"2 1 38\.0 ms 1\d\.\d+ \[1\d\.\d+, 1\d\.\d+] s 2", frame)
    assert "block 2 of 5" in frame
    assert stream.getvalue().rstrip().endswith(("\x1b[2K", "\x1b[?25h")), "it stays on the screen"
    assert "block 1/5" not in shown(stream)


@pytest.mark.usefixtures("on_terminal")
def test_nothing_is_drawn_but_between_turns(clock: Clock) -> None:
    stream = io.StringIO()
    live = LiveStudy(stream)
    live.stage_started(plan(), "main", PRICE)
    live.block_started(1, 5)

    assert live._live is not None
    assert not live._live.auto_refresh
    assert live._live._refresh_thread is None
    live.close()


@pytest.mark.usefixtures("on_terminal")
def test_names_and_reasons_are_data_and_not_markup_or_escapes(clock: Clock) -> None:
    hostile = "net\x1b]0;title\x07[bold]"
    arms = [arm.model_copy(update={"name": f"{hostile} {n}"}) for n, arm in enumerate(plan().arms)]
    made = make_plan("workers", [a.model_copy(update={"again_of": None}) for a in arms],
                     arms[0].name, ("num_workers",))  # fmt: skip
    stream = io.StringIO()
    live = LiveStudy(stream)
    live.stage_started(made, "main", None)
    live.block_started(1, 5)
    live.arm_ended(arms[0].name, "failed", hostile)
    live.warned(hostile)
    live.close()

    assert "[bold]" in shown(stream)
    assert "\x07" not in stream.getvalue()
    assert "\x1b]0" not in stream.getvalue()


def progress(clock: Clock, price: Price | None = PRICE) -> study_progress.Progress:
    return study_progress.Progress(plan(), "main", price)


def test_before_the_first_block_has_ended_the_price_says_what_is_left(clock: Clock) -> None:
    made = progress(clock)
    made.begin_block(1, 5)
    clock.advance(30)

    assert made.words().endswith("2 min 30 s to 4 min 30 s left")


def test_blocks_that_ended_say_what_is_left(clock: Clock) -> None:
    made = progress(clock)
    made.begin_block(1, 5)
    made.end_block(block())  # 80 s
    assert made.words() == "block 1 of 5 · about 5 min 20 s left"

    made.begin_block(2, 5)
    clock.advance(20)
    assert made.words().endswith("about 5 min 00 s left")


def test_nothing_is_promised_without_a_price(clock: Clock) -> None:
    made = progress(clock, None)
    made.begin_block(1, 5)

    assert "left" not in made.words()


def test_the_next_arm_is_the_one_of_the_plan_that_still_lives(clock: Clock) -> None:
    made, orders = progress(clock), plan().orders[0]
    names = [plan().arms[place].name for place in orders[0]]
    made.begin_block(1, 5)
    assert made.next_arm() == names[0]

    made.add_turn(names[0], 1, 0.04)
    made.end_arm(names[1], "failed")
    assert made.next_arm() == names[2]
    assert f"round 1 of 4 to 24 · next: {names[2]}" in made.words()

    made.add_turn(names[3], 1, 0.04)
    assert made.next_arm() is None


def test_a_block_begins_without_the_turns_of_the_last(clock: Clock) -> None:
    made = progress(clock)
    made.begin_block(1, 5)
    made.add_turn("2", 1, 0.04)
    made.end_arm("2", "failed")
    made.begin_block(2, 5)

    assert [row[1] for row in made.rows()] == ["0"] * 4
    assert [row[5] for row in made.rows()] == [""] * 4


def test_training_runs_say_what_is_left_by_those_that_ended(clock: Clock) -> None:
    made = study_progress.Progress.of_trainings()
    clock.advance(100)
    made.end_training(trained(), 1, 5)
    assert made.words() == "1 of 5 training runs · about 4 min 00 s left"

    clock.advance(20)  # two at a time
    made.end_training(trained(), 2, 5)
    assert made.words() == "2 of 5 training runs · about 2 min 00 s left"

    made.end_training(trained(), 5, 5)
    assert made.words() == "5 of 5 training runs"


def test_a_search_shows_the_counts_that_had_a_turn_only(clock: Clock) -> None:
    made = study_progress.Progress(plan(), "scout", None)
    made.begin_block(1, 4)
    made.add_turn("2", 1, 0.04)

    assert [row[0] for row in made.rows()] == ["2"]
    assert made.next_arm() is None
    assert made.words() == "block 1 · round 1 of 4 to 24"


def test_a_plan_of_long_turns_is_followed_to_its_last_round(clock: Clock) -> None:
    policy = TurnPolicy(min_turns=1, max_turns=1)
    made_plan = make_plan("workers", plan().arms, "2", ("num_workers",), turns=policy)
    made = study_progress.Progress(made_plan, "main", None)
    made.begin_block(5, 5)
    made.add_turn("0", 1, 0.04)

    assert made.next_arm() in {None, "2", "2 again", "resident"}
