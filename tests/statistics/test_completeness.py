from laptime.replicate import Replicate
from laptime.statistics.completeness import seeds, too_few_blocks
from laptime.statistics.summary import comparisons
from laptime.study import Refusal


def lost(status="failed", reason="CUDA error 719"):
    """Return a change of replicates: they ended early."""
    return lambda r: Replicate(arm=r.arm, block=r.block, status=status, reason=reason)


def trained_study(builder, count=5, **plan):
    """Return a study of two optimizers with so many seeds, all trained."""
    arms = [builder.arm("sgd"), builder.arm("adam", optimizer="adam")]
    values = {"study": "optimizers", "baseline": "sgd", "factors": ("optimizer",), "blocks": 0}
    made = builder.plan(arms, **{**values, "seeds": tuple(range(count)), **plan})
    return made, [builder.trained(arm.name, seed) for arm in arms for seed in made.seeds]


def test_blocks_that_were_not_run_refuse_the_whole_study(builder) -> None:
    plan = builder.plan(blocks=7)

    [found] = too_few_blocks(plan, builder.blocks(plan, 5))

    assert found == Refusal(
        code="too_few_blocks",
        evidence="5 of 7 blocks were run.",
        next="`laptime study workers --resume` runs the missing 2 blocks, about 2 min 40 s",
    )


def test_an_arm_that_did_not_complete_every_block_is_refused(builder) -> None:
    plan = builder.plan()
    blocks = builder.blocks(plan)
    blocks[1:3] = builder.change_replicates(blocks[1:3], lost(), "w4")

    [found] = too_few_blocks(plan, blocks)

    assert (found.code, found.arms) == ("too_few_blocks", ("w4",))
    assert found.evidence == "w4: completed 3 of 5 blocks (2 failed: CUDA error 719)."


def test_a_reason_is_quoted_without_what_could_write_on_a_terminal(builder) -> None:
    plan = builder.plan()
    blocks = builder.change_replicates(builder.blocks(plan), lost(reason="\x1b[2Jx\n" * 99), "w4")

    evidence = too_few_blocks(plan, blocks)[0].evidence

    assert "\x1b" not in evidence
    assert "\n" not in evidence
    assert len(evidence) < 260


def test_all_declared_blocks_are_enough_even_if_they_are_few(builder) -> None:
    plan = builder.plan(blocks=2)

    assert too_few_blocks(plan, builder.blocks(plan)) == []
    assert {row.reason for row in comparisons(plan, builder.blocks(plan))} == {"too_few_blocks"}


def test_a_replicate_without_turns_is_not_complete(builder) -> None:
    plan = builder.plan()
    blocks = builder.blocks(plan)
    blocks[0] = builder.block(plan, turns=())

    [found] = too_few_blocks(plan, blocks)

    assert "w0: completed 4 of 5 blocks (1 no turns)" in found.evidence
    assert "and 2 more arms" in found.evidence


def test_a_study_of_accuracy_misses_no_blocks(builder) -> None:
    assert too_few_blocks(builder.plan(blocks=0), ()) == []


def test_four_seeds_are_refused(builder) -> None:
    [found] = seeds(*trained_study(builder, 4))

    assert (found.code, found.arms) == ("seeds", ())
    assert found.evidence == "4 different seeds an arm; a verdict needs 5."
    assert (
        "add `--seeds 5` to the command that made this study (a run takes about 10 s)" in found.next
    )


def test_five_different_seeds_are_enough(builder) -> None:
    assert seeds(*trained_study(builder, 5)) == []


def test_a_seed_that_was_declared_twice_is_refused(builder) -> None:
    [found] = seeds(*trained_study(builder, seeds=(0, 1, 2, 3, 4, 4)))

    assert "seed 4 is there more than once" in found.evidence


def test_a_seed_that_was_run_twice_is_refused(builder) -> None:
    plan, trained = trained_study(builder)

    [found] = seeds(plan, [*trained, builder.trained("sgd", 3)])

    assert found.evidence == "sgd: seed 3 was run 2 times."


def test_seeds_that_gave_the_same_losses_are_one(builder) -> None:
    plan, trained = trained_study(builder)
    trained[1] = builder.changed(trained[1], epochs=trained[0].epochs)

    [found] = seeds(plan, trained)

    assert found.evidence == "sgd: seeds 0 and 1 gave the same losses."


def test_a_run_that_failed_leaves_a_seed_missing(builder) -> None:
    plan, trained = trained_study(builder)
    trained[2] = builder.changed(trained[2], status="out_of_memory")

    [found] = seeds(plan, trained)

    assert found.evidence == "1 of 10 training runs are missing or failed."
    assert "--resume" in found.next


def test_a_run_that_diverged_is_an_outcome(builder) -> None:
    plan, trained = trained_study(builder)
    trained[2] = builder.changed(trained[2], status="diverged")

    assert seeds(plan, trained) == []


def test_a_study_without_seeds_asks_for_none(builder) -> None:
    assert seeds(builder.plan(), ()) == []
