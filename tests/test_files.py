from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from laptime import files
from laptime.errors import StoreError


def test_an_atomic_write_leaves_the_new_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_atomically(path, b"old")
    files.write_atomically(path, b"new")

    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_refused_write_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    path = tmp_path / "a.json"
    files.write_atomically(path, b"old")

    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(*((os, "fsync") if call == "fsync" else (Path, "replace")), refuse)
    with pytest.raises(StoreError, match=r"a\.json cannot be written"):
        files.write_atomically(path, b"new")

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_names_the_remedy(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with (
        pytest.raises(StoreError, match="The disk is full: free space"),
        files.disk_errors(tmp_path / "x"),
        Path("/dev/full").open("wb", buffering=0) as full,
    ):
        full.write(b"x")


def test_nan_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", {"loss": float("nan")})

    assert not (tmp_path / "a.json").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_file_that_is_not_json_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)

    with pytest.raises(StoreError, match="is not JSON"):
        files.read_json(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        files.read_json(tmp_path / "none.json")


def test_a_torn_tail_costs_no_other_row_wherever_it_is_torn(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    whole = b'{"a": 1}\n{"a": 2}\n{"a": 3}\n'
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        complete = whole[:length].count(b"\n")

        assert len(files.read_lines(path)) == complete
        files.append_lines(path, ['{"a": 9}'], durable=False)

        assert files.read_lines(path)[:-1] == whole.decode().splitlines()[:complete]
        assert files.read_lines(path)[-1] == '{"a": 9}'


def test_a_torn_tail_longer_than_a_chunk_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"whole\n" + b"x" * (3 << 20))

    files.append_lines(path, ["next"], durable=True)

    assert files.read_lines(path) == ["whole", "next"]


def test_a_refused_append_leaves_the_rows_that_were_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.jsonl"
    files.append_lines(path, ["first"], durable=True)

    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StoreError, match="disk is full"):
        files.append_lines(path, ["second"], durable=True)
    monkeypatch.undo()

    assert files.read_lines(path) == ["first"]


def test_rows_beyond_a_count_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    files.append_lines(path, ["a", "b", "c"], durable=False)

    files.keep_lines(path, 2)

    assert files.read_lines(path) == ["a", "b"]


def test_cutting_a_missing_file_makes_none(tmp_path: Path) -> None:
    files.keep_lines(tmp_path / "none.jsonl", 0)

    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_of_a_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")

    with pytest.raises(StoreError, match="use another --runs-dir"):
        files.make_directory(tmp_path / "runs" / "a")
