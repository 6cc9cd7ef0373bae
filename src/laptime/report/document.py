"""What a report says, once, for every format: sections with an answer, charts, tables, limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from laptime.report.charts.style import Figure
from laptime.report.words.blocks import Block

Texts = tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """One question: its answer, what shows it, how it was measured, and what it does not say."""

    slug: str
    """Names its anchor and its figures: lower-case letters and hyphens."""
    title: str
    answer: str
    """One sentence."""
    part: str = ""
    """Of the lab: C3, C4."""
    question: str = ""
    figures: tuple[Figure, ...] = ()
    blocks: tuple[Block, ...] = ()
    reasons: Texts = ()
    """Paragraphs that say why."""
    method: tuple[tuple[str, str], ...] = ()
    """How it was measured: a term and what is to be said of it."""
    troubles: tuple[Block, ...] = ()
    """Processes lost, turns disturbed, refusals."""
    not_concluded: Texts = ()
    """Each completes the sentence "Not concluded: ..."."""
    command: str = ""
    """What to type to repeat it."""
    record: str = ""
    """The directory of its raw samples."""

    def alone(self) -> Section:
        """Return the section without what a first screen that is about it alone says already."""
        return replace(self, answer="", not_concluded=())


@dataclass(frozen=True)
class Card:
    """An answer on the first screen."""

    part: str
    question: str
    answer: str
    slug: str
    """The section that it leads to."""


@dataclass(frozen=True)
class Stamp:
    """Whether the results may be handed in, and why not."""

    is_fit: bool
    reasons: Texts = ()

    @property
    def text(self) -> str:
        """Return the stamp in words."""
        if self.is_fit:
            return "As assigned, on CIFAR-10"
        return "Not fit to hand in"


@dataclass(frozen=True)
class Source:
    """A file that figures come from, with its hash, so that a reader can check."""

    path: str
    """Relative to the report."""
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Document:
    """Everything that a report says."""

    title: str
    headline: str
    """The one sentence that matters most."""
    facts: Texts = ()
    """Data, scale, machine."""
    stamp: Stamp | None = None
    cards: tuple[Card, ...] = ()
    lead: tuple[Figure, ...] = ()
    """Charts of the first screen; sections do not show them again."""
    sections: tuple[Section, ...] = ()
    commands: Texts = ()
    cost: str = ""
    """What the measuring cost."""
    limits: Texts = ()
    """What was not concluded, most important first."""
    sources: tuple[Source, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    """Epochs and summaries, embedded as JSON."""
