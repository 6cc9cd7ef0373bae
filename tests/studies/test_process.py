from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from laptime.settings import build_settings
from laptime.studies.process import ArmEndedError, ArmProcess
from laptime.studies.starters import ForkServer, Spawner
from laptime.study import Arm
from laptime.timing.clock import read_ns
from laptime.units import nanoseconds

TINY = {"width": 1, "samples": 64, "batch_size": 8}

FACTORY = """
import os, signal, torch
from laptime.timing.clock import sleep_s
class Data(torch.utils.data.Dataset):
    def __init__(self, act): self.act = act
    def __len__(self): return 64
    def __getitem__(self, i):
        if i % 8 == 3: self.act()
        return torch.zeros(3, 32, 32), 0
def hang(): return Data(lambda: sleep_s(1000))
def die(): return Data(lambda: os.kill(os.getpid(), signal.SIGKILL))
def fail(): return Data(lambda: 1 / 0)
def full(): return Data(lambda: (_ for _ in ()).throw(MemoryError("no more")))
"""


@pytest.fixture
def factory(tmp_path: Path) -> Path:
    path = tmp_path / "data.py"
    path.write_text(FACTORY)
    return path


STARTERS = {"fork": ForkServer, "spawn": Spawner}
KINDS = [
    pytest.param(
        "fork",
        marks=pytest.mark.skipif(sys.platform != "linux", reason="forks of torch are for Linux"),
    ),
    "spawn",
]


def start(tmp_path: Path, kind: str = "fork", **settings: object) -> ArmProcess:
    arm = Arm(name="x", settings=build_settings({**TINY, **settings}))
    return ArmProcess(arm, tmp_path / "x.txt", STARTERS[kind]({"OMP_NUM_THREADS": "1"}))


@pytest.fixture(params=KINDS)
def ready(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ArmProcess]:
    arm = start(tmp_path, request.param, num_workers=2)
    try:
        arm.reply(60)
        arm.ask("prepare", 60)
        yield arm
    finally:
        arm.close()


def warm_up(arm: ArmProcess, steps: int = 1) -> None:
    """Take the arm through its warm-up and a turn."""
    arm.reply(60)
    arm.ask("prepare", 60)
    arm.ask("turn", 60, discard=0, min_steps=steps, min_s=0.0)


def is_there(pid: int) -> bool:
    """An orphan that nobody has reaped yet is not there."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def left_of(pids: tuple[int, ...]) -> list[int]:
    """Return who outlives a kill, which is sent at once and takes effect a moment later."""
    psutil.wait_procs([process for process in psutil.process_iter() if process.pid in pids], 20)
    return [pid for pid in pids if is_there(pid)]


def come_to_a_stop(pids: tuple[int, ...]) -> bool:
    """Tell whether all are stopped: who waits for a CPU is, once it gets one."""
    deadline_ns = read_ns() + nanoseconds(20)
    while read_ns() < deadline_ns:
        if {psutil.Process(pid).status() for pid in pids} == {psutil.STATUS_STOPPED}:
            return True
    return False


def test_workers_stand_still_between_turns_and_work_in_them(ready: ArmProcess) -> None:
    assert len(ready.pids) == 3
    assert come_to_a_stop(ready.pids[1:])

    turn = ready.ask("turn", 60, discard=4, min_steps=4, min_s=0.0)

    assert turn["steps"] == 4
    assert turn["discarded"] == 4
    assert sum(turn["phases_ns"].values()) == turn["wall_ns"]
    assert come_to_a_stop(ready.pids[1:])


def test_later_turns_take_as_many_steps_as_the_first(ready: ArmProcess) -> None:
    first = ready.ask("turn", 60, discard=0, min_steps=2, min_s=0.05)
    second = ready.ask("turn", 60, discard=0, min_steps=2, min_s=0.05)

    assert first["steps"] % 2 == 0
    assert first["steps"] == second["steps"]


def test_what_threads_made_in_advance_is_left_out_of_a_turn_as_of_processes(tmp_path: Path) -> None:
    arm = start(tmp_path, loader="batch", num_workers=2)
    arm.reply(60)
    facts = arm.ask("prepare", 60)
    turn = arm.ask("turn", 60, discard=4, min_steps=4, min_s=0.0)
    arm.close()

    assert facts["num_workers"] == 2
    assert len(arm.pids) == 1
    assert turn["steps"] == 4


def test_nothing_is_left_of_an_arm_that_is_closed(ready: ArmProcess) -> None:
    ready.close()

    assert not left_of(ready.pids)


def test_a_killed_arm_takes_its_stopped_workers_along(ready: ArmProcess) -> None:
    os.kill(ready.pids[0], signal.SIGKILL)

    with pytest.raises(ArmEndedError) as ended:
        ready.ask("turn", 60, discard=0, min_steps=1, min_s=0.0)

    assert ended.value.status == "killed"
    assert "SIGKILL" in ended.value.reason
    assert not left_of(ready.pids)


STUDY = """
import sys, os, signal
from pathlib import Path
from laptime.settings import build_settings
from laptime.studies.process import ArmProcess
from laptime.studies.starters import build_starter
from laptime.study import Arm
arm = Arm(name="x", settings=build_settings({"width": 1, "samples": 64, "batch_size": 8}))
process = ArmProcess(arm, Path(sys.argv[1]), build_starter())
process.reply(60)
process.ask("prepare", 60)
print(*process.pids, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_a_killed_study_leaves_no_process_stopped_or_running(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STUDY, str(tmp_path / "log")], capture_output=True, text=True
    )

    pids = tuple(int(word) for word in done.stdout.split())
    assert len(pids) == 3
    assert not left_of(pids)


@pytest.mark.parametrize(
    ("what", "status", "words"),
    [
        ("fail", "failed", "ZeroDivisionError"),
        ("full", "out_of_memory", "no more"),
        ("die", "killed", "SIGKILL"),
    ],
)
def test_what_a_dataset_does_is_an_outcome(
    tmp_path: Path, factory: Path, what: str, status: str, words: str
) -> None:
    arm = start(tmp_path, data=f"{factory}:{what}", num_workers=0)

    with pytest.raises(ArmEndedError) as ended:
        warm_up(arm)

    assert ended.value.status == status
    assert words in ended.value.reason
    assert not is_there(arm.pids[0])


def test_an_arm_that_hangs_is_ended_and_counts_as_timed_out(tmp_path: Path, factory: Path) -> None:
    arm = start(tmp_path, data=f"{factory}:hang", num_workers=2)
    arm.reply(60)

    with pytest.raises(ArmEndedError) as ended:
        arm.ask("prepare", 0.2)

    assert ended.value.status == "timed_out"
    assert not is_there(arm.pids[0])


def test_a_loss_that_is_not_finite_is_divergence(tmp_path: Path) -> None:
    arm = start(tmp_path, num_workers=0, lr=1e6, norm="none", momentum=0.0)

    with pytest.raises(ArmEndedError) as ended:
        warm_up(arm, steps=50)

    assert ended.value.status == "diverged"


def test_settings_that_cannot_be_built_are_refused_in_one_line(tmp_path: Path) -> None:
    arm = start(tmp_path, data=str(tmp_path / "nothing"))

    with pytest.raises(ArmEndedError) as ended:
        arm.reply(60)

    assert ended.value.refused
    assert len(str(ended.value).splitlines()) == 1


def test_the_first_losses_do_not_depend_on_the_workers(tmp_path: Path) -> None:
    losses = []
    for num_workers, loader in ((0, "sample"), (2, "sample"), (2, "batch")):
        arm = start(tmp_path, num_workers=num_workers, loader=loader)
        arm.reply(60)
        losses.append(arm.ask("prepare", 60)["first_losses"])
        arm.close()

    assert losses[0] == losses[1] == losses[2]
    assert json.dumps(losses[0])


@pytest.mark.skipif(sys.platform != "linux", reason="forks of torch are for Linux")
def test_arms_of_one_block_share_a_server_and_the_next_block_has_another(tmp_path: Path) -> None:
    starter = ForkServer()
    arm = Arm(name="x", settings=build_settings({**TINY, "num_workers": 0}))

    def servers(count: int) -> set[int]:
        arms = [ArmProcess(arm, tmp_path / "x.txt", starter) for _ in range(count)]
        parents = {psutil.Process(arm.pids[0]).ppid() for arm in arms}
        for each in arms:
            each.close()
        return parents

    first, second = servers(2), servers(2)

    assert len(first) == len(second) == 1
    assert first != second
    assert os.getpid() not in first | second
    assert not left_of((*first, *second))


@pytest.mark.skipif(sys.platform != "linux", reason="forks of torch are for Linux")
def test_a_server_that_is_killed_ends_its_arms_and_the_next_arm_has_a_new_one(
    tmp_path: Path,
) -> None:
    starter = ForkServer()
    arm = Arm(name="x", settings=build_settings({**TINY, "num_workers": 0}))
    first = ArmProcess(arm, tmp_path / "x.txt", starter)
    first.reply(60)
    os.kill(psutil.Process(first.pids[0]).ppid(), signal.SIGKILL)

    with pytest.raises(ArmEndedError) as ended:
        first.ask("prepare", 60)

    second = ArmProcess(arm, tmp_path / "x.txt", starter)
    second.reply(60)
    second.close()
    assert ended.value.status == "killed"
    assert not left_of((*first.pids, *second.pids))
