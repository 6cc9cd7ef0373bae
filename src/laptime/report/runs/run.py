"""A run as lines of text: what it was, a row an epoch, where the time went, what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from laptime.errors import printable
from laptime.phase import TRAINING, Phase
from laptime.record import EpochRecord, RunRecord, TimedSteps
from laptime.report.runs.epochs import (
    best_words,
    columns_line,
    epoch_line,
    epoch_ranges,
    totals_lines,
)
from laptime.report.runs.findings import findings, steady_epochs
from laptime.report.words.blocks import Block, Command, Prose, Sketch, Words, lines_of
from laptime.report.words.lines import counted, how_words, machine_words, model_words
from laptime.units import (
    render_count,
    render_duration,
    render_rate,
    render_share,
    seconds,
)

_BAR_WIDTH = 60

_NEXT = "Next: "

_EMBEDDED = (
    "The embedded set has CIFAR-10's shapes and types, so a step is the same work; its "
    "accuracies say nothing of CIFAR-10."
)

DATA_NAMES = {"cifar10": "CIFAR-10", "synthetic": "synthetic", "folder": "folder"}


def render_run(record: RunRecord) -> list[str]:
    """Return everything that is printed of a run, line by line."""
    rows = [columns_line(record), *map(epoch_line, record.epochs)] if record.epochs else []
    return [*header_lines(record), "", *rows, *closing_lines(record)]


def header_lines(record: RunRecord) -> list[str]:
    """Return what was trained, on what, with what, where."""
    return [printable(line) for line in run_subject(record).values()]


def run_subject(record: RunRecord) -> dict[str, str]:
    """Return the model and the data, the settings, the machine."""
    settings, data = record.settings, record.data
    name = DATA_NAMES.get(data.name, data.name)
    samples = f"{render_count(data.train_samples)} {'images' if data.num_classes else 'samples'}"
    model = model_words(settings, record.parameters)
    return {
        "model and data": f"{model} · {name}, {data.label}, {samples}",
        "settings": ", ".join(how_words(settings)),
        "machine": ", ".join(machine_words(record.environment)),
    }


def closing_lines(record: RunRecord) -> list[str]:
    """Return totals, ledger, best epoch, our own cost, what limits the run, what to type."""
    lines: list[str] = []
    if record.epochs:
        lines += [*totals_lines(record), *filter(None, [best_words(record)]), ""]
        timed = record.epochs[0].mode != "off"
        cost = [Prose(cost_words(record))] if record.overhead and timed else []
        lines += [*lines_of([*ledger_blocks(record), *cost]), ""]
    return lines + lines_of([*troubles(record), *advice(record), *_ending(record)])


def troubles(record: RunRecord) -> list[Block]:
    """Return what went wrong, and what the data keep from being said."""
    blocks: list[Block] = []
    if record.status in {"failed", "out_of_memory"}:
        word = record.status.replace("_", " ").capitalize()
        blocks.append(Command(record.reason or "", f"{word}:"))
    if record.data.name == "synthetic":
        blocks.append(Prose(_EMBEDDED))
    there, whole = record.data.train_samples, 50_000
    if record.data.name == "cifar10" and not record.settings["samples"] and there != whole:
        counts = f"{render_count(there)} of CIFAR-10's {render_count(whole)}"
        blocks.append(Prose(f"This copy holds {counts} images."))
    return blocks


def advice(record: RunRecord) -> list[Block]:
    """Return what the run shows, each with the command that follows."""
    blocks: list[Block] = []
    for finding in findings(record):
        blocks.append(Prose(finding.sentence))
        if finding.next_command:
            blocks.append(Command(finding.next_command, _NEXT))
    return blocks


def ledger_blocks(record: RunRecord) -> list[Block]:
    """Return the bar of the steady epochs, its phases, and what else the ledgers know."""
    epochs = steady_epochs(record.epochs)
    wall_ns = sum(epoch.wall_ns for epoch in epochs)
    mode = epochs[0].mode
    if mode == "off" or not wall_ns:
        return [Prose("timing was off: only the total is measured")]
    rate = sum(epoch.samples for epoch in epochs) / seconds(wall_ns)
    lead = "host ledger: " if epochs[0].device_ns is not None else ""
    rested = (
        f"over {_names(epochs)}: {render_rate(rate)} training samples/s of the whole epoch, "
        f"timed in mode {mode}"
    )
    phases = Words(tuple(phase_words(epochs, record.environment.device)), lead)
    blocks: list[Block] = [columns_bar(epochs), phases, Prose(rested)]
    if mode == "sync" and record.environment.device != "cpu":
        text = (
            "every edge waited for the device, which takes overlap away: for its cost, compare the "
            "total with a run of --timing auto"
        )
        blocks.append(Prose(text))
    if epochs[0].device_ns is not None:
        blocks += device_blocks(epochs, count=len(epochs))
    return blocks


def columns_bar(pieces: Sequence[TimedSteps]) -> Sketch:
    """Return loading, training and other as one bar."""
    wall_ns = sum(piece.wall_ns for piece in pieces)
    shares = {
        name: sum(getattr(piece, f"{name}_ns") for piece in pieces) / wall_ns
        for name in ("loading", "training", "other")
    }
    words = [
        " ".join(filter(None, (name, "█" * round(_BAR_WIDTH * share), render_share(share))))
        for name, share in shares.items()
    ]
    return Sketch(("  ".join(words),))


def timed_words(record: RunRecord) -> str:
    """Return how the epochs were timed, and over how many the means are."""
    if not record.epochs or record.epochs[0].mode == "off":
        return "wall time of the epochs only"
    steady = steady_epochs(record.epochs)
    return (
        f"mode {record.epochs[0].mode}, one clock, every phase; means over n = {len(steady)} of "
        f"{counted(len(record.epochs), 'epoch')}"
    )


def cost_words(record: RunRecord) -> str:
    """Return what the measuring itself cost, calibrated; empty where it is not known."""
    if record.overhead is None:
        return ""
    return (
        f"laptime's own cost at least {record.overhead.per_step_us:.1f} us a step "
        f"({render_share(record.overhead.share)}); garbage collection held back inside epochs"
    )


def phase_words(pieces: Sequence[TimedSteps], device: str) -> list[str]:
    """Return the share of every phase that occurred; those that a CPU does not have print n/a."""
    absent = (Phase.TRANSFER, Phase.SYNC) if device == "cpu" else ()
    wall_ns = sum(piece.wall_ns for piece in pieces)
    words = []
    for phase in Phase:
        spent_ns = sum(piece.phases_ns[phase] for piece in pieces)
        if spent_ns or phase in absent:
            share = render_share(spent_ns / wall_ns) if spent_ns else "n/a"
            words.append(f"{phase.value} {share}")
    return words


def device_blocks(pieces: Sequence[TimedSteps], count: int, per: str = "an epoch") -> list[Block]:
    """Return what the device ledger adds, and what a stopwatch that does not wait would say.

    Args:
        pieces: What happened on the device.
        count: What sums are divided by.
        per: What that leaves them for.
    """
    parts = [piece.device_ns for piece in pieces if piece.device_ns]
    stall, hidden, gap = (
        seconds(sum(getattr(part, f"{name}_ns") for part in parts)) / count
        for name in ("stall", "hidden", "host_gap")
    )
    naive = seconds(
        sum(part.host_phases_ns[p] for part in parts for p in TRAINING if p is not Phase.SYNC)
    )
    invalid = sum(part.invalid_windows for part in parts)
    windows = sum(part.windows for part in parts)
    inside_ns = sum(part.wall_ns for part in parts)
    shares = [
        f"{name.replace('_', ' ')} "
        + render_share(sum(getattr(part, f"{name}_ns") for part in parts) / inside_ns)
        for name in ("transfer", "forward", "backward", "optimizer", "stall", "host_gap")
    ]
    lead = f"device ledger, {render_count(windows)} windows: "
    sentences = [
        f"GPU starved {render_duration(stall)} {per}; {render_duration(hidden)} of the wait was "
        f"hidden behind it; idle between steps for other reasons {render_duration(gap)}",
        f"a stopwatch that does not wait would say: training {naive / count:.3f} s {per} (wrong)",
    ]
    if invalid:
        sentences.append(
            f"{invalid} of {windows} windows do not close: the device attribution is not valid"
        )
    return [Words(tuple(shares), lead), *map(Prose, sentences)]


def _names(epochs: Sequence[EpochRecord]) -> str:
    if len(epochs) > 1:
        return f"epochs {epoch_ranges(epochs)}"
    return f"epoch {epochs[0].epoch}" + (", which is cold" if epochs[0].cold else "")


def _ending(record: RunRecord) -> list[Block]:
    """Return how the run ended, where it is, and how to go on."""
    blocks: list[Block] = []
    if record.status == "interrupted":
        blocks.append(Prose(f"Interrupted: {record.reason}."))
        blocks.append(Command(resume_command(record), _NEXT))
    steps = " (steps.jsonl has loss and correct answers of every step)" if record.epochs else ""
    return [*blocks, Command(f"{record.directory}{steps}", "Record:")]


def resume_command(record: RunRecord) -> str:
    """Return what to type to go on with a run."""
    return f"laptime train --resume {shlex.quote(record.directory)}"
