"""Records of tunings, made up."""

from __future__ import annotations

from typing import Any

from tests.tuning.scripts import Script, request

from laptime.study import Comparison
from laptime.tune import Change, Gain, LossFinding, NotTried, Tried, TuneRecord


def row(a: str, ratio: float = 0.5, **more: Any) -> Comparison:
    given = {
        "a": a, "b": "unchanged", "ratio": ratio, "low": ratio * 0.97, "high": ratio * 1.03,
        "n": 5, "verdict": "faster", "reason": "interval_outside_zone",
    }  # fmt: skip
    return Comparison.model_validate({**given, **more})


def tried(name: str, **more: Any) -> Tried:
    given = {
        "name": name, "changes": ((name.split()[0], 4),), "numbers": "same numbers",
        "stage": "main", "row": row(name), "losses": LossFinding(reason="equal", steps=80),
        "outcome": "kept", "why": "equal losses",
    }  # fmt: skip
    return Tried.model_validate({**given, **more})


GAIN = Gain(
    name="num_workers 4",
    changes=(("num_workers", 4),),
    numbers="same numbers",
    row=row("num_workers 4", 0.42),
    losses=LossFinding(reason="equal", steps=80),
    before_s=5.0,
    after_s=2.1,
)

DIFF = """\
--- a/train.py
+++ b/train.py
@@ -7 +7 @@
-loader = DataLoader(data, batch_size=8)
+loader = DataLoader(data, batch_size=8, num_workers=4)
"""


def record(**more: Any) -> TuneRecord:
    given: dict[str, Any] = {
        "id": "2026-11-21T10-00-00_tune_train_abc123",
        "directory": "runs/2026-11-21T10-00-00_tune_train_abc123",
        "request": request(),
        "pilot": Script(compute_ms=10, load_ms=40).pilot(),
        "conclusion": "gain",
        "gain": GAIN,
        "tried": (
            tried("num_workers 4", note="same numbers only if ...", worker_bytes=10**8),
            tried(
                "channels_last", outcome="not kept", why="it is slower",
                numbers="same up to rounding", row=row("channels_last", 1.2, verdict="slower"),
            ),
            tried("compile", stage="scout", outcome="failed", why="failed: no compiler", row=None),
        ),
        "not_tried": (
            NotTried(name="fused", numbers="same up to rounding", why="the optimizer is 0.6 %"),
            NotTried(name="bf16", numbers="other numbers", why="budget"),
        ),
        "again": row("unchanged again", 1.0, verdict="equivalent", reason="interval_inside_zone"),
        "resolution": 0.02,
        "changes": (Change(path="/t/train.py", line=7, words="num_workers=4", diff=DIFF),),
        "diff": DIFF,
        "blocks": 12,
        "turns": 200,
        "wall_s": 240.0,
    }  # fmt: skip
    return TuneRecord.model_validate({**given, **more})
