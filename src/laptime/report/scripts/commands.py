"""Commands that follow from a script's run: the script's own words after ``--``."""

from __future__ import annotations

import shlex
from pathlib import PurePath

from laptime.script import ScriptRecord


def script_command(record: ScriptRecord, verb: str, *options: str) -> str:
    """Return what to type to do something with the same command.

    Args:
        record: The run.
        verb: run or tune.
        options: Of ours, before the command.
    """
    runs_dir = str(PurePath(record.directory).parent)
    where = [] if runs_dir == "runs" else [f"--runs-dir {shlex.quote(runs_dir)}"]
    return " ".join(["laptime", verb, *options, *where, "--", shlex.join(record.status.command)])
