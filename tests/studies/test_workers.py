from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.studies.fakes import Calm, FakeMachine, Notes

from laptime.errors import SettingsError
from laptime.settings import build_settings
from laptime.studies.process import ArmEndedError
from laptime.studies.runner import Workshop
from laptime.studies.workers import run_workers
from laptime.study import StudyRecord, StudyRequest, TurnPolicy
from laptime.study_store import create_study
from laptime.timing.clock import read_ns

MS = 1_000_000
COMPUTE_MS, LOAD_MS = 10, 35


def step_ns(name: str, turn: int) -> int:
    """Compute or loading, whichever is longer; a ripple that takes turns cancels."""
    ripple = (turn % 3) * MS // 100
    word = name.split()[0]
    if word == "resident":
        return COMPUTE_MS * MS + ripple
    workers = int(word)
    loading = LOAD_MS / workers if workers else LOAD_MS + COMPUTE_MS
    return int(max(COMPUTE_MS, loading) * MS) + ripple


def request(**more: Any) -> StudyRequest:
    given = {
        "study": "workers",
        "settings": build_settings({"num_workers": 2, "samples": 5120}),
        "turns": TurnPolicy(min_turns=4, max_turns=4),
        "table_epochs": 0,
        **more,
    }
    return StudyRequest(**given)


def workshop(
    tmp_path: Path, asked: StudyRequest, machine: FakeMachine, budget_s: float | None = None
) -> tuple[Workshop, Notes]:
    notes = Notes()
    directory = create_study(tmp_path, asked)
    return Workshop(directory, notes, Calm(), machine.start, read_ns(), budget_s), notes


def run(tmp_path: Path, asked: StudyRequest, machine: FakeMachine | None = None) -> StudyRecord:
    return run_workers(workshop(tmp_path, asked, machine or FakeMachine(step_ns))[0], asked)


def test_a_grid_is_run_as_given_and_the_smallest_of_the_plateau_recommended(
    tmp_path: Path,
) -> None:
    record = run(tmp_path, request(grid=(0, 2, 4, 8)))

    assert [arm.name for arm in record.arms] == ["0", "2", "4", "8", "2 again", "resident"]
    assert record.details["plateau"]["members"] == [4, 8]
    assert record.details["recommended"]["num_workers"] == 4
    assert record.refusals == ()


def test_the_gain_is_that_of_fresh_blocks(tmp_path: Path) -> None:
    record = run(tmp_path, request(grid=(0, 2, 4, 8)))

    confirmed = record.details["confirmation"]
    assert (confirmed["a"], confirmed["b"], confirmed["verdict"]) == ("4", "2", "faster")
    assert confirmed["ratio"] == pytest.approx(10 / 17.5, rel=0.01)


def test_one_worker_that_the_grid_leaves_out_is_explained_on_the_fresh_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("laptime.studies.workers.run_trainings", lambda *_, **__: [])
    record = run(tmp_path, request(grid=(0, 2, 4, 8), table_epochs=2))

    assert [arm.name for arm in record.fresh_arms] == ["2", "4", "1"]
    (told,) = [text for text in record.explanation if text.startswith("One worker against 4")]
    assert told.startswith("One worker against 4, on fresh blocks: 1 worker takes")
    assert "not explained" not in told


def test_without_tables_one_worker_that_the_grid_leaves_out_is_left_out(tmp_path: Path) -> None:
    record = run(tmp_path, request(grid=(0, 2, 4, 8), table_epochs=0))

    assert [arm.name for arm in record.fresh_arms] == ["2", "4"]


def test_one_worker_of_the_grid_is_explained_on_the_blocks_of_the_grid(tmp_path: Path) -> None:
    record = run(tmp_path, request(grid=(0, 1, 2, 4)))

    assert any(
        text.startswith("One worker against 4, on the blocks that chose 4: 1 worker takes")
        for text in record.explanation
    )


def test_without_a_grid_the_study_climbs_until_it_is_of_no_use(tmp_path: Path) -> None:
    record = run(tmp_path, request())

    assert record.details["grid"] == "ascended"
    assert record.details["recommended"]["num_workers"] == 4
    tried = {int(arm.name) for arm in record.arms if arm.name.isdigit()}
    assert tried >= {0, 1, 2, 4, 8}
    eliminated = record.details["plateau"]["eliminated"]
    assert eliminated
    assert not {1, 2, 4} & set(eliminated)
    assert all(record.result(str(count)).epoch_s.n == 1 for count in eliminated)  # type: ignore[union-attr]


def test_the_current_count_stays_in_the_study_that_climbed(tmp_path: Path) -> None:
    record = run(tmp_path, request())

    assert record.plan.baseline == "2"


def test_climbing_ends_at_the_cap(tmp_path: Path) -> None:
    record = run(tmp_path, request(most_workers=2))

    assert max(int(arm.name) for arm in record.arms if arm.name.isdigit()) == 2


def test_rates_headroom_and_fit_are_those_of_the_closed_form(tmp_path: Path) -> None:
    record = run(tmp_path, request(grid=(0, 1, 2, 4, 8)))

    rates, fit = record.details["rates"], record.details["fit"]
    assert rates["step_per_s"]["estimate"] == pytest.approx(100, rel=0.01)
    assert fit["compute_s"] == pytest.approx(0.010, rel=0.05)
    assert fit["load_s"] == pytest.approx(0.035, rel=0.05)


def test_the_full_model_is_predicted_from_its_own_step_and_these_loader_rates(
    tmp_path: Path,
) -> None:
    record = run(tmp_path, request(grid=(0, 1, 2), full=build_settings({})))

    predicted = record.details["predicted"]
    assert predicted["model"] == "resnet18 width 64"
    assert predicted["step_s"] == pytest.approx(0.010, rel=0.01)
    assert set(predicted["epoch_s"]) == {"0", "1", "2"}


def test_finished_blocks_are_not_run_again(tmp_path: Path) -> None:
    asked = request(grid=(0, 2, 4))
    failing = FakeMachine(step_ns, {"resident": {}})
    shop, _ = workshop(tmp_path, asked, failing)
    run_workers(shop, asked)
    stored = shop.directory.blocks.read_bytes()
    again = FakeMachine(step_ns)
    notes = Notes()

    record = run_workers(
        Workshop(shop.directory, notes, Calm(), again.start, read_ns(), None), asked
    )

    assert shop.directory.blocks.read_bytes() == stored
    assert notes.blocks == []
    assert record.status == "completed"


def test_an_interrupted_study_goes_on_where_it_stopped(tmp_path: Path) -> None:
    asked = request(grid=(0, 2, 4))
    turns = 0

    def interrupted(name: str, turn: int) -> int:
        nonlocal turns
        turns += 1
        if turns == 60:
            raise KeyboardInterrupt
        return step_ns(name, turn)

    shop, notes = workshop(tmp_path, asked, FakeMachine(interrupted))
    with pytest.raises(KeyboardInterrupt):
        run_workers(shop, asked)
    done = len(shop.directory.read_blocks())
    assert 0 < done < 5

    later = Notes()
    machine = FakeMachine(step_ns)
    record = run_workers(
        Workshop(shop.directory, later, Calm(), machine.start, read_ns(), None), asked
    )

    assert notes.blocks + [b for b in later.blocks if b > done][: 5 - done] == [1, 2, 3, 4, 5]
    assert record.blocks == 5


def test_an_arm_that_never_works_is_no_candidate(tmp_path: Path) -> None:
    ends = {"4": {"turn": ArmEndedError("killed", "its process was ended by SIGKILL")}}

    record = run(tmp_path, request(grid=(0, 2, 4, 8)), FakeMachine(step_ns, ends))

    assert record.result("4").epoch_s is None
    assert record.result("4").outcomes() == {"killed": 5}
    assert record.details["recommended"]["num_workers"] == 8


def test_too_few_blocks_recommend_nothing(tmp_path: Path) -> None:
    record = run(tmp_path, request(grid=(0, 2, 4), blocks=2))

    assert record.details["recommended"] is None


def test_a_busy_machine_recommends_nothing(tmp_path: Path) -> None:
    asked = request(grid=(0, 2, 4))
    directory = create_study(tmp_path, asked)
    busy = Calm(iter(lambda: 2.0, None))
    machine = FakeMachine(step_ns)

    record = run_workers(Workshop(directory, Notes(), busy, machine.start, read_ns(), None), asked)

    assert "contaminated" in {refusal.code for refusal in record.refusals}
    assert record.details["recommended"] is None
    assert {row.verdict for row in record.comparisons} == {"not measurable"}


def test_a_budget_too_small_for_one_block_says_the_least_that_serves(tmp_path: Path) -> None:
    asked = request(grid=(0, 2, 4))
    shop, _ = workshop(tmp_path, asked, FakeMachine(step_ns), budget_s=1e-6)

    with pytest.raises(SettingsError, match=r"one takes at least .* Give --budget \d+s"):
        run_workers(shop, asked)


def test_a_budget_narrows_the_plan_and_says_so(tmp_path: Path) -> None:
    asked = request(grid=(0, 2, 4), turns=TurnPolicy(min_turns=4, max_turns=24))
    shop, notes = workshop(tmp_path, asked, FakeMachine(step_ns), budget_s=120.0)

    record = run_workers(shop, asked)

    assert any("The budget allows" in text for text in notes.warnings)
    assert record.plan.turns.max_turns < 24 or record.plan.blocks < 5


def test_a_document_is_json_with_every_promised_key(tmp_path: Path) -> None:
    import json

    document = json.loads(json.dumps(run(tmp_path, request(grid=(0, 2, 4))).document()))

    promised = {"study", "arms", "comparisons", "resolution", "explanation", "refusals"}
    assert promised | {"plateau", "recommended", "confirmation"} <= set(document)
    arm = document["arms"][0]
    assert {"name", "settings", "replicates", "epoch_s", "epochs"} <= set(arm)
    replicate = arm["replicates"][0]
    assert set(replicate) >= {
        "block", "status", "epoch_s", "loading_s", "training_s", "loss", "accuracy", "contaminated",
    }  # fmt: skip
    assert set(arm["epoch_s"]) == {"estimate", "low", "high", "n"}
    assert set(document["comparisons"][0]) >= {
        "a",
        "b",
        "ratio",
        "low",
        "high",
        "verdict",
        "reason",
    }
