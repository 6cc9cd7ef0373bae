"""What laptime raises on purpose: each error is one line and carries its exit status."""

from __future__ import annotations

import unicodedata


class LaptimeError(Exception):
    """State what was wrong, the value, and the remedy, in one line."""

    exit_status = 2

    def __str__(self) -> str:
        """Return the message on one line, without control characters that a name may hide."""
        return printable(super().__str__())


class SettingsError(LaptimeError):
    """Report a setting that cannot be used."""


class DataError(LaptimeError):
    """Report data that is missing, damaged or of another shape than promised."""


class ModelError(LaptimeError):
    """Report a model that cannot be built or does not fit the data."""


class DeviceError(LaptimeError):
    """Report a device that is not there or cannot do what was asked."""


class StoreError(LaptimeError):
    """Report a run directory that cannot be read or written."""


class CheckpointError(LaptimeError):
    """Report a checkpoint that cannot be used."""


class TrainingError(LaptimeError):
    """Report a training that started and failed; the run directory keeps what it had."""

    exit_status = 1


def printable(text: str) -> str:
    """Return the text on one line: control, bidirectional and undecodable characters go.

    A file name or an exception of somebody else's code may carry terminal escapes or newlines.
    """
    return " ".join(
        "".join(" " if unicodedata.category(c) in {"Cc", "Cf", "Cs"} else c for c in text).split()
    )
