"""What only one kind of study prints, by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from laptime.report.device_tables import device_lines
from laptime.report.trained_tables import batchnorm_lines, optimizer_lines
from laptime.report.workers import worker_lines
from laptime.study import StudyRecord

TABLES: Mapping[str, Callable[[StudyRecord], list[str]]] = {
    "workers": worker_lines,
    "devices": device_lines,
    "optimizers": optimizer_lines,
    "batchnorm": batchnorm_lines,
}
"""Lines between the header and the explanation."""
