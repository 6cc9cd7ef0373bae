"""A script's run as lines: what ran, where the time went, what was found, what to do next.

Printed by ``laptime run`` at its end.
"""

from __future__ import annotations

import contextlib
import shlex
import signal

from laptime.phase import LOADING, TRAINING, Phase
from laptime.report.runs.epochs import epoch_ranges
from laptime.report.runs.run import columns_bar, device_blocks, phase_words
from laptime.report.scripts.epochs import epochs_blocks, ranks_blocks
from laptime.report.scripts.facts import found_blocks
from laptime.report.scripts.findings import findings
from laptime.report.words.blocks import GAP, Block, Command, Prose, Table, Words, lines_of
from laptime.report.words.lines import counted
from laptime.script import ProcessRecord, ScriptRecord
from laptime.statistics.script_evidence import Evidence, evidence_of
from laptime.units import (
    render_duration,
    render_rate,
    render_seconds,
    render_share,
    render_step_time,
    seconds,
)

_ENDS = {
    "completed": "The command ended with exit status 0",
    "stopped": "Stopped after the steps that were asked for",
    "failed": "The command failed",
    "interrupted": "Interrupted",
    "running": "The command is still running",
}


def render_script(record: ScriptRecord) -> list[str]:
    """Return everything that is printed of a script's run, line by line."""
    blocks: list[Block] = head(record)
    for part in (epochs_blocks, ranks_blocks, _timed, found, advice):
        more = part(record)
        blocks += [GAP, *more] if more else []
    return lines_of([*blocks, GAP, *troubles(record), Command(record.directory, "Record:")])


def _timed(record: ScriptRecord) -> list[Block]:
    blocks = ledger_blocks(record)
    return [*blocks, Prose(cost_words(record.main))] if blocks and record.main else []


def head(record: ScriptRecord) -> list[Block]:
    """Return what ran, with what, and where."""
    words = subject(record)
    return [Command(words["command"], ""), Prose(words["machine"])]


def subject(record: ScriptRecord) -> dict[str, str]:
    """Return the command, and the machine and software that it ran on."""
    command = shlex.join(record.status.command)
    if record.main is None:
        return {"command": command, "machine": f"host {record.status.host}"}
    recorder = record.main.recorder
    device = "" if recorder.device == "cpu" else f" ({recorder.device})"
    words = [
        f"{recorder.device_name}{device}",
        f"torch {recorder.torch}",
        counted(recorder.threads, "thread"),
        f"Python {recorder.python} ({recorder.executable})",
    ]
    if recorder.world_size > 1:
        words.append(f"rank {recorder.rank} of {recorder.world_size}")
    return {"command": command, "machine": ", ".join(words)}


def ledger_blocks(record: ScriptRecord) -> list[Block]:
    """Return the bar of the steady time, its phases, and what else the ledgers know."""
    process = record.main
    evidence = evidence_of(process) if process else None
    if process is None or evidence is None:
        return []
    has_device = any(piece.device_ns for piece in evidence.pieces)
    words = phase_words(evidence.pieces, process.recorder.device)
    blocks: list[Block] = [
        columns_bar(evidence.pieces),
        Words(tuple(words), "host ledger: " if has_device else ""),
        Prose(f"{_capital(basis_words(process, evidence))}{_rest_on(evidence)}."),
    ]
    if has_device:
        is_epoch = evidence.kind == "epochs"
        count, per = (len(evidence.pieces), "an epoch") if is_epoch else (1, "in that time")
        blocks += device_blocks(evidence.pieces, count, per)
    return blocks


def basis_words(process: ProcessRecord, evidence: Evidence) -> str:
    """Return what shares are of, and how it was timed."""
    mode = "events" if any(piece.device_ns for piece in evidence.pieces) else "host"
    if evidence.kind == "epochs":
        which = f"over epoch{'s' if len(process.steady) > 1 else ''} {epoch_ranges(process.steady)}"
        samples = [epoch.samples or 0 for epoch in process.steady]
        rate = sum(samples) / seconds(evidence.wall_ns)
        fast = f": {render_rate(rate)} training samples/s" if all(samples) else ""
        return f"{which}{fast}, timed in mode {mode}"
    if evidence.kind == "cold":
        which = f"epoch {process.epochs[0].epoch}" if process.epochs else "the first window"
        return f"over {which}, which is cold; timed in mode {mode}"
    took = render_duration(seconds(evidence.wall_ns))
    return (
        f"no epoch is whole but the first: over all that came after its first window, "
        f"{counted(evidence.steps, 'step')} in {took}, timed in mode {mode}"
    )


def _rest_on(evidence: Evidence) -> str:
    """Return what intervals of shares are over; empty where there are none."""
    share = evidence.share("loading")
    return f"; intervals over {counted(share.n, evidence.unit)}" if share.low is not None else ""


def phases_table(process: ProcessRecord, evidence: Evidence) -> Table:
    """Return every phase with its column, its share and its time."""
    is_epoch = evidence.kind == "epochs"
    count = len(evidence.pieces) if is_epoch else max(1, evidence.steps)
    render = render_seconds if is_epoch else render_step_time
    rows = []
    for phase in Phase:
        spent_ns = sum(piece.phases_ns[phase] for piece in evidence.pieces)
        column = "loading" if phase in LOADING else "training" if phase in TRAINING else "other"
        is_absent = process.recorder.device == "cpu" and phase in {Phase.TRANSFER, Phase.SYNC}
        cells = (render_share(spent_ns / evidence.wall_ns), render(seconds(spent_ns) / count))
        shown = ("n/a", "") if is_absent and not spent_ns else cells
        rows.append((phase.value, column, *shown))
    per = "s an epoch" if is_epoch else "a step"
    return Table.of(("phase", "column", "share", per), rows, "<<>>")


def cost_words(process: ProcessRecord) -> str:
    """Return what the measuring itself cost."""
    recorder = process.recorder
    if not recorder.steps or not process.wall_ns:
        return "laptime's own cost is not known."
    each_us = recorder.overhead_ns / recorder.steps / 1e3
    share = render_share(recorder.overhead_ns / process.wall_ns)
    return (
        f"laptime's own cost at least {each_us:.1f} us a step ({share}); its hooks are counted as "
        f"if warm."
    )


def found(record: ScriptRecord) -> list[Block]:
    """Return what was found in the script, what was not, and what else is to be known."""
    if record.main is None:
        text = "No process of this command took an optimizer step: nothing was timed."
        return [Prose(text)]
    notes = [f"{note.rstrip('.')}." for note in record.main.recorder.notes]
    return [*found_blocks(record.main), *map(Prose, notes)]


def advice(record: ScriptRecord) -> list[Block]:
    """Return what the run shows, each with its line; every command that follows once."""
    blocks: list[Block] = []
    said: set[str] = set()
    for finding in findings(record):
        blocks.append(Prose(finding.sentence))
        blocks += [Command(finding.where, "Where:")] if finding.where else []
        commands = [finding.next_command, *finding.more_commands]
        fresh = [text for text in commands if text and text not in said]
        blocks += [Command(text, "or:   " if n else "Next: ") for n, text in enumerate(fresh)]
        said |= set(fresh)
    return blocks


def troubles(record: ScriptRecord) -> list[Block]:
    """Return how the command ended, where it did not end well."""
    status = record.status
    blocks: list[Block] = []
    if status.status != "completed":
        words = [status.reason.rstrip(".")] if status.reason else _exit_words(status.exit_status)
        blocks.append(Prose(f"{': '.join([_ENDS[status.status], *words])}."))
    if record.main and not record.main.recorder.complete and status.status != "running":
        text = "The training process was killed: what it had written until then is shown."
        blocks.append(Prose(text))
    return blocks


def _exit_words(exit_status: int | None) -> list[str]:
    if exit_status is None:
        return []
    if exit_status >= 0:
        return [f"exit status {exit_status}"]
    with contextlib.suppress(ValueError):
        return [signal.Signals(-exit_status).name]
    return [f"signal {-exit_status}"]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
