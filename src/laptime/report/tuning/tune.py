"""A tuning as lines of text and as a document: the gain, all that was tried, what to change."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from laptime.errors import printable
from laptime.phase import Phase
from laptime.report.charts.style import Figure
from laptime.report.document import Document, Section, Source
from laptime.report.tuning.tables import not_tried_blocks, tried_blocks
from laptime.report.words.blocks import GAP, Block, Listing, Prose, Words, lines_of
from laptime.report.words.lines import counted, listed
from laptime.report.words.tuning import gain_words, job_words, loss_words
from laptime.report.words.verdicts import change_cell, code_words, significant
from laptime.tune import ZONE, TuneRecord
from laptime.units import render_duration, render_seconds, render_share, render_step_time

LEFT_OUT = "evaluation and checkpoints left out"
"""Of the epochs that are compared: turns hold neither, so nothing is known of what they gain."""

_PARTS = {
    "loading": (Phase.DATA_WAIT,),
    "transfer": (Phase.TRANSFER,),
    "forward and backward": (Phase.FORWARD, Phase.BACKWARD),
    "optimizer": (Phase.OPTIMIZER,),
}


def render_tuning(record: TuneRecord) -> list[str]:
    """Return everything that is printed of a tuning, line by line."""
    blocks: list[Block] = [
        Prose(f"Tuned: {job_words(record)}"),
        *(Words((fact,)) for fact in facts(record)),
        GAP,
        *tried_blocks(record),
        *not_tried_blocks(record),
        *troubles(record),
        GAP,
        Prose(answer(record)),
        *change_blocks(record),
        GAP,
        Prose(f"Not concluded: {'; '.join(limits(record))}."),
        Prose(f"Kept in {record.directory}."),
    ]
    return lines_of(blocks)


def answer(record: TuneRecord) -> str:
    """Say what fresh blocks have shown, or that there is nothing to gain, in one sentence."""
    gain = record.gain
    if record.conclusion == "gain" and gain is not None and gain.row.ratio is not None:
        unit = "an epoch" if gain.row.quantity == "epoch_s" else "a step"
        left_out = f", {LEFT_OUT}" if gain.row.quantity == "epoch_s" else ""
        saved = gain_words(gain.row.ratio, gain.row.low, gain.row.high)
        before, after = _alike(gain.before_s, gain.after_s)
        losses = f"; {loss_words(gain.losses)}" if gain.losses else ""
        return (
            f"Verified on {gain.row.n} fresh blocks: {gain.name} takes {saved} for "
            f"{unit}{left_out}, {before} to {after}; {gain.numbers}{losses}."
        )
    return _ANSWERS.get(record.conclusion, _nothing)(record)


def _alike(before_s: float, after_s: float) -> tuple[str, str]:
    """Return two times in the unit of the longer one."""
    if max(before_s, after_s) < 1:
        return render_step_time(before_s), render_step_time(after_s)
    return f"{render_seconds(before_s)} s", f"{render_seconds(after_s)} s"


def _nothing(record: TuneRecord) -> str:
    refused = [tried for tried in record.tried if tried.outcome == "refused"]
    faster = [t for t in refused if t.row and t.row.ratio and t.row.ratio < 1 / (1 + ZONE)]
    if faster:
        names = listed([tried.name for tried in faster])
        return f"Nothing to gain that leaves the training as it is: {names} would change it."
    zone = render_share(ZONE)
    if not record.tried:
        return f"Nothing to gain: nothing that could be tried would save more than {zone}."
    return f"Nothing to gain: nothing that was tried was shown to save more than {zone}."


def _not_verified(record: TuneRecord) -> str:
    last = next((t for t in record.tried if t.stage == "confirmation"), None)
    if last is None:
        left = [tried.name for tried in record.tried if tried.outcome == "budget"]
        left += [known.name for known in record.not_tried if known.why == "budget"]
        names = listed(list(dict.fromkeys(left)))
        budget = render_duration(record.request.budget_s)
        return f"No gain is verified: the budget of {budget} held no verdict on {names}."
    return f"No gain is verified: on fresh blocks {last.name} was not confirmed ({last.why})."


def _refused(record: TuneRecord) -> str:
    codes = listed([code_words(refusal.code) for refusal in record.refusals])
    return f"Nothing is concluded: the tuning refuses ({codes})."


def _interrupted(record: TuneRecord) -> str:
    return f"Interrupted after {counted(record.blocks, 'block')}: no gain is verified."


_ANSWERS = {
    "not verified": _not_verified,
    "refused": _refused,
    "interrupted": _interrupted,
}


def facts(record: TuneRecord) -> list[str]:
    """Return what the unchanged job is, where it runs, and how much was measured."""
    pilot = record.pilot
    unit = "An epoch" if pilot.steps_per_epoch else "A step"
    left_out = f", {LEFT_OUT}," if pilot.steps_per_epoch else ""
    whole = f"{unit}{left_out} takes {render_step_time(pilot.epoch_s)}"
    machine = [pilot.device_name or pilot.device, counted(pilot.threads, "thread")]
    loader = pilot.loader
    if loader is not None:
        machine.append(
            counted(loader.num_workers, "worker") + (f" ({loader.place})" if loader.place else "")
        )
    machine.append(f"torch {pilot.torch}" if pilot.torch else "")
    return [
        f"{whole}: {', '.join(_shares(record))}",
        ", ".join(filter(None, machine)),
        ", ".join(_extent(record)),
    ]


def _shares(record: TuneRecord) -> Iterator[str]:
    """Yield the parts of an epoch of the unchanged job."""
    pilot = record.pilot
    edges = pilot.edges_s / pilot.epoch_s if pilot.steps_per_epoch else 0.0
    rest = 1.0
    for name, phases in _PARTS.items():
        share = (1 - edges) * sum(pilot.phases_ns[p] for p in phases) / max(1, pilot.wall_ns)
        share += edges if name == "loading" else 0.0
        rest -= share
        if share >= 0.005 or name == "loading":
            yield f"{name} {render_share(share)}"
    if rest >= 0.005:
        yield f"other {render_share(rest)}"


def _extent(record: TuneRecord) -> Iterator[str]:
    """Yield how much was measured, and how well."""
    order = "turns in random order" if record.design == "turns" else "one arm after another"
    yield f"{counted(record.blocks, 'block')}, {order}, {render_duration(record.wall_s)}"
    if record.resolution is not None:
        yield f"resolution {significant(min(record.resolution, 9.9) * 100)} %"
    again = record.again
    if again is not None and again.ratio is not None:
        if again.verdict == "equivalent":
            yield f"A/A passed: equal within {render_share(ZONE)}"
        elif again.verdict in {"faster", "slower"}:
            yield "A/A failed"
        else:
            yield f"A/A undecided ({change_cell(again)})"


def troubles(record: TuneRecord) -> list[Block]:
    """Return what a reader must know before believing: refusals, disturbed turns, notes."""
    found: list[Block] = [
        Prose(f"Refused ({code_words(refusal.code)}): {refusal.evidence} Next: {refusal.next}.")
        for refusal in record.refusals
    ]
    if record.contaminated_turns:
        turns = f"{record.contaminated_turns} of {counted(record.turns, 'turn')}"
        share = render_share(record.contaminated_turns / max(1, record.turns))
        found.append(Prose(f"{turns} ({share}) were disturbed by other programs."))
    found += [Prose(f"{note[:1].upper()}{note[1:].rstrip('.')}.") for note in record.notes]
    return [GAP, *found] if found else []


def change_blocks(record: TuneRecord) -> list[Block]:
    """Return what to change where, and the patch that does it."""
    if not record.changes:
        return []
    words = [Prose(change.words) for change in record.changes]
    found: list[Block] = [GAP, Prose("To change:"), *words]
    if record.diff:
        found += [GAP, Listing(record.diff)]
    return found


def limits(record: TuneRecord) -> tuple[str, ...]:
    """Return what the tuning does not say; each completes a sentence."""
    budget = [left.name for left in record.not_tried if left.why == "budget"]
    found = [f"what {listed(budget)} would do, which the budget did not hold"] if budget else []
    undecided = [
        tried.name
        for tried in record.tried
        if tried.row
        and tried.row.reason in {"interval_too_wide", "too_few_blocks"}
        and tried.stage in {"main", "confirmation"}
    ]
    if undecided:
        found.append(f"whether {listed(undecided)} gains anything")
    found.append("how another machine, other data or another hour would come out")
    if record.gain is not None and record.gain.losses is not None:
        found.append(
            f"what becomes of the loss after the first {counted(record.gain.losses.steps, 'step')}"
        )
    return tuple(found)


def tune_command(record: TuneRecord) -> str:
    """Return the command that makes the same tuning once more."""
    request = record.request
    words = ["laptime tune"]
    if request.budget_s != 600:
        words.append(f"--budget {request.budget_s:g}s")
    if request.allow_numerics:
        words.append("--allow-numerics")
    if request.blocks != 5:
        words.append(f"--blocks {request.blocks}")
    if request.only:
        words.append(f"--only {','.join(request.only)}")
    if request.command:
        words += ["--", shlex.join(request.command)]
    return " ".join(words)


def tune_document(
    record: TuneRecord, figures: Sequence[Figure] = (), sources: Sequence[Source] = ()
) -> Document:
    """Return the report of a tuning."""
    section = Section(
        slug="tune",
        title="What was tried",
        answer="",
        blocks=(*tried_blocks(record), *not_tried_blocks(record), *change_blocks(record)),
        method=tuple(zip(("Job", "Machine", "Measured"), facts(record), strict=True)),
        troubles=tuple(troubles(record)),
        not_concluded=(),
        command=tune_command(record),
        record=record.directory,
    )
    return Document(
        title=f"laptime: {record.id}",
        headline=answer(record),
        facts=(printable(f"Tuned: {job_words(record)}"), *facts(record)),
        lead=tuple(figures[:1]),
        sections=(section,),
        commands=(section.command,),
        limits=limits(record),
        sources=tuple(sources),
        data={"tuning": record.document()},
    )
