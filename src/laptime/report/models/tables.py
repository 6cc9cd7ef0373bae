"""Tables of a census: layers, optimizer state, memory of a step, what the machine does at best."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from laptime.census import COPY, CensusRecord, Inspection, LayerRecord, Roof, Shape
from laptime.errors import printable
from laptime.report.words.blocks import Block, Prose, Table
from laptime.report.words.lines import counted, listed, shortened
from laptime.report.words.verdicts import significant
from laptime.units import render_bytes, render_count, render_duration

STATE_RULE = (
    "State is what an optimizer keeps from one step to the next, read after a real step; counters "
    "of steps, one number a tensor where there are any, are left out."
)
MACS_RULE = (
    "A multiply-accumulate (MAC) is a multiplication and an addition: 2 FLOPs. Counted are "
    "convolutions and matrix products; norms, activations, additions, pooling and the optimizer "
    "are not."
)
MEMORY_RULE = (
    "Estimated, in the precision of the weights: what forward keeps for backward is counted for "
    "{few} and {many} samples, and the line through both goes on to the batch; buffers inside of "
    "kernels are not in it."
)
BOUND_RULE = (
    "That is a lower bound and no forecast: norms, activations, the optimizer and loading come on "
    "top, and few layers reach the fastest rate."
)

_MOST_ROWS = 80
_NAME_WIDTH, _KIND_WIDTH = 26, 25

_PARTS = {
    "input": "input",
    "saved": "kept by forward for backward",
    "parameters": "parameters and buffers",
    "gradients": "gradients",
}
"""Parts of a step's memory that no optimizer changes, in words."""

_SHORT = {"batch": "batch norm", "none": "no batch norm", None: ""}
"""The twins, over a column."""

_PREFIXES = {"E": 1e18, "P": 1e15, "T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3}


def layer_blocks(census: CensusRecord, depth: int | None = None) -> list[Block]:
    """Return the layer table: a row a module, as deep as asked for, else as fits 80 rows."""
    told = [layer for layer in census.layers if _is_told(layer)]
    deepest = depth or _deepest(told)
    shown = [layer for layer in told if layer.depth <= deepest]
    every = census.parameters.trainable + census.parameters.frozen
    whole = ("together", "", "", render_count(every), render_count(census.macs))
    head = ("layer", "kind", "puts out", "parameters", "MACs a sample")
    silent = [layer for layer in census.layers if layer.depth and layer not in told]
    return [
        Table.of(head, [*map(_layer_row, shown), whole], "<<>>>"),
        Prose(" ".join(_left_out(silent, len(told) - len(shown)))),
    ]


def _is_told(layer: LayerRecord) -> bool:
    """Tell layers and blocks from what only passes a shape on; a model of one layer is one too."""
    if layer.depth == 0:
        return layer.is_leaf
    works = bool(layer.parameters or layer.macs)
    return not layer.is_leaf or works or layer.input_shape != layer.output_shape


def _deepest(layers: Sequence[LayerRecord]) -> int:
    """Return the greatest depth whose rows are few enough to be read; 1 at least."""
    depths = sorted({layer.depth for layer in layers}, reverse=True)
    fitting = (d for d in depths if sum(layer.depth <= d for layer in layers) <= _MOST_ROWS)
    return next(fitting, 1)


def _layer_row(layer: LayerRecord) -> tuple[str, ...]:
    return (
        _name(layer),
        _kind(layer),
        "-" if layer.output_shape is None else shape_words(layer.output_shape),
        render_count(layer.parameters) if layer.parameters else "-",
        render_count(layer.macs) if layer.macs else "-",
    )


def _name(layer: LayerRecord) -> str:
    """Return the end of a name, which tells more than its beginning."""
    name = printable(layer.name) or "(the model)"
    return name if len(name) <= _NAME_WIDTH else f"…{name[1 - _NAME_WIDTH :]}"


def _kind(layer: LayerRecord) -> str:
    """Return the class, and of a convolution its kernel and whether it is a projection."""
    words = []
    if layer.kernel is not None:
        words.append("x".join(map(str, layer.kernel)))
    if layer.is_projection:
        words.append("projection")
    if layer.calls > 1:
        words.append(f"({layer.calls} calls)")
    room = max(_KIND_WIDTH - len(" ".join(["", *words])), 8)
    return " ".join([shortened(layer.kind, room), *words])


def _left_out(silent: Sequence[LayerRecord], deeper: int) -> Iterator[str]:
    yield "A block's figures hold those of the layers in it."
    if silent:
        kinds = listed(sorted({shortened(layer.kind) for layer in silent}))
        yield (
            f"Not listed: {counted(len(silent), 'module')} ({kinds}) without parameters, without "
            f"arithmetic, and with an output of the input's shape."
        )
    if deeper:
        yield f"{counted(deeper, 'module')} deeper in: --depth N lists more."


def state_blocks(found: Inspection) -> list[Block]:
    """Return what exists after a step with each optimizer, the twin's beside it."""
    both = [found.census] if found.twin is None else [found.census, found.twin]
    head = ["after one step with"]
    for census in both:
        title = f"{_SHORT[census.norm]}\n" if found.twin else ""
        head += [f"{title}gradients", "state"]
    rows = []
    for name, state in found.census.optimizers.items():
        cells = [cell for census in both for cell in _elements(census, name)]
        rows.append([name, *cells, ", ".join(state.kinds) or "-"])
    table = Table.of([*head, "state holds"], rows, "<" + ">>" * len(both) + "<")
    return [table, Prose(STATE_RULE)]


def _elements(census: CensusRecord, optimizer: str) -> tuple[str, str]:
    state = census.optimizers[optimizer]
    return render_count(state.gradient_elements), render_count(state.state_total)


def memory_blocks(found: Inspection) -> list[Block]:
    """Return what a training step holds: for one sample and for the batch, part by part."""
    census, sizes = found.census, sorted({1, found.batch_size})
    estimates = [census.memory_bytes(size, found.optimizer) for size in sizes]
    rows = [
        [words, *(render_bytes(estimate[part]) for estimate in estimates)]
        for part, words in _PARTS.items()
    ]
    for name, state in census.optimizers.items():
        rows.append([f"state of {name}", *[render_bytes(state.state_bytes)] * len(sizes)])
    totals = [render_bytes(sum(estimate.values())) for estimate in estimates]
    rows.append([f"together, with {found.optimizer}", *totals])
    if found.measured_bytes is not None:
        blank = [""] * (len(sizes) - 1)
        measured = f"measured on {found.machine.device}"
        rows.append([measured, *blank, render_bytes(found.measured_bytes)])
    head = ("memory of a training step", *(f"batch of {render_count(size)}" for size in sizes))
    rule = MEMORY_RULE.format(few=census.passes[0].samples, many=census.passes[-1].samples)
    return [Table.of(head, rows, "<" + ">" * len(sizes)), Prose(f"{rule} {_measured(found)}")]


def _measured(found: Inspection) -> str:
    """Return why there is no measured peak, or what the measured one is."""
    if found.machine.device == "cpu":
        return "On a CPU torch counts no peak that could be held against it."
    if found.measured_bytes is None:
        return f"No step of this batch was measured on {found.machine.device}."
    return "Measured: the most that the allocator had given out in a real step, the second one."


def arithmetic(census: CensusRecord) -> list[Block]:
    """Return MACs and FLOPs of a sample, and what is counted."""
    return [
        Prose(
            f"A sample takes {render_count(census.macs)} MACs in forward, "
            f"{_scaled(census.flops)}FLOP, and {_scaled(census.training_flops)}FLOP in forward and "
            f"backward. {MACS_RULE}"
        )
    ]


def roof_blocks(found: Inspection) -> list[Block]:
    """Return what the machine does at best, and the epoch time that this bounds from below."""
    fastest, bound_s = found.fastest(), found.epoch_bound_s()
    if fastest is None or bound_s is None:
        return []
    rows = [
        (roof.what, *(_rate(roof, r) for r in (roof.best_per_s, roof.median_per_s)), _tries(roof))
        for roof in found.roofs
    ]
    head = (f"this machine, {found.precision}", "at best", "median", "tries")
    sentence = (
        f"An epoch of {counted(found.epoch_samples, 'sample')} is {_scaled(found.epoch_flops)}FLOP "
        f"in forward and backward: at {_rate(fastest, fastest.best_per_s)} it takes "
        f"{render_duration(bound_s)}. {BOUND_RULE}"
    )
    return [Table.of(head, rows, "<>>>"), Prose(sentence), *_ridge(found, fastest)]


def _ridge(found: Inspection, fastest: Roof) -> list[Block]:
    """Return how much arithmetic a byte must come with, or memory is what limits it."""
    ratios = [fastest.best_per_s / roof.best_per_s for roof in found.roofs if roof.what == COPY]
    return [
        Prose(
            f"What does fewer than {significant(ratio)} FLOPs for each byte that it moves waits "
            f"for memory instead: norms, activations and additions do about one or fewer."
        )
        for ratio in ratios
    ]


def _tries(roof: Roof) -> str:
    return render_count(len(roof.times_ns))


def _rate(roof: Roof, per_s: float) -> str:
    return f"{_scaled(per_s)}{'B' if roof.what == COPY else 'FLOP'}/s"


def _scaled(value: float) -> str:
    """Return three digits and the prefix of the unit that follows."""
    rounded = float(f"{value:.3g}")
    for prefix, size in _PREFIXES.items():
        if rounded >= size:
            return f"{rounded / size:.3g} {prefix}"
    return f"{rounded:.0f} "


def shape_words(shape: Shape) -> str:
    """Return a shape as Python writes a tuple."""
    return f"({shape[0]},)" if len(shape) == 1 else f"({', '.join(map(str, shape))})"


def norm_words(census: CensusRecord) -> str:
    """Return which of the twins a census of the built-in model is."""
    return "without batch norm" if census.norm == "none" else "with batch norm"
