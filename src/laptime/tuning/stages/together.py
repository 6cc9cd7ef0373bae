"""The best at once: each step of a ladder adds one, and must gain over the step before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from laptime.phase import Phase
from laptime.study import Comparison
from laptime.tune import NotTried, PilotRecord, Tried, TuneBlock
from laptime.tuning.choice.candidates import NO_WORKERS, Candidate, Kind, candidates_of, merged
from laptime.tuning.judging.measures import Yardstick, of_arm

MOST_RUNGS = 4
"""Of a ladder: each is one more process in a block."""

_WITH_WORKERS = ("persistent_workers", "prefetch_factor", "threads")
"""What is looked at again once there are workers: their start, their queue, their CPUs."""


_EXCLUSIVE = frozenset({"fused", "foreach"})
"""Two forms of one thing: an optimizer has one of them at a time."""


def ladder(kept: Sequence[Candidate]) -> list[Candidate]:
    """Return the first, the first two at once, the first three ...; one alone is no ladder.

    What does not go together with an earlier one is left out.
    """
    rungs: list[list[Candidate]] = []
    for candidate in kept:
        below = rungs[-1] if rungs else []
        if _goes_with(candidate, below) and len(rungs) < MOST_RUNGS:
            rungs.append([*below, candidate])
    return [merged(rung) for rung in rungs]


def _goes_with(candidate: Candidate, others: Sequence[Candidate]) -> bool:
    """Tell whether nothing is set twice, and no thing in two forms."""
    taken = {name for other in others for name, _ in other.changes}
    names = {name for name, _ in candidate.changes}
    return not taken & names and not (names & _EXCLUSIVE and taken & _EXCLUSIVE)


def climb_ladder(
    rungs: Sequence[Candidate],
    findings: Mapping[str, Tried],
    row_of: Mapping[tuple[str, str], Comparison],
) -> tuple[Candidate, list[Comparison]]:
    """Return the rung to stand on, and each comparison that led there.

    A rung is taken if its 95 % interval against the one stood on lies below 1, and if it is kept
    by itself against the unchanged job.

    Args:
        rungs: From the best one alone to all at once.
        findings: Of each rung against the unchanged job, by name.
        row_of: Of each rung against each one before it.
    """
    standing, rows = rungs[0], []
    for rung in rungs[1:]:
        row = row_of[rung.name, standing.name]
        rows.append(row)
        gains = row.high is not None and row.high < 1 and row.reason != "too_few_blocks"
        if gains and findings[rung.name].outcome == "kept":
            standing = rung
    return standing, rows


def followers(
    pilot: PilotRecord,
    kinds: Mapping[str, Kind],
    workers: Candidate,
    blocks: Sequence[TuneBlock],
    yardstick: Yardstick,
    only: Sequence[str],
) -> tuple[list[Candidate], list[NotTried]]:
    """Return what may add to workers that the job did not have, and what does not and why.

    Args:
        pilot: Of the unchanged job.
        kinds: What there is.
        workers: The count that was kept.
        blocks: In which it was measured: its own times say what is left to gain.
        yardstick: How they are read.
        only: Names of overrides to try; empty: all.
    """
    known = {key: kinds[key] for key in _WITH_WORKERS if key in kinds}
    seen = with_workers(pilot, workers, blocks, yardstick)
    chosen, left = candidates_of(seen, known, only=only)
    return chosen, left


def with_workers(
    pilot: PilotRecord, workers: Candidate, blocks: Sequence[TuneBlock], yardstick: Yardstick
) -> PilotRecord:
    """Return what a pilot would have seen of the job with so many workers."""
    done = [r for r in of_arm(blocks, workers.name) if r.step_s]
    count = int(dict(workers.changes)["num_workers"])
    if not done or pilot.loader is None:
        return pilot
    turns = [turn for replicate in done for turn in replicate.counted]
    return pilot.model_copy(
        update={
            "step_s": fmean(r.step_s or 0.0 for r in done),
            "edges_s": fmean(map(yardstick.edges_s, done)),
            "wall_ns": sum(turn.wall_ns for turn in turns),
            "phases_ns": {p: sum(turn.phases_ns[p] for turn in turns) for p in Phase},
            "loader": pilot.loader.model_copy(update={"num_workers": count}),
        }
    )


def waits_for_workers(left: NotTried) -> bool:
    """Tell whether an override was left out because there were no workers."""
    return left.why == NO_WORKERS
