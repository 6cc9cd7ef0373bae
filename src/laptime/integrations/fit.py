"""The record of one fit of a framework, which must never be the reason that a fit fails."""

from __future__ import annotations

import os
import sys

from laptime.door import LoopLedger, ledger
from laptime.errors import LaptimeError

_LEFT_OPEN: list[LoopLedger] = []
"""A fit that an exception ended may have told nobody: the next one ends its record."""


class FitRecord:
    """Begin and end the record of a fit; what goes wrong with it is one line on standard error."""

    def __init__(self, runs_dir: str | os.PathLike[str]) -> None:
        self._runs_dir = runs_dir
        self._ledger: LoopLedger | None = None

    def begin(self, name: str) -> None:
        """Open a ledger under a name; within one of the script's own there is nothing to open."""
        while _LEFT_OPEN:
            _LEFT_OPEN.pop().close(error=RuntimeError("it was left before its end"))
        opened = ledger(self._runs_dir, name=name)
        try:
            opened.open()
        except LaptimeError as error:
            sys.stderr.write(f"laptime: {error} This fit is not recorded on its own.\n")
            return
        self._ledger = opened
        _LEFT_OPEN.append(opened)

    def end(self, error: BaseException | None = None) -> None:
        """Close the ledger, if it is open."""
        if self._ledger is None:
            return
        if self._ledger in _LEFT_OPEN:
            _LEFT_OPEN.remove(self._ledger)
        self._ledger.close(error=error)
        self._ledger = None
