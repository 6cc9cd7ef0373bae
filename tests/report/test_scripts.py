from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.report.hostile import hostile_script
from tests.report.scripts import (
    EDGES,
    FACTS,
    LOADER,
    MS,
    by_name,
    on_device,
    place,
    process,
    script,
    total,
)

from laptime.phase import Phase
from laptime.report.charts.script import script_figures, window_rows
from laptime.report.documents import script_document
from laptime.report.pages.terminal import render_document
from laptime.report.scripts.findings import findings
from laptime.report.scripts.limits import ScriptFinding
from laptime.report.scripts.run import render_script
from laptime.script import (
    ProcessRecord,
    ScriptEpoch,
    ScriptRecord,
    ScriptStep,
    ScriptWindow,
)
from laptime.script_facts import HeadroomFact
from laptime.statistics.script_evidence import (
    GROUPS,
    PARTS,
    Evidence,
    evidence_of,
    judge_parts,
    saved_by_replay,
)

COMPUTING = {Phase.DATA_WAIT: 0.3, Phase.FORWARD: 3, Phase.BACKWARD: 6, Phase.OPTIMIZER: 0.7}
EVALUATION = {"evaluations": [{"place": place(80), "passes": 4, "ns": 16_000 * MS}]}
STRETCHES: dict[str, Any] = {
    "batches": 8,
    "loaded": [{"steps": 20, "wall_ns": ms * MS} for ms in (200, 204, 199, 201, 203)],
    "replayed": [{"steps": 20, "wall_ns": ms * MS} for ms in (80, 81, 79, 80, 82)],
}
WORKERS = {
    "samples": 1000, "batches": 8, "getitem_ns": 3200 * MS, "collate_ns": 40 * MS,
    "queue_ns": 5 * MS,
    "transforms": [{"name": "ToTensor", "ns": 200 * MS}, {"name": "Resize", "ns": 2500 * MS}],
}  # fmt: skip


def spending(**ms: float) -> dict[Phase, float]:
    """Return a step of ten milliseconds or so, by phase."""
    return {Phase[name.upper()]: each for name, each in ms.items()}


SCRIPTS = {
    "loading": script(),
    "one_epoch": script(process(epochs=1, steps=400)),
    "computing": script(process(step=COMPUTING)),
    "many_epochs": script(process({"epochs": 8}, epochs=8, steps=50)),
    "evaluation": script(process(EVALUATION, edges={**EDGES, Phase.EVALUATION: 4000})),
    "start_up": script(process(epochs=8, steps=30, edges={Phase.LOADER_START: 900})),
    "other": script(process(step=spending(data_wait=1, forward=1, backward=2, other=9))),
    "unclear": script(process(step=spending(data_wait=4.6, forward=2, backward=2.6, other=0.5))),
    "short": script(process(epochs=1, steps=12)),
    "cold": script(process(epochs=1, steps=80, edges={Phase.LOADER_START: 5000})),
    "no_loader": script(
        process(
            {"loaders": [], "missing": [{"boundary": "loader", "reason": "no DataLoader was "
                                         "iterated over"}]},
            epochs=1, steps=400, step=spending(forward=6, backward=2, optimizer=0.5, other=3),
            edges={}, epoch={"loader": None, "samples": None},
        )
    ),
    "measured": script(process({"headroom": STRETCHES, "workers": WORKERS})),
    "failed": script(
        process({"complete": False}, epochs=2),
        {"status": "failed", "exit_status": 1, "steps_asked": 300},
    ),
    "killed": script(
        process(epochs=2), {"status": "interrupted", "exit_status": -9},
        lost_loss=ScriptStep(epoch=2, step=17, loss=None, samples=128),
    ),
    "ranks": script(
        process({"world_size": 2}),
        others=(process({"rank": 1, "world_size": 2}, wobble=[1.1]),),
    ),
    "device": script(on_device({"syncs": [{"what": "item", "place": place(55), "count": 800,
                                           "ns": 9000 * MS}]})),
    "no_process": script().model_copy(update={"main": None}),
}  # fmt: skip

GOLDEN = Path(__file__).parent / "golden_scripts"


def text(it: ScriptRecord) -> str:
    return "\n".join(render_script(it))


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_reads_like_its_golden_text(name: str) -> None:
    """Read the difference; where it is meant, copy what is printed into golden_scripts."""
    assert text(SCRIPTS[name]) + "\n" == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


def test_no_golden_text_is_without_its_script() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_line_is_over_130_columns(name: str) -> None:
    assert [line for line in render_script(SCRIPTS[name]) if len(line) > 130] == []


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_page_says_what_the_terminal_says(name: str) -> None:
    printed = render_document(script_document(SCRIPTS[name]))

    for finding in findings(SCRIPTS[name]):
        assert " ".join(finding.sentence.split()) in " ".join(" ".join(printed).split())


def limit(it: ProcessRecord, **given: Any) -> ScriptFinding:
    """Return what is said of the largest part."""
    return next(
        finding for finding in findings(script(it, **given))
        if finding.code.endswith("_bound") or finding.code == "no_clear_limit"
    )  # fmt: skip


def edged(**ms: float) -> ProcessRecord:
    return process(edges={**EDGES, **spending(**ms)})


@pytest.mark.parametrize(
    ("it", "code", "where"),
    [
        (process(), "loader_bound", "train.py:42 DataLoader(num_workers=0)"),
        (
            process(edges={Phase.LOADER_START: 9000}), "start_up_bound",
            "train.py:42 DataLoader(num_workers=0, persistent_workers=False)",
        ),
        (
            process(EVALUATION, edges={Phase.EVALUATION: 9000}), "evaluation_bound",
            "train.py:80 evaluation pass",
        ),
        (
            process({"saves": [{"place": place(90), "count": 8, "ns": 5}]},
                    step=spending(data_wait=1, forward=1, checkpoint=8)),
            "checkpoint_bound", "train.py:90 torch.save",
        ),
        (process(step=COMPUTING), "compute_bound", "train.py:50 ResNet"),
        (process(step=spending(forward=8, backward=1)), "forward_bound", "train.py:50 ResNet"),
        (
            process({"other": [{"after": "backward", "ns": 1, "place": place(51)}]},
                    step=spending(forward=1, backward=8)),
            "backward_bound", "train.py:51 backward()",
        ),
        (
            process(step=spending(forward=1, backward=2, optimizer=8)), "optimizer_bound",
            "train.py:52 SGD(lr=0.1)",
        ),
        (process(step=spending(transfer=8, forward=1)), "transfer_bound", ""),
        (process(step=spending(forward=1, other=8)), "other_bound",
         "train.py:52 after optimizer.step()"),
    ],
)  # fmt: skip
def test_each_part_is_named_with_its_line(it: ProcessRecord, code: str, where: str) -> None:
    found = limit(it)

    assert (found.code, found.where) == (code, where)
    assert found.share is not None
    assert found.share.estimate > 0.5


def test_what_fixing_it_could_save_is_its_share_and_its_seconds_of_a_steady_epoch() -> None:
    it = process(drift=[9.0, 1.0, 1.0, 1.0], wobble=[1.0])
    found = limit(it)

    assert found.share is not None
    assert found.share.estimate == pytest.approx((6 * 200 + 25) / (10 * 200 + 25))
    assert found.most_s == pytest.approx(1.225)
    assert "(1.2 s): removing all of it would save at most that" in found.sentence


def test_time_in_other_is_placed_between_what_it_follows_and_what_comes_next() -> None:
    it = process(
        {"other": [{"after": "optimizer", "ns": 90, "place": place(52)},
                   {"after": "backward", "ns": 10, "place": place(51)}]},
        step=spending(forward=1, other=8),
    )  # fmt: skip

    sentence = limit(it).sentence
    assert "Most of it (90 %) is after optimizer.step() at train.py:52 and before the" in sentence


def test_a_boundary_that_was_not_found_is_named_where_its_time_would_stand() -> None:
    missing = {"missing": [{"boundary": "forward", "reason": "the script calls no module"}]}
    it = process(missing, step=spending(backward=1, other=8))

    assert "No forward was found: its time would stand here." in limit(it).sentence
    assert (
        "Not found, so that its time stays in other: forward (the script calls no module)."
    ) in text(script(it))


def test_without_intervals_no_part_is_called_the_limit() -> None:
    step = spending(data_wait=9, forward=3)
    few, enough = (process(epochs=n, steps=100, step=step) for n in (2, 6))

    assert limit(few).code == limit(enough).code == "loader_bound"
    assert limit(few).sentence.startswith("Largest part: data loading.")
    assert "No interval: 1 window is too few." in limit(few).sentence
    assert limit(enough).sentence.startswith("Limit: data loading.")
    assert re.search(r"75\.\d % \[\d+\.\d, \d+\.\d\]", limit(enough).sentence)


def test_the_first_epoch_is_left_out_where_there_are_others() -> None:
    cold = process(drift=[50.0, 1.0], epochs=2)
    first, steady = cold.epochs
    starved = first.model_copy(
        update={"phases_ns": {**first.phases_ns, Phase.OTHER: 10**12}, "wall_ns": 2 * 10**12}
    )

    found = limit(cold.model_copy(update={"epochs": (starved, steady)}))
    assert found.code == "loader_bound"


def test_windows_are_not_called_epochs_where_they_are_all_there_is() -> None:
    windows = tuple(process().steady)

    assert Evidence("epochs", windows, windows).unit == "epoch"
    assert Evidence("after_first_window", windows, windows).unit == "window"
    assert Evidence("epochs", windows).unit == "window"


def test_calls_before_a_model_was_found_are_said_not_to_be_counted() -> None:
    root = {"class": "ResNet", "kind": "module", "parameters": 5, "calls": 799, "place": place(50)}

    assert "799 calls after the first backward" in text(
        script(process({"roots": [{**root, "late": True}]}))
    )
    assert "after the first backward" not in text(script(process({"roots": [root]})))


def test_of_one_epoch_all_but_its_first_window_counts_and_that_is_said() -> None:
    it = process(epochs=1, steps=400, edges={Phase.LOADER_START: 900})
    found = limit(it)

    assert found.code == "loader_bound"
    assert "of the time after the first window" in found.sentence
    assert found.most_s == pytest.approx(0.0085, abs=0.001)
    assert "no epoch is whole but the first" in text(script(it)).lower()
    assert "loader_start" not in text(script(it)), "it lies in the first window"


@pytest.mark.parametrize(
    ("it", "words"),
    [
        (process(epochs=1, steps=19, step=spending(data_wait=500)), "19 steps in"),
        (process(epochs=3, steps=20, step=spending(data_wait=5, forward=1)), "are too few"),
        (
            process(epochs=1, steps=40, edges={Phase.LOADER_START: 900}),
            "nothing but the first window",
        ),
        (SCRIPTS["cold"].main, "belong to the first window"),
        (process(GPU_ON_HOST := {"device": "cuda:0", "device_name": "A GPU"}), "host's clock"),
        (on_device(invalid=1), "does not add up"),
        (process(step=spending(data_wait=5, forward=4.8)), "No clear limit"),
    ],
)
def test_where_nothing_may_be_said_the_reason_is(it: ProcessRecord, words: str) -> None:
    found = limit(it)

    assert found.code == "no_clear_limit"
    assert words in found.sentence
    assert "Limit:" not in text(script(it))


def test_three_equal_thirds_are_no_clear_limit_though_two_of_them_are_computing() -> None:
    it = process(epochs=8, step=spending(forward=3, backward=3, other=3), edges={})

    assert limit(it).code == "no_clear_limit"
    assert "computing together 66.7 %" in limit(it).sentence


def test_an_unclear_part_still_says_the_most_that_it_could_save_and_where() -> None:
    found = findings(SCRIPTS["unclear"])

    assert [f.code for f in found] == ["no_clear_limit", "loader_bound"]
    assert found[0].next_command == "laptime run --headroom -- python train.py --lr 0.1"
    assert found[1].sentence.startswith("Avoidable part: data loading.")
    assert found[1].where == "train.py:42 DataLoader(num_workers=0)"


def test_a_command_that_follows_twice_is_printed_once() -> None:
    lines = render_script(SCRIPTS["unclear"])

    assert len([line for line in lines if "laptime tune" in line]) == 1


def test_commands_carry_the_scripts_own_words_and_the_place_of_its_runs() -> None:
    it = script(
        status={"command": ["python", "my train.py", "--name", "a'b"]}, directory="my runs/a"
    )
    command = findings(it)[0].next_command

    assert command is not None
    assert shlex.split(command) == [
        "laptime", "tune", "--runs-dir", "my runs", "--", "python", "my train.py", "--name", "a'b",
    ]  # fmt: skip


def test_a_wait_that_a_busy_device_hid_is_no_loading_and_an_idle_one_is() -> None:
    hidden, starved = on_device(), on_device(stall_ns=600, backward_ns=10, forward_ns=70)

    assert limit(hidden).code == "compute_bound"
    assert limit(starved).code == "loader_bound"


@pytest.mark.parametrize(("syncs", "code"), [(800, "sync_bound"), (3, "host_bound")])
def test_an_idle_device_is_put_down_to_waits_only_where_there_are_enough(
    syncs: int, code: str
) -> None:
    facts = {"syncs": [{"what": "item", "place": place(55), "count": syncs, "ns": 5}]}
    found = limit(on_device(facts, host_gap_ns=700, backward_ns=50, forward_ns=50))

    assert found.code == code
    assert found.where == ("train.py:55 .item()" if code == "sync_bound" else "")


def test_on_a_cpu_waits_for_the_device_limit_nothing() -> None:
    codes = [finding.code for finding in findings(SCRIPTS["computing"])]

    assert codes == ["compute_bound"]


def test_what_replaying_saved_is_told_beside_the_bound() -> None:
    found = next(f for f in findings(SCRIPTS["measured"]) if f.code == "headroom")

    assert found.share is not None
    assert found.share.estimate == pytest.approx(0.60, abs=0.005)
    assert "would save 60.1 % [59" in found.sentence
    assert "by the ledger at most 60 %" in found.sentence


def test_loading_that_replaying_does_not_bear_out_is_not_called_the_limit() -> None:
    useless = {**STRETCHES, "replayed": STRETCHES["loaded"]}
    found = findings(script(process({"headroom": useless})))

    assert [f.code for f in found] == ["no_clear_limit", "headroom"]
    assert "in memory already saved nothing" in found[0].sentence
    assert "would save nothing" in found[1].sentence


def test_of_what_replaying_saved_too_little_of_the_number_is_told() -> None:
    slower = [{**one, "wall_ns": one["wall_ns"] - 10 * MS} for one in STRETCHES["loaded"]]
    found = findings(script(process({"headroom": {**STRETCHES, "replayed": slower}})))

    assert found[0].code == "no_clear_limit"
    assert "already saved only 5.0 % [" in found[0].sentence


def test_a_few_replayed_steps_have_no_interval() -> None:
    fact = HeadroomFact.model_validate({
        **STRETCHES, "loaded": STRETCHES["loaded"][:2], "replayed": STRETCHES["replayed"][:2],
    })  # fmt: skip
    saved = saved_by_replay(fact)

    assert saved is not None
    assert (saved.low, saved.n) == (None, 2)


def test_what_a_sample_takes_is_told_by_what_takes_most() -> None:
    found = next(f for f in findings(SCRIPTS["measured"]) if f.code == "workers")

    assert found.sentence == (
        "A sample takes 3.2 ms to make: __getitem__ 3.2 ms, of which Resize 2.5 ms, ToTensor "
        "0.2 ms; collate 40 us; queue 5 us."
    )


def test_a_loss_that_does_not_fall_is_spoken_of_unless_two_optimizers_share_it() -> None:
    flat = {"loss": 2.0}
    one, two = process(epoch=flat), process({"optimizers": FACTS["optimizers"] * 2}, epoch=flat)

    assert findings(script(one))[0].code == "loss_does_not_fall"
    assert findings(script(two))[0].code == "loader_bound"


def test_a_lost_loss_comes_first() -> None:
    found = findings(SCRIPTS["killed"])

    assert found[0].code == "diverged"
    assert "from epoch 2, step 17 on" in found[0].sentence


@pytest.mark.parametrize(
    ("edges", "steps", "fires"),
    [({}, 200, True), ({}, None, False), ({Phase.EVALUATION: 9000.0}, 200, True)],
)
def test_uneven_epochs_are_named_only_where_they_did_the_same(
    edges: dict[Phase, float], steps: int | None, fires: bool
) -> None:
    it = process(drift=[1.0, 1.0, 2.0], epochs=3, edges=edges)
    if steps is None:
        later = it.epochs[2].model_copy(update={"steps": 400})
        it = it.model_copy(update={"epochs": (*it.epochs[:2], later)})

    assert ("uneven_epochs" in [f.code for f in findings(script(it))]) is fires


def test_epochs_that_only_differ_by_an_evaluation_are_even() -> None:
    it = process(epochs=3, drift=[1.0])
    extra = {**it.epochs[2].phases_ns, Phase.EVALUATION: 9000 * MS}
    longer = it.epochs[2].model_copy(
        update={"phases_ns": extra, "wall_ns": it.epochs[2].wall_ns + 9000 * MS}
    )
    it = it.model_copy(update={"epochs": (*it.epochs[:2], longer)})

    assert "uneven_epochs" not in [f.code for f in findings(script(it))]


def test_a_process_that_was_killed_in_its_first_epoch_is_described_by_its_windows() -> None:
    it = process(epochs=1, steps=600).model_copy(update={"epochs": ()})

    assert limit(it).code == "loader_bound"
    assert "Limit: data loading" in text(script(it))


def test_nothing_is_found_where_nothing_was_timed() -> None:
    assert findings(SCRIPTS["no_process"]) == []
    assert "No process of this command took an optimizer step" in text(SCRIPTS["no_process"])


@given(st.lists(st.integers(0, 10**9), min_size=len(GROUPS), max_size=len(GROUPS)),
       st.integers(2, 7))  # fmt: skip
def test_shares_of_all_parts_sum_to_one(spent: list[int], epochs: int) -> None:
    phases = (Phase.DATA_WAIT, Phase.FORWARD, Phase.SYNC, Phase.EVALUATION, Phase.CHECKPOINT,
              Phase.LOGGING)  # fmt: skip
    step = {phase: ns / MS + 0.001 for phase, ns in zip(phases, spent, strict=True)}
    evidence = evidence_of(process(epochs=epochs, steps=10, step=step, window=4))
    assert evidence is not None

    assert sum(evidence.share(part).estimate for part in GROUPS) == pytest.approx(1)
    for part in PARTS:
        share = evidence.share(part)
        if share.low is not None and share.high is not None:
            assert 0 <= share.low <= share.estimate + 1e-12
            assert share.estimate <= share.high + 1e-12 <= 1 + 1e-9


def noisy(random: Random, true: dict[Phase, float], epochs: int, windows: int) -> ProcessRecord:
    """Return a process whose windows scatter around the true step by a fifth."""
    lines: list[ScriptEpoch] = []
    rows: list[ScriptWindow] = []
    for number in range(1, epochs + 1):
        spent: dict[Phase, int] = {}
        for n in range(windows):
            step = {p: ms * random.lognormvariate(0, 0.2) for p, ms in true.items()}
            phases = total((step, 50))
            spent = {p: spent.get(p, 0) + phases[p] for p in phases}
            rows.append(
                ScriptWindow(epoch=number, first_step=1 + 50 * n, steps=50,
                             wall_ns=sum(phases.values()), phases_ns=phases)
            )  # fmt: skip
        lines.append(
            ScriptEpoch.model_validate({
                "epoch": number, "steps": 50 * windows, "samples": None, "loss": None,
                "wall_ns": sum(spent.values()), "phases_ns": by_name(spent), "mode": "host",
                "cold": number == 1, "loader": 0, "evaluations": 0,
            })
        )  # fmt: skip
    return process().model_copy(update={"epochs": tuple(lines), "windows": tuple(rows)})


def test_in_noise_no_smaller_part_is_ever_called_the_largest() -> None:
    random, named = Random(5), 0
    for _ in range(300):
        waiting = random.uniform(2, 8)
        true = {Phase.DATA_WAIT: waiting, Phase.FORWARD: 10 - waiting}
        it = noisy(random, true, random.choice([1, 2, 6]), random.choice([2, 3, 4, 12]))
        evidence = evidence_of(it)
        assert evidence is not None
        judgement = judge_parts(it, evidence)
        if judgement.is_clear:
            named += 1
            assert judgement.first == ("loading" if waiting > 5 else "computing"), waiting

    assert named > 100


def test_intervals_hold_the_true_share_as_often_as_they_say() -> None:
    random, held = Random(6), 0
    for _ in range(200):
        it = noisy(random, {Phase.DATA_WAIT: 4.0, Phase.FORWARD: 6.0}, 1, 12)
        evidence = evidence_of(it)
        assert evidence is not None
        share = evidence.share("loading")
        assert share.low is not None
        assert share.high is not None
        held += share.low <= 0.4 <= share.high

    assert held / 200 >= 0.91


def test_loaders_that_never_trained_do_not_give_the_line() -> None:
    other = {**LOADER, "place": place(44), "training_passes": 0, "evaluation_passes": 3}
    it = process({"loaders": [other, LOADER]}, epoch={"loader": 1})

    assert limit(it).where == "train.py:42 DataLoader(num_workers=0)"


def test_what_was_found_is_listed_with_its_lines_the_busiest_first() -> None:
    syncs = [{"what": "item", "place": place(n), "count": n, "ns": n * MS} for n in range(60, 70)]
    lines = [line for line in render_script(script(process({"syncs": syncs})))
             if line.startswith("sync")]  # fmt: skip

    assert len(lines) == 6
    assert lines[0].split()[2:] == ["train.py:69", "69", "times,", "69", "ms"]
    assert "5 lines more" in lines[5]


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("loading", ["ledger", "epochs", "windows"]),
        ("one_epoch", ["ledger", "windows"]),
        ("short", ["ledger"]),
        ("no_process", []),
    ],
)
def test_charts_are_drawn_of_what_there_is(name: str, figures: list[str]) -> None:
    assert [figure.name for figure in script_figures(SCRIPTS[name])] == figures


def test_every_bar_is_a_step_of_its_windows_and_every_window_is_in_one() -> None:
    windows = process(epochs=3).windows
    for group in (1, 4):
        found = window_rows(windows, group)
        whole_ms = sum((row["to"] - row["from"]) * (row["high"] - row["low"]) for row in found)

        assert whole_ms == pytest.approx(sum(window.wall_ns for window in windows) / MS)
        assert len(found) == 3 * -(-len(windows) // group)
        assert found[-1]["to"] == sum(window.steps for window in windows)


CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def test_control_characters_in_any_field_do_not_reach_the_terminal() -> None:
    for line in render_script(hostile_script("net\x1b[31m\r\n\x07\u202e.py")):
        assert not CONTROL.search(line), ascii(line)


def test_what_is_printed_when_a_command_ends_loads_nothing_heavy() -> None:
    code = (
        "import sys, laptime.report.scripts.run, laptime.script_store\n"
        "print([n for n in ('torch', 'altair', 'numpy', 'pandas') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("loading", "Limit: data loading, 60.4 % [60.2, 60.7]: train.py:42 DataLoader(num_wor"),
        ("computing", "Limit: computing, 95.8 % [95.8, 95.8] of an epoch (1.9 s): train.py:50"),
        ("unclear", "No clear limit: data loading 48.0 % "),
        ("cold", "No limit is named: all but 0.3 s belong to the first window"),
    ],
)
def test_the_first_screen_says_the_limit_and_its_line(name: str, expected: str) -> None:
    assert script_document(SCRIPTS[name]).facts[0].startswith(expected)


def test_the_first_screen_says_nothing_of_limits_where_nothing_was_timed() -> None:
    assert script_document(SCRIPTS["no_process"]).facts == (
        "python train.py --lr 0.1",
        "host a-host",
    )
