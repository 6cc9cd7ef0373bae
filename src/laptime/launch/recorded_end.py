"""How a recorded command ended, and why nothing was recorded where nothing was."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from laptime.files import read_lines
from laptime.launch.recorded import isolation, shown
from laptime.script import ScriptEnd, ScriptStatus

_STOPPED = {130: "SIGINT", 143: "SIGTERM"}
"""What shells make of a command that a signal ended."""


def end_of(status: ScriptStatus, returncode: int, run: Path, wall_ns: int) -> ScriptStatus:
    """Return the status of a command that has ended."""
    word, reason = _outcome(returncode)
    if _events(run) & {"steps"}:
        asked = f"after {status.steps_asked} steps" if status.steps_asked else "after its headroom"
        word, reason = "stopped", f"{asked}, as was asked"
    changes = {"status": word, "reason": reason, "exit_status": returncode, "wall_ns": wall_ns}
    return status.model_copy(update=changes)


def _outcome(returncode: int) -> tuple[ScriptEnd, str | None]:
    if returncode == 0:
        return "completed", None
    if returncode < 0:
        return "interrupted", f"ended by {_name(-returncode)}"
    if returncode in _STOPPED:
        return "interrupted", f"ended by {_STOPPED[returncode]}"
    return "failed", f"ended with exit status {returncode}"


def _name(number: int) -> str:
    return next((s.name for s in signal.Signals if s == number), f"signal {number}")


def nothing_recorded(status: ScriptStatus, run: Path) -> str:
    """Return why a command left no record, in one line, with what can be done."""
    events, command = _events(run), shown(status.command)
    flag = isolation(status.command)
    if "refused" in events:
        why = "the recorder could not follow its torch; trace.jsonl in its directory says why"
    elif "failed" in events:
        why = "the recorder failed at its end; trace.jsonl in its directory says how"
    elif "step" in events:
        why = "it trained, but was ended before it could write what was measured"
    elif "torch" in events:
        why = (
            "torch was imported, but no optimizer was seen to take a step (one that torch.compile "
            "has compiled with the model is not seen)"
        )
    elif "entered" in events:
        why = "none of its Python processes imported torch: there is no training to time"
    elif flag is not None:
        why = f"python {flag} lets no recorder in. Leave {flag} out"
    else:
        why = (
            "it started no Python process that could be entered. A command that sets PYTHONPATH "
            "anew, or clears its environment, keeps the recorder out: put `laptime run --` before "
            "the python in it"
        )
    ended = f" ({status.reason})" if status.reason else ""
    return f"nothing was recorded of `{command}`{ended}: {why}."


def _events(run: Path) -> set[str]:
    """Return how far the recorder came in the processes of a command."""
    return {json.loads(line).get("event", "") for line in read_lines(run / "trace.jsonl")}
