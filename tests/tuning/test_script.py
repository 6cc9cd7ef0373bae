"""Processes of scripts that speak as the recorder's gate does, without torch: quick to start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from laptime.errors import LaptimeError
from laptime.studies.process import ArmEndedError
from laptime.study import TurnPolicy
from laptime.tune import TuneArm, TuneRequest
from laptime.tuning.arms.pilot import look_at, short_turn
from laptime.tuning.arms.script import ScriptProcess
from laptime.tuning.arms.scripts import Scripts
from laptime.tuning.arms.watchdog import Watchdog, watch

GATED = """
import json, os, signal, socket, subprocess, sys
STEPS = int(os.environ.get("STEPS", "1000000"))
overrides = json.loads(os.environ["LAPTIME_OVERRIDES"])
run, gate = os.environ["LAPTIME_RUN"], socket.socket(socket.AF_UNIX)
worker = subprocess.Popen(["sleep", "1000"])
print("hello", overrides, sys.stdin.read() == "")
gate.connect(os.environ["LAPTIME_CONTROL"])
requests, done = gate.makefile("r"), 1
def say(answer):
    gate.sendall((json.dumps({**answer, "pids": [os.getpid(), worker.pid]}) + "\\n").encode())
def end(status=0):
    loader = {"place": {"path": "/t.py", "line": 3, "text": "t.py:3"}, "training_passes": 2,
              "num_workers": 1, "prefetch_factor": 2, "start_ns": [9, 5], "end_ns": [2]}
    optimizer = {"class": "SGD", "steps": done}
    with open(run + "/recorder.json", "w") as file:
        json.dump({"steps": done, "loaders": [loader], "optimizers": [optimizer],
                   "device": "cpu", "threads": 1, "torch": "2.0"}, file)
    with open(run + "/steps.jsonl", "w") as file:
        file.writelines(json.dumps({"loss": 1.0}) + "\\n" for _ in range(done))
    say({"ended": {"status": "completed", "reason": f"the script ended after {done} steps"}})
    worker.kill()
    sys.exit(status)
os.kill(worker.pid, signal.SIGSTOP)
for line in requests:
    request = json.loads(line)
    do = request["do"]
    if do == "close":
        end()
    if do == "prepare":
        done = max(done, request["warm_up"])
        say({"setup_ns": 5, "cold_start_ns": 9, "loader_start_ns": [5], "loader_end_ns": [2],
             "first_losses": [1.0], "step_ns": 1000000, "steps_per_epoch": None, "num_workers": 1,
             "parameters": 3, "overhead_share": 0.0, "recorder": {"loaders": []}})
    if do == "turn":
        done += request["discard"] + request["min_steps"]
        if done >= STEPS:
            done = STEPS
            end(int(os.environ.get("STATUS", "0")))
        say({"steps": request["min_steps"], "wall_ns": request["min_steps"] * 1000000,
             "phases_ns": {"forward": request["min_steps"] * 1000000}, "device_ns": None,
             "discarded": request["discard"], "worker_cpu_ns": 0})
    if do == "edges":
        say({"loader_start_ns": [5], "loader_end_ns": [2], "steps_per_epoch": None})
    if do == "losses":
        say({"losses": [1.0, float("nan")]})
    if do == "memory":
        say({"worker_bytes": 7})
    if do == "hang":
        signal.pause()
"""


@pytest.fixture
def watchdog() -> Iterator[Watchdog]:
    dog = Watchdog()
    yield dog
    dog.close()


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text(GATED)
    return path


@pytest.fixture
def process(tmp_path: Path, script: Path, watchdog: Watchdog) -> Iterator[ScriptProcess]:
    started = start(tmp_path, script, watchdog)
    yield started
    started.close()


def start(tmp_path: Path, script: Path, watchdog: Watchdog, **overrides: object) -> ScriptProcess:
    return ScriptProcess([sys.executable, str(script)], overrides, tmp_path / "log", watchdog)


def is_there(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def left_of(pids: tuple[int, ...]) -> list[int]:
    psutil.wait_procs([process for process in psutil.process_iter() if process.pid in pids], 20)
    return [pid for pid in pids if is_there(pid)]


def test_a_script_is_asked_as_an_arm_is(process: ScriptProcess) -> None:
    process.reply(60)
    facts = process.ask("prepare", 60)
    turn = process.ask("turn", 60, discard=3, min_steps=20, min_s=0.0)

    assert facts["steps_per_epoch"] == 0.0
    assert facts["setup_ns"] > 5
    assert turn["steps"] == 20
    assert process.ask("losses", 60) == {"losses": [1.0, None]}
    assert len(process.pids) == 2


def test_what_it_prints_goes_to_its_log_and_it_reads_nothing(
    tmp_path: Path, script: Path, watchdog: Watchdog
) -> None:
    process = start(tmp_path, script, watchdog, threads=1, seed_shift=3)
    process.reply(60)
    process.close()

    assert (tmp_path / "log").read_text() == "hello {'threads': 1, 'seed_shift': 3} True\n"


def test_nothing_is_left_of_a_script_that_is_closed(process: ScriptProcess) -> None:
    process.reply(60)
    process.ask("prepare", 60)
    pids = process.pids

    process.close()

    assert len(pids) == 2
    assert not left_of(pids)
    assert not process.run.exists()


def test_a_closed_script_leaves_what_the_recorder_wrote(process: ScriptProcess) -> None:
    process.reply(60)
    process.ask("prepare", 60)

    process.close()

    assert process.recorder["loaders"][0]["place"]["text"] == "t.py:3"


def test_a_script_at_its_end_answers_from_its_files(
    tmp_path: Path, script: Path, watchdog: Watchdog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPS", "30")
    process = start(tmp_path, script, watchdog)
    process.reply(60)
    process.ask("prepare", 60)
    process.ask("turn", 60, discard=0, min_steps=20, min_s=0.0)

    with pytest.raises(ArmEndedError) as ended:
        process.ask("turn", 60, discard=0, min_steps=20, min_s=0.0)

    assert (ended.value.status, ended.value.reason) == (
        "completed",
        "the script ended after 30 steps",
    )
    assert process.ask("losses", 60) == {"losses": [1.0] * 30}
    assert process.ask("edges", 60) == {"loader_start_ns": [5], "loader_end_ns": [2]}
    assert process.ask("memory", 60) == {}
    process.close()


def test_an_end_with_another_exit_status_is_a_failure_with_its_last_word(
    tmp_path: Path, script: Path, watchdog: Watchdog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPS", "10")
    monkeypatch.setenv("STATUS", "3")
    process = start(tmp_path, script, watchdog)
    process.reply(60)

    with pytest.raises(ArmEndedError) as ended:
        process.ask("turn", 60, discard=0, min_steps=20, min_s=0.0)

    assert ended.value.status == "failed"
    assert "status 3: hello" in ended.value.reason
    process.close()


def test_a_script_that_hangs_is_ended_and_counts_as_timed_out(process: ScriptProcess) -> None:
    process.reply(60)
    pids = process.pids

    with pytest.raises(ArmEndedError) as ended:
        process.ask("hang", 0.2)

    assert ended.value.status == "timed_out"
    assert not left_of(pids)


def test_a_killed_script_is_known_to_be(process: ScriptProcess) -> None:
    process.reply(60)
    os.kill(process.pids[0], signal.SIGKILL)

    with pytest.raises(ArmEndedError) as ended:
        process.ask("prepare", 60)

    assert ended.value.status == "killed"
    assert "SIGKILL" in ended.value.reason


TUNING = """
import os, signal, sys
from pathlib import Path
from laptime.tuning.arms.script import ScriptProcess
from laptime.tuning.arms.watchdog import Watchdog
process = ScriptProcess([sys.executable, sys.argv[1]], {}, Path(sys.argv[2]), Watchdog())
process.reply(60)
process.ask("prepare", 60)
print(*process.pids, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_tuning_leaves_no_process_stopped_or_running(tmp_path: Path, script: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TUNING, str(script), str(tmp_path / "log")],
        capture_output=True, text=True,
    )  # fmt: skip

    pids = tuple(int(word) for word in done.stdout.split())
    assert len(pids) == 2
    assert not left_of(pids)


def test_a_watchdog_keeps_what_has_not_ended() -> None:
    assert watch(["+12\n", "+13\n", "-12\n"]) == {13}


@pytest.fixture
def scripts_of(tmp_path: Path, watchdog: Watchdog) -> Callable[..., Scripts]:
    def scripts_of(text: str, *words: str) -> Scripts:
        path = tmp_path / "train.py"
        path.write_text(text)
        request = TuneRequest(command=(sys.executable, *words, str(path)), timeout_s=60)
        return Scripts(request, tmp_path, watchdog)

    return scripts_of


@pytest.mark.parametrize(
    ("text", "words", "status"),
    [
        ("print('hi')", "none of its Python processes imported torch", 3),
        ("raise ValueError('no data')", "ValueError: no data. Run it without laptime first", 1),
        ("import sys; sys.exit('usage: train.py')", "usage: train.py", 1),
    ],
)
def test_a_script_that_never_trains_is_refused_in_one_line(
    scripts_of: Callable[..., Scripts], text: str, words: str, status: int
) -> None:
    with pytest.raises(LaptimeError) as refused:
        scripts_of(text).look()

    assert words in str(refused.value)
    assert refused.value.exit_status == status
    assert len(str(refused.value).splitlines()) == 1


def test_python_that_lets_nobody_in_is_refused_before_it_is_started(
    tmp_path: Path, scripts_of: Callable[..., Scripts]
) -> None:
    with pytest.raises(LaptimeError, match=r"python -I lets no recorder in.*Leave -I out"):
        scripts_of("open('ran', 'w')", "-I").look()

    assert not (tmp_path / "ran").exists()


def test_a_pilot_says_what_the_script_is(scripts_of: Callable[..., Scripts]) -> None:
    scripts = scripts_of(GATED)

    found = scripts.look()

    assert found.record.step_s == pytest.approx(0.001)
    assert found.record.loader is not None
    assert found.record.loader.place == "t.py:3"
    assert [optimizer.name for optimizer in found.record.optimizers] == ["SGD"]
    assert found.short is None
    assert found.record.start_s > 0


def test_a_loader_override_names_the_place_of_its_loader(
    tmp_path: Path, scripts_of: Callable[..., Scripts]
) -> None:
    scripts = scripts_of(GATED)
    scripts.look()

    process = scripts.start(TuneArm(name="num_workers 2", changes=(("num_workers", 2),)), 4)
    process.reply(60)
    process.close()

    said = (tmp_path / "num_workers_2.txt").read_text()
    assert said == "hello {'num_workers': 2, 'seed_shift': 4, 'site': 't.py:3'} True\n"


def test_a_short_script_has_one_turn_of_as_many_steps_as_there_are(
    tmp_path: Path, script: Path, watchdog: Watchdog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPS", "60")

    found = look_at(lambda _: start(tmp_path, script, watchdog), TurnPolicy(), 60)

    assert found.record.total_steps == 60
    assert found.short is not None
    assert found.short.max_turns == 1
    assert found.short.min_steps == 60 - 5 - 3 - 1 - 8


def test_the_turn_of_a_short_script_ends_before_the_script_does() -> None:
    for total in range(6, 200):
        warm_up, policy = short_turn(total)

        assert warm_up >= 1
        assert warm_up + 3 + policy.min_steps < total


def test_fewer_than_six_steps_are_refused() -> None:
    with pytest.raises(LaptimeError, match=r"took 5 steps and ended, but at least 6") as refused:
        short_turn(5)

    assert refused.value.exit_status == 3


def test_the_lines_of_the_recorder_are_json(process: ScriptProcess) -> None:
    process.reply(60)
    process.ask("prepare", 60)
    process.end()

    assert json.dumps(process.recorder)
