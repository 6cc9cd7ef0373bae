from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from tests.report.hostile import MARKUP, hostile_documents
from tests.report.labs import lab
from tests.report.studies import (
    batchnorm_record,
    devices_record,
    optimizers_record,
    workers_record,
)
from tests.report.test_contrast import contrast
from tests.report.test_run import epoch, record

from laptime.report.charts.run import run_figures
from laptime.report.charts.sides import contrast_figures
from laptime.report.charts.study import study_figures
from laptime.report.comparisons.document import contrast_document
from laptime.report.document import Document
from laptime.report.documents import run_document, study_document
from laptime.report.lab import lab_document, lab_figures
from laptime.report.pages.html import render_html
from laptime.study import StudyRecord

NORMS = {name: [[f"layer{n}.conv", 0.1 / n] for n in range(1, 9)] for name in ("batch", "none")}


def of_study(study: StudyRecord) -> Document:
    return study_document(study, study_figures(study))


def of_run() -> Document:
    found = record(*[epoch(n) for n in range(1, 15)])
    return run_document(found, run_figures(found))


def of_lab() -> Document:
    found = lab()
    return lab_document(found, lab_figures(found))


DOCUMENTS = {
    "run": of_run,
    "workers": lambda: of_study(workers_record()),
    "optimizers": lambda: of_study(optimizers_record()),
    "batchnorm": lambda: of_study(batchnorm_record(details={"gradients": NORMS})),
    "devices": lambda: of_study(devices_record()),
    "comparison": lambda: contrast_document(contrast(), contrast_figures(contrast())),
    "lab": of_lab,
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("pages")
    found = {}
    for name, build in DOCUMENTS.items():
        found[name] = place / f"{name}.html"
        found[name].write_text(render_html(build()), encoding="utf-8")
    return found


def panels(document: Document) -> int:
    """Return how many charts a page shows; what leads may stand in its section once more."""
    sections = [figure for section in document.sections for figure in section.figures]
    return sum(len(figure.panels) for figure in (*document.lead, *sections))


def colours(picture: bytes) -> int:
    found = Image.open(io.BytesIO(picture)).convert("RGB").getcolors(maxcolors=1 << 20)
    return len(found or [])


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_chart_is_drawn_without_a_complaint_or_a_request(
    name: str, pages: dict[str, Path], visit: Any
) -> None:
    seen = visit(pages[name])
    charts = seen.page.locator("[data-chart]").all()

    assert len(charts) == panels(DOCUMENTS[name]())
    for chart in charts:
        assert chart.get_attribute("data-drawn") == "true"
        assert chart.locator("svg").count() == 1
        assert colours(chart.screenshot()) > 20  # neither blank nor a frame alone
    assert seen.complaints == []
    assert seen.requests == [pages[name].as_uri()]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_page_scrolls_sideways_on_a_phone(name: str, pages: dict[str, Path], visit: Any) -> None:
    page = visit(pages[name], viewport={"width": 390, "height": 844}).page

    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for chart in page.locator("[data-chart] svg").all():
        box = chart.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", DOCUMENTS)
def test_nothing_serious_keeps_people_from_reading(
    name: str, scheme: str, pages: dict[str, Path], visit: Any
) -> None:
    # The checker is put into the page, which the page's own policy forbids.
    page = visit(pages[name], color_scheme=scheme, bypass_csp=True).page
    found = Axe().run(page).response["violations"]

    serious = [rule for rule in found if rule["impact"] in {"serious", "critical"}]
    assert [(rule["id"], rule["nodes"][0]["html"][:200]) for rule in serious] == []


@pytest.mark.parametrize(("scheme", "other"), [("light", "dark"), ("dark", "light")])
def test_words_of_charts_take_the_colour_of_the_page(
    scheme: str, other: str, pages: dict[str, Path], visit: Any
) -> None:
    page = visit(pages["workers"], color_scheme=scheme).page
    ink = "getComputedStyle(document.body).color"
    label = "getComputedStyle(document.querySelector('.chart .role-axis-label text')).fill"
    first = page.evaluate(ink)

    assert page.evaluate(label) == first
    page.click("#theme")
    assert page.evaluate(ink) != first
    assert page.evaluate(label) == page.evaluate(ink)
    assert page.evaluate("document.documentElement.dataset.theme") == other


def test_a_long_table_is_sorted_by_the_column_that_is_clicked(
    pages: dict[str, Path], visit: Any
) -> None:
    page = visit(pages["run"]).page
    table = page.locator("table[data-sortable]")
    column = table.locator("tbody tr td:nth-child(2)")
    before = [float(text) for text in column.all_inner_texts()]

    for order, reverse in (("ascending", False), ("descending", True)):
        table.locator("thead th:nth-child(2) button").click()
        assert [float(t) for t in column.all_inner_texts()] == sorted(before, reverse=reverse)
        assert table.locator("thead th:nth-child(2)").get_attribute("aria-sort") == order
    assert table.locator("tfoot tr").count() == 2


def test_the_printed_page_is_light_and_whole(pages: dict[str, Path], visit: Any) -> None:
    page = visit(pages["workers"], color_scheme="dark").page
    page.emulate_media(media="print")

    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert not page.locator("#theme").is_visible()
    assert page.locator("[data-chart] svg").first.is_visible()
    assert len(page.pdf(format="A4")) > 20_000


def test_sixty_strings_of_markup_add_no_element_and_run_nothing(tmp_path: Path, visit: Any) -> None:
    path = tmp_path / "page.html"
    counts = []
    for text in ("fine " * len(MARKUP), " ".join(MARKUP)):
        document = hostile_documents(text, drawn=True)[1]
        path.write_text(render_html(document), encoding="utf-8")
        seen = visit(path)
        every = "Array.from(document.querySelectorAll('*'))"
        handlers = seen.page.evaluate(
            f"{every}.filter(e => e.getAttributeNames().some(n => n.startsWith('on'))).length"
        )
        tags = seen.page.evaluate(
            f"{every}.map(e => e.localName).filter(t => !['code', 'tspan'].includes(t)).sort()"
        )
        assert handlers == 0
        assert seen.complaints == []
        assert seen.requests == [path.as_uri()]
        counts.append(tags)
    assert counts[0] == counts[1]
