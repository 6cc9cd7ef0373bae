"""``laptime report`` on directories that were written without training."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.test_compare import write_run, write_study

from laptime.cli.main import app, status_of

Laptime = Callable[..., int]
Capture = pytest.CaptureFixture[str]

RUN, OTHER = "2026-01-01T10-00-00_resnet18_aaaaaa", "2026-01-01T11-00-00_resnet18_bbbbbb"
STUDY = "2026-01-01T12-00-00_study-workers_cccccc"


@pytest.fixture
def laptime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Laptime:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> int:
        return status_of(
            lambda: app.main(["report", *arguments], prog_name="laptime", standalone_mode=False)
        )

    return run


def contents(place: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in sorted(place.rglob("*"))
        if path.is_file()
    }


def test_without_a_name_the_newest_is_reported_in_its_own_directory(
    laptime: Laptime, capsys: Capture
) -> None:
    write_run(RUN)
    study = write_study(STUDY)

    assert laptime() == 0
    assert f"Report: {study.path.resolve() / 'report.html'}" in capsys.readouterr().out.replace(
        "Report: runs", f"Report: {Path('runs').resolve()}"
    )
    assert (study.path / "report.md").is_file()
    assert (study.path / "figures" / "workers.svg").is_file()


@pytest.mark.parametrize("kind", ["run", "study"])
def test_a_report_made_again_from_the_raw_samples_is_the_same_byte_by_byte(
    laptime: Laptime, kind: str
) -> None:
    path = write_run(RUN) if kind == "run" else write_study(STUDY).path

    assert laptime(path.name, "--out", "first") == 0
    for derived in ("study.json", "report.html"):
        (path / derived).unlink(missing_ok=True)
    assert laptime(path.name, "--out", "second") == 0

    assert contents(Path("first")) == contents(Path("second"))
    assert len(contents(Path("first"))) > 2


def test_the_page_names_the_files_of_the_samples_with_their_hashes(laptime: Laptime) -> None:
    path = write_run(RUN)

    assert laptime(RUN) == 0
    page = (path / "report.html").read_text()
    assert hashlib.sha256((path / "epochs.jsonl").read_bytes()).hexdigest() in page


def test_two_names_are_compared(laptime: Laptime, capsys: Capture) -> None:
    write_run(RUN)
    write_run(OTHER, loading_ms=300)

    assert laptime(RUN, OTHER, "--out", "both") == 0
    assert "one run of each carries no verdict" in (Path("both") / "report.md").read_text()
    assert "Report: both/report.html" in capsys.readouterr().out


def test_text_is_printed_and_nothing_is_written(laptime: Laptime, capsys: Capture) -> None:
    path = write_run(RUN)
    before = contents(path)

    assert laptime(RUN, "--format", "text") == 0
    out = capsys.readouterr().out
    assert out.startswith("An epoch takes 2.0 s, the mean of epochs 2-3: 25 % loading")
    assert "Not concluded: whether a change would help" in out
    assert max(map(len, out.splitlines())) <= 110
    assert contents(path) == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nothing"], "names no run and no study in runs"),
        ([], "runs holds nothing to report"),
        ([RUN, RUN], "A and B are the same"),
        ([RUN, RUN, RUN], "3 names are given: one is reported, two are compared"),
        ([RUN, "--format", "text", "--format", "html"], "ask for one"),
        ([RUN, "--format", "pdf"], "'pdf' is not one of"),
        ([f"{STUDY}:4"], "is one arm: name the study"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    arguments: list[str], expected: str, laptime: Laptime, capsys: Capture
) -> None:
    if arguments:
        write_run(RUN)
        write_study(STUDY)

    assert laptime(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert expected in err


def test_a_damaged_file_is_refused_in_one_line_and_nothing_is_written(
    laptime: Laptime, capsys: Capture
) -> None:
    path = write_run(RUN)
    (path / "epochs.jsonl").write_text('{"epoch": 1}\n{"epoch": 2}\n')

    assert laptime(RUN) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert not (path / "report.html").exists()


def test_an_unfinished_study_is_reported_as_that(laptime: Laptime, capsys: Capture) -> None:
    write_study(STUDY, blocks=2)

    assert laptime(STUDY, "--format", "text") == 0
    assert "what 3 blocks more would have shown" in " ".join(capsys.readouterr().out.split())


def test_a_moved_study_is_reported_from_where_it_is(laptime: Laptime) -> None:
    study = write_study(STUDY)
    shutil.move(study.path, "elsewhere")

    assert laptime("elsewhere") == 0
    assert Path("elsewhere/report.html").is_file()


def test_a_report_of_text_imports_neither_torch_nor_altair(laptime: Laptime) -> None:
    write_run(RUN)
    heavy = ("torch", "altair", "vl_convert", "scipy")
    code = (
        "import sys; from laptime.cli.main import app; "
        f"app.main(['report', '{RUN}', '--format', 'text'], standalone_mode=False); "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"
