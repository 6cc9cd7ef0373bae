"""Findings to the record of a tuning, with what to change where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from laptime.errors import LaptimeError
from laptime.report.words.commands import setting_options
from laptime.statistics.steadiness import is_disturbed
from laptime.studies.plan import varied
from laptime.timing.clock import read_ns
from laptime.tune import (
    Change,
    Changes,
    PilotRecord,
    TuneBlock,
    TuneRecord,
    TuneRequest,
    overrides_of,
)
from laptime.tune_store import TuneDirectory
from laptime.tuning.arms.pilot import Look
from laptime.tuning.edits import Edit, suggest, unified_diff
from laptime.tuning.findings import Findings
from laptime.tuning.ground.blocks import Ground
from laptime.units import render_share, seconds


@dataclass(frozen=True)
class Tuned:
    """What a tuning says, and the edits that its diff was made of."""

    record: TuneRecord
    edits: tuple[Edit, ...] = ()


def conclude(
    directory: TuneDirectory,
    request: TuneRequest,
    look: Look,
    found: Findings,
    ground: Ground,
    start_ns: int,
) -> Tuned:
    """Return everything that a tuning says of itself, interrupted or not."""
    turns = [t for b in ground.blocks for r in b.block.replicates for t in r.turns]
    changes = found.gain.changes if found.gain else ()
    proposed = edits_of(request, look, changes)
    diff, trouble = _diff_of(proposed)
    record = TuneRecord(
        id=directory.id,
        directory=str(directory.path),
        request=request,
        pilot=look.record,
        conclusion=found.conclusion,
        gain=found.gain,
        tried=tuple(found.tried.values()),
        not_tried=tuple(found.not_tried),
        together=tuple(found.together),
        again=found.again,
        resolution=found.resolution,
        refusals=tuple(found.refusals),
        changes=_changes(request, proposed, changes),
        diff=diff,
        design=ground.design,
        blocks=len(ground.blocks),
        turns=len(turns),
        contaminated_turns=sum(map(is_disturbed, turns)),
        wall_s=seconds(read_ns() - start_ns),
        notes=(*_notes(look.record, ground.blocks), *trouble),
    )
    return Tuned(record, proposed if diff else ())


def edits_of(request: TuneRequest, look: Look, changes: Changes) -> tuple[Edit, ...]:
    """Return what to change in the script so that it runs as it was measured."""
    if not request.command or not changes:
        return ()
    overrides: dict[str, object] = dict(overrides_of(changes))
    if look.record.loader and look.record.loader.place:
        overrides["site"] = look.record.loader.place
    return suggest(overrides, look.recorder)


def _changes(
    request: TuneRequest, proposed: Sequence[Edit], changes: Changes
) -> tuple[Change, ...]:
    if changes and not request.command:
        assert request.settings is not None
        settings = varied(request.settings, **overrides_of(changes)).flat()
        command = " ".join(["laptime train", *setting_options(settings)])
        return (Change(words=f"`{command}`"),)
    return tuple(
        Change(
            path=str(edit.path) if edit.path else None,
            line=edit.line,
            words=edit.words,
            diff=edit.diff,
        )
        for edit in proposed
    )


def _diff_of(proposed: Sequence[Edit]) -> tuple[str, list[str]]:
    """Return the one patch of all edits; none, and why, where they do not go together."""
    try:
        return unified_diff(proposed), []
    except LaptimeError as error:
        return "", [f"no diff is made: {error}"]


def _notes(pilot: PilotRecord, blocks: Sequence[TuneBlock]) -> list[str]:
    """Return what a reader should know of how it was measured."""
    notes = list(pilot.notes)
    if pilot.total_steps is not None:
        notes.append(
            f"the job ends after {pilot.total_steps} steps: arms ran one after another, each from "
            f"the first step to the last"
        )
    elif any(block.block.design == "sequential" for block in blocks):
        notes.append("the arms did not fit into memory side by side, and ran one after another")
    if pilot.steps_per_epoch is None:
        notes.append("no epoch's length is known: steps are compared")
    elif not pilot.has_warm_start and pilot.loader and pilot.loader.num_workers:
        share = pilot.edges_s / pilot.epoch_s
        notes.append(
            f"no second epoch began within the pilot: the start of the loader, "
            f"{render_share(share)} of an epoch, is that of the first"
        )
    if not pilot.has_losses:
        notes.append("no losses were seen: only what is known to change no numbers is kept")
    if pilot.loader and pilot.loader.num_loaders > 1:
        notes.append(
            f"training reads from {pilot.loader.num_loaders} loaders; what is said of the loader "
            f"is about {pilot.loader.place or 'the one that it reads most'}"
        )
    return notes
