"""Run ``python benchmarks/training.py``: our job beside a course script, Lightning, and the bounds.

Two parts. ``whole``: processes in random order, a round of each: the course script, Lightning with
its profiler (where it is installed), ``laptime train`` with the presets lab and fast, and in the
same round two bounds: every FLOP at the rate of the fastest convolution, as `laptime inspect`
measures it, and the model's own convolutions alone, forward and backward, each layer by itself in
the memory format that suits it. ``waterfall``: from lab to fast one change at a time, and
torch.compile beyond it, all arms alive and taking turns, each gain with its interval. ``--parts``,
``--rounds`` and ``--blocks`` choose. It reports, and does not pass or fail; it takes an hour on two
cores.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from course_script import ResNet18
from laptime.files import read_json
from laptime.host_memory import keep_freed_memory
from laptime.inspection.roofs import measure_roofs
from laptime.presets import FAST
from laptime.settings import build_settings
from laptime.statistics.intervals import ratio_interval
from laptime.statistics.summary import block_log_ratios
from laptime.studies.block import BlockRun
from laptime.studies.plan import make_plan
from laptime.studies.process import ArmProcess
from laptime.studies.starters import Spawner
from laptime.study import Arm, TurnPolicy
from laptime.timing.clock import read_ns
from laptime.timing.noise import NoiseMeter, Sentinel
from overhead import RESULTS, SEED, write_result
from turns import Quiet

HERE = Path(__file__).parent
SAMPLES, EPOCHS = 640, 2
"""Of a process: five steps an epoch; the first epoch is left out."""

BATCH, TRIES = 128, 3
LAYOUTS = (torch.contiguous_format, torch.channels_last)
TURNS = TurnPolicy(min_steps=2, min_s=0.5, min_turns=4, max_turns=4)
FLOP_PER_IMAGE = 2 * 3 * 555_422_720
"""Forward and backward, as `laptime inspect` counts them; backward is taken as twice forward."""

Rates = dict[str, list[float]]


def course(scratch: Path) -> float:
    """Return images a second of the course script, by what it prints."""
    given = ["--samples", str(SAMPLES), "--epochs", str(EPOCHS), "--workers", "2"]
    printed = run([str(HERE / "course_script.py"), *given], scratch)
    return statistics.median(float(rate) for rate in re.findall(r"([\d.]+) images/s", printed)[1:])


def lightning(scratch: Path) -> float:
    """Return images a second under Lightning's Trainer, by a clock around its epochs."""
    out = scratch / "lightning.json"
    given = [str(out), "--samples", str(SAMPLES), "--epochs", str(EPOCHS), "--workers", "2"]
    run([str(HERE / "lightning_job.py"), *given], scratch)
    epoch_s: list[float] = read_json(out)["epoch_s"][1:]
    return SAMPLES / statistics.median(epoch_s)


def ours(preset: str) -> Callable[[Path], float]:
    """Return what measures ``laptime train`` with a preset, by its own record."""

    def measure(scratch: Path) -> float:
        given = ["--preset", preset, "--data", "synthetic", "--samples", str(SAMPLES), "--json"]
        given += ["--epochs", str(EPOCHS), "--runs-dir", str(scratch / "runs")]
        document = json.loads(run(["-m", "laptime", "train", *given], scratch))
        epoch_s = [_trained_s(epoch) for epoch in document["epochs"][1:]]
        return SAMPLES / statistics.median(epoch_s)

    return measure


def _trained_s(epoch: dict[str, Any]) -> float:
    """Return the seconds of an epoch without its checkpoint, which the others do not write."""
    return float(epoch["total_s"] - epoch["phases_ns"]["checkpoint"] / 1e9)


def run(words: list[str], cwd: Path) -> str:
    """Return what a Python process prints; no tuning that somebody has kept is known to it.

    Raises:
        RuntimeError: It fails.
    """
    environ = {**os.environ, "XDG_CACHE_HOME": str(cwd)}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=cwd, env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{words} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def roof(scratch: Path) -> float:  # noqa: ARG001 - as its neighbours are called
    """Return images a second if every FLOP ran at the rate of the fastest convolution."""
    rows = {row.what: row for row in measure_roofs(torch.device("cpu"))}
    found = rows["convolution"]
    return found.amount / (min(found.times_ns) / 1e9) / FLOP_PER_IMAGE


def convolutions(scratch: Path) -> float:  # noqa: ARG001 - as its neighbours are called
    """Return images a second if a step were its convolutions, forward and backward, and no more."""
    step_s = 0.0
    for module, shape in layers():
        step_s += min(alone(module, shape, layout) for layout in LAYOUTS)
    return BATCH / step_s


def layers() -> list[tuple[nn.Conv2d, torch.Size]]:
    """Return the model's convolutions and the shape of what each is called with."""
    found: list[tuple[nn.Conv2d, torch.Size]] = []
    model = ResNet18()
    hooks = [
        module.register_forward_hook(lambda it, given, _: found.append((it, given[0].shape)))
        for module in model.modules()
        if isinstance(module, nn.Conv2d)
    ]
    model.eval()(torch.zeros(1, 3, 32, 32))
    for hook in hooks:
        hook.remove()
    return found


def alone(module: nn.Conv2d, shape: torch.Size, layout: torch.memory_format) -> float:
    """Return the seconds of a convolution on a batch, the fastest of some tries."""
    module = module.to(memory_format=layout)  # type: ignore[call-overload]
    images = torch.rand(BATCH, *shape[1:]).contiguous(memory_format=layout)
    images.requires_grad_(shape[1] != 3)  # nobody asks for the gradient of an image
    taken = []
    for _ in range(1 + TRIES):
        module.weight.grad = images.grad = None  # nothing to be added to
        start_ns = read_ns()
        maps = module(images)
        torch.autograd.backward(maps, maps)
        taken.append((read_ns() - start_ns) / 1e9)
    return min(taken[1:])


def measure_whole(rounds: int) -> dict[str, Any]:
    """Return images a second of every way in every round."""
    ways: dict[str, Callable[[Path], float]] = {
        "course script": course, "lab": ours("lab"), "fast": ours("fast"), "roof": roof,
        "convolutions alone": convolutions,
    }  # fmt: skip
    if find_spec("lightning"):
        ways["lightning"] = lightning
    keep_freed_memory()  # for both bounds, in this process: new pages are not the layers' work
    order = random.Random(SEED)
    rates: Rates = {name: [] for name in ways}
    table: dict[str, Any] = {}
    for number in range(rounds):
        for name in order.sample(list(ways), len(ways)):
            with tempfile.TemporaryDirectory(prefix="laptime-bench-") as scratch:
                rates[name].append(ways[name](Path(scratch)))
                if name == "lightning":
                    table = read_json(Path(scratch) / "lightning.json")
            print(f"round {number + 1}: {name:<20}{rates[name][-1]:8.2f} images/s", flush=True)
    return {"rounds": rounds, "images_per_s": rates, "lightning": table}


def changes() -> dict[str, Any]:
    """Return what fast sets, in order, and at last the compiler, which it leaves out on a CPU."""
    return {**FAST["cpu"], "compile": True}


def waterfall_arms() -> list[Arm]:
    """Return the lab, and beside it one more change of ``fast`` at a time."""
    settings: dict[str, Any] = {"data": "synthetic", "samples": SAMPLES * 10}
    found = [Arm(name="lab", settings=build_settings(settings))]
    for name, value in changes().items():
        settings[name] = value
        found.append(Arm(name=f"+ {name} {value}", settings=build_settings(settings)))
    return found


def measure_waterfall(blocks: int) -> dict[str, Any]:
    """Return the ratio of each arm to the one before, and to the lab."""
    arms = waterfall_arms()
    factors = tuple(changes())
    plan = make_plan("waterfall", arms, "lab", factors, blocks=blocks, turns=TURNS)
    log = Path(tempfile.mkdtemp()) / "arms.txt"
    meter = NoiseMeter(Sentinel.calibrated())
    turns = BlockRun(plan, lambda arm: ArmProcess(arm, log, Spawner()), meter, Quiet())
    done = []
    for number in range(1, blocks + 1):
        done.append(turns.run(number))
        print(f"block {number} of {blocks}", flush=True)
    names = [arm.name for arm in arms]
    rows = []
    for before, name in itertools.pairwise(names):
        row: dict[str, Any] = {"arm": name}
        for words, other in (("against the one before", before), ("against lab", "lab")):
            ratios = block_log_ratios(done, name, other, "step_s")
            found = ratio_interval(ratios)
            row[words] = {
                "ratio": found.estimate, "low": found.low, "high": found.high,
                "log_ratios": ratios,
            }  # fmt: skip
        rows.append(row)
    return {"blocks": blocks, "rows": rows}


def print_whole(found: dict[str, Any]) -> None:
    rates = found["images_per_s"]
    print(f"\nResNet-18, batch 128, images a second, {found['rounds']} rounds")
    for name, values in rates.items():
        against = [v / c for v, c in zip(values, rates["course script"], strict=True)]
        print(
            f"{name:<20}{statistics.median(values):8.2f}  {min(values):.2f} to {max(values):.2f}"
            f"   {statistics.median(against):.2f} of the course script's,"
            f" {min(against):.2f} to {max(against):.2f}"
        )
    for bound in ("roof", "convolutions alone"):
        shares = [f / r for f, r in zip(rates["fast"], rates[bound], strict=True)]
        print(
            f"fast is {statistics.median(shares):.0%} of {bound}, {min(shares):.0%} to"
            f" {max(shares):.0%}"
        )


def print_waterfall(found: dict[str, Any]) -> None:
    print(f"\nfrom lab to fast, time of a step, {found['blocks']} blocks")
    for row in found["rows"]:
        words = [
            f"{what} {row[what]['ratio']:.3f} [{row[what]['low']:.3f}, {row[what]['high']:.3f}]"
            for what in ("against the one before", "against lab")
            if row[what]["low"] is not None
        ]
        print(f"{row['arm']:<24}{'   '.join(words)}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Our job beside others.")
    parser.add_argument("--parts", default="whole,waterfall")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--blocks", type=int, default=3)
    given = parser.parse_args()
    path = RESULTS / "training.json"
    found = read_json(path) if path.exists() else {}
    found = {part: found[part] for part in ("whole", "waterfall") if part in found}
    if "whole" in given.parts.split(","):
        found["whole"] = measure_whole(given.rounds)
        print_whole(found["whole"])
    if "waterfall" in given.parts.split(","):
        found["waterfall"] = measure_waterfall(given.blocks)
        print_waterfall(found["waterfall"])
    write_result(
        "training.json",
        {"what": "full ResNet-18 on synthetic images, batch 128", "seed": SEED, **found},
    )


if __name__ == "__main__":
    main()
