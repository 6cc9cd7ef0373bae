"""The largest part of a script's time, if one is shown to be that, and the others worth saying."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from laptime.report.runs.findings import WORTH_SAYING, Finding
from laptime.report.scripts.commands import script_command
from laptime.report.scripts.parts import part_words
from laptime.report.words.lines import counted, listed
from laptime.report.words.verdicts import per_cent
from laptime.script import ProcessRecord, ScriptRecord
from laptime.statistics.script_evidence import (
    COMPUTING,
    GROUPS,
    LEAST_GAP,
    LEAST_NS,
    LEAST_STEPS,
    MIN_UNITS,
    Evidence,
    Judgement,
    judge_parts,
    saved_by_replay,
)
from laptime.study import Estimate
from laptime.units import render_duration, render_share, render_step_time, seconds

NO_LIMIT = "no_clear_limit"
"""The code of a run whose largest part is not named."""

AVOIDABLE = tuple(part for part in GROUPS if part != "computing")

_CONTRADICTED = 0.5
"""Of loading's share: where batches in memory save less, loading is not called the limit."""

_TUNED = {"loading", "computing"}
"""Parts that `laptime tune` has something to try for."""


@dataclass(frozen=True)
class ScriptFinding(Finding):
    """A finding with the line that it is about."""

    where: str = ""
    """``train.py:42 DataLoader(num_workers=0)``; empty where no line is known."""
    share: Estimate | None = None
    """Of the steady time; with an interval where enough was seen."""
    most_s: float | None = None
    """The most that fixing it could save: seconds an epoch, or a step where none is steady."""
    more_commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """A run, and what it is judged by."""

    record: ScriptRecord
    process: ProcessRecord
    evidence: Evidence

    @property
    def judgement(self) -> Judgement:
        """The two largest parts, and whether the first is shown to be that."""
        return judge_parts(self.process, self.evidence)

    @property
    def saved(self) -> Estimate | None:
        """What batches in memory saved of a step, where that was measured."""
        fact = self.process.recorder.headroom
        return saved_by_replay(fact) if fact else None

    def spent_s(self, part: str) -> float:
        """Return the seconds of a part, an epoch, or a step where no epoch is steady."""
        evidence = self.evidence
        count = len(evidence.pieces) if evidence.kind == "epochs" else max(1, evidence.steps)
        return seconds(evidence.spent_ns(part)) / count

    def spent_words(self, part: str) -> str:
        """Return share and time of a part: ``63 % [61, 65] of an epoch (5.1 s)``."""
        share, spent_s = per_cent(self.evidence.share(part)), self.spent_s(part)
        if self.evidence.kind == "epochs":
            return f"{share} of an epoch ({render_duration(spent_s)})"
        where = "the time after the first window" if self.evidence.units else "a cold epoch"
        return f"{share} of {where} ({render_step_time(spent_s)} a step)"


def limit_finding(case: Case) -> ScriptFinding:
    """Return the part that takes most, where it is shown to; else why none is named."""
    judgement, saved = case.judgement, case.saved
    if not judgement.is_clear:
        return _unclear(case, judgement)
    share = case.evidence.share(judgement.first)
    if judgement.first == "loading" and saved and saved.estimate < _CONTRADICTED * share.estimate:
        return _contradicted(case, saved)
    lead = "Limit" if judgement.reason == "interval" and share.estimate >= 0.5 else "Largest part"
    return _part_finding(case, judgement.first, lead)


def avoidable_findings(case: Case) -> list[ScriptFinding]:
    """Return the other parts worth a change, where shares are known well enough to say so."""
    judgement = case.judgement
    if judgement.reason not in {"interval", "size", "ambiguous"}:
        return []
    said = judgement.first if judgement.is_clear else ""
    parts = [part for part in AVOIDABLE if part != said]
    known = {part: case.evidence.share(part).estimate for part in parts}
    ordered = sorted(known, key=lambda part: -known[part])
    return [
        _part_finding(case, part, "Avoidable part") for part in ordered
        if known[part] >= WORTH_SAYING
    ]  # fmt: skip


def _part_finding(case: Case, part: str, lead: str) -> ScriptFinding:
    words = part_words(part, case.process, case.evidence)
    share, spent = case.evidence.share(part), case.spent_words(part)
    if part == "computing":
        loading = render_share(case.evidence.share("loading").estimate)
        perfect = f"; perfect loading would save at most {loading}" if case.process.loader else ""
        what = f"{lead}: {words.name}, {spent}."
        bound = f"Twice as fast it would save {render_share(share.estimate / 2)}{perfect}."
    else:
        what = f"{lead}: {words.name}."
        bound = f"It takes {spent}: removing all of it would save at most that."
    texts = (what, words.sentence, bound, _no_interval(case.evidence, share))
    return ScriptFinding(
        words.code,
        " ".join(filter(None, texts)),
        script_command(case.record, "tune") if part in _TUNED else None,
        where=words.where,
        share=share,
        most_s=case.spent_s(part),
        more_commands=_more_commands(case, words.code),
    )


def _no_interval(evidence: Evidence, share: Estimate) -> str:
    """Return why a share has no interval; empty where it has one."""
    if share.low is not None:
        return ""
    if share.n >= MIN_UNITS:
        return (
            f"No interval: most of it lies outside of the windows; {MIN_UNITS + 1} whole epochs "
            f"would give one."
        )
    return (
        f"No interval: {counted(share.n, evidence.unit)} {'is' if share.n == 1 else 'are'} too few."
    )


def _more_commands(case: Case, code: str) -> tuple[str, ...]:
    if code != "loader_bound" or case.process.recorder.workers or not case.process.loader:
        return ()
    return (script_command(case.record, "run", "--workers"),)


def _unclear(case: Case, judgement: Judgement) -> ScriptFinding:
    sentence = _REASONS[judgement.reason](case)
    return ScriptFinding(NO_LIMIT, sentence, _next_look(case, judgement))


def _next_look(case: Case, judgement: Judgement) -> str | None:
    """Return what would tell more: batches in memory, or more steps where they were limited."""
    record = case.record
    if judgement.reason == "ambiguous":
        is_asked = case.evidence.share("loading").estimate >= WORTH_SAYING
        if is_asked and case.process.recorder.headroom is None and case.process.loader:
            return script_command(record, "run", "--headroom")
        return script_command(record, "tune")
    asked = record.status.steps_asked
    if judgement.reason in {"too_short", "cold"} and asked:
        return script_command(record, "run", f"--steps {max(300, 4 * asked)}")
    return None


def _too_short(case: Case) -> str:
    steps, wall_ns = case.process.steps, case.process.wall_ns
    if steps >= LEAST_STEPS and wall_ns >= LEAST_NS:
        found = f"{counted(case.evidence.steps, 'step')} in {_took(case.evidence)}"
        return f"No limit is named: too little came after the first epoch, {found}."
    least = f"{LEAST_STEPS} steps and {render_duration(seconds(LEAST_NS))}"
    found = f"{counted(steps, 'step')} in {render_duration(seconds(wall_ns))}"
    return f"No limit is named: {found} are too few; it takes at least {least}."


def _took(evidence: Evidence) -> str:
    return render_duration(seconds(evidence.wall_ns))


def _cold(case: Case) -> str:
    if case.evidence.kind == "cold":
        return (
            "No limit is named: there is nothing but the first window, which is cold: it pays for "
            "what later ones find ready."
        )
    return (
        f"No limit is named: all but {_took(case.evidence)} belong to the first window, which is "
        f"cold: it pays for what later ones find ready."
    )


def _ambiguous(case: Case) -> str:
    """Name the phases that are near to each other; those of computing with their sum."""
    evidence = case.evidence
    parts = [part for part in (*AVOIDABLE, *COMPUTING) if evidence.share(part).estimate >= 0.1]
    parts.sort(key=lambda part: -evidence.spent_ns(part))
    words = [f"{_NAMES.get(part, part)} {per_cent(evidence.share(part))}" for part in parts]
    computing = f"computing together {per_cent(evidence.share('computing'))}"
    together = f" ({computing})" if len([part for part in parts if part in COMPUTING]) > 1 else ""
    return (
        f"No clear limit: {listed(words) or computing} of the time{together}; none is shown to "
        f"lead by {LEAST_GAP * 100:g} % of it."
    )


_NAMES = {"loading": "data loading", "gap": "the device idle", "other": "other code"}


def _contradicted(case: Case, saved: Estimate) -> ScriptFinding:
    less = f"only {per_cent(saved)}" if saved.estimate > 0 else "nothing"
    return ScriptFinding(
        NO_LIMIT,
        f"No clear limit: data loading takes {case.spent_words('loading')}, but batches that were "
        f"in memory already saved {less}.",
        script_command(case.record, "tune"),
    )


_REASONS: Mapping[str, Callable[[Case], str]] = {
    "too_short": _too_short,
    "cold": _cold,
    "ambiguous": _ambiguous,
    "host_clock": lambda case: (
        f"No limit is named: {case.process.recorder.device_name} was timed by the host's clock "
        f"alone, which sees when work is handed over, not when it is done."
    ),
    "not_closed": lambda case: (
        f"No limit is named: what {case.process.recorder.device_name} did does not add up to the "
        f"time that passed, in more than half of the windows."
    ),
}
