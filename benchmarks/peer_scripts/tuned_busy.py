"""A training whose samples are computed: ``python tuned_busy.py [OPTIONS]``.

The loader's work and the model's share the processors, so that more workers than those are of no
use. It is one file for ``laptime tune`` and for loadtune, like tuned_sleeping.py.
"""

from __future__ import annotations

import hashlib
from typing import Any

import tuned_job


class Busy(tuned_job.Rows):
    """Rows that take about a millisecond of a processor each: fixed work, not fixed time."""

    def spend(self) -> None:
        hashlib.pbkdf2_hmac("sha256", b"planted", b"cost", 1400)


def get_workload() -> Any:
    return tuned_job.workload("busy", Busy)


if __name__ == "__main__":
    tuned_job.main(Busy)
