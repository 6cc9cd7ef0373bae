"""The recorder in environments that hold nothing of ours: what a script there sees of it.

The environments are a copy of this Python's with torch alone, made of links, and those whose
interpreters LAPTIME_FOREIGN_PYTHON names.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.attach.foreign import (
    NAMED,
    REASON,
    STEPS,
    TRAINING,
    Place,
    enterable,
    version,
)

pytestmark = pytest.mark.zoo

OLD = [word for word in NAMED if version(word) < (3, 9)]

SEES = """
import json, os, signal, sys, threading
own = ("LAPTIME_HOME", "LAPTIME_RUN", "PYTHONPATH", "_")
numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD)
print(json.dumps({
    "path": sys.path,
    "argv": sys.argv,
    "orig_argv": getattr(sys, "orig_argv", None),
    "name": __name__,
    "file": globals().get("__file__"),
    "package": globals().get("__package__"),
    "spec": str(getattr(globals().get("__spec__"), "name", None)),
    "main": sorted(vars(sys.modules["__main__"])),
    "environ": {k: v for k, v in os.environ.items() if k not in own},
    "flags": str(sys.flags),
    "sitecustomize": "sitecustomize" in sys.modules,
    "excepthook": sys.excepthook is sys.__excepthook__,
    "signals": [str(signal.getsignal(number)) for number in numbers],
    "threads": threading.active_count(),
    "cwd": os.getcwd(),
    "descriptors": sorted(os.listdir("/proc/self/fd")) if os.path.isdir("/proc") else None,
    "group": os.getpgrp(),
}, indent=0, sort_keys=True))
"""


@pytest.mark.parametrize("word", enterable())
def test_a_script_of_another_environment_is_recorded(
    word: str, place: Place, with_torch: Callable[[str], str]
) -> None:
    python = with_torch(word)
    pair = place.pair(python, place.write("train.py", TRAINING), "a", "--b")

    pair.check()
    found = pair.under.read("recorder.json")
    assert found["steps"] == STEPS
    assert found["epochs"] == 2
    assert found["python"].split(".")[:2] == [str(part) for part in version(python)]
    assert found["executable"] == python
    assert found["missing"] == []


@pytest.mark.parametrize("word", enterable())
@pytest.mark.parametrize("how", ["file", "module", "package", "code", "stdin", "env", "shell"])
def test_a_script_sees_what_it_sees_without_us(
    word: str, how: str, place: Place, interpreter: Callable[[str], str]
) -> None:
    python = interpreter(word)
    place.write("sees.py", SEES)
    place.write("package/__init__.py", "")
    place.write("package/__main__.py", SEES)
    place.write("sees.sh", f'exec {python} sees.py "$@"\n')
    given = SEES if how == "stdin" else ""
    command = {
        "file": [python, "sees.py"],
        "module": [python, "-m", "sees"],
        "package": [python, "-m", "package"],
        "code": [python, "-c", SEES],
        "stdin": [python, "-"],
        "env": ["env", f"PATH={Path(python).parent}:{os.environ['PATH']}", "python", "sees.py"],
        "shell": ["sh", "sees.sh"],
    }[how]
    pair = place.pair(*command, "a", "--steps", "3", given=given)

    pair.check()
    assert pair.plain.status == 0


def test_what_differs_is_three_variables_and_what_was_imported(place: Place, bare: str) -> None:
    code = (
        "import json, os, sys; print(json.dumps([dict(os.environ), sorted(sys.modules), "
        "[type(f).__name__ for f in sys.meta_path]]))"
    )
    pair = place.pair(bare, "-c", code)
    (plain, modules, finders), (under, more, more_finders) = (
        json.loads(ran.stdout) for ran in (pair.plain, pair.under)
    )

    assert under.keys() - plain.keys() == {"LAPTIME_HOME", "LAPTIME_RUN", "PYTHONPATH"}
    assert {name: under[name] for name in plain} == plain
    assert [name for name in more_finders if name not in finders] == ["ImportWatch"]
    foreign = {name.partition(".")[0] for name in set(more) - set(modules)}
    assert foreign <= {*sys.stdlib_module_names, "laptime"}


def test_an_own_pythonpath_stays_as_it_was(place: Place, bare: str) -> None:
    place.write("library/known.py", "NAME = 'known'\n")
    with_library = Place(place.path, {"PYTHONPATH": "library:"})
    pair = with_library.pair(bare, "-c", "import known, sys; print(known.NAME, sys.path)")

    pair.check()
    assert pair.plain.stdout.startswith("known")


@pytest.mark.parametrize("flags", ["-I", "-E", "-S", "-IS", "-u -I", "-W error -E", "-X utf8 -I"])
def test_a_python_that_lets_nobody_in_runs_and_is_told_of(
    flags: str, place: Place, bare: str
) -> None:
    command = [bare, *flags.split(), "-c", "print('trains')"]
    under = place.under(*command)

    assert (under.status, under.stdout) == (0, place.plain(*command).stdout)
    (line,) = under.stderr.splitlines()
    assert line.startswith("laptime: nothing was recorded")
    assert "lets no recorder in" in line
    assert flags.split()[-1] in line


def test_a_command_that_sets_pythonpath_itself_is_told_what_that_does(
    place: Place, bare: str
) -> None:
    place.write("train.sh", f"PYTHONPATH=. {bare} -c 'print(1)'\n")
    under = place.under("sh", "train.sh")

    assert under.stdout == "1\n"
    (line,) = under.stderr.splitlines()
    assert "PYTHONPATH" in line


@pytest.mark.parametrize("word", OLD or [pytest.param("", marks=pytest.mark.skip(reason=REASON))])
def test_a_python_too_old_to_enter_runs_and_is_told_of(word: str, place: Place) -> None:
    place.write("asks.py", "print('old')\n")
    own = "import sys\nif sys.version_info < (3, 9):\n    print('theirs')\n"
    place.write("library/sitecustomize.py", own)
    pair = Place(place.path, {"PYTHONPATH": "library"}).pair(word, "asks.py")

    assert pair.plain.stdout == "theirs\nold\n"
    assert (pair.under.stdout, pair.under.status) == (pair.plain.stdout, 0)
    said = [line for line in pair.under.stderr.splitlines() if line]
    assert len(said) <= 1
    assert all(line.startswith("laptime: ") for line in said)


@pytest.mark.parametrize("how", ["module", "code", "stdin", "shell", "env", "alone"])
def test_a_training_is_recorded_however_it_is_started(how: str, place: Place, bare: str) -> None:
    place.write("train.py", TRAINING)
    place.write("package/__init__.py", "")
    place.write("package/__main__.py", TRAINING)
    place.write("train.sh", f'cd . && {bare} train.py "$@"\n')
    variables = {"PATH": f"{Path(bare).parent}:{os.environ['PATH']}"}
    command = {
        "module": [bare, "-m", "package"],
        "code": [bare, "-c", TRAINING],
        "stdin": [bare, "-"],
        "shell": ["sh", "train.sh"],
        "env": ["env", "python", "train.py"],
        "alone": [bare, "-u", "train.py"],
    }[how]
    with_path = Place(place.path, variables)
    pair = with_path.pair(*command, "--steps", "2", given=TRAINING if how == "stdin" else "")

    pair.check()
    assert pair.steps == STEPS


def test_ranks_of_torchrun_are_recorded_each(place: Place, bare: str) -> None:
    joined = (
        "import torch.distributed as dist\n"
        "dist.init_process_group('gloo')\n"
        "model = nn.parallel.DistributedDataParallel(model)\n"
        "optimizer ="
    )
    text = TRAINING.replace("optimizer =", joined, 1)
    text = text.replace("    print(", "    if dist.get_rank() == 0: print(")  # lines may mix
    place.write("train.py", text + "dist.barrier()\ndist.destroy_process_group()\n")
    launch = [bare, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    pair = place.pair(*launch, "train.py")

    assert pair.under.stdout == pair.plain.stdout
    assert pair.under.status == pair.plain.status == 0
    assert pair.under.directory is not None
    other = json.loads((pair.under.directory / "processes/1/recorder.json").read_text())
    main = pair.under.read("recorder.json")
    assert [(row["rank"], row["world_size"], row["steps"]) for row in (main, other)] == [
        (0, 2, STEPS),
        (1, 2, STEPS),
    ]


def test_a_run_within_a_run_is_recorded_once_and_stops_by_its_own_steps(
    place: Place, bare: str
) -> None:
    place.write("train.py", TRAINING)
    inner = [sys.executable, "-m", "laptime", "run", "--runs-dir", "inner", "--quiet", "--"]
    under = place.under(*inner, bare, "train.py", options=("--steps", "3"))

    assert under.stdout == place.plain(bare, "train.py").stdout
    assert under.directory is not None
    assert not (under.directory / "recorder.json").exists()
    (directory,) = (place.path / "inner").iterdir()
    assert json.loads((directory / "recorder.json").read_text())["steps"] == STEPS


def test_a_directory_that_is_gone_is_no_trouble(place: Place, bare: str) -> None:
    place.write("gone.sh", f"mkdir away; cd away; rmdir ../away; exec {bare} -c 'print(1)'\n")

    place.pair("sh", "gone.sh").check()


@pytest.mark.parametrize("word", enterable())
def test_a_strict_python_has_nothing_to_object_to(
    word: str, place: Place, with_torch: Callable[[str], str]
) -> None:
    place.write("train.py", TRAINING)
    pair = place.pair(with_torch(word), "-W", "error", "-X", "dev", "-bb", "-OO", "train.py")

    pair.check()
    assert pair.steps == STEPS
