import pytest

from laptime.statistics.agreement import arms_differ, environment_differs, losses_differ


def elsewhere(builder, **facts):
    """Return a change of replicates: they were measured in another environment."""
    return lambda r: builder.changed(r, environment=builder.environment(**facts))


def test_arms_that_differ_in_their_factor_only_agree(builder) -> None:
    plan = builder.plan()

    assert arms_differ(plan, builder.blocks(plan)) == []


def test_a_setting_that_is_no_factor_is_refused_for_its_arm(builder) -> None:
    arms = [
        builder.arm("w2"),
        builder.arm("w4", num_workers=4),
        builder.arm("w8", num_workers=8, batch_size=64),
    ]
    plan = builder.plan(arms)

    [found] = arms_differ(plan, ())

    assert (found.code, found.arms) == ("arms_differ", ("w8",))
    assert "batch_size is 64, in w2 128" in found.evidence
    assert "num_workers" not in found.evidence


def test_a_twin_must_equal_its_arm_in_the_factor_too(builder) -> None:
    twin = builder.arm("w2 again", num_workers=3, again_of="w2")

    [found] = arms_differ(builder.plan([builder.arm("w2"), twin]), ())

    assert found.arms == ("w2 again",)
    assert "num_workers is 3, in w2 2" in found.evidence


def test_a_twin_of_nobody_and_a_missing_baseline_are_no_error(builder) -> None:
    twin = builder.arm("again", again_of="nobody")

    assert arms_differ(builder.plan([twin], baseline="nobody"), ()) == []


def test_one_environment_agrees(builder) -> None:
    plan = builder.plan()

    assert environment_differs(plan, builder.blocks(plan)) == []


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("torch", "2.12.0"),
        ("python", "3.12.4"),
        ("laptime", "0.0.9"),
        ("cpu", "EPYC"),
        ("cpus_usable", 8),
        ("threads", 8),
        ("interop_threads", 1),
        ("start_method", "fork"),
        ("device", "cuda:0"),
        ("driver", "570.1"),
        ("variables", (("OMP_NUM_THREADS", "4"),)),
    ],
)
def test_an_arm_measured_under_other_conditions_is_refused(builder, fact, value) -> None:
    plan = builder.plan()
    change = elsewhere(builder, **{fact: value})

    [found] = environment_differs(
        plan, builder.change_replicates(builder.blocks(plan), change, "w4")
    )

    assert (found.code, found.arms) == ("environment_differs", ("w4",))
    assert fact in found.evidence


@pytest.mark.parametrize(
    "facts",
    [
        {"memory_usable_bytes": 1 << 30},
        {"shm_bytes": None},
        {"git_sha": "abc", "git_dirty": True},
    ],
)
def test_free_memory_and_git_may_differ(builder, facts) -> None:
    plan = builder.plan()
    blocks = builder.change_replicates(builder.blocks(plan), elsewhere(builder, **facts), "w4")

    assert environment_differs(plan, blocks) == []


def devices(builder, **more):
    arms = [builder.arm("cpu"), builder.arm("cuda", device="cuda")]
    plan = builder.plan(arms, study="devices", baseline="cpu", factors=("device",))
    facts = {"device": "cuda:0", "device_name": "H200", "cuda": "12.8", "cudnn": "9", "driver": "5"}
    change = elsewhere(builder, **facts, **more)
    return plan, builder.change_replicates(builder.blocks(plan), change, "cuda")


def test_a_study_of_devices_may_differ_in_the_device(builder) -> None:
    assert environment_differs(*devices(builder)) == []


def test_a_study_of_devices_may_differ_in_nothing_else(builder) -> None:
    [found] = environment_differs(*devices(builder, threads=4))

    assert found.arms == ("cuda",)
    assert "threads 4, in the baseline 16" in found.evidence


def test_a_baseline_that_changed_between_blocks_refuses_the_whole_study(builder) -> None:
    plan = builder.plan()
    blocks = builder.blocks(plan)
    later = builder.change_replicates(blocks[3:], elsewhere(builder, torch="2.14.0"))

    [found] = environment_differs(plan, [*blocks[:3], *later])

    assert found.arms == ()
    assert "torch 2.14.0, in the baseline 2.13.0" in found.evidence


@pytest.mark.parametrize(
    "change", [{"data_sha256": "cd" * 32}, {"data_sha256": None}, {"data_label": "official copy"}]
)
def test_other_data_are_refused(builder, change) -> None:
    plan = builder.plan()
    blocks = builder.change_replicates(
        builder.blocks(plan), lambda r: builder.changed(r, **change), "w0"
    )

    [found] = environment_differs(plan, blocks)

    assert found.arms == ("w0",)
    assert "data" in found.evidence


def test_data_that_are_the_factor_may_differ(builder) -> None:
    plan = builder.plan(factors=("num_workers", "data"))
    blocks = builder.change_replicates(
        builder.blocks(plan), lambda r: builder.changed(r, data_label="official copy"), "w0"
    )

    assert environment_differs(plan, blocks) == []


def test_an_arm_that_failed_before_it_said_where_it_runs_differs_in_nothing(builder) -> None:
    plan = builder.plan()
    gone = {"status": "failed", "environment": None, "data_sha256": None, "data_label": ""}
    blocks = builder.change_replicates(
        builder.blocks(plan), lambda r: builder.changed(r, **gone), "w4"
    )

    assert environment_differs(plan, blocks) == []


def losing(builder, *losses, study="workers"):
    """Return a study in which one arm has these first losses."""
    plan = builder.plan(study=study)
    blocks = builder.change_replicates(
        builder.blocks(plan), lambda r: builder.changed(r, first_losses=losses), "w4"
    )
    return plan, blocks


def test_equal_work_with_equal_losses_agrees(builder) -> None:
    plan = builder.plan()

    assert losses_differ(plan, builder.blocks(plan)) == []


def test_equal_work_with_other_losses_is_refused(builder) -> None:
    [found] = losses_differ(*losing(builder, 2.31, 2.29, 2.35))

    assert (found.code, found.arms) == ("losses_differ", ("w4",))
    assert "in block 1 the loss of step 3 is 2.35, in the baseline 2.3" in found.evidence


def test_losses_within_rounding_agree(builder) -> None:
    assert losses_differ(*losing(builder, 2.3101, 2.2901)) == []


def test_a_loss_that_is_not_finite_agrees_with_no_number(builder) -> None:
    [found] = losses_differ(*losing(builder, 2.31, None))

    assert "step 2 is not finite" in found.evidence


def test_losses_that_are_both_not_finite_agree(builder) -> None:
    plan = builder.plan()
    blocks = builder.blocks(plan, first_losses=(2.31, None, None))

    assert losses_differ(plan, blocks) == []


def test_arms_that_are_meant_to_compute_otherwise_may_lose_otherwise(builder) -> None:
    assert losses_differ(*losing(builder, 9.0, study="optimizers")) == []


def test_an_arm_without_losses_yet_disagrees_with_none(builder) -> None:
    assert losses_differ(*losing(builder)) == []


def test_resident_batches_repeat_and_need_not_agree(builder) -> None:
    plan = builder.plan()
    blocks = builder.change_replicates(
        builder.blocks(plan), lambda r: builder.changed(r, first_losses=(1.0,)), "resident"
    )

    assert losses_differ(plan, blocks) == []
