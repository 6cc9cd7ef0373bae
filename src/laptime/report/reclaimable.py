"""What each recorded run could give back: by a verified change, else by perfect loading."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from laptime.phase import Phase
from laptime.record import RunRecord, TimedSteps
from laptime.report.runs.findings import steady_epochs
from laptime.report.scripts.facts import loader_call, placed
from laptime.report.words.lines import counted
from laptime.script import ScriptRecord
from laptime.statistics.script_evidence import evidence_of, saved_by_replay
from laptime.tune import Gain, TuneRecord
from laptime.units import seconds

AnyRecord = RunRecord | ScriptRecord


@dataclass(frozen=True)
class Reclaimable:
    """The time that a run could have done without."""

    run: str
    where: str
    """The line or the settings that it is about."""
    saved_s: float
    """Of the whole run: seconds an epoch times its epochs."""
    share: float
    """Of its epochs."""
    why: str
    is_verified: bool = False
    """Whether an experiment has shown it; else it is the most that could be saved."""

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


def ranked(records: Iterable[AnyRecord], tunings: Iterable[TuneRecord] = ()) -> list[Reclaimable]:
    """Return what each run could give back, most first; runs that timed nothing are left out.

    Args:
        records: Runs of our own and of scripts.
        tunings: What was verified: of the same command in the same directory, or of the same
            settings. The newest counts.
    """
    known = list(tunings)
    found = [reclaimable(record, _gain_of(record, known)) for record in records]
    return sorted((one for one in found if one), key=lambda one: -one.saved_s)


def reclaimable(record: AnyRecord, gain: Gain | None = None) -> Reclaimable | None:
    """Return what a run could give back; None where its parts were not timed."""
    found = _of_script(record) if isinstance(record, ScriptRecord) else _of_run(record)
    if found is None or gain is None or gain.row.ratio is None:
        return found
    share = 1 - gain.row.ratio
    whole_s = seconds(sum(epoch.wall_ns for epoch in record.epochs))
    why = f"verified by tune: {gain.name}"
    return Reclaimable(found.run, found.where, share * whole_s, share, why, is_verified=True)


def _gain_of(record: AnyRecord, tunings: list[TuneRecord]) -> Gain | None:
    """Return the gain that was last verified for what a run did."""
    gains = [tuning.gain for tuning in tunings if tuning.gain and _is_of(tuning, record)]
    return gains[-1] if gains else None


def _is_of(tuning: TuneRecord, record: AnyRecord) -> bool:
    request = tuning.request
    if isinstance(record, ScriptRecord):
        status = record.status
        return (request.command, request.cwd) == (status.command, status.cwd)
    return request.settings is not None and request.settings.flat() == dict(record.settings)


def _of_run(record: RunRecord) -> Reclaimable | None:
    epochs = steady_epochs(record.epochs)
    wall_ns = sum(epoch.wall_ns for epoch in epochs)
    if not wall_ns or epochs[0].mode == "off":
        return None
    settings, loading_ns = record.settings, sum(epoch.loading_ns for epoch in epochs)
    where = f"{settings['loader']} loader, {counted(settings['num_workers'], 'worker')}"
    saved_s = seconds(loading_ns) / len(epochs) * len(record.epochs)
    return Reclaimable(record.id, where, saved_s, loading_ns / wall_ns, _why(epochs))


def _of_script(record: ScriptRecord) -> Reclaimable | None:
    process = record.main
    evidence = evidence_of(process) if process else None
    if process is None or evidence is None:
        return None
    loader, headroom = process.loader, process.recorder.headroom
    where = "no loader was found"
    if loader:
        where = placed(loader.place, loader_call(loader, "num_workers"))
    share, why = evidence.share("loading").estimate, _why(evidence.pieces)
    saved = saved_by_replay(headroom) if headroom else None
    if saved:
        share, why = max(0.0, saved.estimate), "batches in memory, measured"
    each_s = seconds(evidence.wall_ns) / len(evidence.pieces)
    whole_s = each_s * len(process.epochs)
    if evidence.kind != "epochs":
        whole_s = seconds(process.wall_ns)
    return Reclaimable(record.id, where, share * whole_s, share, why)


def _why(pieces: Iterable[TimedSteps]) -> str:
    """Return what most of loading is: waits between batches, or the loader's start and end."""
    edges_ns = loading_ns = 0
    for piece in pieces:
        loading_ns += piece.loading_ns
        edges_ns += piece.phases_ns[Phase.LOADER_START] + piece.phases_ns[Phase.LOADER_END]
    if not loading_ns:
        return "nothing was waited for"
    most = "the loader's start and end" if 2 * edges_ns > loading_ns else "waits between batches"
    return f"at most: {most}"
