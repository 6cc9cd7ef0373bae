from __future__ import annotations

from laptime.phase import Phase
from laptime.studies.planted import Comparison, Planted, Truth, configurations
from laptime.studies.selftest import SHORT, Selftest


def comparison(truth_ns: int, measured_ns: int, control_ns: int = 0) -> Comparison:
    return Comparison("x", Phase.FORWARD, truth_ns, measured_ns, control_ns)


def test_an_error_of_two_milliseconds_is_allowed_and_one_nanosecond_more_is_not() -> None:
    assert comparison(10_000_000, 12_000_000).holds
    assert not comparison(10_000_000, 12_000_001).holds
    assert not comparison(10_000_000, 7_999_999).holds


def test_two_percent_are_allowed_of_a_long_time() -> None:
    assert comparison(1_000_000_000, 1_020_000_000).holds
    assert not comparison(1_000_000_000, 1_020_000_001).holds


def test_the_control_is_taken_off() -> None:
    assert comparison(10_000_000, 15_000_000, control_ns=5_000_000).error_ns == 0


def test_without_workers_the_wait_is_what_the_dataset_took_but_for_the_first_batch() -> None:
    truth = Truth(made_from_ns=[0, 100, 200], made_until_ns=[50, 107, 209])

    assert truth.wait_ns(num_workers=0) == 7 + 9


def test_with_workers_the_wait_is_what_next_took_but_for_the_first_batch() -> None:
    assert Truth(fetched_ns=[500, 8, 9]).wait_ns(num_workers=2) == 8 + 9


def test_one_missed_phase_or_a_costly_ledger_fails_the_selftest() -> None:
    good, bad = comparison(0, 0), comparison(0, 10_000_000)

    assert Selftest((good,), 1, per_step_us=1.0).passed
    assert not Selftest((good, bad), 1, per_step_us=1.0).passed
    assert not Selftest((good,), 1, per_step_us=20.1).passed


def test_a_control_costs_nothing_and_keeps_the_rest() -> None:
    control = Planted("busy", 0.1, 0.2, 0.3, 0.4, num_workers=2, steps=7).without_cost()

    assert control == Planted("busy", num_workers=2, steps=7)


def test_every_kind_of_cost_is_planted_in_every_place() -> None:
    for planted in (tuple(configurations()), SHORT):
        assert {p.kind for p in planted} == {"sleeping", "busy", "memory"}
        for place in ("dataset_s", "forward_s", "backward_s", "optimizer_s"):
            assert any(getattr(p, place) for p in planted)
        assert any(p.num_workers for p in planted)
