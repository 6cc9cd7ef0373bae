"""GPU or CPU: the same work on every device that is found, by the time of an epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from laptime.errors import DeviceError, SettingsError
from laptime.settings import RunSettings
from laptime.studies.course import run_course
from laptime.studies.plan import make_plan, varied
from laptime.studies.runner import Workshop
from laptime.study import Arm, Plan, StudyRecord, StudyRequest, TurnPolicy

FACTORS = ("device",)

FEWEST_STEPS = 5
"""Of a turn, where devices are compared: a slow one need not run as many steps as a fast one."""


def found_devices(asked: str = "auto") -> tuple[str, ...]:
    """Return the devices that torch finds, the fastest last.

    Args:
        asked: What --device says; ``cuda:1`` is taken for CUDA instead of the first.

    Raises:
        DeviceError: What was asked for is not there.
    """
    from laptime.training.device import choose_device  # torch comes with it

    found = ["cpu"]
    for name in ("mps", asked if asked.startswith("cuda") else "cuda"):
        if name == asked:
            choose_device(name)
        with suppress(DeviceError):
            choose_device(name)
            found.append(name)
    return tuple(found)


def device_arms(base: RunSettings, devices: Sequence[str]) -> tuple[Arm, ...]:
    """Return one arm a device, all else equal: seed, workers and batches too.

    Raises:
        SettingsError: A setting that one of several devices does not have.
    """
    wanted = {"precision": ("tf32", "float32"), "timing": ("events", "auto")}
    for name, (refused, remedy) in wanted.items():
        if len(devices) > 1 and base.flat()[name] == refused:
            raise SettingsError(
                f"{name} is {refused!r}, which {devices[0]} does not have, and all devices must "
                f"do the same. Use --{name} {remedy}."
            )
    return tuple(Arm(name=device, settings=varied(base, device=device)) for device in devices)


def plan_devices(
    base: RunSettings, devices: Sequence[str], blocks: int, policy: TurnPolicy, **more: Any
) -> Plan:
    """Return the plan over some devices; the fastest, the last, is the baseline and there twice.

    One device alone is compared with nothing: it is there once.
    """
    arms = device_arms(base, devices)
    baseline = arms[-1]
    again = baseline.model_copy(
        update={"name": f"{baseline.name} again", "again_of": baseline.name}
    )
    if len(arms) > 1:
        fewest = min(FEWEST_STEPS, policy.min_steps)
        policy = policy.model_copy(update={"min_steps": fewest})
    return make_plan(
        "devices", [*arms, again] if len(arms) > 1 else arms, baseline.name, FACTORS,
        blocks=blocks, seed=base.training.seed, turns=policy, **more,
    )  # fmt: skip


def run_devices(
    workshop: Workshop,
    request: StudyRequest,
    *,
    find: Callable[[str], Sequence[str]] = found_devices,
) -> StudyRecord:
    """Compare the devices of this machine by the time of an epoch; one alone is timed.

    Raises:
        LaptimeError: The arms cannot be built, or the budget does not hold one block.
    """
    base, directory = request.settings, workshop.directory
    plan = directory.read_plan() if directory.has_plan() else None
    devices = _planned_devices(plan) if plan else find(base.training.device)
    if plan is None or not directory.read_aside().knows("missing_device"):
        directory.write_aside("missing_device", missing_device(devices))

    def plan_of(blocks: int, policy: TurnPolicy) -> Plan:
        return plan_devices(
            base, devices, blocks, policy,
            timeout_s=request.timeout_s, budget_s=workshop.budget_s,
        )  # fmt: skip

    return run_course(workshop, request, plan_of)


def _planned_devices(plan: Plan) -> Sequence[str]:
    return [arm.name for arm in plan.arms if arm.again_of is None]


def missing_device(devices: Sequence[str]) -> str | None:
    """Say what the comparison would need, where only the CPU was there."""
    if len(devices) > 1:
        return None
    import torch

    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    return (
        f"Only the CPU was timed: torch finds no GPU here (torch {torch.__version__}, built with "
        f"{build}). On a machine with an NVIDIA GPU and a torch built with CUDA, "
        f"`laptime study devices` compares the two."
    )
