from __future__ import annotations

import re

from tests.report.labs import lab, studies
from tests.report.test_html import embedded, page_of
from tests.report.test_run import epoch, record

from laptime.report.lab import lab_document, lab_figures
from laptime.report.pages.html import render_html
from laptime.report.pages.markdown import render_markdown
from laptime.report.pages.publish import figures_of
from laptime.report.pages.terminal import card_lines, render_document

PARTS = ["C1", "C2", "C3", "C4", "C5", "C6", "C7", "Q1", "Q2", "Q3"]
"""Of a model that was stepped with SGD alone; Q4 asks for Adam."""


def test_each_question_has_a_card_in_the_order_of_the_lab_that_leads_to_its_section() -> None:
    document = lab_document(lab())
    slugs = {section.slug for section in document.sections}

    assert [card.part for card in document.cards][: len(PARTS)] == PARTS
    assert {card.slug for card in document.cards} <= slugs
    assert all(card.answer.endswith(".") for card in document.cards)


def test_the_headline_is_the_gain_that_fresh_blocks_proved() -> None:
    headline = lab_document(lab()).headline

    assert re.search(r"An epoch with 4 workers takes .* % less time than one with 2", headline)
    assert headline.endswith("on 5 fresh blocks.")


def test_without_a_proven_gain_the_headline_claims_none() -> None:
    found = {**studies()}
    details = {**found["workers"].details, "confirmation": None}
    found["workers"] = found["workers"].model_copy(update={"details": details})

    assert "fresh blocks" not in lab_document(lab(of=found)).headline


def test_sections_stand_in_the_order_of_the_lab_and_say_what_was_asked() -> None:
    sections = lab_document(lab()).sections

    assert [section.part for section in sections] == [
        "C1, C2", "C3, C4", "C5", "C6", "C7", "Q1 to Q4",
    ]  # fmt: skip
    assert all(section.question and section.answer for section in sections)
    assert all(section.method and section.not_concluded for section in sections)


def test_a_part_that_failed_says_why_instead_of_an_answer() -> None:
    found = studies()
    del found["devices"]
    ended = {"C5": {"status": "failed", "reason": "the disk is full"}}
    document = lab_document(lab(of=found, parts=ended))

    assert document.sections[2].answer == "This part is failed: the disk is full."
    assert "C5" not in [card.part for card in document.cards]
    assert document.stamp is not None
    assert "C5 is failed (the disk is full)" in document.stamp.reasons


def test_a_quick_lab_is_stamped_with_what_was_reduced() -> None:
    text = page_of(lab_document(lab())).text

    assert "Not fit to hand in width 8 instead of 64" in text


def test_a_lab_as_assigned_is_stamped_fit() -> None:
    document = lab_document(lab(width=64))

    assert document.stamp is not None
    assert document.stamp.is_fit
    assert "As assigned, on CIFAR-10" in page_of(document).text


def test_no_two_figures_of_a_lab_have_one_name() -> None:
    findings = lab()
    document = lab_document(findings, lab_figures(findings))
    names = [figure.name for figure in figures_of(document)]

    assert len(names) == len(set(names)) == 12
    assert names[:2] == ["run-ledger", "workers"]


def test_page_markdown_and_text_say_the_same_answers() -> None:
    document = lab_document(lab())
    text = " ".join(render_document(document))
    page = page_of(document).text.replace("\N{NO-BREAK SPACE}", " ")
    page = page.replace("\N{NON-BREAKING HYPHEN}", "-")
    markdown = render_markdown(document).replace("\\", "")

    for card in document.cards:
        for said in (text, page, markdown):
            assert card.answer in " ".join(said.split())
    assert len(card_lines(document)) >= len(document.cards)


def test_a_lab_page_holds_the_data_of_every_part_and_is_under_two_megabytes() -> None:
    run = record(*[epoch(n) for n in range(1, 101)])
    findings = lab(run=run)
    page = render_html(lab_document(findings, lab_figures(findings)))
    data = embedded(page, "laptime-data")

    assert len(page.encode()) < 2_000_000
    assert len(data["run"]["epochs"]) == 100
    assert set(data["studies"]) == {"workers", "devices", "optimizers", "batchnorm"}
    assert data["lab"]["parts"][0]["status"] == "completed"


def test_the_card_of_a_trained_study_begins_with_the_times_that_were_proven() -> None:
    answers = {card.part: card.answer for card in lab_document(lab()).cards}

    assert answers["C6"].startswith("Epoch time against SGD: Adadelta +")
    assert answers["C7"].startswith("Epoch time against with batch norm: without batch norm -")


def test_what_is_left_open_on_the_first_screen_says_how_much_more_there_is() -> None:
    limits = lab_document(lab()).limits

    assert "each part is a stretch of time of its own" in limits[0]
    assert any("more below)" in text for text in limits)
