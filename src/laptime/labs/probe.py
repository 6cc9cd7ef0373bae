"""A first look at the lab's training: some seconds, from which its length is predicted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from laptime.errors import SettingsError
from laptime.files import make_directory, remove_tree
from laptime.settings import RunSettings
from laptime.studies.devices import found_devices
from laptime.studies.price import Pilot
from laptime.studies.process import ArmEndedError, ArmHandle, ArmProcess
from laptime.studies.starters import FORKS, build_starter
from laptime.study import Arm
from laptime.timing.clock import read_ns
from laptime.timing.environment import usable_cpus
from laptime.units import seconds

_TURNS = 3
"""The middle one counts: the first is slower than what follows, and any may be disturbed ..."""

_LONG_S = 1.0
"""... but one that takes longer than this has seen enough."""

StartArm = Callable[[Arm], ArmHandle]


def look(
    settings: RunSettings,
    logs: Path,
    warn: Callable[[str], None],
    timeout_s: float,
    start_arm: StartArm | None = None,
) -> Pilot | None:
    """Take one look at the lab's training; None where it ended in it.

    Args:
        settings: Of the training.
        logs: What the process says is kept here meanwhile, and longer where it ended early.
        warn: Is told why there is no answer.
        timeout_s: How long an answer may take.
        start_arm: What starts it, unless it is a process.

    Raises:
        SettingsError: Settings, data or model cannot be used.
    """
    make_directory(logs)
    start_ns = read_ns()
    handle = (start_arm or _starts(logs))(Arm(name="lab", settings=settings))
    try:
        pilot = _measured(handle, settings, start_ns, timeout_s)
    except ArmEndedError as error:
        if error.refused:
            raise SettingsError(error.reason) from error
        warn(f"How long the lab takes is not known: its first look ended ({error.reason}).")
        return None
    finally:
        handle.close()
    remove_tree(logs)
    return pilot


def _measured(handle: ArmHandle, settings: RunSettings, start_ns: int, timeout_s: float) -> Pilot:
    handle.reply(timeout_s)
    built_ns = read_ns()
    facts = handle.ask("prepare", timeout_s)
    prepared_ns = read_ns()
    turns = [_turn(handle, timeout_s)]
    while len(turns) < _TURNS and seconds(turns[0]["wall_ns"]) < _LONG_S:
        turns.append(_turn(handle, timeout_s))
    workers = max(1, facts["num_workers"])
    flight = facts["num_workers"] * settings.loader.prefetch_factor
    alone = handle.ask("alone", timeout_s, discard=flight, steps=workers, longest_s=1.0)
    later_ns = facts["setup_ns"] if FORKS else (built_ns - start_ns) // usable_cpus()
    return Pilot(
        start_s=seconds(built_ns - start_ns),
        later_s=seconds(later_ns),
        prepare_s=seconds(prepared_ns - built_ns),
        step_s=median(seconds(turn["wall_ns"]) / turn["steps"] for turn in turns),
        load_s=seconds(alone["alone_ns"]) / alone["alone_batches"] * workers,
        device=facts["environment"]["device"],
    )


def _turn(handle: ArmHandle, timeout_s: float) -> dict[str, Any]:
    return handle.ask("turn", timeout_s, discard=0, min_steps=5, min_s=0.25)


def slow_step(settings: RunSettings, logs: Path, timeout_s: float) -> float | None:
    """Return the seconds of a step on a slow device, from three of them; None where it ended."""
    make_directory(logs)
    step_s = step_of(Arm(name="slow", settings=settings, feed="resident"), _starts(logs), timeout_s)
    if step_s is not None:
        remove_tree(logs)
    return step_s


def step_of(arm: Arm, start_arm: StartArm, timeout_s: float) -> float | None:
    """Return the seconds of one step of an arm after two others; None where it ended early.

    Raises:
        SettingsError: Settings, data or model cannot be used.
    """
    handle = start_arm(arm)
    try:
        handle.reply(timeout_s)
        handle.ask("prepare", timeout_s, warm_up=1)
        turn = handle.ask("turn", timeout_s, discard=0, min_steps=1, min_s=0.0)
    except ArmEndedError as error:
        if error.refused:
            raise SettingsError(error.reason) from error
        return None
    finally:
        handle.close()
    return float(turn["wall_ns"] / 1e9 / turn["steps"])


def devices_here(settings: RunSettings) -> tuple[str, ...]:
    """Return the devices of this machine, the fastest last.

    Raises:
        DeviceError: The one that was asked for is not there.
    """
    return tuple(found_devices(settings.training.device))


def _starts(logs: Path) -> StartArm:
    starter = build_starter()
    return lambda arm: ArmProcess(arm, logs / f"{arm.name}.txt", starter)
