"""Why one number of loader workers takes longer than another: only what the blocks carry."""

from __future__ import annotations

from collections.abc import Sequence

from laptime.report.words.lines import counted, listed
from laptime.report.words.paired import (
    Pair,
    are_different,
    are_enough,
    change_words,
    corrected,
    find_arm,
    judged,
    pairs,
    share,
)
from laptime.report.words.verdicts import (
    change_cell,
    code_words,
    digits,
    estimate_of,
    is_above,
    per_cent,
    significant,
    spelled,
    time_refusal,
    times_sentence,
)
from laptime.study import Estimate, StudyRecord
from laptime.units import render_bytes, render_share

RESIDENT = "resident"
"""Name of the arm whose batches are in memory already."""

WORTH_NAMING = 0.10
"""A share of the epoch below which no cause is named."""

_KEEPS_UP = 1.05
"""Headroom under which a loader is short of what training takes."""

_REMOVED = 0.8
"""Share of the wait that batches in memory must take away to confirm that it was loading."""


def explain_workers(record: StudyRecord) -> tuple[str, ...]:
    """Return why one worker and the recommended number differ, what that costs, what is left.

    Every sentence is a measurement with its interval, or says that none is distinguishable.
    Causes that no experiment has confirmed are called suspected.
    """
    recommended = (record.details.get("recommended") or {}).get("num_workers")
    if recommended is None:
        return ()
    refused = time_refusal(record, [str(recommended)])
    if refused:
        code = code_words(refused.code)
        return (f"What limits an epoch is not explained: the study refuses ({code}).",)
    found = (
        bound(record, recommended),
        one_against(record, recommended),
        supply(record, recommended),
        contention(record, recommended),
        start_up(record, recommended),
        cost(record, recommended),
    )
    return tuple(sentence for sentence in found if sentence)


def bound(record: StudyRecord, count: int) -> str | None:
    """Say what perfect loading takes, measured, and the most that it could save."""
    arm = find_arm(record, RESIDENT)
    found = pairs(record, str(count), RESIDENT, "epoch_s")
    if arm is None or arm.epoch_s is None or not are_enough(found):
        return None
    saved = share([with_loader - without for with_loader, without in found], [a for a, _ in found])
    if saved is None or saved.high is None or time_refusal(record, [RESIDENT]):
        return None
    text = (
        f"Perfect loading, batches that are in memory already, takes {spelled(arm.epoch_s)} an "
        f"epoch, measured. "
    )
    against = f"an epoch with {counted(count, 'worker')}"
    if saved.low is not None and saved.low > 0:
        text += f"That is {per_cent(saved)} less than {against}, the most that loading can save."
    elif saved.high > 0:
        text += (
            f"It is not distinguishable from {against}: better loading saves at most "
            f"{significant(saved.high * 100)} %."
        )
    else:
        text += f"That is not less than {against}: better loading saves nothing."
    if saved.high < record.plan.zone:
        text += f" Less than the {render_share(record.plan.zone)} that matter: stop here."
    return text


def one_against(record: StudyRecord, count: int) -> str | None:
    """Say how an epoch, its loading and its training differ between one worker and the best."""
    if count == 1:
        return None
    record, where = _holding_one(record, count)
    title = f"One worker against {count}, on {where}"
    epochs = pairs(record, "1", str(count), "epoch_s")
    row = judged(record, "1", str(count), "epoch_s")
    if row is None:
        return f"{title}: not explained, because no block holds both."
    refused = time_refusal(record, ["1", str(count)])
    if refused or not are_enough(epochs):
        why = code_words(refused.code) if refused else f"{len(epochs)} blocks are too few"
        return f"{title}: not explained ({why})."
    names = "1 worker", counted(count, "worker")
    text = f"{title}: {times_sentence(row, record.plan.zone, *names)}. "
    return text + _columns(record, count, epochs, told=row.verdict in {"faster", "slower"})


def _holding_one(record: StudyRecord, count: int) -> tuple[StudyRecord, str]:
    """Return the blocks in which one worker took part, and what they are called.

    A grid of the user's may leave one worker out: it is then beside the others in fresh blocks.
    """
    if "1" not in {arm.name for arm in record.fresh_arms}:
        return record, f"the blocks that chose {count}"
    fresh = {"arms": record.fresh_arms, "refusals": record.fresh_refusals}
    return record.model_copy(update=fresh), "fresh blocks"


def _columns(record: StudyRecord, count: int, epochs: Sequence[Pair], *, told: bool) -> str:
    """Say what happens to loading and to training, corrected for there being several claims.

    The verdict on the whole epoch, whether it differs, has been told.
    """
    loading = pairs(record, "1", str(count), "loading_s")
    training = pairs(record, "1", str(count), "training_s")
    load, train = are_different([loading, training])
    parts = [
        change_words("an epoch", epochs, is_different=told),
        f"{change_words('loading', loading, is_different=load)}{_ends(record, count)}",
        _training_words(record, "1", str(count), is_different=train),
    ]
    return f"From 1 to {count}: {'; '.join(parts)}."


def _ends(record: StudyRecord, count: int) -> str:
    """Return from where to where loading goes."""
    one, more = find_arm(record, "1"), find_arm(record, str(count))
    if one is None or more is None:
        return ""
    return f" ({digits(one.loading_s)} to {digits(more.loading_s)} s)"


def _training_words(record: StudyRecord, a: str, b: str, *, is_different: bool) -> str:
    """Say how training differs between two worker counts, b against a."""
    row = judged(record, b, a, "training_s")
    if row is None or row.ratio is None:
        return "training was not measured"
    change = change_cell(row)
    if row.verdict == "equivalent":
        return f"training is the same within {render_share(record.plan.zone)} ({change})"
    if is_different:
        return f"training changes by {change}"
    once = "" if row.low is None or row.high is None else corrected(row.low - 1, row.high - 1)
    return f"a difference in training is not distinguishable{once} ({change})"


def supply(record: StudyRecord, count: int) -> str | None:
    """Say whether workers make batches faster than the steps alone take them, and prove it."""
    rates = record.details.get("rates") or {}
    step = estimate_of(rates.get("step_per_s"))
    if step is None or not are_enough(range(step.n)) or time_refusal(record, [RESIDENT]):
        return None
    text = f"The steps alone take {spelled(step, 'batches/s')}. "
    parts = []
    for number in dict.fromkeys((1, count)):
        load = estimate_of((rates["arms"].get(str(number)) or {}).get("load_per_s"))
        if load is not None and are_enough(range(load.n)):
            parts.append(_supply_of(number, load, step))
    if not parts:
        return None
    proof = _loading_proof(record, 1) if count != 1 else None
    return text + " ".join([*parts, *([proof] if proof else [])])


def _supply_of(number: int, load: Estimate, step: Estimate) -> str:
    if number == 0:
        made = spelled(load, "batches/s")
        return f"With 0 workers the training process makes {made} itself: nothing overlaps."
    who = f"{counted(number, 'worker')} alone {'makes' if number == 1 else 'make'}"
    made = f"{who} {spelled(load, 'batches/s')}"
    if is_above(step, load):
        return f"{made}, fewer: training waits for {'it' if number == 1 else 'them'}."
    if is_above(load, step):
        return f"{made}, more: loading can hide behind training."
    return f"{made}, not distinguishable from that."


def _loading_proof(record: StudyRecord, number: int) -> str | None:
    """Say whether batches in memory take the wait away: the experiment that confirms loading."""
    name = str(number)
    loading = [of_arm for of_arm, _ in pairs(record, name, RESIDENT, "loading_s")]
    epochs = pairs(record, name, RESIDENT, "epoch_s")
    waits = share(loading, [of_arm for of_arm, _ in epochs])
    removed = share([a - b for a, b in epochs], loading)
    if waits is None or removed is None or waits.low is None or removed.low is None:
        return None
    if time_refusal(record, [name]) or not are_enough(epochs) or waits.low < WORTH_NAMING:
        return None
    who = counted(number, "worker")
    head = f"With {who} {per_cent(waits)} of an epoch is loading"
    if removed.low >= _REMOVED and _is_short(record, name):
        return f"{head}; batches in memory take {per_cent(removed)} of that away: confirmed."
    return (
        f"{head}; that the loader is too slow is suspected (batches in memory take "
        f"{per_cent(removed)} of it away). More blocks would decide: `laptime study workers "
        f"--blocks {2 * record.blocks}`."
    )


def _is_short(record: StudyRecord, name: str) -> bool:
    """Return whether the loader alone is surely no faster than steps alone, or hardly so."""
    rates = record.details.get("rates") or {}
    step = estimate_of(rates.get("step_per_s"))
    load = estimate_of((rates["arms"].get(name) or {}).get("load_per_s"))
    if step is None or load is None or step.low is None or load.high is None:
        return False
    return load.high / step.low < _KEEPS_UP


def contention(record: StudyRecord, count: int) -> str | None:
    """Say whether workers slow the steps themselves down; why they do stays suspected."""
    # Not those that the search left behind: they were never beside the others.
    numbers = sorted(int(arm.name) for arm in record.plan.arms if arm.name.isdecimal())
    # With 0 workers nothing runs beside the steps: where that is best, it is what the others are
    # held against.
    few = next((number for number in numbers if number > 0 or count == 0), None)
    if few is None:
        return None
    several = (1, numbers[-1]) if few == 0 else (count, numbers[-1])
    many = [number for number in dict.fromkeys(several) if few < number and number in numbers]
    many = [number for number in many if not time_refusal(record, [str(few), str(number)])]
    found = [pairs(record, str(number), str(few), "training_s") for number in many]
    slowed = []
    for number, is_different in zip(many, are_different(found), strict=True):
        row = judged(record, str(number), str(few), "training_s")
        if is_different and row and row.ratio and row.verdict == "slower":
            change = change_cell(row)
            slowed.append(f"{change} with {counted(number, 'worker')}")
    if not slowed:
        return None
    return (
        f"Workers slow training itself down, against {counted(few, 'worker')}: "
        f"{listed(slowed)}. {_suspected_contention(record, many[-1])}"
    )


def _suspected_contention(record: StudyRecord, workers: int) -> str:
    cpus, machine = record.details.get("usable_cpus"), record.environment
    threads = machine.threads if machine else 1
    if cpus and workers + threads > cpus:
        return (
            f"Suspected: {counted(workers, 'worker')} and torch's {counted(threads, 'thread')} "
            f"share {counted(cpus, 'CPU')}. The same study with OMP_NUM_THREADS=1, or on more "
            f"CPUs, would decide."
        )
    return (
        "Suspected: they share the memory's bandwidth or the caches, for there is a CPU for each. "
        "The same study with `--loader batch`, which moves less, would decide."
    )


def start_up(record: StudyRecord, count: int) -> str | None:
    """Say where the loader's start is a large part of an epoch; the remedy stays suspected."""
    arm = find_arm(record, str(count))
    first = estimate_of((record.details.get("first_batch_s") or {}).get(str(count)))
    epoch = arm.epoch_s if arm else None
    if arm is None or first is None or epoch is None or arm.settings.loader.persistent_workers:
        return None
    if first.low is None or epoch.high is None or not are_enough(range(first.n)):
        return None
    if first.low / epoch.high < WORTH_NAMING or count == 0:
        return None
    return (
        f"Of an epoch with {counted(count, 'worker')}, {spelled(first)} pass before its first "
        f"batch. Suspected: starting the workers takes it. The same study with "
        f"`--persistent-workers` would decide."
    )


def cost(record: StudyRecord, count: int) -> str | None:
    """Say what the workers of the recommended count hold and use, beside those of one."""
    parts = []
    for number in dict.fromkeys((1, count)):
        arm = find_arm(record, str(number)) or find_arm(_holding_one(record, count)[0], str(number))
        if arm is None or not number:
            continue
        held = f"{render_bytes(arm.worker_bytes)} of memory" if arm.worker_bytes else ""
        used = f"{significant(arm.worker_cpu_s)} CPU-seconds an epoch" if arm.worker_cpu_s else ""
        words = [word for word in (held, used) if word]
        if words:
            parts.append(f"{counted(number, 'worker')} {' and '.join(words)}")
    return f"Price, without an interval: {'; '.join(parts)}." if parts else None
