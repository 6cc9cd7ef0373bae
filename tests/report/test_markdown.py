from __future__ import annotations

import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from tests.report.hostile import MARKUP, hostile_documents
from tests.report.studies import workers_record
from tests.report.test_html import Page, fixed, run

from laptime.report.charts.run import run_figures
from laptime.report.charts.study import study_figures
from laptime.report.document import Document, Section
from laptime.report.documents import run_document, study_document
from laptime.report.pages.markdown import render_markdown
from laptime.report.pages.publish import figures_of, write_report
from laptime.report.words.blocks import Prose, Table

READER = MarkdownIt("commonmark", {"html": True, "linkify": False}).enable(
    ["table", "strikethrough"]
)


def read(document: Document) -> Page:
    """Return the page that a reader of Markdown makes of a document."""
    return Page(READER.render(render_markdown(document)))


BENIGN = [read(document).tags for document in hostile_documents("fine", drawn=False)]


@pytest.mark.parametrize("number", range(60))
def test_no_character_of_a_users_is_markup(number: int) -> None:
    for document, benign in zip(
        hostile_documents(MARKUP[number], drawn=False), BENIGN, strict=True
    ):
        page = read(document)

        assert fixed(page.tags) == fixed(benign)
        assert set(page.tags) <= {*benign, "code"}
        assert not [a for a in page.attributes if a[1].startswith("on")]
        assert not [v for _, name, v in page.attributes if name in {"href", "src"}]


def test_every_figure_that_is_named_is_written(tmp_path: Path) -> None:
    study = workers_record()
    document = study_document(study, study_figures(study))
    written = write_report(document, tmp_path)

    named = re.findall(r"\((figures/[^)]+)\)", (tmp_path / "report.md").read_text())
    assert named == [f"figures/{figure.name}.svg" for figure in figures_of(document)]
    assert all((tmp_path / name).is_file() for name in named)
    assert written[0] == tmp_path / "report.html"


def test_a_report_that_is_built_again_is_the_same_byte_by_byte(tmp_path: Path) -> None:
    for place in ("a", "b"):
        record = run()
        write_report(run_document(record, run_figures(record)), tmp_path / place)

    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    assert len(files) == 4
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_format_that_is_not_asked_for_is_not_written(tmp_path: Path) -> None:
    write_report(run_document(run()), tmp_path, ["markdown"])

    assert not (tmp_path / "report.html").exists()
    assert (tmp_path / "report.md").is_file()


def test_tables_are_tables_and_numbers_stand_right() -> None:
    text = render_markdown(run_document(run()))

    assert "| --- | --: |" in text
    assert "| epoch 2 |" in text
    assert "| total |" in text


@pytest.mark.parametrize(
    "text", ["512. The map", "- a dash", "+ a plus", "1) one", "3.14 is not a list"]
)
def test_a_line_that_looks_like_a_list_is_read_as_it_stands(text: str) -> None:
    document = Document(title="t", headline="h", cost=text)

    page = read(document)
    assert text in " ".join(page.text.split())
    assert page.tags["ol"] == 0


def test_a_bar_in_a_command_is_read_as_a_bar_in_a_table_and_outside() -> None:
    table = Table.of(("command", "n"), [("`a | b`", "1")], "<>")
    section = Section(slug="s", title="s", answer="a", blocks=(table, Prose("`c | d`")))
    page = read(Document(title="t", headline="h", sections=(section,)))

    assert page.contents["code"] == ["a | b", "c | d"]
