from __future__ import annotations

import io

import pytest

from laptime.cli.live_tune import LiveTune
from laptime.replicate import Block, Replicate, Turn
from laptime.tune import BASELINE, TURNS, TuneArm
from laptime.tuning.ground.blocks import TunePlan


def plan(blocks: int = 5) -> TunePlan:
    arms = TuneArm(name=BASELINE), TuneArm(name="num_workers 4", changes=(("num_workers", 4),))
    return TunePlan(
        arms=arms, baseline=BASELINE, blocks=blocks, turns=TURNS, timeout_s=1, design="turns"
    )


def block() -> Block:
    turn = Turn(round=1, discarded=0, steps=10, wall_ns=10**8, phases_ns={})
    replicates = [
        Replicate(arm=arm.name, block=1, status="completed", steps_per_epoch=100, turns=(turn,))
        for arm in plan().arms
    ]
    return Block(block=1, started="now", wall_ns=4 * 10**9, replicates=tuple(replicates))


def shown(live: LiveTune) -> None:
    live.began("python train.py")
    live.stage_started(plan(), "main", "verdicts")
    live.block_started(1, 5)
    live.turn_taken(BASELINE, 1, 0.01)
    live.warned("careful")
    live.arm_ended("num_workers 4", "failed", "no more memory")
    live.block_ended(block(), plan())
    live.close()


def test_a_log_has_a_line_a_block() -> None:
    stream = io.StringIO()

    shown(LiveTune(stream))

    assert stream.getvalue().splitlines() == [
        "A first look at python train.py.",
        "verdicts: unchanged, num_workers 4",
        "careful",
        "num_workers 4: failed: no more memory",
        "block 1 of 5, 4.0 s; a step takes unchanged: 10.0 ms, num_workers 4: 10.0 ms",
    ]


def test_a_terminal_has_a_table_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("LINES", "40")
    stream = io.StringIO()

    shown(LiveTune(stream))

    text = stream.getvalue()
    assert "block 1 of 5" in text
    assert "4.0 s; a step takes" not in text
    assert "num_workers 4" in text
