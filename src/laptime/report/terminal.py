"""A run as lines of text: what it was, a row an epoch, where the time went, what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from laptime.errors import printable
from laptime.phase import TRAINING, Phase
from laptime.record import EpochRecord, RunRecord
from laptime.report.findings import findings, steady_epochs
from laptime.report.lines import as_it_is, how_words, joined, machine_words, model_words, prose
from laptime.units import (
    render_count,
    render_duration,
    render_percent,
    render_rate,
    render_seconds,
    render_share,
    seconds,
)

_BAR_WIDTH = 60

_EMBEDDED = (
    "The embedded set has CIFAR-10's shapes and types, so a step is the same work; its "
    "accuracies say nothing of CIFAR-10."
)

DATA_NAMES = {"cifar10": "CIFAR-10", "synthetic": "synthetic", "folder": "folder"}


def render_run(record: RunRecord) -> list[str]:
    """Return everything that is printed of a run, line by line."""
    table = [columns_line(record), *map(epoch_line, record.epochs)] if record.epochs else []
    return [*header_lines(record), "", *table, *closing_lines(record)]


def header_lines(record: RunRecord) -> list[str]:
    """Return what was trained, on what, with what, where."""
    settings, data = record.settings, record.data
    name = DATA_NAMES.get(data.name, data.name)
    samples = f"{render_count(data.train_samples)} {'images' if data.num_classes else 'samples'}"
    parts = [
        model_words(settings, record.parameters),
        f"{name}, {data.label}, {samples}",
    ]
    where = machine_words(record.environment)
    lines = [" · ".join(parts), ", ".join(how_words(settings)), ", ".join(where)]
    return [printable(line) for line in lines]


def columns_line(record: RunRecord) -> str:
    """Return the head of the table."""
    tested = "   test loss  test top-1" if record.settings["evaluate"] else ""
    return (
        f"{'':<10}{'loss':>8}{'top-1':>10}{'loading':>10}{'training':>10}{'other':>8}"
        f"{'total s':>10}{tested}"
    )


def epoch_line(epoch: EpochRecord) -> str:
    """Return one epoch's row: loss and training top-1 over all its samples, then seconds."""
    mark = "  resumed" if epoch.segments > 1 else "  cold" if epoch.cold else ""
    loss = f"{epoch.loss:.3f}" if epoch.loss is not None else "NaN"
    row = f"{f'epoch {epoch.epoch}':<10}{loss:>8}{render_percent(epoch.accuracy):>10}"
    row += _columns([epoch], count=1)
    if epoch.test_accuracy is not None:
        test_loss = "NaN" if epoch.test_loss is None else f"{epoch.test_loss:.3f}"
        row += f"{test_loss:>12}{render_percent(epoch.test_accuracy):>12}"
    return row + mark


def closing_lines(record: RunRecord) -> list[str]:
    """Return totals, ledger, best epoch, our own cost, what limits the run, what to type."""
    lines: list[str] = []
    if record.epochs:
        lines += [*_totals(record), "", *_ledger(record), ""]
    if record.status in {"failed", "out_of_memory"}:
        lines.append(printable(f"{record.status.replace('_', ' ').capitalize()}: {record.reason}"))
    if record.data.name == "synthetic":
        lines += prose(_EMBEDDED)
    if record.data.name == "cifar10" and not record.settings["samples"]:
        lines += _part_of_cifar10(record)
    for finding in findings(record):
        lines += prose(printable(finding.sentence))
        if finding.next_command:
            lines.append(_next(finding.next_command))
    return [*lines, *_ending(record)]


def _part_of_cifar10(record: RunRecord) -> list[str]:
    there, whole = record.data.train_samples, 50_000
    if there == whole:
        return []
    return [f"This copy holds {render_count(there)} of CIFAR-10's {render_count(whole)} images."]


def _totals(record: RunRecord) -> list[str]:
    epochs, setup_s = record.epochs, seconds(record.setup_ns)
    lines = [
        f"{'total':<28}{_columns(epochs, count=1)}  + set-up {render_seconds(setup_s)} s"
        f" = run {render_seconds(setup_s + seconds(record.epochs_ns))} s"
    ]
    steady = steady_epochs(epochs)
    if len(epochs) > 1 and len(steady) > 1:
        walls = [seconds(epoch.wall_ns) for epoch in steady]
        spread = f"  from {render_seconds(min(walls))} to {render_seconds(max(walls))}"
        lines.append(f"{f'mean {_ranges(steady)}':<28}{_columns(steady, len(steady))}{spread}")
    best = record.best
    if best:
        lines.append(
            f"best epoch's training top-1: {render_percent(best.accuracy)} "
            f"({render_count(best.correct)} of {render_count(best.samples)}, epoch {best.epoch})"
        )
    return lines


def _columns(epochs: Sequence[EpochRecord], count: int) -> str:
    """Return loading, training, other and total of some epochs, summed and divided by a count."""
    names = ("loading_ns", "training_ns", "other_ns", "wall_ns")
    sums = [seconds(sum(getattr(epoch, name) for epoch in epochs)) / count for name in names]
    texts = [render_seconds(value) for value in sums]
    if epochs[0].mode == "off":
        texts[:3] = ["n/a"] * 3
    return "".join(f" {t:>{w}}" for t, w in zip(texts, (9, 9, 7, 9), strict=True))


def _ledger(record: RunRecord) -> list[str]:
    """Return the bar of the steady epochs, its phases, and what the measuring cost."""
    epochs = steady_epochs(record.epochs)
    wall_ns = sum(epoch.wall_ns for epoch in epochs)
    mode = epochs[0].mode
    if mode == "off" or not wall_ns:
        return ["timing was off: only the total is measured"]
    shares = {
        name: sum(getattr(epoch, f"{name}_ns") for epoch in epochs) / wall_ns
        for name in ("loading", "training", "other")
    }
    bar = "  ".join(
        " ".join(filter(None, (name, "█" * round(_BAR_WIDTH * share), render_share(share))))
        for name, share in shares.items()
    )
    rate = sum(epoch.samples for epoch in epochs) / seconds(wall_ns)
    lead = "host ledger: " if epochs[0].device_ns is not None else ""
    lines = [bar, *joined(_phases(record, epochs, wall_ns), lead)]
    lines.append(
        f"over {_names(epochs)}: {render_rate(rate)} training samples/s of the whole epoch, "
        f"timed in mode {mode}"
    )
    if mode == "sync" and record.environment.device != "cpu":
        lines.append(
            "every edge waited for the device, which takes overlap away: for its cost, compare the "
            "total with a run of --timing auto"
        )
    if epochs[0].device_ns is not None:
        lines += _device(epochs)
    if record.overhead:
        lines.append(
            f"laptime's own cost at least {record.overhead.per_step_us:.1f} us a step "
            f"({render_share(record.overhead.share)}); garbage collection held back inside epochs"
        )
    return lines


def _phases(record: RunRecord, epochs: Sequence[EpochRecord], wall_ns: int) -> list[str]:
    """Return the share of every phase that occurred; those that a CPU does not have print n/a."""
    absent = (Phase.TRANSFER, Phase.SYNC) if record.environment.device == "cpu" else ()
    words = []
    for phase in Phase:
        spent_ns = sum(epoch.phases_ns[phase] for epoch in epochs)
        if spent_ns or phase in absent:
            share = render_share(spent_ns / wall_ns) if spent_ns else "n/a"
            words.append(f"{phase.value} {share}")
    return words


def _device(epochs: Sequence[EpochRecord]) -> list[str]:
    """Return what the device ledger adds, and what a stopwatch that does not wait would say."""
    parts = [epoch.device_ns for epoch in epochs if epoch.device_ns]
    count = len(parts)
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
    lines = [
        *joined(shares, f"device ledger, {render_count(windows)} windows: "),
        f"GPU starved {render_duration(stall)} an epoch; {render_duration(hidden)} of the wait was "
        f"hidden behind it; idle between steps for other reasons {render_duration(gap)}",
        f"a stopwatch that does not wait would say: training {naive / count:.3f} s an epoch "
        f"(wrong)",
    ]
    if invalid:
        lines.append(
            f"{invalid} of {windows} windows do not close: the device attribution is not valid"
        )
    return lines


def _names(epochs: Sequence[EpochRecord]) -> str:
    if len(epochs) > 1:
        return f"epochs {_ranges(epochs)}"
    return f"epoch {epochs[0].epoch}" + (", which is cold" if epochs[0].cold else "")


def _ranges(epochs: Sequence[EpochRecord]) -> str:
    """Return the numbers of epochs, those in a row as a range: ``2, 4-6``."""
    runs: list[list[int]] = []
    for epoch in epochs:
        if runs and runs[-1][-1] == epoch.epoch - 1:
            runs[-1].append(epoch.epoch)
        else:
            runs.append([epoch.epoch])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _ending(record: RunRecord) -> list[str]:
    """Return how the run ended, where it is, and how to go on."""
    lines = []
    if record.status == "interrupted":
        lines.append(f"Interrupted: {record.reason}.")
        lines.append(_next(f"laptime train --resume {shlex.quote(record.directory)}"))
    steps = " (steps.jsonl has loss and correct answers of every step)" if record.epochs else ""
    return [*lines, as_it_is(f"Record: {record.directory}{steps}")]


def _next(command: str) -> str:
    return as_it_is(f"Next:  {command}")
