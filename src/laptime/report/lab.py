"""The whole lab as one document: a stamp, the answers as cards, and a section a part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from laptime.census import Inspection
from laptime.lab import INSPECTION, RUN, STUDIES, LabFindings, LabPart
from laptime.record import RunRecord
from laptime.report.answers import (
    learned_answer,
    one_worker_answer,
    run_answer,
    study_answer,
    study_headline,
)
from laptime.report.charts.run import run_figures
from laptime.report.charts.study import study_figures
from laptime.report.charts.style import Figure
from laptime.report.document import Card, Document, Section, Source, Stamp
from laptime.report.documents import run_data
from laptime.report.models.section import census_cards, census_section
from laptime.report.runs.run import cost_words, run_subject
from laptime.report.sections import run_section, study_section
from laptime.report.studies.study import subject
from laptime.study import StudyRecord

CODE = "train_plain.py"
"""Where a lab's directory has the training as code."""


def lab_document(
    findings: LabFindings,
    figures: dict[str, tuple[Figure, ...]] | None = None,
    sources: Sequence[Source] = (),
) -> Document:
    """Return the report of a lab, parts that are missing included.

    Args:
        findings: What its parts found so far.
        figures: By slug of the section; the first of the run and of the workers lead.
        sources: Files that the figures come from.
    """
    drawn = figures or {}
    sections = [_section(findings, part, drawn) for part in findings.record.parts]
    record = findings.run
    return Document(
        title=f"laptime: {findings.record.id}",
        headline=_headline(findings),
        facts=_facts(findings),
        stamp=Stamp(not findings.fit_reasons, findings.fit_reasons),
        cards=_cards(findings),
        lead=tuple(f for slug in ("run", "workers") for f in drawn.get(slug, ())[:1]),
        sections=tuple(sections),
        commands=(findings.record.command,),
        cost=cost_words(record) if record else "",
        limits=(*_ACROSS, *(_limit(section) for section in sections if section.not_concluded)),
        sources=tuple(sources),
        data=_data(findings),
    )


_ACROSS = (
    "why the same settings take another time in another part: each part is a stretch of time of "
    "its own, and only what stood in the same blocks is compared",
)


def _limit(section: Section) -> str:
    """Return the first thing that a part leaves open, and how many more there are."""
    first, *more = section.not_concluded
    rest = f" (and {len(more)} more below)" if more else ""
    return f"{section.part}: {first}{rest}"


def lab_figures(findings: LabFindings) -> dict[str, tuple[Figure, ...]]:
    """Return the figures of every part by the slug of its section, each with a name of its own."""
    figures = {name: study_figures(record) for name, record in findings.studies.items()}
    figures |= {"run": run_figures(findings.run)} if findings.run else {}
    return {
        slug: tuple(replace(figure, name=_file(slug, figure.name)) for figure in found)
        for slug, found in figures.items()
    }


def _file(slug: str, name: str) -> str:
    return name if name == slug else f"{slug}-{name}"


def _headline(findings: LabFindings) -> str:
    workers, record = findings.studies.get("workers"), findings.run
    if workers is not None:
        return study_headline(workers)
    if record is not None:
        return run_answer(record)
    found = [study_answer(record) for record in findings.studies.values()]
    if found:
        return found[0]
    return "Nothing was measured yet." if findings.inspection is None else "The model, counted."


def _facts(findings: LabFindings) -> tuple[str, ...]:
    """Return scale, data, settings and machine."""
    scale = f"{findings.record.scale.capitalize()} scale"
    if findings.run is not None:
        return scale, *run_subject(findings.run).values()
    subjects = [subject(record) for record in findings.studies.values()]
    known = [text for name, text in subjects[0].items() if name != "compared"] if subjects else []
    return (scale, *known)


def _section(
    findings: LabFindings, part: LabPart, figures: dict[str, tuple[Figure, ...]]
) -> Section:
    """Return the section of a part: what it found, or why it found nothing."""
    found = findings.of(part.part)
    match found:
        case RunRecord():
            section = run_section(found, figures.get("run", ()))
            code = ("Code", f"`{CODE}`: the same training as one plain PyTorch file")
            steps = ("Every step", "`data/steps.csv`: its loss and how many answers were right")
            section = replace(section, method=(*section.method, code, steps))
        case StudyRecord():
            section = study_section(found, figures.get(found.plan.study, ()))
        case Inspection():
            section = census_section(found)
        case _:
            slug = STUDIES.get(part.part, "run" if part.part == RUN else "model")
            section = Section(slug=slug, title="Not done", answer=_missing(part))
    return replace(section, part=part.part, question=part.question)


def _missing(part: LabPart) -> str:
    why = f": {part.reason.rstrip('.')}" if part.reason else ""
    return f"This part is {part.status.replace('_', ' ')}{why}."


def _cards(findings: LabFindings) -> tuple[Card, ...]:
    """Return the answers in the order of the lab."""
    cards: list[Card] = []
    if findings.run is not None:
        cards += [
            Card("C1", "Loss and training top-1", learned_answer(findings.run), "run"),
            Card("C2", "Where an epoch goes", run_answer(findings.run), "run"),
        ]
    for name, study_record in findings.studies.items():
        for part, question in _STUDY_CARDS[name]:
            answer = one_worker_answer if part == "C4" else study_answer
            cards.append(Card(part, question, answer(study_record), name))
    if findings.inspection is not None:
        cards += census_cards(findings.inspection)
    return tuple(cards)


_STUDY_CARDS = {
    "workers": (("C3", "How many loader workers"), ("C4", "One worker against the best")),
    "devices": (("C5", "The average epoch by device"),),
    "optimizers": (("C6", "Optimizers at one learning rate"),),
    "batchnorm": (("C7", "With and without batch norm"),),
}


def _data(findings: LabFindings) -> dict[str, Any]:
    record, inspection = findings.run, findings.inspection
    return {
        "lab": findings.record.document(),
        "run": run_data(record) if record else None,
        "studies": {name: study.document() for name, study in findings.studies.items()},
        INSPECTION: inspection.document() if inspection else None,
    }
