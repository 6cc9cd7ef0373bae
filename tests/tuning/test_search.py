from __future__ import annotations

from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from tests.studies.fakes import Calm
from tests.tuning.scripts import (
    FakeScript,
    Machine,
    Overrides,
    Script,
    losses_of,
    request,
    tune,
)

from laptime.errors import SettingsError
from laptime.studies.process import ArmEndedError
from laptime.tune import AGAIN, BASELINE, LoaderFacts, TuneArm


def waits(**more: Any) -> Script:
    """Loads for four times as long as it computes: with 4 workers it no longer waits."""
    return Script(compute_ms=10, load_ms=40, **more)


def test_the_best_worker_count_is_found_and_proven_on_fresh_blocks(tmp_path: Path) -> None:
    found = tune(tmp_path, waits()).findings

    assert found.conclusion == "gain"
    assert found.gain is not None
    assert dict(found.gain.changes)["num_workers"] == 4
    truth = (100 * 10.3 + 5) / (100 * 50.3 + 0.1)
    row = found.gain.row
    assert row.verdict == "faster"
    assert row.low is not None
    assert row.high is not None
    assert row.low * 0.99 <= truth <= row.high * 1.01


def test_the_gain_is_that_of_fresh_blocks_with_seeds_of_their_own(tmp_path: Path) -> None:
    tuning = tune(tmp_path, waits())

    blocks = tuning.directory.read_blocks()
    fresh = [block for block in blocks if block.block.stage == "confirmation"]
    assert [arm.name for arm in fresh[0].arms] == [BASELINE, tuning.findings.gain.name]  # type: ignore[union-attr]
    numbers = [block.block.block for block in blocks]
    assert numbers == list(range(1, len(blocks) + 1))


def test_the_unchanged_job_is_there_twice_where_a_verdict_is_sought(tmp_path: Path) -> None:
    tuning = tune(tmp_path, waits())

    stages = dict(tuning.notes.stages)
    assert stages["main"][:2] == [BASELINE, AGAIN]
    assert tuning.findings.again is not None
    assert tuning.findings.again.verdict == "equivalent"


def test_with_nothing_to_gain_it_says_so_and_stops_early(tmp_path: Path) -> None:
    tuning = tune(tmp_path, Script(compute_ms=100, load_ms=0.2))

    assert tuning.findings.conclusion == "nothing to gain"
    assert not [stage for stage, _ in tuning.notes.stages if stage == "confirmation"]
    assert not any("num_workers" in name for name in tuning.names)


def test_a_script_that_spends_nothing_in_any_part_is_not_tried_at_all(tmp_path: Path) -> None:
    asked = request(only=("num_workers", "fused"))
    tuning = tune(tmp_path, Script(compute_ms=100, load_ms=0.2), asked)

    assert tuning.findings.conclusion == "nothing to gain"
    assert tuning.machine.started == []
    why = {left.name: left.why for left in tuning.findings.not_tried}
    assert why["num_workers"].startswith("loading is 0.2")
    assert why["fused"].startswith("the optimizer is 0.3")
    assert why["threads"] == "--only leaves it out"


def one_thread(overrides: Overrides) -> float:
    """A small model: a second thread costs more than it gives."""
    return 0.7 if overrides.get("threads") == 1 else 1.0


def test_two_that_help_are_tried_at_once_and_proven_together(tmp_path: Path) -> None:
    script = Script(compute_ms=10, load_ms=40, speed=one_thread)

    found = tune(tmp_path, script).findings

    assert found.gain is not None
    assert dict(found.gain.changes).keys() >= {"num_workers", "threads"}
    assert found.tried["threads 1"].outcome == "kept"
    assert found.together


def quarrelling(overrides: Overrides) -> float:
    """One thread helps alone, and hurts as soon as the memory format changes."""
    if overrides.get("threads") == 1:
        return 1.3 if overrides.get("channels_last") else 0.8
    return 0.7 if overrides.get("channels_last") else 1.0


def test_an_interaction_is_seen_and_the_best_single_one_wins(tmp_path: Path) -> None:
    found = tune(tmp_path, Script(compute_ms=30, speed=quarrelling)).findings

    assert found.gain is not None
    assert found.gain.name == "channels_last"
    assert found.tried["threads 1"].outcome == "kept"
    both = found.tried["channels_last + threads 1"]
    assert both.outcome == "not kept"
    assert found.together[0].verdict == "slower"


def forgetful(overrides: Overrides, seed: int) -> list[float | None]:
    """With workers the dataset loses its state: the losses are of another training."""
    off = 0.4 if overrides.get("num_workers") else 0.0
    return [loss + off for loss in losses_of(seed)]


def test_a_fix_that_changes_the_losses_is_refused_and_says_why(tmp_path: Path) -> None:
    found = tune(tmp_path, waits(losses=forgetful)).findings

    refused = found.tried["num_workers 4"]
    assert refused.outcome == "refused"
    assert "beyond" in refused.why
    assert refused.row is not None
    assert refused.row.verdict == "faster"
    assert found.conclusion == "nothing to gain"


def drawing_in_workers(overrides: Overrides, seed: int) -> list[float | None]:
    """Augmentations drawn in workers: another seed, no other training."""
    return list(losses_of(seed + 1000 if overrides.get("num_workers") else seed))


def test_losses_as_far_off_as_another_seed_are_no_reason_to_refuse(tmp_path: Path) -> None:
    found = tune(tmp_path, waits(losses=drawing_in_workers)).findings

    assert found.gain is not None
    assert found.gain.losses is not None
    assert found.gain.losses.reason == "within_spread"


def test_workers_that_repeat_an_iterable_dataset_are_refused_and_one_is_not(tmp_path: Path) -> None:
    script = waits(
        loader=LoaderFacts(place="train.py:7", is_iterable=True),
        epoch_of=lambda overrides, steps: steps * max(1, overrides.get("num_workers", 0)),
    )

    found = tune(tmp_path, script).findings

    assert found.tried["num_workers 2"].outcome == "refused"
    assert "each worker repeats the whole dataset" in found.tried["num_workers 2"].why
    assert found.gain is not None
    assert found.gain.name == "num_workers 1"


def test_an_override_that_fails_is_in_the_table_with_why(tmp_path: Path) -> None:
    ends = {"compile": ArmEndedError("failed", "no C++ compiler")}

    found = tune(tmp_path, Script(compute_ms=30, ends=ends)).findings

    assert found.tried["compile"].outcome == "failed"
    assert found.tried["compile"].why == "failed: no C++ compiler"


def test_an_override_that_diverges_is_refused(tmp_path: Path) -> None:
    ends = {"channels_last": ArmEndedError("diverged", "the loss is not finite")}

    found = tune(tmp_path, Script(compute_ms=30, ends=ends)).findings

    assert found.tried["channels_last"].outcome == "refused"


def test_what_changes_numbers_needs_permission(tmp_path: Path) -> None:
    script = Script(compute_ms=30, speed=lambda o: 0.5 if o.get("bf16") else 1.0)

    without = tune(tmp_path, script).findings
    allowed = tune(tmp_path, script, request(allow_numerics=True)).findings

    assert {n.name: n.why for n in without.not_tried}["bf16"].endswith("--allow-numerics")
    assert without.conclusion == "nothing to gain"
    assert allowed.gain is not None
    assert allowed.gain.name == "bf16"
    assert allowed.gain.numbers == "other numbers"


def compiled(overrides: Overrides) -> float:
    return 0.5 if overrides.get("compile") else 1.0


def test_a_longer_start_has_its_break_even_step(tmp_path: Path) -> None:
    found = tune(tmp_path, Script(compute_ms=30, speed=compiled)).findings

    steps = found.tried["compile"].break_even_steps
    assert steps is not None
    assert steps == pytest.approx(8.99 / 0.01515, rel=0.02)


def test_persistent_workers_follow_once_there_are_workers(tmp_path: Path) -> None:
    script = waits(start_ms=300, steps_per_epoch=40.0)

    found = tune(tmp_path, script).findings

    assert found.gain is not None
    assert dict(found.gain.changes) == {"num_workers": 4, "persistent_workers": True}
    assert "there are no workers" not in {left.why for left in found.not_tried}


def test_where_no_epoch_is_known_steps_are_compared(tmp_path: Path) -> None:
    found = tune(tmp_path, waits(steps_per_epoch=None)).findings

    assert found.gain is not None
    assert found.gain.row.quantity == "step_s"


def test_a_machine_that_is_not_calm_lets_nothing_be_concluded(tmp_path: Path) -> None:
    found = tune(tmp_path, waits(), meter=Calm(repeat(2.0))).findings

    assert found.conclusion == "refused"
    assert found.refusals[0].code == "contaminated"


def test_a_budget_that_holds_nothing_says_the_least_that_does(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"budget is .* Give --budget \d+s"):
        tune(tmp_path, waits(), request(budget_s=1e-3))


def test_fewer_than_five_blocks_keep_nothing(tmp_path: Path) -> None:
    found = tune(tmp_path, waits(), request(blocks=2)).findings

    assert found.conclusion == "nothing to gain"
    assert found.tried["num_workers 4"].why == "too few blocks for a verdict"


def test_only_what_is_asked_for_is_tried(tmp_path: Path) -> None:
    tuning = tune(tmp_path, waits(), request(only=("threads",)))

    assert tuning.names <= {BASELINE, AGAIN, "threads 1"}


def test_every_process_is_closed(tmp_path: Path) -> None:
    tuning = tune(tmp_path, waits())

    assert tuning.machine.started
    assert all(process.closed for process in tuning.machine.started)


@pytest.mark.parametrize("seed", range(8))
def test_on_a_noisy_machine_nothing_without_a_gain_is_called_one(tmp_path: Path, seed: int) -> None:
    script = Script(compute_ms=30, load_ms=3, noise=0.05, process_noise=0.02)

    found = tune(tmp_path, script, seed=seed).findings

    assert found.gain is None or "num_workers" in dict(found.gain.changes)
    kept = {name for name, tried in found.tried.items() if tried.outcome == "kept"}
    assert not {name for name in kept if "num_workers" not in name}


@pytest.mark.parametrize("seed", range(8))
def test_on_a_noisy_machine_a_large_gain_is_found(tmp_path: Path, seed: int) -> None:
    script = Script(compute_ms=10, load_ms=20, noise=0.05, process_noise=0.02)

    found = tune(tmp_path, script, seed=seed).findings

    assert found.gain is not None
    assert dict(found.gain.changes)["num_workers"] in {2, 4}


def test_two_forms_of_one_optimizer_are_not_tried_at_once(tmp_path: Path) -> None:
    def shorter(overrides: Overrides) -> float:
        return 0.4 if overrides.get("fused") else 0.6 if overrides.get("foreach") else 1.0

    found = tune(tmp_path, Script(compute_ms=10, optimizer_ms=10, speed=shorter)).findings

    assert found.gain is not None
    assert found.gain.name == "fused"
    assert found.tried["foreach"].outcome == "kept"
    assert "fused + foreach" not in found.tried


class Jealous(Machine):
    """A script that wants a port for itself."""

    def start(self, arm: TuneArm, block: int) -> FakeScript:
        living = [process for process in self.started if not process.closed]
        started = super().start(arm, block)
        if living:
            started.broken = ArmEndedError("failed", "address in use")
        return started


def test_arms_that_get_into_each_others_way_run_one_after_another(tmp_path: Path) -> None:
    tuning = tune(tmp_path, waits(), machine=Jealous(waits()))

    assert tuning.findings.conclusion == "gain"
    assert any("get into each other's way" in text for text in tuning.notes.warnings)
    designs = {block.block.design for block in tuning.directory.read_blocks()}
    assert designs == {"sequential"}


def test_beside_other_programs_nothing_to_gain_is_not_said_either(tmp_path: Path) -> None:
    tuning = tune(tmp_path, Script(compute_ms=30, load_ms=3), meter=Calm(repeat(2.0)))

    assert tuning.findings.conclusion == "refused"
    said = [text for text in tuning.notes.warnings if text.startswith("Other programs use")]
    assert len(said) == 1
