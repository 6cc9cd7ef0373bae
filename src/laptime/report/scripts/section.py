"""A script's run as a section of a report: the answer, its figures, how it was measured."""

from __future__ import annotations

from laptime.report.answers import column_shares, epochs_answer
from laptime.report.charts.style import Figure
from laptime.report.document import Section
from laptime.report.scripts import run
from laptime.report.scripts.commands import script_command
from laptime.report.scripts.epochs import epochs_blocks, ranks_blocks
from laptime.report.scripts.findings import findings
from laptime.report.scripts.limits import NO_LIMIT
from laptime.report.words.blocks import GAP, Block, Words
from laptime.report.words.verdicts import per_cent
from laptime.script import ScriptRecord
from laptime.statistics.script_evidence import evidence_of
from laptime.units import render_step_time

NOT_CONCLUDED = (
    "whether a change would help: `laptime tune` changes one setting at a time and says",
    "how another hour or another machine would come out: this is one run, and its intervals say "
    "how steady it was",
)
"""What no single run says."""


def script_section(record: ScriptRecord, figures: tuple[Figure, ...] = ()) -> Section:
    """Return the section of a script's run."""
    subject = run.subject(record)
    steps = record.status.steps_asked
    blocks: list[Block] = []
    for part in (epochs_blocks, ranks_blocks, _ledger, run.found, run.advice):
        more = part(record)
        blocks += [GAP, *more] if blocks and more else more
    return Section(
        slug="script",
        title="The script, and where its time goes",
        answer=script_answer(record),
        figures=figures,
        blocks=tuple(blocks),
        method=(("What ran", subject["command"]), ("Machine", subject["machine"]), *_timed(record)),
        troubles=tuple(run.troubles(record)),
        not_concluded=NOT_CONCLUDED,
        command=script_command(record, "run", *([f"--steps {steps}"] if steps else [])),
        record=record.directory,
    )  # fmt: skip


def script_answer(record: ScriptRecord) -> str:
    """Say how long an epoch or a step takes and what part of it is loading, training, other."""
    evidence = evidence_of(record.main) if record.main else None
    if record.main is None or evidence is None:
        return "Nothing was timed: no process of the command took an optimizer step."
    if record.main.steady:
        return epochs_answer(record.main.steady)
    shares = column_shares(evidence.pieces)
    if evidence.step_s is None:
        return f"No epoch is whole but the first: {shares}."
    what = "after the first window" if evidence.kind == "after_first_window" else "of a cold epoch"
    return f"A step {what} takes {render_step_time(evidence.step_s)}: {shares}."


def limit_answer(record: ScriptRecord) -> str:
    """Say what limits the script and at which line, or why no limit is named; in a few words."""
    found = (f for f in findings(record) if f.code.endswith("_bound") or f.code == NO_LIMIT)
    limit = next(found, None)
    if limit is None:
        return ""
    first = limit.sentence.partition(". ")[0].rstrip(".")
    share = f", {per_cent(limit.share)}" if limit.share and "%" not in first else ""
    return f"{first}{share}{f': {limit.where}' if limit.where else ''}."


def _ledger(record: ScriptRecord) -> list[Block]:
    """Return the ledger with its phases as a table, for which a terminal has no room."""
    process = record.main
    evidence = evidence_of(process) if process else None
    if process is None or evidence is None:
        return []
    blocks = [
        block for block in run.ledger_blocks(record)
        if not (isinstance(block, Words) and not block.lead)
    ]  # fmt: skip
    return [run.phases_table(process, evidence), GAP, *blocks]


def _timed(record: ScriptRecord) -> tuple[tuple[str, str], ...]:
    evidence = evidence_of(record.main) if record.main else None
    if record.main is None or evidence is None:
        return ()
    return (
        ("Timed", f"one clock, every phase; {run.basis_words(record.main, evidence)}"),
        ("Intervals", f"over {len(evidence.units)} {evidence.unit}s of this run"),
    )
