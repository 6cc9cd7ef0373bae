"""From overrides that were tried to what to change in the script, and the patch that does it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from laptime.errors import SettingsError
from laptime.tuning.rewriting.arguments import (
    LOADER_ARGUMENTS,
    OPTIMIZER_ARGUMENTS,
    loader_proposals,
    optimizer_proposals,
)
from laptime.tuning.rewriting.loops import loop_proposals
from laptime.tuning.rewriting.patch import Edit, apply, build_edit, unified_diff
from laptime.tuning.rewriting.script import Proposal, Scripts
from laptime.tuning.rewriting.source import EditError
from laptime.tuning.rewriting.statements import (
    environment_proposals,
    process_proposals,
    process_settings,
)

__all__ = ["Edit", "apply", "suggest", "unified_diff"]

_KNOWN = {
    *("site", "seed_shift", *LOADER_ARGUMENTS, *OPTIMIZER_ARGUMENTS),
    *("threads", "tf32", "cudnn_benchmark", "keep_memory"),
    *("non_blocking", "bf16", "channels_last", "compile", "gc"),
}


def suggest(overrides: Mapping[str, object], facts: Mapping[str, Any]) -> tuple[Edit, ...]:
    """Return what to change at which line of the script so that it runs as overridden.

    A diff is made only where the text of the script says by itself what an argument is: literals
    in a call of torch's own at the line that was recorded, settings of the process, and what is
    put before or after a statement of a known kind. Everything else is left in words. What the
    script has already is not listed.

    Args:
        overrides: As the recorder takes them from its environment.
        facts: What the recorder wrote of a run of the script as it is (``recorder.json``).

    Raises:
        SettingsError: An override is unknown.
    """
    unknown = sorted(set(overrides) - _KNOWN)
    if unknown:
        raise SettingsError(f"override is {unknown[0]!r}, but must be one of {sorted(_KNOWN)}.")
    scripts = Scripts(facts)
    proposals = [
        *loader_proposals(scripts, facts, overrides),
        *optimizer_proposals(scripts, facts, overrides),
        *process_proposals(scripts, process_settings(overrides)),
        *loop_proposals(scripts, facts, overrides),
        *environment_proposals(overrides),
    ]
    return tuple(_edit(scripts, proposal) for proposal in proposals)


def _edit(scripts: Scripts, proposal: Proposal) -> Edit:
    place = proposal.place
    if place is not None and proposal.tree is not None:
        try:
            return build_edit(proposal, scripts.read(place.path))
        except (EditError, RecursionError):  # the words hold all the same
            pass
    return Edit(place and place.path, place and place.line, proposal.words, None)
