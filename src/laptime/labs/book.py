"""The book of a lab: how far each part is, on disk the moment it changes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from laptime.lab import LabPart, LabRecord, PartStatus
from laptime.lab_store import LabDirectory
from laptime.labs.price import Expected
from laptime.timing.clock import ReadNs, read_ns
from laptime.units import seconds


class Book:
    """Writes down what begins and ends, and counts the time of all of it."""

    def __init__(self, directory: LabDirectory, record: LabRecord, clock: ReadNs = read_ns) -> None:
        self.directory, self.record = directory, record
        self._clock = clock
        self._saved_ns = self._begun_ns = clock()

    def expect(self, expected: Mapping[str, Expected]) -> None:
        """Keep how long parts are expected to take; the whole only where all are known."""
        for part, span in expected.items():
            self._change(part, expected_s=span.typical_s, least_s=span.low_s, most_s=span.high_s)
        known = [part.expected_s for part in self.record.parts if part.expected_s is not None]
        if len(known) == len(self.record.parts):
            self.record = self.record.model_copy(update={"expected_s": sum(known)})
        self._save()

    def begin(self, part: str) -> LabPart:
        """Note that a part begins, or goes on."""
        self._begun_ns = self._clock()
        self._change(part, status="running", reason=None)
        self._save()
        return self.record.part(part)

    def leaves(self, part: str, path: Path) -> None:
        """Note where a part keeps what it measures."""
        self._change(part, path=path.relative_to(self.directory.path).as_posix())
        self._save()

    def forget(self, part: str) -> None:
        """Note that a part has left nothing."""
        self._change(part, path=None)

    def end(self, part: str, status: PartStatus, reason: str | None = None) -> LabPart:
        """Note how a part ended."""
        spent_s = seconds(self._clock() - self._begun_ns)
        wall_s = self.record.part(part).wall_s + spent_s
        self._change(part, status=status, reason=reason, wall_s=wall_s)
        self._save()
        return self.record.part(part)

    def stop(self, reason: str) -> None:
        """Note that whatever goes on was stopped."""
        for part in self.record.parts:
            if part.status == "running":
                self.end(part.part, "interrupted", reason)

    def _change(self, name: str, **changes: object) -> None:
        parts = tuple(
            part.model_copy(update=changes) if part.part == name else part
            for part in self.record.parts
        )
        self.record = self.record.model_copy(update={"parts": parts})

    def _save(self) -> None:
        now_ns = self._clock()
        wall_s = self.record.wall_s + seconds(now_ns - self._saved_ns)
        self._saved_ns = now_ns
        self.record = self.record.model_copy(update={"wall_s": wall_s})
        self.directory.write_record(self.record)
