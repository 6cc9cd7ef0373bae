"""What only one kind of study prints, by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from laptime.report.studies.device_tables import device_blocks
from laptime.report.studies.trained_tables import batchnorm_blocks, optimizer_blocks
from laptime.report.studies.workers import worker_blocks
from laptime.report.words.blocks import Block
from laptime.study import StudyRecord

TABLES: Mapping[str, Callable[[StudyRecord], list[Block]]] = {
    "workers": worker_blocks,
    "devices": device_blocks,
    "optimizers": optimizer_blocks,
    "batchnorm": batchnorm_blocks,
}
"""What stands between the header and the explanation."""
