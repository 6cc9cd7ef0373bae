"""What a refusal says: the evidence of several arms in one sentence, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from laptime.replicate import Block
from laptime.study import Plan, Refusal
from laptime.units import render_duration, seconds

_MOST_SHOWN = 3
_STUDIES = frozenset({"workers", "devices", "optimizers", "batchnorm"})


def refusal_of_arms(code: str, found: Mapping[str, str], next_step: str) -> list[Refusal]:
    """Return the refusal about the arms in which something was found, or none.

    Args:
        code: Of the rule.
        found: What was found, by the name of the arm.
        next_step: The cheapest remedy.
    """
    if not found:
        return []
    shown = [f"{arm}: {text}" for arm, text in list(found.items())[:_MOST_SHOWN]]
    if len(found) > _MOST_SHOWN:
        shown.append(f"and {len(found) - _MOST_SHOWN} more arms")
    evidence = f"{'; '.join(shown)}."
    return [Refusal(code=code, evidence=evidence, next=next_step, arms=tuple(found))]


def command(plan: Plan) -> str:
    """Return the command that runs a study of this kind."""
    return f"laptime study {plan.study}" if plan.study in _STUDIES else f"laptime {plan.study}"


def again(plan: Plan, blocks: Sequence[Block]) -> str:
    """Say how to run the study once more, and what that cost the last time."""
    spent_s = seconds(sum(block.wall_ns for block in blocks))
    cost = f" ({_blocks(len(blocks))} took {render_duration(spent_s)})" if spent_s else ""
    return f"run `{command(plan)}` again{cost}"


def resumed(plan: Plan, blocks: Sequence[Block], missing: int) -> str:
    """Say how to run the blocks that are missing, and what they will cost."""
    spent_s = seconds(sum(block.wall_ns for block in blocks))
    cost = f", about {render_duration(spent_s / len(blocks) * missing)}" if spent_s else ""
    return f"`{command(plan)} --resume` runs the missing {_blocks(missing)}{cost}"


def _blocks(count: int) -> str:
    return f"{count} block{'' if count == 1 else 's'}"
