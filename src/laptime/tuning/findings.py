"""What a search has found so far; it may be interrupted at any time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from laptime.study import Comparison, Refusal
from laptime.tune import BASELINE, Conclusion, Gain, NotTried, Tried
from laptime.tuning.choice.candidates import Candidate
from laptime.tuning.judging.verdicts import Bench
from laptime.tuning.stages.screening import Screened

BUDGET = "budget"
"""Why something was not tried that had deserved it."""

NO_VERDICT = "the budget held no verdict on it"


@dataclass
class Findings:
    """Rows of the tables to come, and the conclusion."""

    tried: dict[str, Tried] = field(default_factory=dict)
    not_tried: list[NotTried] = field(default_factory=list)
    together: list[Comparison] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    again: Comparison | None = None
    resolution: float | None = None
    gain: Gain | None = None
    conclusion: Conclusion = "interrupted"

    def conclude(self, conclusion: Conclusion) -> Findings:
        """Set the conclusion."""
        self.conclusion = conclusion
        return self

    @property
    def lacks_verdicts(self) -> bool:
        """Whether something deserved a verdict, or a look, that the budget did not hold."""
        judged = [tried.outcome for tried in self.tried.values()]
        return BUDGET in judged or any(left.why == BUDGET for left in self.not_tried)

    def leave_out(self, candidate: Candidate, name: str = "") -> None:
        """Note what the budget did not hold."""
        left = NotTried(name=name or candidate.name, numbers=candidate.numbers, why=BUDGET)
        self.not_tried.append(left)

    def note_screened(self, screened: Sequence[Screened], bench: Bench) -> None:
        """Keep what first looks said; what deserves a verdict lacks one as yet."""
        for one in screened:
            candidate = one.candidate
            if one.outcome == "budget":
                self.leave_out(candidate)
                continue
            self.tried[candidate.name] = Tried(
                name=candidate.name,
                changes=candidate.changes,
                numbers=candidate.numbers,
                note=candidate.note,
                stage="scout",
                row=bench.row(candidate.name, _against(bench, candidate)),
                outcome=one.outcome or "budget",
                why=one.why or NO_VERDICT,
            )

    def lose(self, candidate: Candidate, why: str) -> None:
        """Say of something that was kept that it is not, and why."""
        update = {"outcome": "not kept", "why": why}
        self.tried[candidate.name] = self.tried[candidate.name].model_copy(update=update)

    def ratio(self, candidate: Candidate) -> float:
        """Return the ratio that was found of a candidate; 1 without one."""
        row = self.tried[candidate.name].row
        return row.ratio if row and row.ratio else 1.0


def _against(bench: Bench, candidate: Candidate) -> str:
    """Return what a candidate was held against in its first block."""
    arms = next(b.arms for b in bench.blocks if candidate.name in {a.name for a in b.arms})
    return BASELINE if any(arm.name == BASELINE for arm in arms) else arms[0].name
