from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError
from tests.report.scripts import FACTS, LOADER, MS, process, rows, script

from laptime.record import EpochTimes, TimedSteps, WindowRecord
from laptime.script import ScriptEpoch, ScriptRecord, ScriptStep
from laptime.script_facts import LoaderFact, RecorderRecord


def epoch(**given: Any) -> ScriptEpoch:
    return ScriptEpoch.model_validate({**rows(epochs=1)[0][0], **given})


def test_an_epoch_whose_phases_do_not_sum_to_its_wall_is_refused() -> None:
    with pytest.raises(ValidationError, match="phases sum to"):
        epoch(wall_ns=1)


def test_epochs_of_scripts_and_of_ours_have_their_columns_from_one_place() -> None:
    assert issubclass(ScriptEpoch, EpochTimes)
    assert issubclass(WindowRecord, TimedSteps)
    for name in ("loading_ns", "training_ns", "other_ns"):
        assert getattr(ScriptEpoch, name) is getattr(WindowRecord, name)


def test_columns_sum_to_the_wall() -> None:
    it = epoch()

    assert it.loading_ns + it.training_ns + it.other_ns == it.wall_ns


def test_the_rate_is_known_only_where_samples_could_be_counted() -> None:
    assert epoch(samples=None).samples_per_s is None
    rate = epoch(samples=1000).samples_per_s
    assert rate is not None
    assert rate * epoch().wall_ns / 1e9 == pytest.approx(1000)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "null"])
def test_a_loss_that_is_no_number_is_none(text: str) -> None:
    line = f'{{"epoch": 1, "step": 2, "loss": {text}, "samples": null}}'

    assert ScriptStep.model_validate_json(line).loss is None


def test_class_is_the_word_in_files_and_in_what_is_printed() -> None:
    fact = LoaderFact.model_validate(LOADER)

    assert fact.class_name == "DataLoader"
    printed = script().document()["recorder"]
    assert printed["loaders"][0]["class"] == "DataLoader"
    assert RecorderRecord.model_validate(printed) == RecorderRecord.model_validate(FACTS)


def test_a_key_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValidationError, match="extra"):
        RecorderRecord.model_validate({**FACTS, "surprise": 1})


def test_the_training_loader_is_the_one_that_most_epochs_passed_over() -> None:
    other = {**LOADER, "dataset": "Others"}
    lines = rows(epochs=3)[0]
    epochs = [ScriptEpoch.model_validate({**line, "loader": n}) for line, n in
              zip(lines, (1, 0, 1), strict=True)]  # fmt: skip
    it = process({"loaders": [LOADER, other]}).model_copy(update={"epochs": tuple(epochs)})

    assert it.loader is not None
    assert it.loader.dataset == "Others"
    assert process(epoch={"loader": None}).loader is None
    assert process(epoch={"loader": 7}).loader is None, "a file may say anything"


def test_the_document_is_json_and_says_what_ran_and_how_it_ended() -> None:
    document = json.loads(json.dumps(script().document(), allow_nan=False))

    assert document["schema"] == 1
    assert document["script"]["command"] == ["python", "train.py", "--lr", "0.1"]
    assert document["script"]["status"] == "completed"
    assert document["epochs"][1]["total_s"] == pytest.approx(2.02, abs=0.01)
    assert document["windows"] == 12
    assert document["processes"] == []


def test_the_document_of_a_command_that_trained_nothing_has_the_same_keys() -> None:
    nothing: ScriptRecord = script().model_copy(update={"main": None})

    assert set(script().document()) - {"windows"} <= set(nothing.document())
    assert nothing.document()["epochs"] == []


def test_steady_epochs_are_whole_and_not_the_first() -> None:
    it = process(epochs=4)
    cut = it.epochs[3].model_copy(update={"complete": False})
    it = it.model_copy(update={"epochs": (*it.epochs[:3], cut)})

    assert [epoch.epoch for epoch in it.steady] == [2, 3]
    assert it.wall_ns > 8 * MS
