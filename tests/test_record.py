from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from laptime.phase import LOADING, REMAINING, TRAINING, Phase
from laptime.record import DeviceTimes, EpochRecord


def epoch(**given: Any) -> EpochRecord:
    phases = given.pop("phases_ns", {Phase.FORWARD: 70, Phase.DATA_WAIT: 20, Phase.OTHER: 10})
    values = {
        "epoch": 1,
        "samples": 128,
        "steps": 1,
        "loss": 2.5,
        "correct": 32,
        "wall_ns": sum(phases.values()),
        "phases_ns": phases,
        "mode": "host",
    }
    return EpochRecord(**{**values, **given})


def test_an_epoch_whose_phases_miss_the_wall_by_one_cannot_be_made() -> None:
    with pytest.raises(ValidationError, match="phases sum to 100 ns, the wall to 101 ns"):
        epoch(wall_ns=101)


def test_the_three_columns_hold_every_phase_once() -> None:
    assert sorted((*LOADING, *TRAINING, *REMAINING)) == sorted(Phase)


def test_the_columns_sum_to_the_wall() -> None:
    record = epoch()

    assert (record.loading_ns, record.training_ns, record.other_ns) == (20, 70, 10)
    assert record.loading_ns + record.training_ns + record.other_ns == record.wall_ns


def test_phases_are_all_there_and_frozen() -> None:
    record = epoch()

    assert set(record.phases_ns) == set(Phase)
    with pytest.raises(TypeError):
        record.phases_ns[Phase.SYNC] = 1  # type: ignore[index]


def test_an_epoch_survives_json() -> None:
    record = epoch(loss=None)

    assert EpochRecord.model_validate_json(record.model_dump_json()) == record


def test_accuracy_is_over_all_samples() -> None:
    assert epoch().accuracy == 0.25
    assert epoch(test_correct=5, test_samples=10).test_accuracy == 0.5
    assert epoch().test_accuracy is None


def device_times(**given: Any) -> DeviceTimes:
    values: dict[str, Any] = dict.fromkeys(DeviceTimes.model_fields, 0)
    return DeviceTimes(**{**values, "host_phases_ns": {}, **given})


def test_a_wait_hidden_behind_a_busy_device_counts_as_training() -> None:
    phases = {Phase.LOADER_START: 100, Phase.DATA_WAIT: 500, Phase.FORWARD: 50, Phase.SYNC: 350}
    inside = {Phase.DATA_WAIT: 500, Phase.FORWARD: 50, Phase.SYNC: 350}
    record = epoch(
        phases_ns=phases,
        mode="events",
        device_ns=device_times(stall_ns=120, hidden_ns=380, host_phases_ns=inside),
    )

    assert record.loading_ns == 100 + 120
    assert record.other_ns == 0
    assert record.training_ns == record.wall_ns - 220


def test_a_wait_between_windows_is_a_wait_for_data_in_full() -> None:
    record = epoch(
        phases_ns={Phase.DATA_WAIT: 30, Phase.SYNC: 70},
        mode="events",
        device_ns=device_times(stall_ns=5, host_phases_ns={Phase.DATA_WAIT: 10, Phase.SYNC: 70}),
    )

    assert record.loading_ns == 20 + 5


def test_the_document_holds_what_the_schema_promises() -> None:
    document = epoch(loss=None).document()

    assert set(document["phases_ns"]) == {phase.value for phase in Phase}
    assert {"loading_s", "training_s", "other_s", "total_s", "samples_per_s", "mode"} <= set(
        document
    )
    assert '"loss": null' in json.dumps(document, allow_nan=False)
