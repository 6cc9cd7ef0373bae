from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from laptime.presets import FAST
from laptime.store import RunDirectory
from laptime.training import step
from laptime.training.job import build_job
from laptime.training.loop import train

ROUNDING = 1e-5
"""Of a loss, relative: in the first three steps. Later ones show less, as a ReLU that is rounded to
the other side grows from step to step in so small a network."""

STEPS = 3
GENTLE = {"lr": 0.001, "threads": 1}

SAME = [
    {"loader": "batch", "num_workers": 0},
    {"loader": "batch", "num_workers": 2},
    {"loader": "device"},
]
ROUNDED = [
    {"channels_last": True},
    {"fused": True},
    {"threads": 2},
    FAST["cpu"],
]
"""Ways of the preset fast, each alone and all together; compiled is slow and below."""


def losses(settings: Any, tmp_path: Path) -> list[float]:
    record = train(settings, tmp_path)
    return [row.loss for row in RunDirectory(Path(record.directory)).read_steps()]


@pytest.fixture(autouse=True)
def _the_process_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(step, "keep_freed_memory", lambda: None)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("given", SAME)
def test_a_loader_changes_no_loss(tiny: Any, tmp_path: Path, given: dict[str, Any]) -> None:
    assert losses(tiny(**given), tmp_path / "a") == losses(tiny(), tmp_path / "b")


@pytest.mark.parametrize("given", ROUNDED)
def test_a_way_to_be_faster_changes_losses_by_rounding_alone(
    tiny: Any, tmp_path: Path, given: dict[str, Any]
) -> None:
    plain = losses(tiny(**GENTLE), tmp_path / "a")[:STEPS]

    changed = losses(tiny(**{**GENTLE, **given}), tmp_path / "b")[:STEPS]

    assert changed == pytest.approx(plain, rel=ROUNDING)


@pytest.mark.parametrize("given", [{"seed": 1}, {"lr": 0.0011}, {"momentum": 0.8}])
def test_another_training_shows_beyond_rounding(
    tiny: Any, tmp_path: Path, given: dict[str, Any]
) -> None:
    plain = losses(tiny(**GENTLE), tmp_path / "a")[:STEPS]

    other = losses(tiny(**{**GENTLE, **given}), tmp_path / "b")[:STEPS]

    assert other != pytest.approx(plain, rel=ROUNDING)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler, of its own
def test_compiled_losses_differ_by_rounding_alone(tiny: Any, tmp_path: Path) -> None:
    compiled = losses(tiny(**{**GENTLE, **FAST["cpu"]}, compile=True), tmp_path / "a")

    plain = losses(tiny(**GENTLE), tmp_path / "b")
    assert compiled[:STEPS] == pytest.approx(plain[:STEPS], rel=ROUNDING)


@pytest.mark.parametrize(("graphs", "mode"), [(False, None), (True, "reduce-overhead")])
def test_cuda_graphs_are_asked_of_the_compiler(
    tiny: Any, monkeypatch: pytest.MonkeyPatch, graphs: bool, mode: str | None
) -> None:
    asked = []
    monkeypatch.setattr("torch.compile", lambda model, mode: asked.append(mode) or model)

    job = build_job(tiny(compile=True, cuda_graphs=graphs))

    assert asked == [mode]
    assert any("--cuda-graphs does nothing here" in line for line in job.warnings) is graphs
