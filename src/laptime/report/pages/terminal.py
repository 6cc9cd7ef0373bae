"""A document as lines of text: what ``laptime report --format text`` prints."""

from __future__ import annotations

from collections.abc import Iterator

from laptime.errors import printable
from laptime.report.document import Document, Section
from laptime.report.words.blocks import GAP, Block, Command, Prose, lines_of
from laptime.report.words.lines import WIDTH


def render_document(document: Document) -> list[str]:
    """Return the document as lines; charts are left to files."""
    return [line for section in _parts(document) for line in lines_of(section)]


def _parts(document: Document) -> Iterator[list[Block]]:
    yield [Prose(document.headline)]
    if document.stamp:
        reasons = f": {'; '.join(document.stamp.reasons)}" if document.stamp.reasons else ""
        yield [Prose(f"{document.stamp.text}{reasons}.")]
    yield [Prose(fact) for fact in document.facts]
    if document.cards:
        yield [GAP, *_cards(document)]
    for section in document.sections:
        yield _section(section)
    if document.cost:
        yield [GAP, Prose(document.cost)]
    if document.limits:
        yield [GAP, Prose(f"Not concluded: {'; '.join(document.limits)}.")]
    yield [Command(command, "Again: ") for command in document.commands]


def card_lines(document: Document) -> list[str]:
    """Return the answers of the first screen as lines."""
    return lines_of(_cards(document))


def _cards(document: Document) -> list[Block]:
    return [Prose(f"{card.part}: {card.answer}") for card in document.cards]


def _section(section: Section) -> list[Block]:
    title = printable(f"{section.part} {section.title}".strip())[:WIDTH]
    blocks: list[Block] = [GAP, Prose(title), Prose("-" * len(title)), Prose(section.answer)]
    blocks += [GAP, *section.blocks]
    for text in section.reasons:
        blocks += [GAP, Prose(text)]
    blocks += [GAP, *section.troubles] if section.troubles else []
    method = [Prose(f"{term}: {text}") for term, text in section.method]
    blocks += [GAP, *method]
    if section.not_concluded:
        blocks += [GAP, Prose(f"Not concluded: {'; '.join(section.not_concluded)}.")]
    return blocks
