"""What somebody requires of a comparison, and whether it is met: for a CI job's exit status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from laptime.statistics.contrast import Contrast

Requirement = Literal["not-slower", "faster", "equivalent", "not-faster"]
REQUIREMENTS: tuple[Requirement, ...] = get_args(Requirement)

Outcome = Literal["met", "contradicted", "undecided"]

EXIT_STATUS: Mapping[Outcome, int] = {"met": 0, "contradicted": 1, "undecided": 3}

_MET: Mapping[Requirement, frozenset[str]] = {
    "not-slower": frozenset({"faster", "equivalent"}),
    "faster": frozenset({"faster"}),
    "equivalent": frozenset({"equivalent"}),
    "not-faster": frozenset({"slower", "equivalent"}),
}
_CONTRADICTED: Mapping[Requirement, frozenset[str]] = {
    "not-slower": frozenset({"slower"}),
    "faster": frozenset({"slower", "equivalent"}),
    "equivalent": frozenset({"faster", "slower", "higher", "lower"}),
    "not-faster": frozenset({"faster"}),
}


def outcome_of(contrast: Contrast, requirement: Requirement) -> Outcome:
    """Return whether a comparison meets what is required of it.

    ``not-slower`` means: not slower by more than the zone, and so on. By verdict, with L and H the
    ends of the 95 % interval of the ratio A / B, and E the zone (1.03, or 1/1.03 downwards):

    =================================  ===========  ============  ============  ============
    verdict                            not-slower   faster        equivalent    not-faster
    =================================  ===========  ============  ============  ============
    faster                             met          met           contradicted  contradicted
    slower                             contradicted contradicted  contradicted  met
    equivalent                         met          contradicted  met           met
    small difference, H < 1            met          undecided     undecided     met if L >= 1/E
    small difference, L > 1            met if H<=E  contradicted  undecided     met
    inconclusive: interval too wide    met if H<=E  undecided     undecided     met if L >= 1/E
    inconclusive for other reasons     undecided    undecided     undecided     undecided
    not measurable, uncontrolled       undecided    undecided     undecided     undecided
    =================================  ===========  ============  ============  ============

    What is not met there is undecided. The line of wide intervals: [0.93, 1.01] does not tell
    faster from equivalent, but it leaves no room for slower. Other reasons to be inconclusive (too
    few blocks, single runs, a correction, a test that does not agree) are about the interval
    itself, and then nothing rests on it.
    """
    if contrast.verdict is None or contrast.verdict == "not measurable":
        return "undecided"
    if contrast.verdict in _MET[requirement]:
        return "met"
    if contrast.verdict in _CONTRADICTED[requirement]:
        return "contradicted"
    if contrast.verdict == "inconclusive" and not contrast.reason.endswith("interval_too_wide"):
        return "undecided"
    return _by_interval(contrast, requirement)


def _by_interval(contrast: Contrast, requirement: Requirement) -> Outcome:
    """Decide what only the ends of the interval decide."""
    low, high, edge = contrast.low, contrast.high, 1 + contrast.zone
    if not contrast.is_timed or low is None or high is None:
        return "undecided"
    if requirement == "faster" and low > 1:
        return "contradicted"
    bounded = {"not-slower": high <= edge, "not-faster": low >= 1 / edge}
    return "met" if bounded.get(requirement, False) else "undecided"
