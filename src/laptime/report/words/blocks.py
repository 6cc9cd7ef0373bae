"""What reports are made of: paragraphs, tables, words in a row; the same for every format."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

from laptime.errors import printable
from laptime.report.words.lines import as_it_is, joined, prose, table

Cells = tuple[str, ...]

CHOSEN = "<--"
"""What marks the row that is recommended, in the cell beside its name."""


@dataclass(frozen=True)
class Prose:
    """A paragraph; names that users gave may be in it."""

    text: str

    def lines(self) -> list[str]:
        """Return the paragraph as a terminal shows it, without escapes."""
        return prose(printable(self.text))


@dataclass(frozen=True)
class Words:
    """Some findings in a row, each too short for a sentence."""

    words: Cells
    lead: str = ""
    indent: str = ""

    def lines(self) -> list[str]:
        """Return the words with dots between them."""
        return joined(list(map(printable, self.words)), self.lead, self.indent)


@dataclass(frozen=True)
class Table:
    """Rows under a head, whose cells may have several lines.

    ``align`` has a letter a column, as in :func:`laptime.report.words.lines.table`.
    """

    head: Cells
    rows: tuple[Cells, ...]
    align: str
    sketched: bool = False
    """Whether the last column is a chart in characters: pages leave it out."""
    footer: int = 0
    """Rows at the end that are sums or means of those above."""

    @classmethod
    def of(
        cls,
        head: Sequence[str],
        rows: Iterable[Sequence[str]],
        align: str,
        *,
        sketched: bool = False,
        footer: int = 0,
    ) -> Self:
        """Return a table of any sequences."""
        return cls(tuple(head), tuple(map(tuple, rows)), align, sketched, footer)

    def without_empty(self) -> Table:
        """Return the table without the columns in which no row has anything; the first stays."""
        kept = [n for n in range(len(self.head)) if n == 0 or any(row[n] for row in self.rows)]
        return replace(
            self,
            head=tuple(self.head[n] for n in kept),
            rows=tuple(tuple(row[n] for n in kept) for row in self.rows),
            align="".join(self.align[n] for n in kept),
        )

    def lines(self) -> list[str]:
        """Return lines whose columns align."""
        rows = [list(map(printable, row)) for row in self.rows]
        return table(self.head, rows, self.align)


@dataclass(frozen=True)
class Sketch:
    """A chart in characters: pages draw it instead."""

    drawn: Cells

    def lines(self) -> list[str]:
        """Return it as it is."""
        return list(self.drawn)


@dataclass(frozen=True)
class Command:
    """Something to type, which is never broken into lines."""

    text: str
    lead: str

    def lines(self) -> list[str]:
        """Return what it is for, and the command."""
        return [as_it_is(f"{self.lead} {self.text}".lstrip())]


@dataclass(frozen=True)
class Listing:
    """Text whose every blank counts: a patch."""

    text: str

    def lines(self) -> list[str]:
        """Return its lines as they are, without escapes."""
        return [as_it_is(line) for line in self.text.splitlines()]


@dataclass(frozen=True)
class Gap:
    """An empty line of a terminal; pages have margins."""

    def lines(self) -> list[str]:
        """Return the empty line."""
        return [""]


GAP = Gap()

Block = Prose | Words | Table | Sketch | Command | Listing | Gap


def lines_of(blocks: Iterable[Block]) -> list[str]:
    """Return blocks as lines of text."""
    return [line.rstrip() for block in blocks for line in block.lines()]
