from __future__ import annotations

import json
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from laptime.errors import StoreError
from laptime.phase import Phase
from laptime.record import (
    DataRecord,
    DeviceTimes,
    EnvironmentRecord,
    EpochRecord,
    StepRecord,
    WindowRecord,
)
from laptime.settings import build_settings
from laptime.store import (
    RunDirectory,
    StatusRecord,
    check_free_space,
    create_run,
    find_run,
    is_alive,
    list_runs,
    new_status,
)

ENVIRONMENT = EnvironmentRecord(
    cpu="A processor",
    cpus_usable=2,
    cpus_total=4,
    memory_bytes=8,
    memory_usable_bytes=4,
    shm_bytes=None,
    platform="Linux",
    python="3.11.2",
    torch="2.13.0",
    laptime="0.1.0",
    device="cpu",
    device_name="A processor",
    threads=2,
    interop_threads=2,
    start_method="fork",
)

DATA = DataRecord(
    name="synthetic",
    source="embedded generator",
    verified=True,
    label="embedded set",
    sha256="0" * 64,
    train_samples=72,
    test_samples=10,
    num_classes=10,
)


def epoch(number: int, **given: Any) -> EpochRecord:
    phases = {Phase.FORWARD: 70, Phase.DATA_WAIT: 30}
    values = {
        "epoch": number,
        "samples": 72,
        "steps": 5,
        "loss": 2.5,
        "correct": 32,
        "wall_ns": 100,
        "phases_ns": phases,
        "mode": "host",
    }
    return EpochRecord(**{**values, **given})


def step(number: int, epoch_number: int = 1) -> StepRecord:
    return StepRecord(epoch=epoch_number, step=number, loss=0.5, correct=3, samples=16)


def window(first_step: int) -> WindowRecord:
    return WindowRecord(
        epoch=1, first_step=first_step, steps=1, wall_ns=5, phases_ns={Phase.FORWARD: 5}
    )


def written(path: Path, **status: Any) -> RunDirectory:
    """Write a run as a training leaves it; two epochs, three steps, two windows."""
    run = RunDirectory(path)
    run.checkpoints.mkdir(parents=True)
    run.write_start(build_settings({"seed": 7}), ENVIRONMENT, DATA)
    run.append_steps([step(1), step(2), step(3)])
    run.append_window(window(1))
    run.append_window(window(2))
    run.append_epoch(epoch(1))
    run.append_epoch(epoch(2))
    run.write_status(new_status().model_copy(update={"status": "completed", **status}))
    return run


def content(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_run_is_read_as_it_was_written_and_reading_changes_nothing(tmp_path: Path) -> None:
    run = written(tmp_path / "a", parameters=11, setup_ns=22, resumed=1, weights_sha256="f" * 64)
    before = content(tmp_path)

    record = run.read_record()

    assert record.id == "a"
    assert record.status == "completed"
    assert record.settings["seed"] == 7
    assert record.environment == ENVIRONMENT
    assert record.data == DATA
    assert record.epochs == (epoch(1), epoch(2))
    assert (record.parameters, record.setup_ns, record.resumed) == (11, 22, 1)
    assert run.read_settings() == build_settings({"seed": 7})
    assert run.read_steps() == [step(1), step(2), step(3)]
    assert run.read_windows() == [window(1), window(2)]
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    ("model", "word"),
    [
        ("resnet18", "resnet18"),
        ("../Own Net.py:Build_It", "own-net-py-build-it"),
        ("pack.mod:f", "pack-mod-f"),
        ("file.py:" + "x" * 300, "file-py-" + "x" * 32),
    ],
)
def test_a_run_is_named_for_its_time_and_its_model_and_stays_in_the_folder(
    tmp_path: Path, model: str, word: str
) -> None:
    run = create_run(tmp_path / "runs", model)

    assert run.path.parent == tmp_path / "runs"
    assert run.checkpoints.is_dir()
    stamp, name, token = run.id.split("_")
    assert name == word
    assert (len(stamp), len(token)) == (len("2026-11-21T10-22-05"), 6)


def test_runs_of_one_second_have_names_of_their_own(tmp_path: Path) -> None:
    assert len({create_run(tmp_path, "resnet18").id for _ in range(20)}) == 20


def test_runs_are_listed_oldest_first_and_foreign_folders_are_passed_over(tmp_path: Path) -> None:
    for name in ("2026-11-21T10-00-00_b_2", "2026-11-21T10-00-00_a_1", "2025-01-01T00-00-00_c_3"):
        written(tmp_path / name)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "photos" / "status.json").mkdir(parents=True)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")

    assert [run.id[:4] + run.id[-1] for run in list_runs(tmp_path)] == ["20253", "20261", "20262"]


def test_where_there_is_no_folder_there_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    assert list_runs(tmp_path / "none") == []
    assert list_runs(tmp_path / "file") == []


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name in ("2026-01-01_net_aaa", "2026-01-02_net_bbb", "2026-01-02_net_bbb_more"):
        written(tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (None, "2026-01-02_net_bbb_more"),
        ("2026-01-01_net_aaa", "2026-01-01_net_aaa"),
        ("2026-01-01", "2026-01-01_net_aaa"),
        ("aaa", "2026-01-01_net_aaa"),
        ("more", "2026-01-02_net_bbb_more"),
        ("2026-01-02_net_bbb", "2026-01-02_net_bbb"),  # the whole name wins over a beginning
    ],
)
def test_a_run_is_found_by_its_name_its_beginning_or_its_end(
    runs: Path, name: str | None, found: str
) -> None:
    assert find_run(runs, name).id == found


def test_a_run_is_found_by_its_path_from_anywhere(runs: Path, tmp_path: Path) -> None:
    path = str(runs / "2026-01-01_net_aaa")

    assert find_run(tmp_path / "elsewhere", path).path == Path(path)
    assert find_run(tmp_path / "elsewhere", path + "/").id == "2026-01-01_net_aaa"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("2026", "'2026' names 3 runs in"),
        ("net", "'net' names no run in"),
        ("zzz", "'zzz' names no run in"),
        ("a\0b", "names no run in"),
    ],
)
def test_a_name_of_none_or_of_many_is_refused(runs: Path, name: str, expected: str) -> None:
    with pytest.raises(StoreError, match=expected):
        find_run(runs, name)


def test_a_name_longer_than_a_path_may_be_is_refused(runs: Path) -> None:
    with pytest.raises(StoreError, match="names no run in"):
        find_run(runs, "x" * 5000)


def test_a_folder_without_runs_has_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no run to resume"):
        find_run(tmp_path, None)


def test_a_run_found_from_within_its_folder_keeps_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(written(tmp_path / "a").path)

    assert find_run(tmp_path, ".").id == "a"


def status_of(process: int, started_s: float, host: str | None = None) -> StatusRecord:
    return StatusRecord(
        host=host or socket.gethostname(), process=process, process_started_s=started_s
    )


def own_start_s() -> float:
    return float(psutil.Process().create_time())


def unused_process() -> int:
    return next(n for n in range(4_194_303, 1, -1) if not psutil.pid_exists(n))


def test_this_process_is_alive() -> None:
    assert is_alive(new_status())


def test_a_process_that_is_gone_is_not_alive() -> None:
    assert not is_alive(status_of(unused_process(), own_start_s()))


def test_a_process_number_that_was_given_again_is_not_alive() -> None:
    assert not is_alive(status_of(os.getpid(), own_start_s() - 3600))


def test_a_process_of_another_host_is_taken_to_be_alive() -> None:
    assert is_alive(status_of(unused_process(), 0.0, host="elsewhere"))


@pytest.mark.parametrize(
    "number",
    [
        2**40,
        -1,
    ],
)
def test_a_process_number_that_cannot_be_is_not_alive(number: int) -> None:
    assert not is_alive(status_of(number, 0.0))


def test_a_running_status_of_a_dead_process_reads_as_interrupted(tmp_path: Path) -> None:
    run = written(tmp_path / "a")
    run.write_status(status_of(unused_process(), own_start_s()))

    record = run.read_record()

    assert (record.status, record.reason) == (
        "interrupted",
        "its process ended without a word",
    )
    assert run.read_status().status == "running", "a reader has changed the file"


def test_a_running_status_of_a_living_process_reads_as_running(tmp_path: Path) -> None:
    assert written(tmp_path / "a", status="running").read_record().status == "running"


def test_what_a_dead_process_has_finished_stays_finished(tmp_path: Path) -> None:
    run = written(tmp_path / "a", process=unused_process(), status="diverged", reason="the loss")

    assert (run.read_record().status, run.read_record().reason) == ("diverged", "the loss")


def test_rewinding_cuts_each_log_to_its_own_length(tmp_path: Path) -> None:
    run = written(tmp_path / "a")

    run.rewind(epochs=1, step_rows=2, window_rows=0)

    assert run.read_epochs() == [epoch(1)]
    assert run.read_steps() == [step(1), step(2)]
    assert run.read_windows() == []


def test_rewinding_past_the_end_changes_no_row(tmp_path: Path) -> None:
    run = written(tmp_path / "a")

    run.rewind(epochs=9, step_rows=9, window_rows=9)

    assert len(run.read_epochs()) == 2
    assert run.read_steps() == [step(1), step(2), step(3)]
    assert len(run.read_windows()) == 2


def test_a_row_appended_after_a_torn_one_is_read(tmp_path: Path) -> None:
    run = written(tmp_path / "a")
    with run.steps.open("ab") as file:
        file.write(b'{"epoch": 1, "st')

    run.append_steps([step(4)])

    assert run.read_steps() == [step(1), step(2), step(3), step(4)]


DAMAGE = {
    "missing": None,
    "empty": b"",
    "cut": b'{"schema_number": 1, ',
    "not text": b"\xff\xfe\x00",
    "a list": b"[]",
    "a word": b'"text"',
    "null": b"null",
    "no fields": b"{}",
    "another field": b'{"future": 1}',
}


def damaged(directory: Path, name: str, damage: str) -> RunDirectory:
    run, broken = written(directory), DAMAGE[damage]
    path = run.path / name
    path.unlink() if broken is None else path.write_bytes(broken)
    return run


def check_one_line(run: RunDirectory, refused: pytest.ExceptionInfo[StoreError]) -> None:
    assert "\n" not in str(refused.value)
    assert str(run.path) in str(refused.value)
    assert str(refused.value).endswith(".")


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["environment.json", "data.json", "status.json"])
def test_a_damaged_document_is_one_line(tmp_path: Path, name: str, damage: str) -> None:
    run = damaged(tmp_path / "a", name, damage)

    with pytest.raises(StoreError) as refused:
        run.read_record()

    check_one_line(run, refused)


SETTINGS_DAMAGE = [
    "missing",
    "empty",
    "cut",
    "not text",
    "a list",
    "a word",
    "null",
    "another field",
]


@pytest.mark.parametrize("damage", SETTINGS_DAMAGE)
def test_damaged_settings_make_no_record(tmp_path: Path, damage: str) -> None:
    run = damaged(tmp_path / "a", "settings.json", damage)

    with pytest.raises(StoreError) as refused:
        run.read_record()

    check_one_line(run, refused)


@pytest.mark.parametrize("damage", SETTINGS_DAMAGE)
def test_damaged_settings_are_no_settings(tmp_path: Path, damage: str) -> None:
    run = damaged(tmp_path / "a", "settings.json", damage)

    with pytest.raises(StoreError) as refused:
        run.read_settings()

    check_one_line(run, refused)


def test_settings_that_a_later_version_has_added_take_their_defaults(tmp_path: Path) -> None:
    run = written(tmp_path / "a")
    (run.path / "settings.json").write_text('{"seed": 7}')

    assert run.read_record().settings == build_settings({"seed": 7}).flat()


@pytest.mark.parametrize(
    "row",
    [b"{}", b"[]", b"null", b"{", b"\xff", b"", b'{"epoch": 1, "phases_ns": {"nap": 3}}'],
)
@pytest.mark.parametrize("log", ["steps", "windows", "epochs"])
def test_a_damaged_row_is_named_by_its_line(tmp_path: Path, log: str, row: bytes) -> None:
    run = written(tmp_path / "a")
    path: Path = getattr(run, log)
    first, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + row + b"\n" + b"".join(rest))

    with pytest.raises(StoreError, match=rf"{log}\.jsonl is damaged in line 2\."):
        getattr(run, f"read_{log}")()


def test_an_epoch_whose_phases_miss_the_wall_is_refused_when_it_is_read(tmp_path: Path) -> None:
    run = written(tmp_path / "a")
    run.epochs.write_text(run.epochs.read_text().replace('"wall_ns":100', '"wall_ns":101'))

    with pytest.raises(StoreError, match=r"epochs\.jsonl is damaged in line 1"):
        run.read_record()


def test_a_run_of_a_later_schema_is_refused(tmp_path: Path) -> None:
    run = written(tmp_path / "a")
    path = run.path / "status.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_number": 2}))

    with pytest.raises(StoreError, match="later version"):
        run.read_record()


def test_a_reason_with_a_name_that_is_not_text_is_stored(tmp_path: Path) -> None:
    run = written(tmp_path / "a")

    run.write_status(run.read_status().model_copy(update={"reason": "no file 'caf\udce9'"}))

    assert (run.read_record().reason or "").startswith("no file 'caf")


def test_a_disk_with_too_little_space_is_refused_with_both_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=2_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    check_free_space(tmp_path / "runs", 2_000_000)
    with pytest.raises(StoreError, match=r"has 2 MB free, but .* need 3 MB\."):
        check_free_space(tmp_path / "runs", 3_000_000)


def test_a_disk_that_does_not_answer_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(shutil, "disk_usage", refuse)

    with pytest.raises(StoreError, match=r"cannot be read: Input/output error\."):
        check_free_space(tmp_path, 1)


losses = st.none() | st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 2**62)
phases = st.dictionaries(st.sampled_from(Phase), st.integers(0, 2**62))

devices = st.builds(
    DeviceTimes,
    **{
        name: counts
        for name in DeviceTimes.model_fields
        if name not in {"closure_ns", "host_phases_ns"}
    },
    closure_ns=st.integers(-(2**62), 2**62),
    host_phases_ns=phases,
)

steps = st.builds(
    StepRecord, epoch=counts, step=counts, loss=losses, correct=counts, samples=counts
)

windows = st.builds(
    WindowRecord,
    epoch=counts,
    first_step=counts,
    steps=counts,
    wall_ns=counts,
    phases_ns=phases,
    device_ns=st.none() | devices,
)


@st.composite
def epochs(draw: st.DrawFn) -> EpochRecord:
    spent = draw(phases)
    return EpochRecord(
        epoch=draw(st.integers(1, 10**6)),
        samples=draw(counts),
        steps=draw(counts),
        loss=draw(losses),
        correct=draw(counts),
        test_loss=draw(losses),
        test_correct=draw(st.none() | counts),
        test_samples=draw(st.none() | counts),
        wall_ns=sum(spent.values()),
        phases_ns=spent,
        mode=draw(st.sampled_from(["host", "events", "sync", "off"])),
        device_ns=draw(st.none() | devices),
        segments=draw(st.integers(1, 9)),
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    step_rows=st.lists(steps, max_size=4),
    window_rows=st.lists(windows, max_size=3),
    epoch_rows=st.lists(epochs(), max_size=3),
)
def test_rows_are_read_as_they_were_appended_to_the_last_digit(
    tmp_path: Path,
    step_rows: list[StepRecord],
    window_rows: list[WindowRecord],
    epoch_rows: list[EpochRecord],
) -> None:
    run = RunDirectory(tmp_path)
    for log in (run.steps, run.windows, run.epochs):
        log.unlink(missing_ok=True)

    run.append_steps(step_rows)
    for window_row in window_rows:
        run.append_window(window_row)
    for epoch_row in epoch_rows:
        run.append_epoch(epoch_row)
    run.sync_logs()

    assert run.read_steps() == step_rows
    assert run.read_windows() == window_rows
    assert run.read_epochs() == epoch_rows
