"""A document as one HTML file that loads nothing: text, tables, charts and data in it.

Charts are drawn by Vega (https://vega.github.io/vega-embed/), which stands in the file once. The
policy forbids eval, so that Vega evaluates expressions with its interpreter (``ast``).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup, escape

import laptime
from laptime.errors import printable
from laptime.report.charts.style import Figure
from laptime.report.document import Document, Section
from laptime.report.words.blocks import (
    CHOSEN,
    Block,
    Command,
    Gap,
    Listing,
    Prose,
    Sketch,
    Table,
    Words,
)
from laptime.report.words.glossary import WORDS

LONG_TABLE = 10
"""Rows from which on a table can be sorted."""

_SHORT_TITLE = 13

_FIGURE_SPACE = "\u2007"
"""As wide as a digit."""


def render_html(document: Document) -> str:
    """Return the document as the text of one file.

    Everything that a user can name is escaped; only the three scripts and styles whose hashes
    stand in the policy are run, and no request is allowed.
    """
    style, script, bundle = _asset("report.css"), _asset("report.js"), vega_bundle()
    return _environment().get_template("report.html.jinja").render(
        document=document,
        glossary=WORDS,
        lead=[_figure(figure, "lead") for figure in document.lead],
        sections=[_section(section) for section in document.sections],
        policy=_policy(style, script, bundle),
        style=Markup(style),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        bundle=Markup(bundle),  # noqa: S704 - Vega's, with no end of a script in it
        version=laptime.__version__,
    )  # fmt: skip


def _policy(style: str, *scripts: str) -> str:
    """Return the content security policy: nothing but these scripts and this style.

    Vega positions its marks with style attributes, which cannot be named by a hash.
    """
    allowed = " ".join(_hash(script) for script in scripts)
    return (
        f"default-src 'none'; script-src {allowed}; style-src-elem {_hash(style)}; "
        f"style-src-attr 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


@cache
def vega_bundle() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script that may stand in a page."""
    import vl_convert

    # The stub asks for a snippet to add, which the function does not need.
    bundle: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]
    return re.sub(r"</(?=script)", r"<\\/", bundle, flags=re.IGNORECASE)


@cache
def _asset(name: str) -> str:
    path = resources.files("laptime.report.pages") / "templates" / name
    return path.read_text(encoding="utf-8")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"words": _words, "clean": printable, "json": _json, "link": _link}
    return environment


def _words(text: str) -> Markup:
    """Return text escaped, with what stands between backticks as code."""
    parts = re.split(r"`([^`]+)`", _cleaned(text))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(_kept_together(part))
        for number, part in enumerate(parts)
    )


def _kept_together(text: str) -> str:
    """Return text whose numbers stay with their units, and ranges of numbers on one line."""
    text = re.sub(r"(?<=\d) (?=(?:%|[mu]?s\b|min\b|[kMGT]?B\b))", "\N{NO-BREAK SPACE}", text)
    return re.sub(r"(?<=\d)-(?=\d)", "\N{NON-BREAKING HYPHEN}", text)


def _cleaned(text: str) -> str:
    """Return text without control characters; the spaces that align digits stay."""
    body = text.rstrip(_FIGURE_SPACE)
    return printable(body) + text[len(body) :]


def _json(value: Any) -> Markup:
    """Return a value as JSON that no parser takes for markup."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), default=str)
    escapes = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
    return Markup("".join(escapes.get(c, c) for c in text))  # noqa: S704 - just escaped


def _link(path: str) -> str:
    """Return a relative address: never a scheme, whatever the path is called."""
    return f"./{quote(printable(path))}"


@dataclass(frozen=True)
class _Cell:
    text: str
    is_number: bool


@dataclass(frozen=True)
class _Row:
    cells: tuple[_Cell, ...]
    is_chosen: bool


def _section(section: Section) -> dict[str, Any]:
    """Return a section as the template reads it."""
    fields = ("slug", "title", "answer", "part", "question", "reasons", "method",
              "not_concluded", "command", "record")  # fmt: skip
    return {
        **{name: getattr(section, name) for name in fields},
        "figures": [_figure(figure, section.slug) for figure in section.figures],
        "blocks": _blocks(section.blocks),
        "troubles": _blocks(section.troubles),
    }


def _figure(figure: Figure, slug: str) -> dict[str, Any]:
    """Return a figure with its panels as Vega-Lite, each as wide as its place."""
    name = f"{slug}-{figure.name}"
    panels = [
        {"id": f"chart-{name}-{number}", "spec": _spec(panel.to_dict())}
        for number, panel in enumerate(figure.panels, 1)
    ]
    return {
        "title": figure.title, "note": figure.note, "where": figure.where,
        "file": figure.name, "panels": panels,
    }  # fmt: skip


def _spec(spec: dict[str, Any]) -> dict[str, Any]:
    own = {key: value for key, value in spec.items() if key not in {"$schema", "config"}}
    return {**own, "width": "container", "autosize": {"type": "fit-x", "contains": "padding"}}


def _blocks(blocks: Iterable[Block]) -> list[dict[str, Any]]:
    """Return what a page shows of blocks: no gaps, and no charts in characters."""
    found: list[dict[str, Any]] = []
    for block in blocks:
        match block:
            case Gap() | Sketch():
                continue
            case Prose():
                found.append({"kind": "prose", "text": block.text})
            case Words():
                found.append({"kind": "words", "lead": block.lead.strip(), "words": block.words})
            case Command():
                found.append({"kind": "command", "lead": block.lead, "text": block.text})
            case Listing():
                found.append({"kind": "listing", "text": "\n".join(block.lines())})
            case Table() if block.rows:
                found.append(_table(block.without_empty()))
    return found


def _table(table: Table) -> dict[str, Any]:
    """Return a table with its numbers padded, so that decimal points align."""
    keep = len(table.head) - table.sketched
    columns = [
        _column([row[place] for row in table.rows], table.align[place]) for place in range(keep)
    ]
    rows = [_row(cells) for cells in zip(*columns, strict=True)]
    body = len(rows) - table.footer
    return {
        "kind": "table",
        "head": [
            _Cell(_short_together(" ".join(title.split())), how != "<")
            for title, how in zip(table.head[:keep], table.align, strict=False)
        ],
        "rows": rows[:body],
        "footer": rows[body:],
        "is_long": body >= LONG_TABLE,
    }


def _short_together(title: str) -> str:
    """Return a column's title, unbroken where it is short."""
    return title.replace(" ", "\N{NO-BREAK SPACE}") if len(title) <= _SHORT_TITLE else title


def _row(cells: Sequence[_Cell]) -> _Row:
    shown = tuple(_Cell(c.text.replace(CHOSEN, "recommended"), c.is_number) for c in cells)
    return _Row(shown, any(CHOSEN in cell.text for cell in cells))


def _column(texts: Sequence[str], how: str) -> list[_Cell]:
    if how != ".":
        return [_Cell(text, how == ">") for text in texts]
    tails = [len("".join(text.partition(".")[1:])) for text in texts]
    most = max(tails)
    return [
        _Cell(text + _FIGURE_SPACE * (most - tail), is_number=True)
        for text, tail in zip(texts, tails, strict=True)
    ]
