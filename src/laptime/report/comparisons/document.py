"""A comparison to a document of its own."""

from __future__ import annotations

from collections.abc import Sequence

from laptime.report.charts.style import Figure
from laptime.report.comparisons.contrast import (
    NO_VERDICT,
    differences,
    headline,
    method,
    not_concluded,
    troubles,
)
from laptime.report.comparisons.tables import figure_blocks, name_of
from laptime.report.document import Document, Section
from laptime.report.words.blocks import GAP
from laptime.statistics.contrast import Contrast


def contrast_document(contrast: Contrast, figures: Sequence[Figure] = ()) -> Document:
    """Return the report of a comparison."""
    sides = (("A", contrast.a), ("B", contrast.b))
    sentence = headline(contrast)
    no_verdict = (NO_VERDICT,) if contrast.uncontrolled else ()
    command = f"laptime compare {name_of(contrast.a)} {name_of(contrast.b)}"
    section = Section(
        slug="comparison",
        title="A against B",
        answer=sentence,
        blocks=(
            *differences(contrast), GAP, *figure_blocks(contrast),
            *method(contrast),
        ),
        reasons=no_verdict,
        troubles=tuple(troubles(contrast)),
        not_concluded=tuple(not_concluded(contrast)),
        command=command,
    )  # fmt: skip
    return Document(
        title="laptime: a comparison",
        headline=sentence,
        facts=tuple(f"{label} is {name_of(side)}" for label, side in sides),
        lead=tuple(figures),
        sections=(section.alone(),),
        commands=(command,),
        limits=section.not_concluded,
        data={"comparison": contrast.document()},
    )
