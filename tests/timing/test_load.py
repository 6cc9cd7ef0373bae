from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laptime.timing.clock import FakeClock
from laptime.timing.load import (
    Counters,
    allowed_cpus,
    foreign_cores,
    pressure,
    read_clock_mhz,
    read_counters,
    read_text,
    steal,
)

STUDY = os.getpid()
SECOND_NS = 1_000_000_000
"""A hundred ticks."""


def cpu(number: int, **ticks: int) -> str:
    fields = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest")
    return " ".join([f"cpu{number}", *(str(ticks.get(name, 0)) for name in fields), "0"])


def stat(*lines: str) -> str:
    return "\n".join(["cpu  1 2 3 4 5 6 7 8 0 0", *lines, "intr 5 0 0", "ctxt 9", ""])


def process(
    pid: int,
    user: int = 0,
    system: int = 0,
    *,
    parent: int = 1,
    reaped: tuple[int, int] = (0, 0),
    started: int = 500,
    name: str = "python",
) -> dict[str, str]:
    numbers = f"S {parent} 1 1 0 -1 4194304 100 0 0 0 {user} {system} {reaped[0]} {reaped[1]}"
    return {f"/proc/{pid}/stat": f"{pid} ({name}) {numbers} 20 0 4 0 {started} 1000 50 0\n"}


def counters(
    files: Mapping[str, str],
    *,
    at_ns: int = 0,
    pids: tuple[int, ...] = (),
    cpus: tuple[int, ...] = (0, 1),
) -> Counters:
    """Read the counters from files that are texts; the study's process has used nothing."""
    there = {**process(STUDY), **files}

    def read(path: str) -> str:
        if path not in there:
            raise FileNotFoundError(path)
        return there[path]

    return read_counters(read, frozenset(cpus), pids, FakeClock(at_ns).read_ns)


def machine(*lines: str) -> dict[str, str]:
    return {"/proc/stat": stat(*lines)}


IDLE = machine(cpu(0), cpu(1))


def test_foreign_load_is_busy_time_less_that_of_the_study_and_of_its_processes() -> None:
    before = {
        **machine(cpu(0, user=1000, idle=50), cpu(1, user=2000, system=100)),
        **process(STUDY, 70, 30),
        **process(11, 400, 20),
        **process(12, 5),
    }
    after = {
        **machine(cpu(0, user=1080, idle=70), cpu(1, user=2050, system=140)),
        **process(STUDY, 72, 33),
        **process(11, 440, 25),
        **process(12, 25),
    }

    then = counters(before, pids=(11, 12))
    now = counters(after, pids=(11, 12), at_ns=SECOND_NS)

    # Busy 80 + 50 + 40 ticks; own 5 + 45 + 20; 100 ticks of wall.
    assert foreign_cores(then, now) == 1.0


@pytest.mark.parametrize(
    ("field", "cores"),
    [
        *[(name, 0.4) for name in ("user", "nice", "system", "irq", "softirq")],
        *[(name, 0.0) for name in ("idle", "iowait", "steal", "guest")],
    ],
)
def test_only_time_in_which_a_cpu_ran_something_here_is_busy(field: str, cores: float) -> None:
    then = counters(IDLE)
    now = counters(machine(cpu(0, **{field: 40}), cpu(1)), at_ns=SECOND_NS)

    assert foreign_cores(then, now) == cores


def test_only_cpus_that_the_process_may_use_count() -> None:
    then = counters(machine(*map(cpu, range(12))), cpus=(1, 10))
    busy = [cpu(n, user=7 if n in {1, 10} else 90, steal=3 if n == 10 else 0) for n in range(12)]
    now = counters(machine(*busy), cpus=(1, 10), at_ns=SECOND_NS)

    assert foreign_cores(then, now) == 0.14
    assert steal(then, now) == 3 / 17


def test_foreign_load_is_never_negative() -> None:
    then = counters({**IDLE, **process(11, 0)}, pids=(11,))
    now = counters({**IDLE, **process(11, 90)}, pids=(11,), at_ns=SECOND_NS)

    assert foreign_cores(then, now) == 0.0


def test_the_study_named_as_an_arm_is_counted_once() -> None:
    then = counters(IDLE, pids=(STUDY, STUDY))
    now = counters(
        {**machine(cpu(0, user=50), cpu(1)), **process(STUDY, 30)},
        pids=(STUDY, STUDY),
        at_ns=SECOND_NS,
    )

    assert foreign_cores(then, now) == 0.2


def test_a_pid_that_another_process_has_taken_over_brings_nothing() -> None:
    then = counters({**IDLE, **process(11, 10, started=500)}, pids=(11,))
    now = counters(
        {**machine(cpu(0, user=60), cpu(1)), **process(11, 50, started=900)},
        pids=(11,),
        at_ns=SECOND_NS,
    )

    assert foreign_cores(then, now) == 0.6


@pytest.mark.parametrize("gone", [{}, process(12, 3, started=901, parent=11)])
def test_a_worker_that_ended_counts_what_its_parent_has_reaped_since(gone: dict[str, str]) -> None:
    # Before the turn 30 ticks and 4 of a child of its own, in it 25; the arm itself 10.
    then = counters(
        {
            **IDLE,
            **process(11, 100, reaped=(7, 0)),
            **process(12, 20, 10, reaped=(4, 0), parent=11),
        },
        pids=(11, 12),
    )
    now = counters(
        {**machine(cpu(0, user=65), cpu(1)), **process(11, 110, reaped=(50, 16)), **gone},
        pids=(11, 12),
        at_ns=SECOND_NS,
    )

    assert foreign_cores(then, now) == 0.3


def test_a_worker_that_began_and_ended_in_the_turn_is_own() -> None:
    then = counters({**IDLE, **process(11)}, pids=(11,))
    now = counters(
        {**machine(cpu(0, user=65), cpu(1)), **process(11, 10, reaped=(20, 5))},
        pids=(11,),
        at_ns=SECOND_NS,
    )

    assert foreign_cores(then, now) == 0.3


def test_a_process_that_vanished_unseen_counts_what_was_last_known() -> None:
    then = counters({**IDLE, **process(11, 100), **process(12, 800)}, pids=(11, 12))
    now = counters(
        {**machine(cpu(0, user=40), cpu(1)), **process(11, 110)}, pids=(11, 12), at_ns=SECOND_NS
    )

    assert foreign_cores(then, now) == 0.3


def test_a_process_that_was_never_there_brings_nothing() -> None:
    then = counters(IDLE, pids=(11,))
    now = counters({**machine(cpu(0, user=40), cpu(1))}, pids=(11,), at_ns=SECOND_NS)

    assert foreign_cores(then, now) == 0.4


def test_an_arm_that_dies_in_another_ones_turn_hides_no_foreign_load() -> None:
    then = counters(IDLE)
    now = counters(
        {**machine(cpu(0, user=40), cpu(1)), **process(STUDY, reaped=(9000, 100))}, at_ns=SECOND_NS
    )

    assert foreign_cores(then, now) == 0.4


@pytest.mark.parametrize("name", ["a b", "(sd-pam)", ") S 1 2 3", "x) R (y", ""])
def test_a_program_may_have_any_name(name: str) -> None:
    then = counters({**IDLE, **process(11, 1, name=name)}, pids=(11,))
    now = counters(
        {**machine(cpu(0, user=40), cpu(1)), **process(11, 41, name=name)},
        pids=(11,),
        at_ns=SECOND_NS,
    )

    assert foreign_cores(then, now) == 0.0


def test_a_counter_that_goes_back_takes_nothing_from_another() -> None:
    then = counters(
        {**machine(cpu(0, user=100, idle=500, iowait=90, steal=8), cpu(1)), **process(11, 50)},
        pids=(11,),
    )
    now = counters(
        {**machine(cpu(0, user=60, idle=400, iowait=10, steal=2), cpu(1, user=30, steal=10))}
        | process(11, 20),
        pids=(11,),
        at_ns=SECOND_NS,
    )

    assert foreign_cores(then, now) == 0.3
    assert steal(then, now) == 10 / 40


def test_steal_is_a_share_of_all_time_of_the_cpus() -> None:
    then = counters(machine(cpu(0, steal=5), cpu(1)))
    after = machine(
        cpu(0, user=20, system=10, idle=55, steal=20), cpu(1, idle=90, iowait=5, irq=3, softirq=2)
    )

    assert steal(then, counters(after, at_ns=SECOND_NS)) == 15 / 200


def test_steal_of_no_time_is_not_known() -> None:
    assert steal(counters(IDLE), counters(IDLE, at_ns=SECOND_NS)) is None


def waited(total: str) -> dict[str, str]:
    some = f"some avg10=0.00 avg60=0.20 avg300=0.30 total={total}"
    return {"/proc/pressure/cpu": f"{some}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=77\n"}


@pytest.mark.parametrize(
    ("before", "after", "share"),
    [
        ("1000", "251000", 0.25),
        ("1000", "1000", 0.0),
        ("1000", "900", 0.0),
        ("0", "1000300", 1.0),
        ("0", "many", None),
        ("-4", "5", None),
        ("0", "", None),
    ],
)
def test_pressure_is_the_share_of_the_wall_in_which_some_task_waited(
    before: str, after: str, share: float | None
) -> None:
    assert pressure(counters(waited(before)), counters(waited(after), at_ns=SECOND_NS)) == share


@pytest.mark.parametrize(
    "missing",
    ["/proc/stat", f"/proc/{STUDY}/stat", "/proc/pressure/cpu"],
    ids=["all", "own", "psi"],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_file_that_is_missing_costs_only_what_it_tells(missing: str, when: str) -> None:
    files = {**IDLE, **process(STUDY), **waited("0")}
    later = {**files, **machine(cpu(0, idle=90, steal=10), cpu(1))}
    gone = {missing: ""}
    then = counters(files | (gone if when == "before" else {}))
    now = counters(later | (gone if when == "after" else {}), at_ns=SECOND_NS)

    read = (foreign_cores(then, now), steal(then, now), pressure(then, now))
    unknown = {
        "/proc/stat": (None, None, 0.0),
        f"/proc/{STUDY}/stat": (None, 0.1, 0.0),
        "/proc/pressure/cpu": (0.0, 0.1, None),
    }
    assert read == unknown[missing]


@pytest.mark.parametrize(
    "line",
    [
        "cpu1",
        "cpu1 1 2 3",
        "cpu1 1 2 3 4 5 6 seven 8",
        "cpu1 1 2 3 4 5 6 -7 8",
        "cpux 1 2 3 4 5 6 7 8",
        "cpu 1 2 3 4 5 6 7 8",
        "",
    ],
)
def test_a_cpu_whose_line_says_nothing_leaves_the_load_unknown(line: str) -> None:
    # The other CPU alone would have too little busy time, and foreign load would be missed.
    broken = counters(machine(cpu(0, user=90), line), at_ns=SECOND_NS)

    assert foreign_cores(counters(IDLE), broken) is None
    assert steal(counters(IDLE), broken) is None


@pytest.mark.parametrize(
    "text",
    ["", "11", "11 (python)", "11 (python) S 1 2 3", "11 python S" + " 1" * 30, ") S" + " x" * 30],
)
def test_a_process_whose_line_says_nothing_brings_nothing(text: str) -> None:
    files = {"/proc/11/stat": text}
    then = counters({**IDLE, **files}, pids=(11,))
    now = counters({**machine(cpu(0, user=40), cpu(1)), **files}, pids=(11,), at_ns=SECOND_NS)

    assert then.processes == {}
    assert foreign_cores(then, now) == 0.4


@pytest.mark.parametrize("wall_ns", [0, -5])
def test_over_no_time_nothing_is_known(wall_ns: int) -> None:
    files = {**IDLE, **waited("0")}
    then, now = counters(files), counters(files, at_ns=wall_ns)

    assert (foreign_cores(then, now), pressure(then, now)) == (None, None)


@given(st.lists(st.text(max_size=80) | st.from_regex(r"cpu[0-3]?( -?\d+){0,11}"), min_size=4))
def test_no_text_of_the_kernel_ends_a_study(texts: list[str]) -> None:
    paths = ("/proc/stat", f"/proc/{STUDY}/stat", "/proc/pressure/cpu", "/proc/11/stat")
    files = dict(zip(paths, texts, strict=False))
    then = counters(files, pids=(11,))
    now = counters({**files, **IDLE}, pids=(11,), at_ns=SECOND_NS)

    for value in (foreign_cores(then, now), steal(then, now), pressure(then, now)):
        assert value is None or value >= 0


def clocks_khz(**texts: str) -> dict[str, str]:
    folder = "/sys/devices/system/cpu/{}/cpufreq/scaling_cur_freq"
    return {folder.format(name): text for name, text in texts.items()}


@pytest.mark.parametrize(
    ("texts", "clock_mhz"),
    [
        ({"cpu0": "800000\n", "cpu1": "3400000\n"}, 3400.0),
        ({"cpu1": "2600000\n", "cpu2": "5000000\n"}, 2600.0),
        ({"cpu0": "<unknown>\n", "cpu1": ""}, None),
        ({}, None),
    ],
)
def test_the_clock_is_that_of_the_fastest_cpu_that_may_be_used(
    texts: dict[str, str], clock_mhz: float | None
) -> None:
    files = clocks_khz(**texts)

    def read(path: str) -> str:
        if path not in files:
            raise PermissionError(path)
        return files[path]

    assert read_clock_mhz(read, frozenset({0, 1})) == clock_mhz


def test_where_no_affinity_is_told_nothing_is_known_of_load(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    cpus = tuple(allowed_cpus())
    then = counters(IDLE, cpus=cpus)
    now = counters(machine(cpu(0, user=90), cpu(1)), cpus=cpus, at_ns=SECOND_NS)

    assert cpus == ()
    assert (foreign_cores(then, now), steal(then, now)) == (None, None)


def test_bytes_of_the_kernel_that_are_no_text_end_no_study(tmp_path: Path) -> None:
    path = tmp_path / "stat"
    path.write_bytes(b"11 (\xff) S\n")

    assert read_text(str(path)).endswith(") S\n")
    with pytest.raises(OSError, match="nothing"):
        read_text(str(tmp_path / "nothing"))
