"""What was counted of a model as a section of a report, and as cards."""

from __future__ import annotations

from laptime.census import CensusRecord, Inspection
from laptime.report.document import Card, Section
from laptime.report.models import census
from laptime.report.models.tables import (
    arithmetic,
    layer_blocks,
    memory_blocks,
    roof_blocks,
    shape_words,
    state_blocks,
)
from laptime.report.words.arms import OPTIMIZERS
from laptime.report.words.lines import counted, machine_words
from laptime.units import render_count

_ASKED = {"Q3": "sgd", "Q4": "adam"}
"""The optimizers that the questions name."""


def census_section(found: Inspection) -> Section:
    """Return the section of a model: answers, gradients and state, arithmetic, layers."""
    return Section(
        slug="model",
        title="What the model is made of",
        answer=convolutions_answer(found.census),
        blocks=(
            *census.answers(found),
            *state_blocks(found),
            *memory_blocks(found),
            *arithmetic(found.census),
            *roof_blocks(found),
            *census.notes(found.census),
            *layer_blocks(found.census, None),
        ),
        method=(
            ("Counted", "one forward pass with hooks; then, with each optimizer, a step"),
            ("Machine", ", ".join(machine_words(found.machine))),
        ),
        not_concluded=(
            "how many gradients are not zero for other images: that depends on them",
            "that an epoch reaches its bound: norms, activations and loading come on top",
        ),
        command="laptime inspect --optimizers all",
    )


def convolutions_answer(counts: CensusRecord) -> str:
    """Return Q1 in a sentence."""
    found = counts.convolutions
    text = counted(found.total, "convolution")
    if found.main_path is None or found.projections is None:
        return f"{text}."
    return (
        f"{text}: {found.main_path} on the main path, {counted(found.projections, 'projection')}."
    )


def census_cards(found: Inspection) -> list[Card]:
    """Return the answers to Q1 to Q4."""
    counts = found.census
    linear = counts.linear
    last = "There is no linear layer."
    if linear.in_features is not None:
        last = f"{render_count(linear.in_features)}."
        if linear.last_map is not None:
            last += f" The map before pooling is {shape_words(linear.last_map)}."
    cards = [
        Card("Q1", "Convolutional layers", convolutions_answer(counts), "model"),
        Card("Q2", "Input of the last linear layer", last, "model"),
    ]
    for part, name in _ASKED.items():
        title = f"Parameters and gradients, {OPTIMIZERS[name]}"
        if name in counts.optimizers:
            cards.append(Card(part, title, _state_answer(counts, name), "model"))
    return cards


def _state_answer(counts: CensusRecord, name: str) -> str:
    state = counts.optimizers[name]
    return (
        f"{render_count(counts.parameters.trainable)} trainable parameters, "
        f"{render_count(state.gradient_elements)} gradients; optimizer state "
        f"{render_count(state.state_total)}."
    )
