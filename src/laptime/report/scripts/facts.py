"""What the recorder found in a script, as words: each with the line that it is about."""

from __future__ import annotations

from collections.abc import Sequence

from laptime.report.words.blocks import Block, Prose, Table
from laptime.report.words.lines import counted, listed, shortened
from laptime.script import ProcessRecord
from laptime.script_facts import LoaderFact, OptimizerFact, Place, RootFact
from laptime.units import render_duration, seconds

_MOST_LINES = 5
"""Lines of evaluations, saves and syncs that a table names, of each."""

_CALLS = {"item": ".item()", "cpu": ".cpu()", "numpy": ".numpy()", "tolist": ".tolist()"}

_LONGEST, _LONGEST_PLACE = 56, 28
"""Columns of what was found, and of where."""

Row = tuple[str, str, str, str]
"""What was found: its kind, what it is, where, how often."""


def placed(place: Place | None, what: str) -> str:
    """Return what stands where: ``train.py:42 DataLoader(num_workers=0)``."""
    return f"{place.text} {what}" if place else what


def loader_call(fact: LoaderFact, *names: str) -> str:
    """Return a loader as it could be written, with these of its settings."""
    return _call(fact.class_name, *_settings(fact, names))


def _settings(fact: LoaderFact, names: Sequence[str]) -> list[str]:
    return [f"{name}={getattr(fact, name)}" for name in names]


def _call(name: str, *arguments: str) -> str:
    return f"{name}({', '.join(arguments)})"


def optimizer_call(fact: OptimizerFact) -> str:
    """Return an optimizer with its learning rate and what it was told of its kernels."""
    settings = {"lr": fact.lr, "foreach": fact.foreach, "fused": fact.fused}
    words = [f"{name}={value}" for name, value in settings.items() if value is not None]
    return _call(fact.class_name, *words)


def root_words(fact: RootFact) -> str:
    """Return a model with its number of parameters."""
    kind = "" if fact.kind == "module" else f" ({fact.kind})"
    return f"{fact.class_name}{kind}, {counted(fact.parameters, 'parameter')}"


def sync_call(what: str) -> str:
    """Return a call that waits for the device as it is written."""
    return _CALLS.get(what, what)


def often_words(count: int, ns: int) -> str:
    """Return how often something happened, and what it took in all where that is known."""
    return f"{counted(count, 'time')}{f', {render_duration(seconds(ns))}' if ns else ''}"


def found_blocks(process: ProcessRecord) -> list[Block]:
    """Return a table of what was found in the script, and what was not."""
    rows = [*_loaders(process), *_models(process), *_lines(process)]
    table = Table.of(("found", "", "where", ""), rows, "<<<<")
    blocks: list[Block] = [table] if rows else []
    for missing in process.recorder.missing:
        reason = missing.reason.rstrip(".")
        text = f"Not found, so that its time stays in other: {missing.boundary} ({reason})."
        blocks.append(Prose(text))
    return blocks


def _loaders(process: ProcessRecord) -> list[Row]:
    rows = []
    for fact in process.recorder.loaders:
        counts = {"training": fact.training_passes, "evaluation": fact.evaluation_passes}
        passes = listed([counted(n, f"{kind} pass") for kind, n in counts.items() if n])
        size = f", {counted(fact.batches, 'batch')} each" if fact.batches else ""
        what = shortened(_loader_words(fact), _LONGEST)
        rows.append(("loader", what, _line(fact.place), f"{passes or 'no whole pass'}{size}"))
    return rows


def _loader_words(fact: LoaderFact) -> str:
    """Return a loader with what it loads and every setting that is not the usual one."""
    names = ["batch_size", "num_workers"]
    names += ["prefetch_factor"] if fact.prefetch_factor not in {None, 2} else []
    names += [name for name in ("pin_memory", "persistent_workers") if getattr(fact, name)]
    return _call(fact.class_name, shortened(fact.dataset), *_settings(fact, names))


def _models(process: ProcessRecord) -> list[Row]:
    recorder = process.recorder
    rows = [
        ("model", shortened(root_words(fact), _LONGEST), _line(fact.place),
         counted(fact.calls, "call") + (" after the first backward" if fact.late else ""))
        for fact in recorder.roots
    ]  # fmt: skip
    for fact in recorder.optimizers:
        stepped = f" at {_line(fact.stepped_at)}" if fact.stepped_at else ""
        often = f"{counted(fact.steps, 'step')}{stepped}"
        rows.append(
            ("optimizer", shortened(optimizer_call(fact), _LONGEST), _line(fact.place), often)
        )
    return rows


def _lines(process: ProcessRecord) -> list[Row]:
    """Return the lines that evaluate, save and wait for the device, those that take most first."""
    recorder = process.recorder
    passes = [("evaluation", "pass", e.place, e.passes, e.ns) for e in recorder.evaluations]
    saves = [("checkpoint", "torch.save", s.place, s.count, s.ns) for s in recorder.saves]
    syncs = [("sync", sync_call(s.what), s.place, s.count, s.ns) for s in recorder.syncs]
    return [*_most(passes), *_most(saves), *_most(syncs)]


def _most(lines: Sequence[tuple[str, str, Place | None, int, int]]) -> list[Row]:
    ordered = sorted(lines, key=lambda line: (-line[4], -line[3]))
    rows = [
        (kind, what, _line(place), often_words(count, ns))
        for kind, what, place, count, ns in ordered[:_MOST_LINES]
    ]
    left_out = ordered[_MOST_LINES:]
    if left_out:
        times = sum(line[3] for line in left_out)
        rows.append((left_out[0][0], "", f"{counted(len(left_out), 'line')} more",
                     often_words(times, sum(line[4] for line in left_out))))  # fmt: skip
    return rows


def _line(place: Place | None) -> str:
    return shortened(place.text, _LONGEST_PLACE) if place else "-"
