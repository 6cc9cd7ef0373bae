"""``laptime run`` on commands that do not train: each behaves as without us, with one line more."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from laptime.launch import recorded
from laptime.launch.recorded import full_command, isolation, recorder_environment
from laptime.launch.recorded_end import nothing_recorded
from laptime.script_store import list_scripts, new_script_status


def laptime_run(*words, tmp_path, **more):
    command = [sys.executable, "-m", "laptime", "run", "--runs-dir", str(tmp_path / "runs"), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **more)


def test_a_command_that_does_not_train_keeps_its_output_and_status(tmp_path):
    done = laptime_run("--", "sh", "-c", "echo out; echo err >&2; exit 3", tmp_path=tmp_path)
    assert (done.returncode, done.stdout) == (3, "out\n")
    first, second = done.stderr.splitlines()
    assert first == "err"
    assert second.startswith("laptime: nothing was recorded of `sh -c ")
    assert "(ended with exit status 3)" in second
    assert len(list_scripts(tmp_path / "runs")) == 1


def test_standard_input_is_the_commands(tmp_path):
    done = laptime_run("cat", tmp_path=tmp_path, input="one\ntwo\n")
    assert done.stdout == "one\ntwo\n"


def test_options_after_the_command_are_never_ours(tmp_path):
    done = laptime_run("echo", "--steps", "3", "--help", "--quiet", tmp_path=tmp_path)
    assert done.stdout == "--steps 3 --help --quiet\n"


def test_a_command_that_a_signal_ends_ends_us_the_same_way(tmp_path):
    done = laptime_run("--", "sh", "-c", "kill -TERM $$", tmp_path=tmp_path)
    assert done.returncode == -signal.SIGTERM
    (found,) = list_scripts(tmp_path / "runs")
    assert found.read_status().status == "interrupted"


def test_a_signal_sent_to_us_reaches_the_command_once(tmp_path):
    script = "trap 'echo caught; exit 7' TERM; echo ready; while :; do sleep 0.05; done"
    command = [sys.executable, "-m", "laptime", "run", "--runs-dir", str(tmp_path), "--"]
    with subprocess.Popen(
        [*command, "sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "caught\n"
        assert process.wait(20) == 7


def test_a_signal_sent_before_anybody_listens_waits_and_reaches_the_command(monkeypatch):
    start, early = recorded._start, []

    def start_and_send(*arguments):
        process = start(*arguments)
        os.kill(os.getpid(), signal.SIGTERM)
        return process

    monkeypatch.setattr(recorded, "_start", start_and_send)
    before = signal.signal(signal.SIGTERM, lambda *_: early.append(1))
    try:
        returncode = recorded.run_attached(["sleep", "20"], os.environ)
    finally:
        signal.signal(signal.SIGTERM, before)

    assert (returncode, early) == (-signal.SIGTERM, [])


@pytest.mark.parametrize(("handler", "returncode"), [(signal.SIG_IGN, 0), (signal.SIG_DFL, -1)])
def test_the_command_ignores_what_we_were_told_to_ignore_and_nothing_else(handler, returncode):
    before = signal.signal(signal.SIGHUP, handler)  # SIG_IGN: as under nohup
    try:
        ended = recorded.run_attached(["sh", "-c", "kill -HUP $$"], os.environ)
    finally:
        signal.signal(signal.SIGHUP, before)

    assert ended == returncode


@pytest.mark.parametrize("flag", ["-I", "-S", "-E", "-IS", "-uE"])
def test_python_that_lets_no_recorder_in_is_said(flag, tmp_path):
    done = laptime_run("--", sys.executable, flag, "-c", "print(1)", tmp_path=tmp_path)
    assert (done.returncode, done.stdout) == (0, "1\n")
    assert f"python {flag} lets no recorder in. Leave {flag} out." in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_python_without_torch_is_said(tmp_path):
    done = laptime_run("--", sys.executable, "-c", "print(1)", tmp_path=tmp_path)
    assert "none of its Python processes imported torch" in done.stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((), "the command is missing"),
        (("--",), "the command is missing"),
        (("no-such-command",), "'no-such-command' is no command that can be run"),
        (("nothing.py",), "'nothing.py' is no file"),
        (("--steps", "0", "x"), "--steps"),
        (("--nonsense", "x"), "--nonsense is no option"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(words, text, tmp_path):
    done = laptime_run(*words, tmp_path=tmp_path)
    assert done.returncode == 2
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_a_script_alone_is_short_for_python_and_the_script(tmp_path):
    script = tmp_path / "train.py"
    script.write_text("")
    assert full_command([str(script), "--lr", "1"])[1:] == (str(script), "--lr", "1")
    assert Path(full_command([str(script)])[0]).name.startswith("python")


def test_flags_of_a_script_are_not_taken_for_pythons():
    assert isolation(["python", "train.py", "-I"]) is None
    assert isolation(["python", "-m", "train", "-S"]) is None
    assert isolation(["python", "-W", "error", "train.py", "-E"]) is None
    assert isolation(["python", "-cprint('S')"]) is None
    assert isolation(["python", "-X", "utf8", "-I", "x.py"]) == "-I"
    assert isolation(["env", "A=1", "python3.12", "-u", "-I", "train.py"]) == "-I"


def test_nothing_of_a_recording_around_this_one_is_handed_on(monkeypatch, tmp_path):
    monkeypatch.setenv("LAPTIME_STEPS", "3")
    monkeypatch.setenv("LAPTIME_DATA", "/data")
    monkeypatch.setenv("PYTHONPATH", "mine")
    environ = recorder_environment(tmp_path, CONTROL="/socket", OVERRIDES="")
    ours = {name for name in environ if name.startswith("LAPTIME_")}
    assert ours == {"LAPTIME_RUN", "LAPTIME_HOME", "LAPTIME_CONTROL", "LAPTIME_DATA"}
    first, last = environ["PYTHONPATH"].split(os.pathsep)
    assert (Path(first) / "sitecustomize.py").is_file()
    assert last == "mine"


def test_a_recorder_that_fails_at_its_end_is_said_and_not_taken_for_a_kill(tmp_path):
    status = new_script_status(("python", "train.py"))
    rows = [{"event": event, "pid": 1} for event in ("entered", "torch", "step", "failed")]
    (tmp_path / "trace.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    assert "the recorder failed at its end" in nothing_recorded(status, tmp_path)
