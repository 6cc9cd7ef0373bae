from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.studies.fakes import FakeMachine

from laptime.errors import SettingsError
from laptime.lab import STUDIES, LabRequest
from laptime.lab_store import create_lab
from laptime.labs.book import Book
from laptime.labs.plans import outlooks
from laptime.labs.price import (
    LIMIT,
    Expected,
    Probe,
    expected_run,
    expected_studies,
    limit_s,
)
from laptime.labs.probe import look, step_of
from laptime.labs.requests import lab_settings, study_request
from laptime.settings import build_settings
from laptime.studies.price import Pilot, price_of
from laptime.studies.process import ArmEndedError
from laptime.study import Arm
from laptime.timing.clock import FakeClock
from laptime.units import nanoseconds

QUIET = Pilot(start_s=2.0, later_s=0.15, prepare_s=0.5, step_s=0.024, load_s=0.004)
"""Two cores, torch 2.13, nobody else on the machine."""

MEASURED_S = {"C1, C2": 13, "C3, C4": 200, "C5": 32, "C6": 128, "C7": 75}
"""What the parts of quick scale took there."""


def expected(
    scale: str = "quick", probe: Probe | None = None, only: str = "", **given: Any
) -> dict[str, Expected]:
    settings = lab_settings(scale, {})  # type: ignore[arg-type]
    request = LabRequest(settings=settings, scale=scale, **given)
    studies = [study for part, study in STUDIES.items() if not only or part == only]
    probe = probe or Probe(QUIET, ("cpu",), simultaneous=2)
    asked = [study_request(request, study, settings) for study in studies]
    spans = expected_studies(outlooks(asked, probe.devices), probe)
    return {"C1, C2": expected_run(settings, probe.pilot), **spans}


@pytest.mark.parametrize("part", list(MEASURED_S))
def test_a_part_of_quick_scale_takes_what_was_said_within_a_third(part: str) -> None:
    span = expected()[part]

    assert span.low_s == span.high_s == pytest.approx(span.typical_s)
    assert span.typical_s == pytest.approx(MEASURED_S[part], rel=0.33)


def test_all_of_quick_scale_takes_what_was_said_within_a_tenth() -> None:
    said = sum(span.typical_s for span in expected().values())

    assert said == pytest.approx(sum(MEASURED_S.values()), rel=0.1)


def test_where_blocks_may_have_more_turns_two_lengths_are_said() -> None:
    full = Pilot(4.0, 0.5, 3.0, 0.03, 0.03, "cuda")

    spans = expected("full", Probe(full, ("cpu",)))

    assert all(spans[part].high_s > 1.5 * spans[part].low_s for part in STUDIES)
    assert spans["C1, C2"].low_s == spans["C1, C2"].high_s


def test_the_runs_that_c6_has_made_are_not_paid_for_by_c7() -> None:
    both, alone = expected(seeds=4)["C7"], expected(seeds=4, only="C7")["C7"]

    run_s = QUIET.start_s + QUIET.prepare_s + 500 * QUIET.step_s
    assert alone.typical_s - both.typical_s == pytest.approx(2 * run_s)


@pytest.mark.parametrize(("places", "rounds"), [(1, 5), (2, 3), (5, 1)])
def test_training_runs_come_in_rounds(places: int, rounds: int) -> None:
    probe = Probe(QUIET, ("cpu",), simultaneous=places)
    none = expected(probe=Probe(QUIET, ("cpu",), simultaneous=10**6))["C6"].typical_s

    run_s = QUIET.start_s + QUIET.prepare_s + 500 * QUIET.step_s
    more_s = expected(probe=probe)["C6"].typical_s - none
    assert more_s == pytest.approx((rounds - 1) * run_s)


def test_a_slow_device_takes_its_own_time() -> None:
    fast = Pilot(4.0, 0.5, 1.0, 0.02, 0.03, "cuda")
    quick = expected("full", Probe(fast, ("cpu", "cuda"), slow_step_s=0.02))["C5"]
    slow = expected("full", Probe(fast, ("cpu", "cuda"), slow_step_s=1.0))["C5"]

    # Five blocks of four turns of nine steps, and what it needs to be ready.
    assert slow.low_s - quick.low_s > 5 * 4 * 5 * 0.9
    assert slow.high_s > 2 * slow.low_s


def test_a_limit_leaves_the_usual_case_as_it_is() -> None:
    """The blocks fit into what a budget keeps for them, on a look that is slower by a half."""
    settings = lab_settings("quick", {})
    request = LabRequest(settings=settings, scale="quick")
    asked = [study_request(request, study, settings) for study in STUDIES.values()]
    plans = outlooks(asked, ("cpu",))
    slower = Pilot(3.0, 0.225, 0.75, 0.036, 0.006)
    for part, span in expected().items():
        if part in plans:
            kept = 0.7 if part == "C3, C4" else 1.0
            runs_s = 1.5 * 2.5 * 15 if plans[part].plan.seeds else 0.0
            left_s = kept * (limit_s(span.high_s) - slower.start_s - 2) - runs_s
            assert price_of(plans[part].plan, slower).most_s < left_s, part


def test_a_limit_never_doubles_what_was_said_of_a_study_that_takes_long() -> None:
    assert limit_s(200.0) == pytest.approx(LIMIT * 200)
    assert limit_s(200.0) < 400
    assert limit_s(10.0) == 30.0


def test_the_book_counts_the_time_of_every_sitting(tmp_path: Path, tiny: Any) -> None:
    clock = FakeClock()
    request = LabRequest(settings=tiny(), scale="quick", only=("C5",))
    directory = create_lab(tmp_path, request, "laptime lab")
    for spent_s in (3, 4):
        book = Book(directory, directory.read_record(), clock.read_ns)
        clock.advance_ns(nanoseconds(1))
        book.begin("C5")
        clock.advance_ns(nanoseconds(spent_s))
        book.stop("stopped from outside")

    record = directory.read_record()
    assert record.part("C5").wall_s == pytest.approx(7)
    assert record.wall_s == pytest.approx(9)


def test_the_whole_is_expected_only_where_every_part_is(tmp_path: Path, tiny: Any) -> None:
    request = LabRequest(settings=tiny(), scale="quick", only=("C5", "C6"))
    directory = create_lab(tmp_path, request, "laptime lab")
    book = Book(directory, directory.read_record())

    book.expect({"C5": Expected(4.0, 9.0)})
    assert book.record.expected_s is None
    assert book.record.part("C5").expected_s == pytest.approx(6.0)

    book.expect({"C6": Expected(1.0, 1.0)})
    assert directory.read_record().expected_s == pytest.approx(7.0)


SETTINGS = build_settings({"num_workers": 2, "device": "cpu"})


def looked(tmp_path: Path, machine: FakeMachine, said: list[str]) -> Pilot | None:
    return look(SETTINGS, tmp_path / "logs", said.append, 1.0, machine.start)


def test_a_look_takes_the_middle_one_of_three_turns(tmp_path: Path) -> None:
    machine = FakeMachine(lambda name, turn: {1: 60, 2: 30, 3: 20}.get(turn, 99) * 10**6)

    pilot = looked(tmp_path, machine, [])

    assert pilot is not None
    assert pilot.step_s == pytest.approx(0.03)
    assert pilot.load_s == pytest.approx(2e-6)
    assert machine.arms[0].closed
    assert not (tmp_path / "logs").exists()


def test_a_look_at_long_steps_is_over_after_one_turn(tmp_path: Path) -> None:
    machine = FakeMachine(lambda name, turn: 3 * 10**9)

    pilot = looked(tmp_path, machine, [])

    assert pilot is not None
    assert pilot.step_s == pytest.approx(3)
    assert [do for _, do in machine.log].count("turn") == 1


def test_a_look_that_is_refused_refuses_the_lab(tmp_path: Path) -> None:
    error = ArmEndedError("failed", "data is 'x', which is not there.", refused=True)

    with pytest.raises(SettingsError, match="is not there"):
        looked(tmp_path, FakeMachine(lambda *given: 1, {"lab": {"build": error}}), [])


def test_a_look_that_ends_early_leaves_the_length_unknown(tmp_path: Path) -> None:
    said: list[str] = []
    error = ArmEndedError("out_of_memory", "no memory")

    assert looked(tmp_path, FakeMachine(lambda *given: 1, {"lab": {"turn": error}}), said) is None
    assert said == ["How long the lab takes is not known: its first look ended (no memory)."]


def test_a_step_of_a_slow_device_is_that_of_one_step(tmp_path: Path) -> None:

    arm = Arm(name="slow", settings=SETTINGS, feed="resident")
    machine = FakeMachine(lambda name, turn: 2 * 10**9)
    assert step_of(arm, machine.start, 1.0) == pytest.approx(2)

    lost = ArmEndedError("out_of_memory", "no memory")
    machine = FakeMachine(lambda name, turn: 1, {"slow": {"prepare": lost}})
    assert step_of(arm, machine.start, 1.0) is None
