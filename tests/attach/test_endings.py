"""How a command under laptime ends: status, signals, streams, and that nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path

import pytest
from tests.attach.foreign import STEPS, TRAINING, Place, environment

from laptime.timing.clock import sleep_s

pytestmark = pytest.mark.zoo

PYTHON = sys.executable

ENDS = {
    "returns": "print(1)",
    "exit 3": "import sys; sys.exit(3)",
    "exit 300": "import sys; sys.exit(300)",
    "exit with a text": "import sys; sys.exit('no data')",
    "error": "raise ValueError('theirs')",
    "syntax": "1 +",
    "os._exit": "import os; print(1, flush=True); os._exit(7)",
    "abort": "import os; os.abort()",
    "killed": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "terminated": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "segmentation fault": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "interrupted": "import os, signal; os.kill(os.getpid(), signal.SIGINT); signal.pause()",
    "a thread goes on": "import threading as t; t.Timer(0.2, print, ['late']).start(); print(1)",
    "atexit": "import atexit, sys; atexit.register(print, 'bye'); sys.exit(4)",
    "atexit fails": "import atexit; atexit.register(int, 'x')",
    "streams": "import sys; sys.stderr.write('e\n'); sys.stdout.write('no newline')",
}

COUNTS = """
import signal, time
got = []
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGQUIT):
    signal.signal(number, lambda n, frame: got.append(n))
print("ready", flush=True)
while not got:
    time.sleep(0.01)
time.sleep(0.3)  # a second one would come at once
print(got, flush=True)
"""

WAITS = "import signal; print('ready', flush=True); signal.pause()"


@contextlib.contextmanager
def started(place: Place, *command: str, **how: object) -> Iterator[subprocess.Popen[str]]:
    """Start a command and wait until it says that it is ready."""
    process: subprocess.Popen[str] = subprocess.Popen(  # type: ignore[call-overload]
        command, cwd=place.path, env=environment(), text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def under(*command: str) -> list[str]:
    return [PYTHON, "-m", "laptime", "run", "--quiet", "--runs-dir", "runs", "--", *command]


@pytest.mark.parametrize("name", ENDS)
def test_a_command_ends_as_without_us(name: str, place: Place) -> None:
    pair = place.pair(PYTHON, "-c", ENDS[name])

    pair.check()


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 9)", "os._exit(5)", "os.abort()", "1 // 0"])
def test_a_training_ends_as_without_us(end: str, place: Place) -> None:
    place.write("train.py", f"import os\n{TRAINING}\n{end}\n")
    pair = place.pair(PYTHON, "train.py")

    pair.check()
    if end not in {"os.kill(os.getpid(), 9)", "os.abort()"}:  # nobody can write then
        assert pair.steps == STEPS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_for_us_reaches_the_script_once(number: signal.Signals, place: Place) -> None:
    with started(place, *under(PYTHON, "-c", COUNTS)) as process:
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)

    assert stdout == f"[{int(number)}]\n"
    assert (process.returncode, stderr) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT])
def test_a_signal_that_ends_the_script_ends_us_alike(number: signal.Signals, place: Place) -> None:
    said = []
    for command in ([PYTHON, "-c", WAITS], under(PYTHON, "-c", WAITS)):
        with started(place, *command) as process:
            process.send_signal(number)
            said.append((*process.communicate(timeout=60), process.returncode))

    assert said[0] == said[1]
    assert said[0][2] == -number


@pytest.mark.parametrize("key", [b"\x03", b"\x1c"], ids=["Ctrl-C", "Ctrl-backslash"])
def test_a_key_of_the_terminal_reaches_the_script_once(key: bytes, place: Place) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        under(PYTHON, "-c", COUNTS), cwd=place.path, env=environment(),
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        preexec_fn=lambda: ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(theirs)
    said = read_until(ours, b"ready")
    os.write(ours, key)
    said = read_until(ours, b"]")
    status = process.wait(timeout=60)
    os.close(ours)

    number = signal.SIGINT if key == b"\x03" else signal.SIGQUIT
    assert f"[{int(number)}]" in said.decode()
    assert status == 0


def read_until(descriptor: int, end: bytes) -> bytes:
    said = b""
    while end not in said:
        said += os.read(descriptor, 1024)
    return said


def test_what_was_ignored_stays_ignored(place: Place) -> None:
    """As under nohup, and as in the background of a script."""
    place.write("run.sh", 'trap "" HUP INT; exec "$@"\n')
    code = (
        "import signal, os; print('ready', flush=True); "
        "print(signal.getsignal(1) is signal.SIG_IGN, signal.getsignal(2) is signal.SIG_IGN, "
        "signal.sigtimedwait((), 1))"
    )
    with started(place, "sh", "run.sh", *under(PYTHON, "-c", code)) as process:
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGINT)
        stdout, _ = process.communicate(timeout=60)

    assert stdout == "True True None\n"
    assert process.returncode == 0


def test_a_script_ends_when_we_are_killed(place: Place) -> None:
    code = "import os; print('ready', flush=True); print(os.getpid(), flush=True); input()"
    code = code.replace("input()", "import signal; signal.pause()")
    with started(place, *under(PYTHON, "-c", code)) as process:
        assert process.stdout is not None
        script = int(process.stdout.readline())
        process.kill()
        process.wait(timeout=60)
        assert process.stdout.read() == ""  # the script was the last that could write to it

    wait_until_gone(script)


def wait_until_gone(pid: int) -> None:
    for _ in range(3000):
        if not Path(f"/proc/{pid}").exists():
            return
        sleep_s(0.01)
    pytest.fail(f"process {pid} is still there")


def test_workers_that_live_until_the_end_neither_hang_nor_stay(place: Place) -> None:
    persistent = TRAINING.replace(
        "batch_size=8", "batch_size=8, num_workers=2, persistent_workers=True"
    )
    tell = "print([worker.pid for worker in loader._iterator._workers])\n"
    place.write("train.py", persistent + tell)
    ran = place.under(PYTHON, "train.py", options=("--quiet",))

    assert (ran.status, ran.stderr) == (0, "")
    assert ran.read("recorder.json")["steps"] == STEPS
    for pid in ran.stdout.splitlines()[-1].strip("[]").split(","):
        wait_until_gone(int(pid))


def test_steps_leave_no_worker(place: Place) -> None:
    text = TRAINING.replace("batch_size=8", "batch_size=8, num_workers=2")
    place.write("train.py", "import os\nos.setpgid(0, 0)\nprint(os.getpid(), flush=True)\n" + text)
    ran = place.under(PYTHON, "train.py", options=("--quiet", "--steps", "2"))
    group = int(ran.stdout.splitlines()[0])

    assert (ran.status, ran.stderr) == (0, "")
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)


def test_what_a_script_leaves_in_the_background_does_not_hold_us(place: Place) -> None:
    ran = place.under("sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!", options=("--quiet",))
    background = int(ran.stdout)

    os.kill(background, signal.SIGKILL)
    assert ran.status == 0


@pytest.mark.parametrize("given", ["", "a\nb\n", "x" * 200_000])
def test_standard_input_is_the_scripts(given: str, place: Place) -> None:
    pair = place.pair(PYTHON, "-c", "import sys; print(len(sys.stdin.read()))", given=given)

    pair.check()
    assert pair.plain.stdout == f"{len(given)}\n"


def test_a_reader_that_goes_away_ends_the_script_as_without_us(place: Place) -> None:
    code = "import sys\nfor n in range(10**7): print(n)"
    place.write("plain.sh", '"$@" | head -n 1; echo "${PIPESTATUS[0]}"\n')
    plain = place.plain("bash", "plain.sh", PYTHON, "-c", code)
    ran = place.plain("bash", "plain.sh", *under(PYTHON, "-c", code))

    assert ran == plain
    assert plain.stdout.startswith("0\n")


def test_closed_streams_stay_closed(place: Place) -> None:
    code = "import os, sys; os.write(2, repr([sys.stdin, sys.stdout]).encode())"
    place.write("closed.sh", '"$@" <&- >&-\n')
    plain = place.plain("bash", "closed.sh", PYTHON, "-c", code)
    ran = place.plain("bash", "closed.sh", *under(PYTHON, "-c", code))

    assert ran == plain
    assert plain.stderr == "[None, None]"
