from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from html.parser import HTMLParser
from typing import Any

import pytest
from tests.report.hostile import COUNTED, MARKUP, hostile_documents
from tests.report.studies import batchnorm_record, optimizers_record, workers_record
from tests.report.test_run import epoch, record

from laptime.record import RunRecord
from laptime.report.charts.run import run_figures
from laptime.report.charts.study import study_figures
from laptime.report.document import Document, Stamp
from laptime.report.documents import run_document, study_document
from laptime.report.pages.html import LONG_TABLE, render_html, vega_bundle


class Page(HTMLParser):
    """The elements of a page, their attributes, and the text between them."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.contents: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        inside = self._open[-1] if self._open else ""
        self.contents.setdefault(inside, []).append(data)
        if inside not in {"script", "style"}:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def page_of(document: Document) -> Page:
    """Return the page without the one large script, which is not ours to test."""
    return Page(render_html(document).replace(vega_bundle(), ""))


def run(**given: Any) -> RunRecord:
    return record(epoch(1), epoch(2), epoch(3), **given)


def embedded(page: str, name: str) -> Any:
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.S)
    assert found is not None
    return json.loads(found[1])


def fixed(tags: Counter[str]) -> dict[str, int]:
    """Return the elements whose number does not depend on what was found."""
    return {tag: count for tag, count in tags.items() if tag not in COUNTED}


BENIGN = [page_of(document).tags for document in hostile_documents("fine", drawn=False)]


def test_there_are_sixty_different_strings_of_markup() -> None:
    assert len(set(MARKUP)) == 60


@pytest.mark.parametrize("number", range(60))
def test_markup_in_any_field_adds_no_element_and_no_handler(number: int) -> None:
    for document, benign in zip(
        hostile_documents(MARKUP[number], drawn=False), BENIGN, strict=True
    ):
        page = page_of(document)

        assert fixed(page.tags) == fixed(benign)
        assert set(page.tags) <= {*benign, "code"}
        assert not [a for a in page.attributes if a[1].startswith("on") or a[1] == "style"]
        links = [value for _, name, value in page.attributes if name in {"href", "src"}]
        assert all(re.match(r"#|figures/|\./|data:,$", link) for link in links)


def test_markup_in_a_charts_data_stays_data() -> None:
    text = "</script><script>alert(1)</script>"
    page = render_html(hostile_documents(text, drawn=True)[1])

    assert text not in page.replace(Page(page).contents["script"][0], "")
    spec = embedded(page, "chart-lead-workers-1")
    assert "layer" in spec


def test_the_policy_names_every_script_and_style_by_its_hash_and_allows_no_eval() -> None:
    page = render_html(run_document(run()))
    policy = next(v for t, n, v in Page(page).attributes if t == "meta" and "default-src" in v)

    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert "script-src 'sha256-" in policy
    for tag in ("script", "style"):
        for content in re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S):
            digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in policy


def test_the_page_is_under_two_megabytes_with_the_data_in_it() -> None:
    record_ = record(*[epoch(n) for n in range(1, 1001)])
    page = render_html(run_document(record_, run_figures(record_)))

    assert len(page.encode()) < 2_000_000
    data = embedded(page, "laptime-data")
    assert len(data["run"]["epochs"]) == 1000
    assert data["run"]["epochs"][7]["wall_ns"] == record_.epochs[7].wall_ns


def test_more_epochs_than_a_page_holds_are_said_to_be_in_the_file() -> None:
    record_ = record(*[epoch(n) for n in range(1, 2102)])
    page = render_html(run_document(record_))

    assert "epochs.jsonl" in embedded(page, "laptime-data")["run"]["epochs"]
    assert len(page.encode()) < 2_000_000
    assert "epochs are not shown" in Page(page).text


def test_equal_documents_give_equal_pages() -> None:
    made = [render_html(study_document(r, study_figures(r))) for r in [workers_record()] * 2]

    assert made[0] == made[1]


def test_a_long_table_can_be_sorted_and_its_totals_stay_below() -> None:
    short, long = (
        Page(render_html(run_document(record(*[epoch(n) for n in range(1, count + 1)]))))
        for count in (LONG_TABLE - 1, LONG_TABLE)
    )

    assert ("table", "data-sortable", "") not in short.attributes
    assert ("table", "data-sortable", "") in long.attributes
    assert long.tags["tfoot"] == 1


def test_a_chart_in_characters_is_drawn_instead() -> None:
    norms = {name: [["stem", 0.1], ["head", 0.2]] for name in ("batch", "none")}
    study = batchnorm_record(details={"gradients": norms})
    page = Page(render_html(study_document(study, study_figures(study))))

    assert "logarithmic" in page.text  # the chart's own words
    assert "·····" not in page.text
    assert "●" not in page.text.replace("● with", "").replace("○ without", "")


def test_each_section_says_how_it_was_measured_and_what_is_not_concluded() -> None:
    study = optimizers_record()
    text = Page(render_html(study_document(study))).text

    for words in ("How it was measured", "Measured", "To repeat it", "Not concluded", "Machine"):
        assert words in text


def test_a_stamp_says_why_a_report_is_not_fit_to_hand_in() -> None:
    document = run_document(run())
    stamp = Stamp(is_fit=False, reasons=("width 8 instead of 64",))
    page = Page(render_html(Document(**{**vars(document), "stamp": stamp})))

    assert "Not fit to hand in width 8 instead of 64" in page.text


def test_the_recommended_row_is_marked_by_a_word() -> None:
    page = Page(render_html(study_document(workers_record())))

    assert "recommended" in page.text
    assert "<--" not in page.text
