"""A comparison as lines: what may be said first, then figures, how they came about, what not."""

from __future__ import annotations

from laptime.report.comparisons.tables import figure_blocks, name_of, size_words
from laptime.report.words.blocks import GAP, Block, Command, Prose, Table, lines_of
from laptime.report.words.lines import WIDTH, counted, listed, shortened
from laptime.report.words.verdicts import reason_words, significant, times_sentence
from laptime.statistics.contrast import TIMES, Contrast
from laptime.statistics.pairs import UNPAIRED
from laptime.statistics.requirement import EXIT_STATUS, Outcome, Requirement
from laptime.statistics.sides import Difference, Side
from laptime.study import Comparison
from laptime.units import render_seconds, seconds

_SUBJECTS = {
    "epoch": ("an epoch of A", "one of B"),
    "step": ("a step of A", "one of B"),
    "loading": ("loading in A", "in B"),
    "training": ("training in A", "in B"),
}
"""What takes the time, for a sentence on A and B."""

_REFUSED = {
    "environment_differs": "A and B were not measured under the same conditions",
    "machine_changed": "the machine itself was faster for one of the two",
    "clock_change": "the CPU clock was another for each of the two",
    "diverged": "a run diverged",
    "failed": "a run failed",
    "out_of_memory": "a run ran out of memory",
    "no_steady_state": "there is no steady state to compare",
    "timing_off": "the parts of an epoch were not timed",
    "incomplete": "a run is not at its end",
    "too_few_blocks": "blocks are missing",
    "no_estimate": "one of the two has no estimate",
    "aa_differs": "the same settings, run twice, came out different",
    "arms_differ": "arms differ in more than the study's factor",
    "contaminated": "other programs disturbed the turns",
    "losses_differ": "the two did not compute the same",
    "seeds": "seeds are missing, too few, or there twice",
}
"""Reasons why nothing is concluded."""


def render_contrast(
    contrast: Contrast, requirement: Requirement | None = None, outcome: Outcome | None = None
) -> list[str]:
    """Return everything that is printed of a comparison, line by line."""
    blocks: list[Block] = [*_head(contrast), GAP, *_who(contrast), GAP, *differences(contrast)]
    figures = figure_blocks(contrast)
    if figures:
        blocks += [GAP, *figures]
    blocks += [GAP, *method(contrast), *troubles(contrast)]
    parts = not_concluded(contrast)
    blocks += [Prose(f"Not concluded: {'; '.join(parts)}.")] if parts else []
    if requirement and outcome:
        status = EXIT_STATUS[outcome]
        text = f"Required of A, {requirement}: {outcome}, exit status {status}."
        blocks.append(Prose(text))
    return lines_of(blocks)


def _head(contrast: Contrast) -> list[Block]:
    if not contrast.uncontrolled:
        return [Prose(headline(contrast))]
    # One line, not prose: the word must stand in the line of the ratio.
    return [Command(headline(contrast).removeprefix(f"{_MARK} "), _MARK), Prose(NO_VERDICT)]


def headline(contrast: Contrast) -> str:
    """Return the one sentence that matters; a ratio without control is called that first."""
    if contrast.uncontrolled:
        ratio = "no ratio" if contrast.ratio is None else size_words(contrast)
        return f"{_MARK} {ratio}."
    if contrast.verdict == "not measurable":
        why = _REFUSED.get(contrast.reason, contrast.reason.replace("_", " "))
        return f"Not measurable: {why}."
    word = (contrast.verdict or "").capitalize()
    if contrast.kind == "runs":
        return f"{word}: {size_words(contrast)}, but one run of each carries no verdict."
    row = _row(contrast)
    if contrast.is_timed:
        subjects = _SUBJECTS[contrast.quantity]
        return f"{word}: {times_sentence(row, contrast.zone, *subjects)}{_paired(contrast)}."
    return f"{word}: {size_words(contrast)}: {reason_words(row, contrast.zone)}."


_MARK = "UNCONTROLLED:"

NO_VERDICT = (
    "No verdict: A and B were not measured under the same conditions, and what differs below may "
    "be all that the ratio shows."
)


def _paired(contrast: Contrast) -> str:
    return "" if contrast.is_paired or contrast.reason == "too_few_blocks" else " (not paired)"


def _row(contrast: Contrast) -> Comparison:
    """Return the finding in the form that words are made from."""
    return Comparison(
        a="A",
        b="B",
        quantity=TIMES.get(contrast.quantity, contrast.quantity),
        ratio=contrast.ratio,
        low=contrast.low,
        high=contrast.high,
        n=min(contrast.n_a, contrast.n_b),
        verdict=contrast.verdict or "not measurable",
        reason=contrast.reason.removeprefix(UNPAIRED),
        blocks_needed=contrast.blocks_needed,
    )


def _who(contrast: Contrast) -> list[Block]:
    """Return what A and B are, and the commits where they are two."""
    blocks: list[Block] = []
    for label, side in _labelled(contrast):
        sha = side.git_sha if contrast.a.git_sha != contrast.b.git_sha else None
        commit = f"  (commit {sha[:8]})" if sha else ""
        blocks.append(Command(f" {name_of(side)}{commit}", label))
    return blocks


def _labelled(contrast: Contrast) -> tuple[tuple[str, Side], tuple[str, Side]]:
    return ("A", contrast.a), ("B", contrast.b)


def differences(contrast: Contrast) -> list[Block]:
    """Return the settings in which A and B differ, and the conditions."""
    if contrast.settings:
        blocks: list[Block] = [_difference_table("settings", contrast.settings)]
    else:
        blocks = [Prose("The settings are the same.")]
    if contrast.environment:
        blocks += [GAP, _difference_table("conditions", contrast.environment)]
    return blocks


def _difference_table(title: str, found: tuple[Difference, ...]) -> Table:
    rows = [[d.name, *(shortened(_shown(value), 36) for value in (d.a, d.b))] for d in found]
    return Table.of((title, "A", "B"), rows, "<<<")


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None or value == "" else str(value)


def method(contrast: Contrast) -> list[Block]:
    """Return how the figures came about, where there are any."""
    if contrast.environment and not contrast.uncontrolled:
        return []
    if contrast.kind == "runs":
        return [
            Prose(f"{label}: {_run_words(contrast, side)}.") for label, side in _labelled(contrast)
        ]
    blocks: list[Block] = [Prose(text) for text in _arm_words(contrast)]
    if contrast.resolution is not None:
        text = (
            f"Resolution {_gap(contrast)}: the smallest difference that so many "
            f"{'blocks' if contrast.is_timed else 'runs'} show with 80 % power."
        )
        blocks.append(Prose(text))
    return blocks


def _gap(contrast: Contrast) -> str:
    assert contrast.resolution is not None
    if contrast.quantity == "loss":
        return significant(contrast.resolution)
    return f"{significant(contrast.resolution * 100)} {'%' if contrast.is_timed else 'points'}"


def _run_words(contrast: Contrast, side: Side) -> str:
    epochs = side.epochs
    ended = "" if side.status == "completed" else f"{side.status.replace('_', ' ')}, "
    asked = side.settings.get("epochs")
    words = (
        f"{ended}{f'{len(epochs)} of ' if asked else ''}{counted(asked or len(epochs), 'epoch')}"
    )
    if not contrast.is_timed or not epochs:
        return words
    walls = [seconds(epoch.wall_ns) for epoch in side.steady]
    if not walls:
        rest = contrast.quantity == "step" and side.step_s is not None
        return f"{words}, none of them steady{_AFTER_FIRST if rest else ''}"
    ends = [render_seconds(min(walls)), render_seconds(max(walls))]
    spread = f"from {ends[0]} to {ends[1]} s" if len(walls) > 1 else f"{ends[0]} s"
    mode = side.steady[0].mode
    return f"{words}, the mean is over {len(walls)}, {spread}, timed in mode {mode}"


_AFTER_FIRST = ": its steps are those after the first window"


def _arm_words(contrast: Contrast) -> list[str]:
    if not contrast.is_timed:
        words = [f"{label}: {_outcome_words(side)}." for label, side in _labelled(contrast)]
        return [*words, "Figures are those of the last epoch of each run that completed."]
    if contrast.is_paired:
        how = "side by side" if contrast.a.design == "turns" else "one after another"
        words = [
            f"Paired: one ratio from each of {counted(contrast.n_a, 'block')}, of processes "
            f"that ran {how}.{_contaminated(contrast.a)}"
        ]
        if contrast.stage == "confirmation":
            words.append("The blocks are fresh: made after the study had chosen one of the two.")
        return words
    words = [
        f"{label}: {counted(side.blocks, 'block')} from {side.started or '?'}"
        f"{_sentinel(side)}.{_contaminated(side)}"
        for label, side in _labelled(contrast)
    ]
    if contrast.a.directory == contrast.b.directory:
        return [*words, "Not paired: no block holds both."]
    return [
        *words,
        "Not paired: the blocks of two studies were measured at different hours. What the machine "
        "drifted between them is in the interval only as far as the blocks of each show it.",
    ]


def _outcome_words(side: Side) -> str:
    ends = [f"{count} {end.replace('_', ' ')}" for end, count in side.trained_outcomes.items()]
    return f"training runs: {', '.join(ends) or 'none'}"


def _sentinel(side: Side) -> str:
    if side.sentinel_ns is None:
        return ", without a sentinel: that the machine was the same is not checked"
    return f", the sentinel took {side.sentinel_ns:.1f} ns a repetition"


def _contaminated(side: Side) -> str:
    if not side.contaminated_turns:
        return ""
    return f" {side.contaminated_turns} of {side.turns} turns were contaminated."


def troubles(contrast: Contrast) -> list[Block]:
    """Return each reason not to conclude, with what was seen and the cheapest next step."""
    blocks: list[Block] = []
    for refusal in contrast.refusals:
        code = refusal.code.replace("_", " ")
        lead = "No verdict" if refusal.code == "single_runs" else "Refused"
        blocks.append(Prose(f"{lead}, {code}: {refusal.evidence.rstrip('.')}."))
        step = refusal.next[:1].upper() + refusal.next[1:].rstrip(".") + "."
        is_long = any(len(part) > WIDTH for part in step.split("`"))
        blocks.append(Command(step, "") if is_long else Prose(step))
    return blocks


def not_concluded(contrast: Contrast) -> list[str]:
    """Return what nobody may read out of it; each completes "Not concluded: ..."."""
    parts = []
    if contrast.verdict in {None, "inconclusive", "not measurable"}:
        words = {"accuracy": "more accurate", "loss": "lower in loss"}
        parts.append(f"whether A is {words.get(contrast.quantity, 'faster')} than B")
    if len(contrast.settings) > 1 and contrast.verdict:
        names = listed([difference.name for difference in contrast.settings][:6])
        parts.append(f"which of {names} makes a difference: A and B differ in all of them")
    if contrast.arms:
        parts.append("anything of the other arms: only the baselines are judged")
    if contrast.is_timed and contrast.kind != "runs":
        parts.append("whether another hour or another machine would say the same")
    if contrast.kind == "runs":
        parts.append("whether other runs of the same settings would come out the same")
    if not contrast.is_timed and "embedded set" in str(contrast.a.conditions.get("data")):
        parts.append("accuracies on CIFAR-10: the embedded set has its shapes, not its images")
    return parts
