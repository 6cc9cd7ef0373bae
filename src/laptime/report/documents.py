"""A run, a script's run or a study to a document of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from laptime.record import RunRecord
from laptime.report.answers import learned_answer, study_headline
from laptime.report.charts.style import Figure
from laptime.report.document import Document, Source
from laptime.report.runs.run import cost_words, run_subject
from laptime.report.scripts.run import cost_words as script_cost
from laptime.report.scripts.run import subject as script_subject
from laptime.report.scripts.section import limit_answer, script_section
from laptime.report.sections import run_section, study_section
from laptime.report.studies.study import quality, subject
from laptime.script import ScriptRecord
from laptime.study import StudyRecord

MOST_EMBEDDED = 2000
"""Epochs that a page holds as JSON; of more, the file is linked with its hash."""


def run_document(
    record: RunRecord, figures: Sequence[Figure] = (), sources: Sequence[Source] = ()
) -> Document:
    """Return the report of a run."""
    section = run_section(record, tuple(figures[1:]))
    return Document(
        title=f"laptime: {record.id}",
        headline=section.answer,
        facts=(learned_answer(record), *run_subject(record).values()),
        lead=tuple(figures[:1]),
        sections=(section.alone(),),
        commands=(section.command,),
        cost=cost_words(record),
        limits=section.not_concluded,
        sources=tuple(sources),
        data={"run": run_data(record)},
    )


def run_data(record: RunRecord) -> dict[str, Any]:
    """Return what a page embeds of a run: everything, but epochs only where they are not many."""
    return _without_many_epochs(record.document())


def _without_many_epochs(document: dict[str, Any]) -> dict[str, Any]:
    count = len(document["epochs"])
    if count <= MOST_EMBEDDED:
        return document
    return {**document, "epochs": f"{count} epochs: see epochs.jsonl"}


def script_document(
    record: ScriptRecord, figures: Sequence[Figure] = (), sources: Sequence[Source] = ()
) -> Document:
    """Return the report of a script's run."""
    section = script_section(record, tuple(figures[1:]))
    data = _without_many_epochs(record.document())
    data["processes"] = [_without_many_epochs(process) for process in data["processes"]]
    return Document(
        title=f"laptime: {record.id}",
        headline=section.answer,
        facts=tuple(filter(None, (limit_answer(record), *script_subject(record).values()))),
        lead=tuple(figures[:1]),
        sections=(section.alone(),),
        commands=(section.command,),
        cost=script_cost(record.main) if record.main else "",
        limits=section.not_concluded,
        sources=tuple(sources),
        data={"script": data},
    )


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
        sections=(section.alone(),),
        commands=(section.command,),
        limits=section.not_concluded,
        sources=tuple(sources),
        data={"study": record.document()},
    )


def _study_facts(record: StudyRecord) -> tuple[str, ...]:
    compared, *others = subject(record).values()
    return f"Compared: {compared}", *others, ", ".join(quality(record).words)
