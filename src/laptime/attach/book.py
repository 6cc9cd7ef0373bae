"""What a recorder writes down: steps and windows as they end, epochs, and what was found."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from laptime.attach.found import Found
from laptime.attach.journal import Journal
from laptime.attach.ledger import ScriptLedger, Snapshot, between, folded, parts_between
from laptime.attach.passes import Pass, Role
from laptime.phase import Phase
from laptime.timing.windows import HostTimer, StepTimer, Window, sum_device_windows

TRANSITIONS = 10
"""Boundaries of a plain step: fetch, clearing, model, backward and update, each in and out."""

FACTS_EVERY_NS = 5_000_000_000
"""How often what was found is written while a script runs: it may be killed."""


class Epoch:
    """An epoch that goes on."""

    def __init__(self, number: int, start: Snapshot, one: Optional[Pass]) -> None:
        self.number, self.start, self.training = number, start, one
        self.steps = 0
        self.losses: List[float] = []
        self.windows: List[Window] = []
        self.evaluations = 0


class Book:
    """Steps, windows and epochs of one process, on their way to its journal.

    Nothing is written before the first step: a process that does not train leaves nothing.
    """

    def __init__(self, open_journal: Callable[[], Journal], found: Found, start_ns: int) -> None:
        self._open_journal, self.found, self._start_ns = open_journal, found, start_ns
        self._journal: Optional[Journal] = None
        self._written_ns = 0
        self._losses: List[Any] = []
        self._unscaled: Any = None
        self._samples: Optional[int] = 0
        self._rows: List[Tuple[int, List[Any], Optional[int]]] = []
        self._first: Optional[Snapshot] = None
        self._before_epochs: Optional[Snapshot] = None
        self.epoch: Optional[Epoch] = None
        self.epochs = 0
        self.steps = 0
        self.losses: List[Optional[float]] = []
        """Of every step that has been written."""
        self.whole_epoch_steps = 0
        """Steps of the last epoch that saw all of its loader."""

    @property
    def journal(self) -> Journal:
        """The directory of this process, claimed when it is first needed."""
        if self._journal is None:
            self._journal = self._open_journal()
        return self._journal

    @property
    def num_optimizers(self) -> int:
        """Optimizers that the script has made."""
        return len(self.found.optimizers)

    def is_trained_on(self, loader: int) -> bool:
        """Tell a loader that an epoch was made of."""
        return self.found.is_trained_on(loader)

    def noticed(self, ledger: ScriptLedger) -> None:
        """Remember where training began, for scripts without a loader."""
        if self._first is None and self.epoch is None:
            self._first = ledger.snapshot()

    # Steps

    def add_loss(self, loss: Any, *, replaces: bool) -> None:
        """Keep a scalar that backward was called on."""
        if replaces:
            self._losses.clear()
        unscaled, self._unscaled = self._unscaled, None
        self._losses.append(loss if unscaled is None else unscaled)

    def unscaled(self, loss: Any) -> None:
        """Keep what a GradScaler has scaled: backward is about to be called on the product."""
        self._unscaled = loss

    def count_samples(self, one: Pass, length: Optional[int]) -> None:
        """Add the samples of a batch to the step and to its pass; unknown once one is."""
        if one.samples is not None and one.role is not Role.COMPANION:
            samples = self.found.samples_of(one.loader, length)
            if samples is None:
                self._samples = one.samples = None
            else:
                one.samples += samples
                if self._samples is not None:
                    self._samples += samples

    def forget_samples(self) -> None:
        """What has been fetched since the last step was no part of one."""
        self._samples = 0

    def forget_step(self) -> None:
        """What has been seen since the last step was no part of one."""
        self._samples, self._first = 0, None

    def end_step(self, timer: StepTimer) -> bool:
        """Count a step; return whether the window is long enough."""
        epoch, samples = self.epoch, self._samples
        if epoch is None:
            return False
        self.steps += 1
        epoch.steps += 1
        self._rows.append((epoch.steps, self._losses, samples if epoch.training else None))
        self._losses, self._samples = [], 0
        return timer.end_step()

    def cut_window(self, timer: StepTimer) -> None:
        """End the window here, if it holds a step, and write it."""
        epoch, window = self.epoch, timer.close_window()
        if epoch is None or window is None:
            return
        epoch.windows.append(window)
        self._flush_steps(epoch)
        self.journal.append("windows.jsonl", [_window_row(epoch.number, window)])
        now_ns = self._start_ns if self._written_ns == 0 else self._written_ns
        ended_ns = sum(w.wall_ns for w in epoch.windows) + epoch.start.at_ns
        if self._written_ns == 0 or ended_ns - now_ns > FACTS_EVERY_NS:
            self._written_ns = ended_ns
            self._write_facts(complete=False, ended=None)

    def _flush_steps(self, epoch: Epoch) -> None:
        lines: List[str] = []
        for step, losses, samples in self._rows:
            loss = _sum_of(losses)
            self.losses.append(loss)
            if loss is not None:
                epoch.losses.append(loss)
            known = "null" if loss is None else repr(loss)
            count = "null" if samples is None else samples
            lines.append(  # json.dumps would take three times as long, in every step
                f'{{"epoch": {epoch.number}, "step": {step}, "loss": {known}, "samples": {count}}}'
            )
        self._rows = []
        self.journal.append_lines("steps.jsonl", lines)

    def flush(self) -> None:
        """Write the steps of a window that is not over."""
        if self.epoch is not None:
            self._flush_steps(self.epoch)

    # Loaders

    def loader_began(self, loader: int, start: Snapshot, ledger: ScriptLedger) -> None:
        """The first batch of a pass is there."""
        now = ledger.snapshot()
        spent_ns = between(start, now)[Phase.LOADER_START]
        self.found.loader(loader)["start_ns"].append(spent_ns)

    def loader_ended(self, loader: int, spent_ns: int) -> None:
        """A ``next()`` has found the end."""
        self.found.loader(loader)["end_ns"].append(spent_ns)

    def evaluated(self, one: Pass) -> None:
        """A pass was an evaluation, and is over."""
        self.forget_step()
        spent_ns = one.end.at_ns - one.start.at_ns if one.end else 0
        self.found.evaluated(one.loader, one.place, spent_ns)
        if self.epoch is not None:
            self.epoch.evaluations += 1

    # Epochs

    def begin_epoch(self, one: Optional[Pass], timer: StepTimer, ledger: ScriptLedger) -> None:
        """Begin an epoch where a pass began, or without one where training did."""
        start = one.start if one else self._first or ledger.snapshot()
        if self.epoch is not None:
            self._end_epoch(start, whole=self._is_whole(self.epoch))
        elif self._before_epochs is None:
            self._before_epochs = start
            self.found.setup_ns = start.at_ns - self._start_ns
        self.epochs += 1
        self.epoch = Epoch(self.epochs, start, one)
        if one is not None:
            self.found.loader(one.loader)["training_passes"] += 1
        assert isinstance(timer, HostTimer)
        timer.restart(start.at_ns, folded(start.spent_ns))

    def _is_whole(self, epoch: Epoch) -> bool:
        """Tell whether an epoch saw all of its loader; without one it is what the script did."""
        one = epoch.training
        if one is None or one.is_exhausted:
            return True
        batches = self.found.loader(one.loader)["batches"]
        return batches is not None and one.fetched >= batches

    def _end_epoch(self, end: Snapshot, *, whole: bool) -> None:
        epoch = self.epoch
        assert epoch is not None
        self._flush_steps(epoch)
        if whole and epoch.training is not None:
            self.whole_epoch_steps = epoch.steps
        phases_ns = between(epoch.start, end)
        device = sum_device_windows(epoch.windows)
        self.journal.append("epochs.jsonl", [{
            "epoch": epoch.number,
            "steps": epoch.steps,
            "samples": epoch.training.samples if epoch.training else None,
            "loss": sum(epoch.losses) / len(epoch.losses) if epoch.losses else None,
            "wall_ns": sum(phases_ns.values()),
            "phases_ns": _by_name(phases_ns),
            "mode": "events" if device else "host",
            "device_ns": _device_row(device),
            "cold": epoch.number == 1,
            "complete": whole,
            "loader": epoch.training.loader if epoch.training else None,
            "evaluations": epoch.evaluations,
        }])  # fmt: skip

    def close(
        self, timer: StepTimer, ledger: ScriptLedger, ended: str, own_ns: Callable[[int], int]
    ) -> None:
        """Write the last epoch, up to the last boundary, and what was found.

        Args:
            timer: Of the windows.
            ledger: Of the time.
            ended: How the script did.
            own_ns: Says what so many boundaries cost, at least.
        """
        if self.epoch is None:
            return
        self.cut_window(timer)
        whole = self._is_whole(self.epoch) and ended != "steps"
        self._end_epoch(ledger.snapshot(), whole=whole)
        self.found.other_ns = parts_between(self._before_epochs, ledger.snapshot())
        self.found.transitions = TRANSITIONS * self.steps
        self.found.overhead_ns = own_ns(self.found.transitions)
        self._write_facts(complete=True, ended=ended)
        self.epoch = None

    def facts(self, *, complete: bool, ended: Optional[str]) -> Dict[str, Any]:
        """Return what was found, and how far it went."""
        progress = {"epochs": self.epochs, "steps": self.steps}
        return {**self.found.document(), **progress, "complete": complete, "ended": ended}

    def _write_facts(self, *, complete: bool, ended: Optional[str]) -> None:
        self.journal.write_facts(self.facts(complete=complete, ended=ended))


def _sum_of(losses: List[Any]) -> Optional[float]:
    """Return the sum of a step's losses; None where there is none or it is not finite."""
    total = sum(float(loss) for loss in losses) if losses else float("nan")
    return total if total - total == 0 else None


def _by_name(phases_ns: Mapping[Phase, int]) -> Dict[str, int]:
    return {phase.value: spent_ns for phase, spent_ns in phases_ns.items()}


def _device_row(sums: Optional[Dict[str, Any]]) -> Optional[Dict[str, Any]]:
    if sums is None:
        return None
    return {**sums, "host_phases_ns": _by_name(sums["host_phases_ns"])}


def _window_row(epoch: int, window: Window) -> Dict[str, Any]:
    return {
        "epoch": epoch,
        "first_step": window.first_step,
        "steps": window.steps,
        "wall_ns": window.wall_ns,
        "phases_ns": _by_name(window.phases_ns),
        "device_ns": _device_row(sum_device_windows([window])),
    }
