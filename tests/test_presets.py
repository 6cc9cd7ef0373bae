from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from laptime import presets
from laptime.presets import FAST, Machine, Proven, build_preset, job_words, recall, remember
from laptime.settings import RunSettings, build_settings

MACHINE = Machine("a CPU", 2, "2.13.0")
ASKED = RunSettings()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "laptime" / "tuned.json"


def proven(**given: Any) -> Proven:
    facts = {"machine": str(MACHINE), "job": job_words(ASKED), "changes": (("threads", 1),)}
    return Proven(**{**facts, "words": "20 % less time", "day": "2026-11-30", **given})


def fast(machine: Machine = MACHINE, asked: RunSettings = ASKED) -> tuple[RunSettings, str]:
    return build_preset("fast", asked, machine, "cpu")


def test_the_lab_is_what_the_defaults_are() -> None:
    assert build_preset("lab", ASKED, MACHINE, "cpu") == (RunSettings(), "")


@pytest.mark.parametrize("device", FAST)
def test_fast_settings_can_be_built_for_every_device(device: str) -> None:
    settings, words = build_preset("fast", ASKED, MACHINE, device)

    flat = settings.flat()
    assert {name: flat[name] for name in FAST[device]} == dict(FAST[device])
    assert "Not tuned on this machine" in words


def test_what_a_tuning_has_proven_here_takes_the_place_of_what_is_usual() -> None:
    remember(proven())

    settings, words = fast()

    assert settings == build_settings({"threads": 1})
    assert words == (
        "preset fast, as tuned on this machine on 2026-11-30: threads 1 (20 % less time)."
    )


def test_a_tuning_holds_for_its_machine_and_job_alone() -> None:
    remember(proven())

    assert recall(MACHINE._replace(torch="2.12.0"), ASKED) is None
    assert recall(MACHINE, build_settings({"width": 8})) is None
    assert recall(MACHINE, build_settings({"lr": 0.5, "seed": 7})) is not None


def test_the_last_tuning_of_a_job_counts_and_the_others_stay() -> None:
    remember(proven())
    remember(proven(job="another"))
    remember(proven(changes=(("compile", True),)))

    found = recall(MACHINE, ASKED)

    assert found is not None
    assert found.changes == (("compile", True),)
    assert len(presets._known()) == 2


@pytest.mark.parametrize("content", ["", "{", "[]", '{"proven": [{"machine": 3}]}'])
def test_a_damaged_cache_is_as_good_as_none(cache: Path, content: str) -> None:
    cache.parent.mkdir()
    cache.write_text(content)

    assert recall(MACHINE, ASKED) is None
    remember(proven())
    assert recall(MACHINE, ASKED) == proven()


def test_where_memory_cannot_be_kept_fast_does_not_promise_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(presets, "can_keep_memory", lambda: False)

    settings, words = fast()

    assert not settings.training.keep_memory
    assert "keep_memory" not in words


def test_what_compiles_says_what_compiling_takes() -> None:
    assert "Compiling takes a minute" in build_preset("fast", ASKED, MACHINE, "cuda")[1]
    assert "Compiling" not in fast()[1]


def test_only_what_decides_the_speed_is_kept_of_a_job() -> None:
    settings = build_settings({"width": 8, "lr": 0.5, "channels_last": True, "num_workers": 0})

    assert presets.speed_of(settings) == (("num_workers", 0), ("channels_last", True))
