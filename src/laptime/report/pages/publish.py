"""A document to files: one page, one Markdown text, and the figures of both."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from laptime.files import make_directory, sha256_of, write_atomically
from laptime.report.charts.study import write_figures
from laptime.report.charts.style import Figure, svg_of
from laptime.report.document import Document, Source
from laptime.report.pages.html import render_html
from laptime.report.pages.markdown import render_markdown

FORMATS = ("html", "markdown")


def write_report(
    document: Document, directory: Path, formats: Sequence[str] = FORMATS
) -> list[Path]:
    """Write the document in some formats; equal documents give equal bytes.

    Figures come first, so that a page never names a file that is not there.

    Returns:
        What was written, the page first.

    Raises:
        StoreError: The disk refuses.
    """
    make_directory(directory)
    drawn = write_figures(figures_of(document), directory / "figures", {"svg": svg_of})
    written = []
    for name, suffix, render in (
        ("html", "html", render_html),
        ("markdown", "md", render_markdown),
    ):
        if name in formats:
            path = directory / f"report.{suffix}"
            write_atomically(path, render(document).encode())
            written.append(path)
    return [*written, *drawn]


def figures_of(document: Document) -> list[Figure]:
    """Return all figures of a document, each once, those of the first screen first."""
    every = [*document.lead, *(figure for s in document.sections for figure in s.figures)]
    return list({figure.name: figure for figure in every}.values())


def sources_of(paths: Iterable[Path], base: Path) -> tuple[Source, ...]:
    """Return the files that are there, with their hashes; named as seen from the report.

    Raises:
        StoreError: One cannot be read.
    """
    return tuple(
        Source(_seen_from(base, path), path.stat().st_size, sha256_of(path))
        for path in paths
        if path.is_file()
    )


def _seen_from(base: Path, path: Path) -> str:
    return Path(os.path.relpath(path.resolve(), base.resolve())).as_posix()
