"""A study as lines of text: what was compared, its tables, why, what was not concluded."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import PurePath

from laptime.errors import printable
from laptime.replicate import Replicate, TrainedReplicate
from laptime.report.studies.tables import TABLES
from laptime.report.words.arms import arm_label, is_beside
from laptime.report.words.blocks import GAP, Block, Command, Prose, Words, lines_of
from laptime.report.words.lines import (
    counted,
    how_words,
    listed,
    machine_words,
    model_words,
)
from laptime.report.words.verdicts import change_cell, code_words, significant
from laptime.settings import RunSettings
from laptime.study import Comparison, StudyRecord
from laptime.units import (
    render_count,
    render_duration,
    render_share,
)

TITLES = {
    "workers": "Loader workers",
    "devices": "Devices",
    "optimizers": "Optimizers",
    "batchnorm": "Batch norm",
}
"""What each study compares."""

_QUANTITIES = {
    "epoch_s": "epoch time",
    "accuracy": "top-1",
    "loss": "loss",
    "test_accuracy": "test top-1",
}


_Runs = list[tuple[str, Replicate | TrainedReplicate]]
"""Name of the arm, and what a process of it left."""


def render_study(record: StudyRecord) -> list[str]:
    """Return everything that is printed of a study, line by line."""
    reasons = [block for text in record.explanation for block in (GAP, Prose(text))]
    blocks = [GAP, *TABLES[record.plan.study](record), *reasons, GAP, *troubles(record)]
    open_ends = Prose(f"Not concluded: {'; '.join(not_concluded(record))}.")
    return [*_header(record), *lines_of([*blocks, open_ends, *_ending(record)])]


def _header(record: StudyRecord) -> list[str]:
    """Return what was compared, on what, with what, where, and how well."""
    words = subject(record)
    compared = f"{TITLES[record.plan.study]} compared: {words.pop('compared')}"
    return [*map(printable, [compared, *words.values()]), *quality(record).lines()]


def subject(record: StudyRecord) -> dict[str, str]:
    """Return what was compared, the model and the data, the settings, the machine."""
    settings = record.plan.arm(record.plan.baseline).settings
    planned = [arm.name for arm in record.plan.arms if not is_beside(record, arm.name)]
    sizes = {r.parameters: None for arm in record.arms for r in arm.replicates if r.parameters}
    machine = record.environment
    return {
        "compared": listed([arm_label(record, name) for name in planned]),
        "model and data": f"{model_words(settings.flat(), *sizes)} · {data_words(record)}",
        "settings": ", ".join(how_words(settings.flat(), record.plan.factors)),
        **({"machine": ", ".join(machine_words(machine))} if machine else {}),
    }


def quality(record: StudyRecord) -> Words:
    """Return how much was measured, how small a difference it shows, and the A/A check."""
    return Words((*_extent(record), *_resolution(record), *_twin_check(record)))


def again(record: StudyRecord) -> str:
    """Return the command that goes on with the study, or shows it once more."""
    return f"laptime study {record.plan.study} --resume {shlex.quote(record.directory)}"


def data_words(record: StudyRecord) -> str:
    """Return the data in words: name, whether it is the official copy, samples of an epoch."""
    settings = record.plan.arm(record.plan.baseline).settings
    given, label = settings.data.data, record.data_label
    if label == "embedded set":
        name = "synthetic"
    else:
        is_cifar = given in {"auto", "cifar10"} or label.startswith("official")
        name = "CIFAR-10" if is_cifar else PurePath(given).name
    samples = _samples(record, settings)
    words = [name, label, f"{render_count(samples)} samples" if samples else ""]
    return ", ".join(filter(None, words))


def _samples(record: StudyRecord, settings: RunSettings) -> int | None:
    for arm in record.arms:
        for replicate in arm.replicates:
            if replicate.steps_per_epoch:
                return round(replicate.steps_per_epoch * settings.loader.batch_size)
        for run in arm.trained:
            if run.epochs:
                return run.epochs[0].samples
    return settings.data.samples


def _extent(record: StudyRecord) -> list[str]:
    """Return blocks, their order, seeds, and how long all of it took."""
    plan, words = record.plan, []
    if plan.blocks:
        run = f"{record.blocks} of " if record.blocks < plan.blocks else ""
        order = "turns" if plan.design == "turns" else "one arm after another"
        details = record.details
        more = details.get("grid") == "ascended" or details.get("confirmation")
        length = render_duration(record.wall_s) + (" with all stages" if more else "")
        words.append(f"{run}{counted(plan.blocks, 'block')}, {order} in random order, {length}")
    if plan.seeds:
        spent_s = record.details.get("trained_wall_s")
        length = f", runs of {render_duration(spent_s)} in sum" if spent_s else ""
        words.append(f"{counted(len(plan.seeds), 'seed')} an arm{length}")
    return words


def _resolution(record: StudyRecord) -> list[str]:
    if not record.plan.blocks:
        return []
    if record.resolution is None:
        return ["resolution unknown"]
    if record.resolution > 1:
        return ["resolution worse than 100 %"]
    return [f"resolution {significant(record.resolution * 100)} %"]


def _twin_check(record: StudyRecord) -> list[str]:
    """Return what the arm that was there twice says of the measurement."""
    if any(refusal.code == "aa_differs" for refusal in record.refusals):
        return ["A/A failed"]
    twins = {arm.name for arm in record.plan.arms if arm.again_of}
    rows = [row for row in record.comparisons if row.a in twins]
    return [f"A/A {_twin_words(row, record.plan.zone)}" for row in rows]


def _twin_words(row: Comparison, zone: float) -> str:
    if row.verdict == "not measurable" or row.reason == "too_few_blocks" or row.ratio is None:
        return "not judged"
    if row.verdict == "equivalent":
        return f"passed: equal within {render_share(zone)}"
    return f"undecided: no difference beyond {render_share(zone)} shown ({change_cell(row)})"


def troubles(record: StudyRecord) -> list[Block]:
    """Return processes that did not complete, turns that were not ours alone, refusals."""
    timed: _Runs = [(arm.name, run) for arm in record.arms for run in arm.replicates]
    trained: _Runs = [(arm.name, run) for arm in record.arms for run in arm.trained]
    return [
        *_ends(record, timed, "process of the blocks", "processes of the blocks"),
        *_ends(record, trained, "training run", "training runs"),
        *_contamination(record),
        *_refused(record),
    ]


def _ends(record: StudyRecord, runs: _Runs, one: str, many: str) -> list[Block]:
    """Return a line for each way in which some did not complete, with the first reason given."""
    blocks: list[Block] = []
    lost = [(name, run) for name, run in runs if run.status != "completed"]
    for status in dict.fromkeys(run.status for _, run in lost):
        arms = Counter(arm_label(record, name) for name, run in lost if run.status == status)
        where = ", ".join(f"{arm}: {n}" for arm, n in arms.items())
        reason = next((run.reason for _, run in lost if run.status == status and run.reason), "")
        what = f"{arms.total()} of {len(runs)} {one if len(runs) == 1 else many}"
        text = f"{what} {status.replace('_', ' ')} ({where}){f': {reason}' if reason else ''}"
        blocks.append(Prose(text))
    return blocks


def _contamination(record: StudyRecord) -> list[Block]:
    if not record.contaminated_turns:
        return []
    text = (
        f"{record.contaminated_turns} of {render_count(record.turns)} turns were taken while the "
        f"machine was not ours alone: kept and flagged; an arm's means leave them out where four "
        f"others remain."
    )
    return [Prose(text)]


def _refused(record: StudyRecord) -> list[Block]:
    """Return each reason not to conclude, with what was seen and the cheapest next step."""
    blocks: list[Block] = []
    for refusal in record.refusals:
        about = f" ({listed([arm_label(record, a) for a in refusal.arms])})" if refusal.arms else ""
        next_step = refusal.next[:1].upper() + refusal.next[1:].rstrip(".")
        what = f"Refused{about}, {code_words(refusal.code)}"
        text = f"{what}: {refusal.evidence.rstrip('.')}. {next_step}."
        blocks.append(Prose(text))
    return blocks


def not_concluded(record: StudyRecord) -> list[str]:
    """Return what nobody may read out of this study; each completes "Not concluded: ..."."""
    parts = [*_undecided_pairs(record), *_open_questions(record)]
    parts.append("whether another hour or another machine would say the same: all of it comes "
                 "from one stretch of time on one machine")  # fmt: skip
    return parts


def _undecided_pairs(record: StudyRecord) -> list[str]:
    """Return the pairs without a verdict, quantity by quantity."""
    parts = []
    for quantity, title in _QUANTITIES.items():
        rows = [row for row in record.comparisons if row.quantity == quantity]
        rows = [row for row in rows if not is_beside(record, row.a)]
        silent = [row for row in rows if row.verdict in {"inconclusive", "not measurable"}]
        if len(silent) == len(rows) > 1 and not any(row.blocks_needed for row in rows):
            parts.append(f"{title} of any two arms")
        else:
            parts += [f"{title} of {pair}" for pair in _grouped(record, silent)]
    return parts


def _grouped(record: StudyRecord, rows: list[Comparison]) -> list[str]:
    """Return pairs by what they are compared with and by the blocks that would decide."""
    groups: dict[tuple[str, int | None], list[str]] = {}
    for row in rows:
        groups.setdefault((row.b, row.blocks_needed), []).append(arm_label(record, row.a))
    return [
        f"{listed(arms)} against {arm_label(record, base)}"
        + (f" (about {counted(needed, 'block')} would decide)" if needed else "")
        for (base, needed), arms in groups.items()
    ]


def _open_questions(record: StudyRecord) -> list[str]:
    """Return what is left open besides pairs: the plateau, missing blocks, what was refused."""
    plan, details, parts = record.plan, record.details, []
    plateau = details.get("plateau") or {}
    members, undecided = plateau.get("members", ()), plateau.get("undecided", ())
    if len(members) > 1:
        parts.append(f"any difference among {listed([str(n) for n in members])} workers")
    if undecided:
        belong = "belongs" if len(undecided) == 1 else "belong"
        parts.append(f"whether {listed([str(n) for n in undecided])} {belong} to the plateau")
    if record.blocks < plan.blocks:
        parts.append(f"what {counted(plan.blocks - record.blocks, 'block')} more would have shown")
    if record.refusals:
        codes = dict.fromkeys(code_words(refusal.code) for refusal in record.refusals)
        parts.append(f"what the refusals forbid ({', '.join(codes)})")
    if plan.seeds and details.get("tuned") is None and plan.study == "optimizers":
        parts.append("how the optimizers compare at a learning rate that suits each")
    if plan.seeds and record.data_label == "embedded set":
        parts.append("accuracies on CIFAR-10: the embedded set has its shapes, not its images")
    return parts


def _ending(record: StudyRecord) -> list[Block]:
    """Return where the study is, and how to go on with it or do it once more."""
    place = Command(f"{record.directory} (graphs in charts/, as SVG and PNG)", "Record:")
    if record.status == "completed":
        return [place, Command(again(record), "Again: ")]
    return [Command(again(record), "Go on: "), place]
