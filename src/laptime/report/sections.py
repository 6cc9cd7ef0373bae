"""Records to the sections of a report: the answer, charts, tables, method, limits."""

from __future__ import annotations

from laptime.record import RunRecord
from laptime.report.answers import run_answer, study_answer
from laptime.report.charts.style import Figure
from laptime.report.document import Section
from laptime.report.runs import run
from laptime.report.runs.epochs import best_words, epochs_table, left_out_words
from laptime.report.runs.findings import train_command
from laptime.report.studies import study
from laptime.report.studies.tables import TABLES
from laptime.report.words.blocks import Block, Prose, Words
from laptime.report.words.commands import study_command
from laptime.study import StudyRecord

SINGLE_RUN = (
    "whether a change would help: a study changes one setting and says",
    "how another seed, another hour or another machine would come out: this is one run",
)
"""What no single run says."""

_TERMS = {
    "compared": "Compared",
    "model and data": "Model and data",
    "settings": "Settings",
    "machine": "Machine",
}


def run_section(record: RunRecord, figures: tuple[Figure, ...] = ()) -> Section:
    """Return the section of a run."""
    blocks: list[Block] = []
    if record.epochs:
        notes = filter(None, (left_out_words(record.epochs), best_words(record)))
        blocks += [epochs_table(record), *(Prose(_sentence(note)) for note in notes)]
        blocks += [_named(block) for block in run.ledger_blocks(record)]
    return Section(
        slug="run",
        title="Training, and where its time goes",
        answer=run_answer(record),
        figures=figures,
        blocks=(*blocks, *run.advice(record)),
        method=_method(
            run.run_subject(record),
            ("Timed", run.timed_words(record)),
        ),
        troubles=tuple(run.troubles(record)),
        not_concluded=SINGLE_RUN,
        command=train_command(record),
        record=record.directory,
    )


def _named(block: Block) -> Block:
    """Return the words of the host's ledger with their title, which a terminal has no room for."""
    if isinstance(block, Words) and not block.lead:
        return Words(block.words, "Phases of a steady epoch: ")
    return Prose(_sentence(block.text)) if isinstance(block, Prose) else block


def _sentence(text: str) -> str:
    """Return a line of a terminal as a sentence."""
    return text[:1].upper() + text[1:].rstrip(".") + "."


def study_section(record: StudyRecord, figures: tuple[Figure, ...] = ()) -> Section:
    """Return the section of a study."""
    return Section(
        slug=record.plan.study,
        title=study.TITLES[record.plan.study],
        answer=study_answer(record),
        figures=figures,
        blocks=tuple(TABLES[record.plan.study](record)),
        reasons=record.explanation,
        method=_method(study.subject(record), ("Measured", ", ".join(study.quality(record).words))),
        troubles=tuple(study.troubles(record)),
        not_concluded=tuple(study.not_concluded(record)),
        command=study_command(record),
        record=record.directory,
    )


def _method(subject: dict[str, str], *more: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    return (*((_TERMS[name], text) for name, text in subject.items()), *more)
