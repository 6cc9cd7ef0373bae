"""What a script's run shows, what matters most first: learning, the limit, what was measured."""

from __future__ import annotations

from laptime.phase import Phase
from laptime.report.runs.findings import not_falling, uneven_finding
from laptime.report.scripts.limits import Case, ScriptFinding, avoidable_findings, limit_finding
from laptime.report.words.verdicts import per_cent
from laptime.script import ScriptEpoch, ScriptRecord
from laptime.statistics.script_evidence import evidence_of
from laptime.study import Estimate
from laptime.units import render_share, render_step_time, seconds


def findings(record: ScriptRecord) -> list[ScriptFinding]:
    """Return what the run shows; empty where nothing was timed."""
    evidence = evidence_of(record.main) if record.main else None
    if record.main is None or evidence is None:
        return []
    case = Case(record, record.main, evidence)
    found = [
        _learning(case), _uneven(case), limit_finding(case), *avoidable_findings(case),
        _headroom(case), _workers(case),
    ]  # fmt: skip
    return [finding for finding in found if finding]


def _learning(case: Case) -> ScriptFinding | None:
    """Return a finding on a loss that is lost, or that does not fall.

    Of two optimizers, as those of a GAN, the sum of their losses need not fall.
    """
    lost = case.record.lost_loss
    if lost is not None:
        return ScriptFinding(
            "diverged",
            f"No finite loss was seen from epoch {lost.epoch}, step {lost.step} on. The times are "
            f"true; this is no training. Check that all inputs are finite, or take smaller steps.",
        )
    whole = [epoch for epoch in case.process.epochs if epoch.complete]
    if len(whole) < 2 or len(case.process.recorder.optimizers) > 1:
        return None
    sentence = not_falling(whole[0], whole[-1])
    return ScriptFinding("loss_does_not_fall", sentence) if sentence else None


def _uneven(case: Case) -> ScriptFinding | None:
    """Return a finding when epochs of as many steps took unlike times, evaluation apart."""
    steady = case.process.steady
    if len(steady) < 2 or len({epoch.steps for epoch in steady}) > 1:
        return None
    found = uneven_finding([_own_ns(epoch) for epoch in steady])
    return ScriptFinding(found.code, found.sentence) if found else None


def _own_ns(epoch: ScriptEpoch) -> int:
    """Return an epoch's time without what need not happen in every one."""
    return epoch.wall_ns - epoch.phases_ns[Phase.EVALUATION] - epoch.phases_ns[Phase.CHECKPOINT]


def _headroom(case: Case) -> ScriptFinding | None:
    """Return what batches in memory saved, beside the bound that the ledger gives."""
    fact, saved = case.process.recorder.headroom, case.saved
    if fact is None or saved is None:
        return None
    bound = render_share(case.evidence.share("loading").estimate)
    size = f"would save {per_cent(saved)} of a step" if _is_above_0(saved) else "would save nothing"
    few = "" if saved.low is not None else f" (n = {saved.n}: no interval)"
    sentence = (
        f"Perfect loading {size}, measured on {fact.batches} batches that were replayed from "
        f"memory{few}; by the ledger at most {bound}."
    )
    return ScriptFinding("headroom", sentence, share=saved)


def _is_above_0(value: Estimate) -> bool:
    return (value.estimate if value.low is None else value.low) > 0


def _workers(case: Case) -> ScriptFinding | None:
    """Return what making a sample takes, and which part of that takes most."""
    fact = case.process.recorder.workers
    if fact is None or not fact.samples:
        return None
    whole_ns = fact.getitem_ns + fact.collate_ns + fact.queue_ns
    transforms = [
        f"{one.name} {_each(one.ns, fact.samples)}"
        for one in sorted(fact.transforms, key=lambda one: -one.ns)
    ]
    inside = f", of which {', '.join(transforms)}" if transforms else ""
    sentence = (
        f"A sample takes {_each(whole_ns, fact.samples)} to make: __getitem__ "
        f"{_each(fact.getitem_ns, fact.samples)}{inside}; collate "
        f"{_each(fact.collate_ns, fact.samples)}; queue {_each(fact.queue_ns, fact.samples)}."
    )
    return ScriptFinding("workers", sentence)


def _each(spent_ns: int, samples: int) -> str:
    each_s = seconds(spent_ns) / samples
    return render_step_time(each_s) if each_s >= 1e-4 or not each_s else f"{each_s * 1e6:.0f} us"
