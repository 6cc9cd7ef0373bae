from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import psutil
import pytest

from laptime.timing import environment
from laptime.timing.environment import (
    collect_environment,
    usable_cpus,
    usable_memory_bytes,
)

Memory = namedtuple("Memory", "total available")

AVAILABLE = 1 << 50


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that writes the files of a control group; this process is in it."""
    monkeypatch.setattr(environment, "_CGROUP", tmp_path)
    monkeypatch.setattr(environment, "_OWN_CGROUP", tmp_path / "none")

    def write(**files: str) -> None:
        for name, content in files.items():
            path = tmp_path / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content + "\n")

    return write


@pytest.fixture
def affinity(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that allows this process some CPUs."""

    def allow(count: int) -> None:
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(count)), raising=False)

    return allow


@pytest.mark.parametrize("allowed", [1, 3, 64])
def test_without_a_quota_the_affinity_decides(cgroup: Any, affinity: Any, allowed: int) -> None:
    affinity(allowed)

    assert usable_cpus() == allowed


def test_without_an_affinity_all_cpus_count(cgroup: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(os, "cpu_count", lambda: 10)
    assert usable_cpus() == 10

    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cpus() == 1


@pytest.mark.parametrize(
    ("quota", "usable"),
    [
        ("max 100000", 8),
        ("400000 100000", 4),
        ("350000 100000", 3),
        ("50000 100000", 1),
        ("1600000 100000", 8),
        ("20000 10000", 2),
        ("", 8),
        ("nonsense", 8),
    ],
)
def test_a_quota_of_cgroup_2_leaves_whole_cpus_and_at_least_one(
    cgroup: Any, affinity: Any, quota: str, usable: int
) -> None:
    affinity(8)
    cgroup(cpu_dot_max=quota)

    assert usable_cpus() == usable


@pytest.mark.parametrize(
    ("quota", "period", "usable"),
    [("-1", "100000", 8), ("200000", "100000", 2), ("250000", "100000", 2), ("10000", "100000", 1)],
)
def test_a_quota_of_cgroup_1_leaves_whole_cpus_and_at_least_one(
    cgroup: Any, affinity: Any, quota: str, period: str, usable: int
) -> None:
    affinity(8)
    cgroup(cpu__cpu_dot_cfs_quota_us=quota, cpu__cpu_dot_cfs_period_us=period)

    assert usable_cpus() == usable


def test_a_quota_without_a_period_is_none(cgroup: Any, affinity: Any) -> None:
    affinity(8)
    cgroup(cpu__cpu_dot_cfs_quota_us="200000")

    assert usable_cpus() == 8


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, AVAILABLE),
        ({"memory_dot_max": "max"}, AVAILABLE),
        ({"memory_dot_max": "8589934592"}, 8589934592),
        ({"memory__memory_dot_limit_in_bytes": "1073741824"}, 1073741824),
        ({"memory__memory_dot_limit_in_bytes": "9223372036854771712"}, AVAILABLE),
        ({"memory_dot_max": "1", "memory__memory_dot_limit_in_bytes": "2"}, 1),
    ],
)
def test_a_memory_limit_of_either_cgroup_is_found(
    cgroup: Any, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], limit: int
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory(AVAILABLE, AVAILABLE))
    cgroup(**files)

    assert usable_memory_bytes() == limit


def test_the_tightest_cgroup_between_the_process_and_the_root_decides(
    cgroup: Any, affinity: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    affinity(16)
    cgroup(cpu_dot_max="800000 100000", job__cpu_dot_max="300000 100000")
    own = tmp_path / "own"
    own.write_text("0::/job/step\n")
    monkeypatch.setattr(environment, "_OWN_CGROUP", own)

    assert usable_cpus() == 3


@pytest.mark.parametrize(("limit", "usable"), [("300", 300), ("5000", 700), ("max", 700)])
def test_usable_memory_is_what_is_available_or_the_limit(
    cgroup: Any, monkeypatch: pytest.MonkeyPatch, limit: str, usable: int
) -> None:
    cgroup(memory_dot_max=limit)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory(total=1000, available=700))

    record = collect_environment("cpu")

    assert (record.memory_bytes, record.memory_usable_bytes) == (1000, usable)


def test_memory_that_the_group_uses_already_is_not_usable(
    cgroup: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cgroup(memory_dot_max="500", memory_dot_current="400")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory(total=1000, available=700))

    assert collect_environment("cpu").memory_usable_bytes <= 100


def test_only_variables_that_change_timing_are_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-1")
    monkeypatch.setenv("OMP_NUM_THREADS_TOKEN", "hush-2")
    monkeypatch.setenv("WANDB_API_KEY", "hush-3")
    monkeypatch.delenv("LD_PRELOAD", raising=False)

    record = collect_environment("cpu")

    assert ("OMP_NUM_THREADS", "3") in record.variables
    assert "LD_PRELOAD" not in dict(record.variables)
    assert "hush" not in record.model_dump_json()


def run_git(directory: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=directory, check=True, capture_output=True)


needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a checkout of one commit, as the current directory."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    directory = tmp_path / "checkout"
    directory.mkdir()
    run_git(directory, "init")
    (directory / "a.txt").write_text("one")
    run_git(directory, "add", "a.txt")
    run_git(directory, "commit", "-m", "one")
    monkeypatch.chdir(directory)
    return directory


@needs_git
def test_a_checkout_is_named_by_its_commit_and_whether_it_was_changed(checkout: Path) -> None:
    (checkout / "untracked.txt").write_text("not counted")
    clean = collect_environment("cpu")
    (checkout / "a.txt").write_text("two")
    dirty = collect_environment("cpu")

    assert len(clean.git_sha or "") == 40
    assert (clean.git_dirty, dirty.git_dirty) == (False, True)
    assert dirty.git_sha == clean.git_sha


@needs_git
def test_outside_of_a_checkout_there_is_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    record = collect_environment("cpu")

    assert (record.git_sha, record.git_dirty) == (None, None)


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)

    record = collect_environment("cpu")

    assert (record.git_sha, record.git_dirty) == (None, None)


@pytest.mark.parametrize(
    "error",
    [OSError("no such program"), subprocess.TimeoutExpired("git", 5)],
)
def test_a_git_that_fails_costs_the_run_nothing(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(subprocess, "run", fail)

    assert collect_environment("cpu").git_sha is None


def test_a_checkout_that_git_could_not_look_through_is_not_called_clean(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: "git")
    monkeypatch.setattr(
        environment, "_output", lambda command: "f" * 40 if "rev-parse" in command else None
    )

    assert collect_environment("cpu").git_dirty is None


def test_facts_that_timing_rests_on_are_all_there() -> None:
    record = collect_environment("cpu")

    assert record.device == "cpu"
    assert record.device_name == record.cpu != ""
    assert 1 <= record.cpus_usable <= record.cpus_total
    assert record.threads >= 1
    assert record.clock_resolution_ns >= 1
    assert record.start_method in {"fork", "forkserver", "spawn"}
    assert (record.cudnn, record.driver) == (None, None)
