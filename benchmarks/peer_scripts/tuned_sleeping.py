"""A training whose samples wait, as for a disk or a network: ``python tuned_sleeping.py [OPTIONS]``.

Four workers are as fast as it gets: a batch waits 72 ms and a step computes for about 20. It is
one file for ``laptime tune``, which takes it as it is, and for loadtune, which asks for a
``get_workload``.
"""

from __future__ import annotations

import time
from typing import Any

import tuned_job


class Sleeping(tuned_job.Rows):
    """Rows that take 2.25 ms each, without a processor."""

    def spend(self) -> None:
        time.sleep(0.00225)


def get_workload() -> Any:
    return tuned_job.workload("sleeping", Sleeping)


if __name__ == "__main__":
    tuned_job.main(Sleeping)
