from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.studies.fakes import inspection

from laptime.errors import StoreError
from laptime.files import locked
from laptime.lab import LabRequest
from laptime.lab_store import LabDirectory, create_lab, find_lab, is_lab, list_labs
from laptime.settings import RunSettings
from laptime.store import list_runs
from laptime.study import StudyRequest
from laptime.study_store import create_study, list_studies

REQUEST = LabRequest(settings=RunSettings(), scale="full")


@pytest.fixture
def directory(tmp_path: Path) -> LabDirectory:
    return create_lab(tmp_path, REQUEST, "laptime lab --scale full")


def test_what_was_asked_for_is_there_before_anything_else(directory: LabDirectory) -> None:
    record = directory.read_record()

    assert record.request == REQUEST
    assert record.id == directory.id
    assert {part.status for part in record.parts} == {"not_begun"}
    assert record.settings == RunSettings().flat()
    assert record.document()["parts"][0]["kind"] == "run"
    assert directory.is_untouched()


def test_a_lab_is_read_as_it_was_written(directory: LabDirectory) -> None:
    record = directory.read_record().model_copy(update={"wall_s": 3.0})

    directory.write_record(record)

    assert directory.read_record() == record


def test_a_folder_that_was_renamed_is_the_same_lab(directory: LabDirectory) -> None:
    moved = LabDirectory(directory.path.rename(directory.path.with_name("to hand in")))

    assert moved.read_record().id == "to hand in"


def running(directory: LabDirectory) -> None:
    record = directory.read_record()
    begun = record.parts[0].model_copy(update={"status": "running"})
    directory.write_record(record.model_copy(update={"parts": (begun, *record.parts[1:])}))


def test_a_part_is_running_while_its_process_is_there(directory: LabDirectory) -> None:
    running(directory)

    with locked(directory.path):
        assert directory.read_record().status == "running"
    assert directory.read_record().part("C1, C2").status == "interrupted"


def test_what_was_counted_is_read_as_it_was_written(directory: LabDirectory) -> None:
    assert directory.read_inspection() is None

    directory.write_inspection(inspection())

    assert directory.read_inspection() == inspection()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema_number": 1}'])
@pytest.mark.parametrize("name", ["lab.json", "inspection.json"])
def test_a_damaged_file_is_one_line(directory: LabDirectory, name: str, text: str) -> None:
    (directory.path / name).write_text(text)

    with pytest.raises(StoreError) as error:
        directory.read_inspection() if name == "inspection.json" else directory.read_record()
    assert "\n" not in str(error.value)


def test_a_lab_of_a_later_version_is_refused(directory: LabDirectory) -> None:
    path = directory.path / "lab.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_number": 99}))

    with pytest.raises(StoreError, match="later version"):
        directory.read_record()


def test_a_part_that_no_lab_has_is_no_record(directory: LabDirectory) -> None:
    path = directory.path / "lab.json"
    document: dict[str, Any] = json.loads(path.read_text())
    document["request"]["only"] = ["C9"]
    path.write_text(json.dumps(document))

    with pytest.raises(StoreError, match="no part of the lab"):
        directory.read_record()


def test_labs_are_found_by_path_name_and_end(directory: LabDirectory, tmp_path: Path) -> None:
    assert find_lab(tmp_path, None).id == directory.id
    assert find_lab(tmp_path, directory.id[-6:]).id == directory.id
    assert find_lab(Path("elsewhere"), str(directory.path)).id == directory.id
    with pytest.raises(StoreError, match="names no lab"):
        find_lab(tmp_path, "nothing")
    with pytest.raises(StoreError, match="holds no lab"):
        find_lab(tmp_path / "empty", None)


def test_labs_studies_and_runs_are_told_apart(directory: LabDirectory, tmp_path: Path) -> None:
    study = create_study(tmp_path, StudyRequest(study="devices", settings=RunSettings()))

    assert [found.id for found in list_labs(tmp_path)] == [directory.id]
    assert [found.id for found in list_studies(tmp_path)] == [study.id]
    assert list_runs(tmp_path) == []
    assert is_lab(directory.path)
    assert not is_lab(study.path)
