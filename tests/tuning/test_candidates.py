from __future__ import annotations

from typing import Any

import pytest
from tests.tuning.scripts import Script

from laptime.errors import SettingsError
from laptime.host_memory import VARIABLES
from laptime.phase import Phase
from laptime.tune import LoaderFacts, OptimizerFacts, PilotRecord
from laptime.tuning.choice.bounds import bound_words, is_worth_trying, share_of
from laptime.tuning.choice.candidates import (
    JOB_KINDS,
    KINDS,
    candidates_of,
    check_only,
    merged,
    workers_candidate,
)
from laptime.tuning.edits import suggest


def pilot(**more: Any) -> PilotRecord:
    return Script(compute_ms=20, load_ms=10).pilot().model_copy(update=more)


def names(found: PilotRecord, **more: Any) -> set[str]:
    return {candidate.name for candidate in candidates_of(found, **more)[0]}


def reasons(found: PilotRecord, **more: Any) -> dict[str, str]:
    return {left.name: left.why for left in candidates_of(found, **more)[1]}


def test_a_part_is_worth_trying_if_without_it_the_gain_would_leave_the_zone() -> None:
    assert not is_worth_trying(0.029)
    assert is_worth_trying(0.0292)
    assert is_worth_trying(1.0)


def test_loading_that_is_hidden_leaves_out_what_could_only_shorten_it() -> None:
    quick = Script(compute_ms=50, load_ms=0.1).pilot()

    assert reasons(quick)["num_workers"] == bound_words(quick, ("edges", "data_wait"))
    assert "0.2" in reasons(quick)["num_workers"]


def test_shares_are_of_an_epoch_with_its_edges() -> None:
    script = Script(compute_ms=9, load_ms=1, optimizer_ms=0, num_workers=2, start_ms=1000)

    assert share_of(script.pilot(), ("edges",)) == pytest.approx(1000 / 1900)
    assert share_of(script.pilot(), ("compute",)) == pytest.approx(900 / 1900)


def test_of_a_step_alone_edges_are_no_part() -> None:
    found = pilot(steps_per_epoch=None, edges_s=3.0)

    assert share_of(found, ("edges",)) == 0
    assert bound_words(found, ("edges", "data_wait")).endswith("of a step")


def test_what_only_a_gpu_has_is_not_tried_on_a_cpu() -> None:
    found = reasons(pilot(), allow_numerics=True)

    assert {"tf32", "pin_memory + non_blocking", "cudnn_benchmark"} <= set(found)
    assert found["tf32"] == "it does nothing on cpu"


def test_a_gpu_gets_what_it_alone_has() -> None:
    spent = {**dict(pilot().phases_ns), Phase.TRANSFER: pilot().wall_ns // 10}
    found = pilot(device="cuda:0", phases_ns=spent)

    assert {"pin_memory + non_blocking", "cudnn_benchmark"} <= names(found)
    assert "foreach" not in names(found)


def test_freed_memory_is_kept_where_the_activations_are_and_the_c_library_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("laptime.tuning.choice.candidates.can_keep_memory", lambda: True)
    assert "keep_memory" in names(pilot())
    assert reasons(pilot(device="cuda:0"))["keep_memory"] == "the activations are on cuda:0"

    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    assert reasons(pilot())["keep_memory"] == "the environment says so already"

    monkeypatch.setattr("laptime.tuning.choice.candidates.can_keep_memory", lambda: False)
    assert reasons(pilot())["keep_memory"] == "the allocator is not glibc's"


def test_what_is_set_already_is_not_tried() -> None:
    loader = LoaderFacts(num_workers=2, persistent_workers=True)
    slow = Script(optimizer_ms=5, num_workers=2, start_ms=500, loader=loader).pilot()
    found = slow.model_copy(
        update={
            "is_compiled": True,
            "optimizers": (OptimizerFacts(name="Adam", fused=True),),
        }
    )

    assert reasons(found)["persistent_workers"] == "the workers are persistent already"
    assert reasons(found)["compile"] == "the model is compiled already"
    assert reasons(found)["fused"] == "it is fused already"


def test_an_optimizer_without_a_fused_form_is_left_alone() -> None:
    found = Script(optimizer_ms=5, optimizers=(OptimizerFacts(name="LBFGS"),)).pilot()

    assert reasons(found)["fused"] == "LBFGS has no such form"


def test_one_thread_and_one_a_core_are_tried_where_they_are_not_used_already() -> None:
    assert {"threads 1"} <= names(pilot(threads=2, cores=2))
    assert {"threads 4"} <= names(pilot(threads=1, cores=4, cpus=4))
    assert not [name for name in names(pilot(threads=1, cores=1)) if name.startswith("threads")]


def test_other_numbers_need_permission() -> None:
    assert "bf16" not in names(pilot())
    assert reasons(pilot())["bf16"] == "it changes numbers: --allow-numerics"
    assert "bf16" in names(pilot(), allow_numerics=True)


def test_garbage_is_collected_in_time_that_a_long_step_hides() -> None:
    assert "gc freeze" in names(pilot(step_s=0.005))
    assert reasons(pilot(step_s=0.5))["gc freeze"].startswith("garbage collection is about 1 ms")


def test_a_script_without_a_loader_has_none_to_change() -> None:
    assert reasons(pilot(loader=None))["num_workers"] == "no DataLoader was seen"


def test_the_ones_that_matter_most_come_first() -> None:
    order = [*KINDS]

    assert order[:4] == ["num_workers", "persistent_workers", "pin_memory", "prefetch_factor"]
    assert order.index("compile") < order.index("fused") < order.index("gc")


def test_every_override_is_known_to_what_proposes_edits() -> None:
    found = pilot(device="cuda:0", step_s=0.005)
    for key, kind in KINDS.items():
        for changes in kind.values(found):
            suggest(dict(changes), {})
        assert key == "num_workers" or kind.values(found)


def test_every_override_of_the_job_is_one_of_its_settings() -> None:
    from laptime.settings import FIELDS

    found = pilot(device="cuda:0", step_s=0.005)
    for kind in JOB_KINDS.values():
        for changes in kind.values(found):
            assert {name for name, _ in changes} <= set(FIELDS)


def test_candidates_at_once_have_the_weakest_promise_of_their_numbers() -> None:
    kinds = {name: KINDS[name] for name in ("threads", "bf16")}
    both, _ = candidates_of(pilot(), kinds, allow_numerics=True)

    found = merged([workers_candidate(2), *both])

    assert found.name == "num_workers 2 + threads 1 + bf16"
    assert found.numbers == "other numbers"
    assert dict(found.changes) == {"num_workers": 2, "threads": 1, "bf16": True}


def test_a_name_that_is_no_override_is_refused_with_the_nearest() -> None:
    with pytest.raises(SettingsError, match="Did you mean num_workers"):
        check_only(("num_worker",), KINDS)
