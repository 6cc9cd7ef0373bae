"""A document as Markdown beside SVG files: for a repository, a wiki or a printed hand-in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from laptime.errors import printable
from laptime.report.charts.style import Figure
from laptime.report.document import Document, Section
from laptime.report.words.blocks import CHOSEN, Block, Command, Listing, Prose, Table, Words
from laptime.report.words.glossary import WORDS

_BAR, _ESCAPED_BAR = r"(?<!\\)\|", r"\\|"

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!&$:])")
"""What Markdown, or HTML in it, would read as markup; a colon ends a link's scheme."""


def render_markdown(document: Document) -> str:
    """Return the document as Markdown (https://github.github.com/gfm/); charts are in figures/."""
    return "\n\n".join(filter(None, _parts(document))) + "\n"


def _parts(document: Document) -> Iterator[str]:
    yield f"# {_text(document.headline)}"
    if document.stamp:
        reasons = "; ".join(document.stamp.reasons)
        yield f"**{_text(document.stamp.text)}**{f': {_text(reasons)}' if reasons else ''}"
    yield _list(document.facts)
    yield from map(_figure, document.lead)
    if document.cards:
        cards = [(card.part, card.question, card.answer) for card in document.cards]
        yield _table(Table.of(("part", "question", "answer"), cards, "<<<"))
    for command in document.commands:
        yield _fence(command)
    yield _text(document.cost)
    yield _titled("Not concluded", _list(document.limits), level=2)
    for section in document.sections:
        yield from _section(section)
    yield _titled("Words", _list([f"{term}: {text}" for term, text in WORDS]), level=2)
    if document.sources:
        rows = [(s.path, str(s.size_bytes), s.sha256) for s in document.sources]
        files = Table.of(("file", "bytes", "SHA-256"), rows, "<><")
        yield _titled("Files that the figures come from", _table(files), level=2)


def _section(section: Section) -> Iterator[str]:
    yield f"## {_text(f'{section.part} {section.title}'.strip())}"
    yield f"*{_text(section.question)}*" if section.question else ""
    yield f"**{_text(section.answer)}**" if section.answer else ""
    yield from map(_figure, section.figures)
    yield from _blocks(section.blocks)
    yield _titled("Why", "\n\n".join(map(_text, section.reasons)))
    yield from _blocks(section.troubles)
    method = [f"{term}: {text}" for term, text in section.method]
    yield _titled("How it was measured", _list(method))
    yield _fence(section.command) if section.command else ""
    yield f"Raw samples: {_code(section.record)}" if section.record else ""
    yield _titled("Not concluded", _list(section.not_concluded))


def _titled(title: str, body: str, level: int = 3) -> str:
    return f"{'#' * level} {title}\n\n{body}" if body else ""


def _list(items: Sequence[str]) -> str:
    return "\n".join(f"- {_text(item)}" for item in items if item)


def _figure(figure: Figure) -> str:
    note = f"{_text(figure.note)}\\\n{_text(figure.where)}"
    return f"![{_text(figure.title)}](figures/{figure.name}.svg)\n\n{note}"


def _blocks(blocks: Iterable[Block]) -> Iterator[str]:
    for block in blocks:
        match block:
            case Prose():
                yield _text(block.text)
            case Words():
                yield _text(f"{block.lead.strip()} {' · '.join(block.words)}".strip())
            case Command():
                yield f"{_text(block.lead)} {_code(block.text)}".strip()
            case Listing():
                yield _fenced(block.lines())
            case Table() if block.rows:
                yield _table(block.without_empty())


def _fenced(lines: Sequence[str]) -> str:
    """Return lines between fences that are longer than any in them."""
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([fence, *lines, fence])


def _table(table: Table) -> str:
    keep = len(table.head) - table.sketched
    head = [" ".join(cell.split()) for cell in table.head[:keep]]
    marks = ["---" if how == "<" else "--:" for how in table.align[:keep]]
    rows = [head, *(row[:keep] for row in table.rows)]
    lines = [_line([_text(cell.replace(CHOSEN, "recommended")) for cell in row]) for row in rows]
    return "\n".join([lines[0], _line(marks), *lines[1:]])


def _line(cells: Sequence[str]) -> str:
    """Return a row; a bar ends a cell even inside of code (GFM, tables)."""
    return f"| {' | '.join(re.sub(_BAR, _ESCAPED_BAR, cell) for cell in cells)} |"


def _text(text: str) -> str:
    """Return text as it is to be read: no character of it is markup, but backticks make code."""
    # Code that holds nothing but blanks would be two backticks, which open a span of their own.
    parts = re.split(r"`([^`]*[^` ][^`]*)`", printable(text))
    return "".join(
        _code(part) if number % 2 else _escaped(part) for number, part in enumerate(parts)
    )


def _escaped(text: str) -> str:
    safe = _SPECIAL.sub(r"\\\1", text).replace("\\<", "&lt;").replace("\\>", "&gt;")
    # A plain colon reads better; only a scheme before it would become a link.
    safe = re.sub(r"(?<!http)(?<!https)(?<!ftp)(?<!mailto)\\:", ":", safe, flags=re.IGNORECASE)
    # What would begin a list: its mark is escaped, which of a number is the dot behind it.
    return re.sub(r"^(\d*)([-+.)])(?=\s|$)", r"\1\\\2", safe)


def _code(text: str) -> str:
    """Return a code span that holds the text, backticks included."""
    clean = printable(text)
    longest = max((len(found) for found in re.findall("`+", clean)), default=0)
    ticks = "`" * (longest + 1)
    space = " " if longest else ""
    return f"{ticks}{space}{clean}{space}{ticks}"


def _fence(text: str) -> str:
    clean = printable(text)
    longest = max((len(found) for found in re.findall("`+", clean)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks}sh\n{clean}\n{ticks}"
