"""What a model is made of, in blocks: the answers in sentences, and everything together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from laptime.census import CensusRecord, Inspection
from laptime.errors import printable
from laptime.report.models.tables import (
    arithmetic,
    layer_blocks,
    memory_blocks,
    norm_words,
    roof_blocks,
    shape_words,
    state_blocks,
)
from laptime.report.words.blocks import GAP, Block, Prose, Words, lines_of
from laptime.report.words.lines import counted, listed, machine_words, model_words
from laptime.units import render_count

COUNTING_RULE = (
    "Rule: a convolution module counts once, however often it is called. A projection is the only "
    "convolution on one side of an addition whose other side has two or more, both sides beginning "
    "at the same tensor: a shortcut that changes the shape. It is found by following the tensors, "
    "not by its name. The others are the main path."
)
NONZERO_RULE = (
    "That number is no property of the model: where a ReLU puts out 0 no gradient passes, and "
    "where it does depends on the samples."
)


def render_inspection(found: Inspection, depth: int | None = None) -> list[str]:
    """Return everything that is printed of a model, line by line."""
    sections = [
        head(found),
        layer_blocks(found.census, depth),
        answers(found),
        state_blocks(found),
        memory_blocks(found),
        arithmetic(found.census),
        roof_blocks(found),
        notes(found.census),
    ]
    spaced = [block for section in sections if section for block in (GAP, *section)]
    return lines_of(spaced[1:])


def head(found: Inspection) -> list[Block]:
    """Return which model it is, what it was given, and on which machine."""
    census = found.census
    settings = {"model": census.model, "width": census.width, "norm": census.norm}
    given, limit = f"a sample is {shape_words(census.sample.shape)}", census.sample.tokens
    if limit is not None:
        given += f" of whole numbers below {render_count(limit)}"
    words = (model_words(settings, census.parameters.trainable), given)
    return [Words(words), Prose(", ".join(machine_words(found.machine)))]


def answers(found: Inspection) -> list[Block]:
    """Return Q1 to Q4 in sentences; without these labels for a model that is not the lab's."""
    census = found.census
    q1, q2, q3 = ("Q1: ", "Q2: ", "Q3, Q4: ") if census.norm else ("", "", "")
    sentences = [
        q1 + convolutions(census),
        *([COUNTING_RULE] if census.convolutions.total else []),
        q2 + last_linear(census),
        q3 + parameters(census),
        gradients(census),
    ]
    if found.twin is not None:
        sentences.append(twin_words(found.twin))
    return list(map(Prose, sentences))


def convolutions(census: CensusRecord) -> str:
    """Return how many convolutions, linear and norm layers there are."""
    found = census.convolutions
    text = counted(found.total, "convolution") if found.total else "No convolution"
    if found.total and found.main_path is not None and found.projections is not None:
        text += (
            f", {found.main_path} on the main path and {counted(found.projections, 'projection')}"
        )
    if found.by_kernel:
        text += f". By kernel: {_tally(found.by_kernel)}"
    if found.by_stage:
        text += f". By the size of the maps put out: {_tally(found.by_stage)}"
    linear = counted(census.linear.total, "linear layer")
    return f"{text}. {linear}; norm layers: {_tally(census.norms) or 'none'}."


def last_linear(census: CensusRecord) -> str:
    """Return what the last linear layer takes and gives, and the last map before it."""
    found = census.linear
    if found.last is None or found.in_features is None or found.out_features is None:
        return "There is no linear layer."
    text = (
        f"Last linear layer, {printable(found.last) or 'the model itself'}: "
        f"{counted(found.in_features, 'input')}, {counted(found.out_features, 'output')}."
    )
    if found.last_map is None:
        return text
    shape = shape_words(found.last_map)
    if found.in_features == found.last_map[0]:
        return f"{text} Before pooling: {shape}, so one input a channel."
    return f"{text} Its input is a map of {shape}, flattened."


def parameters(census: CensusRecord) -> str:
    """Return how many parameters there are, and how many gradients."""
    found, largest = census.parameters, census.passes[-1]
    frozen = f", and {render_count(found.frozen)} frozen ones" if found.frozen else ""
    text = (
        f"{render_count(found.trainable)} trainable parameters in "
        f"{counted(found.tensors, 'tensor')}{frozen}, whichever optimizer trains them."
    )
    elements = render_count(largest.gradient_elements)
    tensors = counted(largest.gradient_tensors, "tensor")
    if largest.gradient_elements == found.trainable:
        return (
            f"{text} A backward pass gives each a gradient: {elements} gradient elements in "
            f"{tensors}, with every optimizer too. Optimizers differ in the state that they keep."
        )
    return f"{text} A backward pass gives {elements} of them, in {tensors}, a gradient."


def gradients(census: CensusRecord) -> str:
    """Return how many gradients were not zero, and what that depends on."""
    return f"Of the gradients {_nonzero(census)}. {NONZERO_RULE}"


def twin_words(twin: CensusRecord) -> str:
    """Return what the built-in model has with the other norm."""
    found = twin.parameters
    return (
        f"{norm_words(twin).capitalize()}: {render_count(found.trainable)} parameters and "
        f"{render_count(twin.passes[-1].gradient_elements)} gradient elements in "
        f"{counted(found.tensors, 'tensor')}, of which {_nonzero(twin)}."
    )


def _nonzero(census: CensusRecord) -> str:
    few, many = census.passes[0], census.passes[-1]
    return (
        f"{render_count(few.nonzero_gradients)} were not zero for "
        f"{counted(few.samples, 'random sample')} and {render_count(many.nonzero_gradients)} for "
        f"{render_count(many.samples)}"
    )


def notes(census: CensusRecord) -> list[Block]:
    """Return what a reader must know to read the counts right."""
    return [Prose(f"Note: {text}.") for text in _notes(census)]


def _notes(census: CensusRecord) -> Iterator[str]:
    found, layers = census.convolutions, census.layers
    if found.uncalled:
        yield (
            f"{found.uncalled} of {counted(found.total, 'convolution')} not called in evaluation "
            f"mode, so on neither path"
        )
    if found.functions:
        yield (
            f"{counted(found.functions, 'convolution')} more that a function computes and no "
            f"module: not counted above, though the arithmetic is; so projections cannot be told "
            f"from the main path"
        )
    elif found.total and found.projections is None:
        yield (
            "projections cannot be told from the main path, because not every convolution can be "
            "followed from the input to the output"
        )
    again = sum(layer.is_leaf and layer.calls > 1 and layer.parameters > 0 for layer in layers)
    if again:
        yield f"{counted(again, 'layer')} called more than once: the arithmetic counts each time"
    attention = sum(layer.kind == "MultiheadAttention" for layer in layers)
    if attention:
        yield (
            f"{counted(attention, 'attention module')}: of the matrices only out_proj is a linear "
            f"layer; the arithmetic of all is counted"
        )
    without = census.parameters.tensors - census.passes[-1].gradient_tensors
    if without:
        yield (
            f"{counted(without, 'trainable tensor')} without a gradient, because a training pass "
            f"does not use {'it' if without == 1 else 'them'}"
        )


def _tally(counts: Mapping[str, int]) -> str:
    return listed([f"{count} of {printable(what)}" for what, count in counts.items()])
