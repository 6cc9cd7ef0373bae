"""A run, a study or a comparison to a document of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from laptime.record import RunRecord
from laptime.report import contrast as comparison
from laptime.report import run, study
from laptime.report.answers import learned_answer, study_headline
from laptime.report.blocks import GAP
from laptime.report.chart_style import Figure
from laptime.report.contrast_tables import figure_blocks, name_of
from laptime.report.document import Document, Section, Source
from laptime.report.sections import run_section, study_section
from laptime.statistics.contrast import Contrast
from laptime.study import StudyRecord

MOST_EMBEDDED = 2000
"""Epochs that a page holds as JSON; of more, the file is linked with its hash."""


def run_document(
    record: RunRecord, figures: Sequence[Figure] = (), sources: Sequence[Source] = ()
) -> Document:
    """Return the report of a run."""
    section = run_section(record, tuple(figures[1:]))
    subject = run.run_subject(record)
    return Document(
        title=f"laptime: {record.id}",
        headline=section.answer,
        facts=(learned_answer(record), *subject.values()),
        lead=tuple(figures[:1]),
        sections=(_alone(section),),
        commands=(section.command,),
        cost=run.cost_words(record),
        limits=section.not_concluded,
        sources=tuple(sources),
        data={"run": run_data(record)},
    )


def run_data(record: RunRecord) -> dict[str, Any]:
    """Return what a page embeds of a run: everything, but epochs only where they are not many."""
    document = record.document()
    if len(record.epochs) > MOST_EMBEDDED:
        document["epochs"] = f"{len(record.epochs)} epochs: see epochs.jsonl"
    return document


def study_document(
    record: StudyRecord, figures: Sequence[Figure] = (), sources: Sequence[Source] = ()
) -> Document:
    """Return the report of a study."""
    section = study_section(record, tuple(figures[1:]))
    return Document(
        title=f"laptime: {record.id}",
        headline=study_headline(record),
        facts=_study_facts(record),
        lead=tuple(figures[:1]),
        sections=(_alone(section),),
        commands=(section.command,),
        limits=section.not_concluded,
        sources=tuple(sources),
        data={"study": record.document()},
    )


def _study_facts(record: StudyRecord) -> tuple[str, ...]:
    compared, *others = study.subject(record).values()
    return f"Compared: {compared}", *others, ", ".join(study.quality(record).words)


def _alone(section: Section) -> Section:
    """Return a section without what the first screen says already."""
    return replace(section, answer="", not_concluded=())


def contrast_document(contrast: Contrast) -> Document:
    """Return the report of a comparison."""
    sides = (("A", contrast.a), ("B", contrast.b))
    headline = comparison.headline(contrast)
    no_verdict = (comparison.NO_VERDICT,) if contrast.uncontrolled else ()
    command = f"laptime compare {name_of(contrast.a)} {name_of(contrast.b)}"
    section = Section(
        slug="comparison",
        title="A against B",
        answer=headline,
        blocks=(
            *comparison.differences(contrast), GAP, *figure_blocks(contrast),
            *comparison.method(contrast),
        ),
        reasons=no_verdict,
        troubles=tuple(comparison.troubles(contrast)),
        not_concluded=tuple(comparison.not_concluded(contrast)),
        command=command,
    )  # fmt: skip
    return Document(
        title="laptime: a comparison",
        headline=headline,
        facts=tuple(f"{label} is {name_of(side)}" for label, side in sides),
        sections=(_alone(section),),
        commands=(command,),
        limits=section.not_concluded,
        data={"comparison": contrast.document()},
    )
