"""``laptime train`` in a process that ends with the study that started it.

Started as ``python -m laptime.studies.trainee PARENT train ...``.
"""

from __future__ import annotations

import runpy
import sys

from laptime.orphans import die_with_parent


def main() -> None:
    """Tie this process to the study, then run the command line as ``python -m laptime`` does."""
    die_with_parent(int(sys.argv.pop(1)))
    runpy.run_module("laptime", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
