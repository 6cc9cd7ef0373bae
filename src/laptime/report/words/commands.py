"""Commands that do something again: the options of whatever is not as usual."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from typing import Any

from laptime.settings import LAB_OPTIMIZERS, RunSettings
from laptime.study import StudyRecord, StudyRequest


def setting_options(settings: Mapping[str, Any], without: Collection[str] = ()) -> list[str]:
    """Return the options of all settings that are not the usual ones."""
    usual = RunSettings().flat()
    return [
        f"--{name.replace('_', '-')} {_word(value)}"
        for name, value in settings.items()
        if value != usual[name] and value is not None and name not in without
    ]


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else shlex.quote(str(value))


def study_command(record: StudyRecord) -> str:
    """Return the command that makes the same study once more, from nothing."""
    plan, usual = record.plan, StudyRequest(study=record.plan.study, settings=RunSettings())
    settings = plan.arm(plan.baseline).settings.flat()
    least, most = plan.turns.min_turns, plan.turns.max_turns
    words = ["laptime study", plan.study]
    if record.details.get("predicted"):
        words.append("--scale quick")
    words += _arms(record)
    if plan.seeds and len(plan.seeds) != 5:
        words.append(f"--seeds {len(plan.seeds)}")
    if plan.blocks != usual.blocks:
        words.append(f"--blocks {plan.blocks}")
    if (least, most) != (usual.turns.min_turns, usual.turns.max_turns):
        words.append(f"--turns {least}" if least == most else f"--turns {least}-{most}")
    return " ".join([*words, *setting_options(settings, without=plan.factors)])


def _arms(record: StudyRecord) -> list[str]:
    """Return the option that names the arms, where the study does not find them by itself."""
    plan = record.plan
    names = [arm.name for arm in plan.arms if arm.again_of is None and arm.feed == "loader"]
    if plan.study == "workers" and record.details.get("grid") == "given":
        return [f"--num-workers {','.join(names)}"]
    if plan.study == "optimizers" and tuple(names) != LAB_OPTIMIZERS:
        return [f"--optimizers {shlex.quote(','.join(names))}"]
    return []
