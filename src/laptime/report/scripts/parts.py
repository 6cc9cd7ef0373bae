"""The parts of a script's time as words: what each is called, and which line it is about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from laptime.phase import Phase
from laptime.report.scripts.facts import loader_call, often_words, optimizer_call, placed, sync_call
from laptime.report.words.lines import listed
from laptime.script import ProcessRecord
from laptime.script_facts import OtherFact, SyncFact
from laptime.statistics.script_evidence import COMPUTING, Evidence, dominant_phase
from laptime.units import render_share


@dataclass(frozen=True)
class PartWords:
    """What is said of a part that could be smaller."""

    code: str
    name: str
    sentence: str = ""
    """What it means; empty where the name says it."""
    where: str = ""


def part_words(part: str, process: ProcessRecord, evidence: Evidence) -> PartWords:
    """Return what is said of a part."""
    return _WORDS[part](process, evidence)


def _loading(process: ProcessRecord, evidence: Evidence) -> PartWords:
    edges_ns = sum(
        piece.phases_ns[phase]
        for piece in evidence.pieces
        for phase in (Phase.LOADER_START, Phase.LOADER_END)
    )
    loader = process.loader
    if 2 * edges_ns <= evidence.spent_ns("loading"):
        return PartWords(
            "loader_bound",
            "data loading",
            "The training stands still until a batch is ready.",
            placed(loader.place, loader_call(loader, "num_workers")) if loader else "",
        )
    settings = ("num_workers", "persistent_workers")
    return PartWords(
        "start_up_bound",
        "data loading, most of it the loader's start, up to the first batch, and its end",
        where=placed(loader.place, loader_call(loader, *settings)) if loader else "",
    )


def _evaluation(process: ProcessRecord, evidence: Evidence) -> PartWords:  # noqa: ARG001
    passes = process.recorder.evaluations
    longest = max(passes, key=lambda fact: fact.ns, default=None)
    where = placed(longest.place, "evaluation pass") if longest else ""
    return PartWords("evaluation_bound", "evaluation", where=where)


def _checkpoint(process: ProcessRecord, evidence: Evidence) -> PartWords:  # noqa: ARG001
    longest = max(process.recorder.saves, key=lambda fact: fact.ns, default=None)
    where = placed(longest.place, "torch.save") if longest else ""
    return PartWords("checkpoint_bound", "saving checkpoints", where=where)


def _gap(process: ProcessRecord, evidence: Evidence) -> PartWords:
    """Return why the device is idle: by waits for it, if there are such in every second step."""
    name = "the device idle between steps, while the host does not wait for data"
    syncs = process.recorder.syncs
    if 2 * sum(fact.count for fact in syncs) < process.recorder.steps or not evidence.steps:
        return PartWords("host_bound", name)
    longest: SyncFact = max(syncs, key=lambda fact: (fact.ns, fact.count))
    call = sync_call(longest.what)
    return PartWords(
        "sync_bound",
        name,
        f"The host waits for a result, and only then prepares the next step: {call} "
        f"{often_words(longest.count, longest.ns)}.",
        placed(longest.place, call),
    )


_AFTER: Mapping[str, tuple[str, str]] = {
    "start": ("", "before the first batch"),
    "loading": ("a batch has come from the loader", "before the model is called"),
    "transfer": ("the transfer to the device", "before the model is called"),
    "forward": ("the model's call", ""),
    "backward": ("backward()", "before the optimizer's step"),
    "optimizer": ("optimizer.step()", "before the next {next}"),
    "evaluation": ("an evaluation pass", ""),
    "checkpoint": ("saving a checkpoint", ""),
}
"""What time in ``other`` follows, and what it comes before."""


def _other(process: ProcessRecord, evidence: Evidence) -> PartWords:  # noqa: ARG001
    name = "code besides loading, the model's passes and the optimizer"
    parts = process.recorder.other
    largest = max(parts, key=lambda fact: fact.ns, default=None)
    missing = [fact.boundary for fact in process.recorder.missing]
    gone = f" No {listed(missing, 'or')} was found: its time would stand here." if missing else ""
    if largest is None or not largest.ns:
        return PartWords("other_bound", name, gone.strip())
    share = largest.ns / sum(fact.ns for fact in parts)
    much = "Most of it" if share > 0.5 else "The largest part of it"
    sentence = f"{much} ({render_share(share)}) is {_between(largest, process)}.{gone}"
    return PartWords("other_bound", name, sentence, _after_where(largest))


def _between(fact: OtherFact, process: ProcessRecord) -> str:
    """Return where time in ``other`` lies: after a call at its line, and before the next."""
    after, before = _AFTER[fact.after]
    at = f" at {fact.place.text}" if fact.place else ""
    following = before.format(next="batch" if process.loader else "forward pass")
    return " and ".join(filter(None, (f"after {after}{at}" if after else "", following)))


def _after_where(fact: OtherFact) -> str:
    after = _AFTER[fact.after][0]
    return placed(fact.place, f"after {after}") if fact.place and after else ""


_PASSES = {
    "transfer": "the transfer of batches to the device",
    "forward": "the forward pass, the loss included",
    "backward": "the backward pass",
    "optimizer": "the optimizer's step",
}


def _computing(process: ProcessRecord, evidence: Evidence) -> PartWords:
    wall_ns, most = evidence.wall_ns, dominant_phase(evidence)
    shares = [
        f"{phase} {render_share(evidence.spent_ns(phase) / wall_ns)}"
        for phase in COMPUTING
        if evidence.spent_ns(phase)
    ]
    name = f"computing, most of it {_PASSES[most]}" if most else "computing"
    code = f"{most}_bound" if most else "compute_bound"
    sentence = f"Of it: {', '.join(shares)}." if len(shares) > 1 else ""
    return PartWords(code, name, sentence, _computed_where(process, most or "forward"))


def _computed_where(process: ProcessRecord, phase: str) -> str:
    recorder = process.recorder
    if phase == "optimizer":
        busiest = max(recorder.optimizers, key=lambda fact: fact.steps, default=None)
        place = (busiest.stepped_at or busiest.place) if busiest else None
        return placed(place, optimizer_call(busiest)) if busiest else ""
    if phase == "backward":
        place = next((fact.place for fact in recorder.other if fact.after == "backward"), None)
        return placed(place, "backward()") if place else ""
    largest = max(recorder.roots, key=lambda fact: fact.parameters, default=None)
    return placed(largest.place, largest.class_name) if largest and phase == "forward" else ""


_WORDS: Mapping[str, Callable[[ProcessRecord, Evidence], PartWords]] = {
    "loading": _loading,
    "computing": _computing,
    "gap": _gap,
    "evaluation": _evaluation,
    "checkpoint": _checkpoint,
    "other": _other,
}
