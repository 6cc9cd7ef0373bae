"""What the verbs say of runs of scripts, on directories that were written without running any."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cli.test_compare import write_run, write_study
from tests.report.scripts import LOADER, STEP, write_script

from laptime.cli.main import app, status_of
from laptime.phase import Phase
from laptime.study import Comparison
from laptime.tune import Gain, PilotRecord, TuneRecord, TuneRequest
from laptime.tune_store import create_tuning

Laptime = Callable[..., int]
Capture = pytest.CaptureFixture[str]

RUN = "2026-01-01T09-00-00_resnet18_cccccc"
SLOW, FAST = "2026-01-01T10-00-00_train_aaaaaa", "2026-01-01T11-00-00_train_bbbbbb"
FASTER = {**STEP, Phase.DATA_WAIT: 3.0}


@pytest.fixture
def laptime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Laptime:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> int:
        return status_of(lambda: app.main([*arguments], prog_name="laptime", standalone_mode=False))

    return run


def test_runs_of_scripts_stand_in_the_list_in_their_place(
    laptime: Laptime, capsys: Capture
) -> None:
    write_run(RUN)
    write_script(SLOW)
    write_script("2026-01-01T08-00-00_gan_dddddd", status={"status": "failed", "exit_status": 1})

    assert laptime("list") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "_" in line]
    assert [row[0][-6:] for row in rows] == ["dddddd", "cccccc", "aaaaaa"]
    assert rows[0][1] == "failed"
    assert rows[2] == [SLOW, "completed", "Photos", "SGD", "0.1", "0", "4", "2.03", "60", "%", "-"]


def test_the_list_as_json_holds_both_kinds(laptime: Laptime, capsys: Capture) -> None:
    write_run(RUN)
    write_script(SLOW)

    assert laptime("list", "--json") == 0
    own, script = json.loads(capsys.readouterr().out)
    assert (own["run"]["id"], script["script"]["id"]) == (RUN, SLOW)


def test_a_damaged_run_of_a_script_is_passed_over(laptime: Laptime, capsys: Capture) -> None:
    write_script(SLOW)
    (write_script(FAST).path / "epochs.jsonl").write_text("{}\n")

    assert laptime("list") == 0
    out, err = capsys.readouterr()
    assert (SLOW in out, FAST in out) == (True, False)
    assert err.startswith("passed over: ")
    assert err.count("\n") == 1


def ranked(laptime: Laptime, capsys: Capture) -> list[dict[str, Any]]:
    assert laptime("list", "--by", "reclaimable", "--json") == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def test_runs_are_ranked_by_what_perfect_loading_would_give_back_of_all_their_epochs(
    laptime: Laptime, capsys: Capture
) -> None:
    write_run(RUN, loading_ms=1000)
    write_script(SLOW, drift=[1.0], wobble=[1.0])
    write_script(FAST, step=FASTER)
    nothing = write_script("2026-01-01T12-00-00_train_eeeeee")
    nothing.recorder.unlink()

    rows = ranked(laptime, capsys)
    assert [row["run"] for row in rows] == [SLOW, RUN, FAST]
    assert rows[0]["saved_s"] == pytest.approx(4 * 1.225)
    assert rows[0]["where"] == "train.py:42 DataLoader(num_workers=0)"
    assert rows[0]["why"] == "at most: waits between batches"
    assert (rows[1]["saved_s"], rows[1]["share"]) == (3.0, 0.4)


def test_of_one_epoch_the_share_after_its_first_window_counts(
    laptime: Laptime, capsys: Capture
) -> None:
    written = write_script(SLOW, epochs=1, steps=400, wobble=[1.0], drift=[1.0])
    epoch = written.read_record().epochs[0]

    (row,) = ranked(laptime, capsys)
    assert row["share"] == pytest.approx(0.6, abs=0.01)
    assert row["saved_s"] == pytest.approx(row["share"] * epoch.wall_ns / 1e9)


def test_what_replaying_measured_takes_the_place_of_the_bound(
    laptime: Laptime, capsys: Capture
) -> None:
    stretches = [{"steps": 20, "wall_ns": ns} for ns in (100, 100)]
    halved = [{"steps": 20, "wall_ns": ns} for ns in (50, 50)]
    write_script(SLOW, {"headroom": {"batches": 2, "loaded": stretches, "replayed": halved}})

    (row,) = ranked(laptime, capsys)
    assert row["share"] == pytest.approx(0.5)
    assert row["why"] == "batches in memory, measured"


def write_tuning(command: tuple[str, ...], ratio: float, *, ended: bool = True) -> None:
    request = TuneRequest(command=command, cwd="/home/me")
    directory = create_tuning(Path("runs"), request, "train")
    row = Comparison(
        a="num_workers=4", b="unchanged", ratio=ratio, low=ratio - 0.01, high=ratio + 0.01, n=5,
        verdict="faster", reason="interval_outside_zone",
    )  # fmt: skip
    gain = Gain(
        name="num_workers=4", changes=(("num_workers", 4),), numbers="same numbers", row=row,
        before_s=2.0, after_s=2.0 * ratio,
    )  # fmt: skip
    pilot = PilotRecord(step_s=0.01, wall_ns=1, phases_ns={}, start_s=1.0, prepare_s=1.0)
    if ended:
        directory.write_record(
            TuneRecord(id=directory.id, directory=str(directory.path), request=request,
                       pilot=pilot, conclusion="gain", gain=gain)
        )  # fmt: skip


def test_a_verified_gain_of_the_same_command_takes_the_place_of_the_bound(
    laptime: Laptime, capsys: Capture
) -> None:
    written = write_script(SLOW)
    write_tuning(("python", "another.py"), 0.1)
    write_tuning(("python", "train.py", "--lr", "0.1"), 0.7)
    write_tuning(("python", "train.py", "--lr", "0.1"), 0.2, ended=False)

    (row,) = ranked(laptime, capsys)
    whole_s = sum(epoch.wall_ns for epoch in written.read_record().epochs) / 1e9
    assert row["saved_s"] == pytest.approx(0.3 * whole_s)
    assert row["why"] == "verified by tune: num_workers=4"
    assert row["is_verified"]


def test_the_ranking_as_a_table_names_the_line(laptime: Laptime, capsys: Capture) -> None:
    write_script(SLOW)

    assert laptime("list", "--by", "reclaimable") == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if SLOW in line]
    assert re.sub(r"\s+", " ", row).strip() == (
        f"{SLOW} train.py:42 DataLoader(num_workers=0) 4.90 60 % at most: waits between batches"
    )


def test_without_a_name_the_newest_is_reported_whatever_it_is(
    laptime: Laptime, capsys: Capture
) -> None:
    write_run(RUN)
    written = write_script(SLOW)

    assert laptime("report") == 0
    assert f"Report: {written.path / 'report.html'}" in capsys.readouterr().out
    page = (written.path / "report.html").read_text()
    assert "DataLoader(num_workers=0)" in page
    assert "windows.jsonl" in page


@pytest.mark.parametrize("processes", [1, 2])
def test_a_report_made_again_is_the_same_byte_by_byte(laptime: Laptime, processes: int) -> None:
    written = write_script(SLOW)
    if processes > 1:
        write_script("processes/1", {"rank": 1}, runs_dir=written.path)
    pages = []
    for place in ("first", "second"):
        assert laptime("report", SLOW, "--format", "html", "--out", place) == 0
        pages.append((Path(place) / "report.html").read_bytes())

    assert pages[0] == pages[1]


def test_a_report_as_text_says_what_the_run_itself_said(laptime: Laptime, capsys: Capture) -> None:
    write_script(SLOW)

    assert laptime("report", "aaaaaa", "--format", "text") == 0
    out = capsys.readouterr().out
    assert out.startswith("An epoch takes 2.0 s, the mean of epochs 2-4: 60 % loading")
    assert "Limit: data loading." in out
    assert "Again:  laptime run -- python train.py --lr 0.1" in out


def compared(laptime: Laptime, capsys: Capture, *options: str) -> tuple[int, dict[str, Any]]:
    status = laptime("compare", SLOW, FAST, "--json", *options)
    return status, json.loads(capsys.readouterr().out)


def test_two_runs_of_scripts_give_a_ratio_and_no_verdict(laptime: Laptime, capsys: Capture) -> None:
    write_script(SLOW, drift=[1.0], wobble=[1.0])
    write_script(FAST, drift=[1.0], wobble=[1.0], step=FASTER)

    status, document = compared(laptime, capsys)
    assert (status, document["verdict"]) == (0, "inconclusive")
    assert document["ratio"] == pytest.approx(2025 / 1425)
    assert [r["code"] for r in document["refusals"]] == ["single_runs"]
    assert "laptime tune -- python train.py" in document["refusals"][0]["next"]


def test_settings_that_the_recorder_saw_are_held_against_each_other(
    laptime: Laptime, capsys: Capture
) -> None:
    write_script(SLOW)
    write_script(FAST, {"loaders": [{**LOADER, "num_workers": 4}]})

    _, document = compared(laptime, capsys)
    assert document["differences"]["settings"] == {"num_workers": {"a": 0, "b": 4}}


@pytest.mark.parametrize("facts", [{"device_name": "Another"}, {"threads": 8}, {"torch": "2.13"}])
def test_unlike_machines_are_refused_and_compared_on_demand(
    laptime: Laptime, capsys: Capture, facts: dict[str, Any]
) -> None:
    write_script(SLOW)
    write_script(FAST, facts)

    status, document = compared(laptime, capsys)
    assert (status, document["reason"], document["ratio"]) == (3, "environment_differs", None)
    status, document = compared(laptime, capsys, "--uncontrolled")
    assert (status, document["uncontrolled"]) == (0, True)
    assert document["ratio"] == pytest.approx(1)


def test_epochs_over_other_numbers_of_samples_are_refused(
    laptime: Laptime, capsys: Capture
) -> None:
    write_script(SLOW)
    write_script(FAST, steps=100)

    status, document = compared(laptime, capsys)
    assert (status, document["reason"]) == (3, "environment_differs")
    assert set(document["differences"]["environment"]) == {"samples"}


def test_without_a_steady_epoch_steps_are_compared(laptime: Laptime, capsys: Capture) -> None:
    write_script(SLOW, epochs=1, steps=400, drift=[1.0])
    write_script(FAST, epochs=1, steps=400, drift=[1.0], step=FASTER)

    status, document = compared(laptime, capsys)
    assert (status, document["reason"]) == (3, "no_steady_state")
    assert "--quantity step" in document["refusals"][0]["next"]
    status, document = compared(laptime, capsys, "--quantity", "step")
    assert (status, document["verdict"]) == (0, "inconclusive")
    assert document["ratio"] == pytest.approx(10 / 7, abs=0.01)


def test_steps_of_two_runs_of_ours_are_compared_too(laptime: Laptime, capsys: Capture) -> None:
    write_run(RUN)
    write_run(SLOW, loading_ms=1500)

    assert laptime("compare", SLOW, RUN, "--quantity", "step") == 0
    out = capsys.readouterr().out
    assert "a step of A takes 1.50 times as long as one of B" in " ".join(out.split())


def test_steps_of_two_arms_are_compared_by_block(laptime: Laptime, capsys: Capture) -> None:
    name = write_study("2026-01-01T12-00-00_study-workers_dddddd").id

    assert laptime("compare", f"{name}:4", f"{name}:0", "--quantity", "step") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert out.startswith("Faster: a step of A takes 25")


@pytest.mark.parametrize("other", [RUN, "2026-01-01T12-00-00_study-workers_dddddd"])
def test_a_script_and_something_else_are_not_compared(
    laptime: Laptime, capsys: Capture, other: str
) -> None:
    write_script(SLOW)
    write_run(other) if other == RUN else write_study(other)

    assert laptime("compare", SLOW, other) == 2
    assert "A is a script's run and B a" in capsys.readouterr().err


def test_a_run_of_a_script_has_no_arms(laptime: Laptime, capsys: Capture) -> None:
    write_script(SLOW)
    write_script(FAST)

    assert laptime("compare", f"{SLOW}:4", FAST) == 2
    assert "only studies have arms" in capsys.readouterr().err
