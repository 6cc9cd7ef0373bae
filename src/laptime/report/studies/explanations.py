"""Records of studies to sentences that say why; each only as far as its measurements go."""

from __future__ import annotations

from laptime.report.studies.trained_causes import (
    explain_batchnorm,
    explain_devices,
    explain_optimizers,
)
from laptime.report.studies.worker_causes import explain_workers

__all__ = ["explain_batchnorm", "explain_devices", "explain_optimizers", "explain_workers"]
