"""Run ``python benchmarks/growth.py``: what grows with what.

The memory and the files of a recorded script by its steps and by its ranks, ``laptime list`` by the
runs that there are, and the reading of a study by its blocks and by its arms. What a step costs by
the number of submodules is in peers.py. It reports, and does not pass or fail; some minutes.
``python benchmarks/growth.py figures`` draws docs/growth.svg from what is kept in results.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from laptime.files import read_json, write_atomically
from overhead import RESULTS, write_result
from reports import once, spread, trained

TURNS = 3
STEPS = (2_000, 8_000, 16_000)
RANKS, STEPS_OF_A_RANK = (1, 2, 4), 2_000
RUNS = (10, 100, 1_000)
BLOCKS = (5, 50, 500)
COUNTS = ("0,1", "0,1,2,3", "0,1,2,3,4,5,6,7")
"""Worker counts of a study, so many arms."""

SCRIPT = """
import sys
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
torch.set_num_threads(1)
steps = int(sys.argv[1])
data = TensorDataset(torch.randn(4000, 8), torch.randn(4000, 1))
model = nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
taken = 0
while taken < steps:
    for x, y in DataLoader(data, batch_size=2):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
        taken += 1
        if taken == steps:
            break
"""
"""Epochs of 2,000 steps, each a fraction of a millisecond."""


def measure_steps(scratch: Path) -> dict[str, Any]:
    """Return peak memory with the recorder and without, and the bytes of its files, by steps."""
    script = scratch / "script.py"
    script.write_text(SCRIPT)
    rows: dict[str, Any] = {}
    for steps in STEPS:
        peaks: dict[str, list[float]] = {"plain": [], "recorded": []}
        for turn in range(TURNS):
            runs = scratch / f"{steps}-{turn}"
            peaks["plain"].append(_peak_mb([str(script), str(steps)]))
            words = ["-m", "laptime", "run", "--quiet", "--runs-dir", str(runs), "--"]
            peaks["recorded"].append(_peak_mb([*words, sys.executable, str(script), str(steps)]))
        size = sum(path.stat().st_size for path in runs.rglob("*.json*"))
        rows[str(steps)] = {
            **{name: spread(values) for name, values in peaks.items()},
            "bytes": size, "bytes_a_step": size / steps,
        }  # fmt: skip
        print(
            f"{steps:>7,} steps: {rows[str(steps)]['plain']['median']:.0f} MB plain, "
            f"{rows[str(steps)]['recorded']['median']:.0f} MB recorded, "
            f"{size / steps:.0f} bytes a step in files",
            flush=True,
        )
    return rows


def measure_ranks(scratch: Path) -> dict[str, Any]:
    """Return the peak memory of the largest process and the bytes of the files, by ranks."""
    script = scratch / "script.py"
    script.write_text(SCRIPT)
    rows: dict[str, Any] = {}
    for ranks in RANKS:
        peaks: list[float] = []
        for turn in range(TURNS):
            runs = scratch / f"{ranks}-{turn}"
            words = ["-m", "laptime", "run", "--quiet", "--runs-dir", str(runs), "--"]
            words += [sys.executable, "-m", "torch.distributed.run", "--standalone"]
            words += [f"--nproc-per-node={ranks}", str(script), str(STEPS_OF_A_RANK)]
            peaks.append(_peak_mb(words))
        size = sum(path.stat().st_size for path in runs.rglob("*.json*"))
        rows[str(ranks)] = {"recorded": spread(peaks), "bytes": size, "bytes_a_rank": size / ranks}
        print(
            f"{ranks:>7,} ranks: {rows[str(ranks)]['recorded']['median']:.0f} MB recorded, "
            f"{size / ranks / STEPS_OF_A_RANK:.0f} bytes a step and rank in files",
            flush=True,
        )
    return rows


_WATCHED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6)
"""
"""Of a command, the most that any process of it held."""


def _peak_mb(words: list[str]) -> float:
    command = [sys.executable, "-c", _WATCHED, sys.executable, *words]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def measure_runs(scratch: Path) -> dict[str, Any]:
    """Return the time of a list by the runs that there are."""
    run = trained(scratch / "one")
    rows = {}
    for count in RUNS:
        runs = scratch / f"runs-{count}"
        for number in range(count):
            shutil.copytree(
                run.path, runs / f"{run.id}-{number}",
                ignore=shutil.ignore_patterns("checkpoints"),
            )  # fmt: skip
        rows[str(count)] = timed(["list", "--runs-dir", str(runs)])
        print(f"{count:>7,} runs: listed in {words_of(rows[str(count)])}", flush=True)
    return rows


def measure_studies(scratch: Path) -> dict[str, Any]:
    """Return the time of a study's report as text by its blocks, and by its arms."""
    found: dict[str, Any] = {"blocks": {}, "arms": {}}
    for counts in COUNTS:
        study = studied(scratch / counts.replace(",", "-"), counts)
        number = counts.count(",") + 1
        found["arms"][str(number)] = timed(report(study))
        print(f"{number:>7,} arms: read in {words_of(found['arms'][str(number)])}", flush=True)
    lines = [json.loads(line) for line in (study / "blocks.jsonl").read_text().splitlines()]
    main = [line for line in lines if line["stage"] == "main"]
    for blocks in BLOCKS:
        longer = [json.dumps(_block(main[n % len(main)], n + 1)) for n in range(blocks)]
        (study / "blocks.jsonl").write_text("".join(f"{line}\n" for line in longer))
        found["blocks"][str(blocks)] = timed(report(study))
        print(f"{blocks:>7,} blocks of {number} arms: {words_of(found['blocks'][str(blocks)])}")
    return found


def _block(line: dict[str, Any], number: int) -> dict[str, Any]:
    replicates = [{**replicate, "block": number} for replicate in line["replicates"]]
    return {**line, "block": number, "replicates": replicates}


def studied(runs_dir: Path, counts: str) -> Path:
    """Return the directory of a small study of worker counts."""
    words = ["--width", "1", "--samples", "64", "--batch-size", "8", "--num-workers", counts]
    words += ["--turns", "4", "--blocks", "2", "--no-tables", "--data", "synthetic", "--device"]
    command = [sys.executable, "-m", "laptime", "study", "workers", *words, "cpu"]
    subprocess.run([*command, "--runs-dir", str(runs_dir)], capture_output=True, check=True)
    return next(runs_dir.glob("*_study-workers_*"))


def report(study: Path) -> list[str]:
    return ["report", str(study), "--format", "text"]


def timed(arguments: list[str]) -> dict[str, Any]:
    """Return seconds and megabytes of a command, imports included."""
    once(arguments)
    rows = [once(arguments) for _ in range(TURNS)]
    return {"seconds": spread([s for s, _ in rows]), "megabytes": spread([m for _, m in rows])}


def words_of(row: dict[str, Any]) -> str:
    seconds, megabytes = row["seconds"], row["megabytes"]
    return (
        f"{seconds['median']:.2f} s, at most {seconds['most']:.2f} s, {megabytes['median']:.0f} MB"
    )


def draw(grown: dict[str, Any], peers: dict[str, Any]) -> None:
    """Draw a figure for each thing that grows, side by side in one file."""
    modules = {
        count: found["wall"]["on_minus"]["gone"]["median_us"]
        for count, found in peers["toggled"]["submodules"].items()
    }
    steps, ranks, studies = grown["steps"], grown["ranks"], grown["studies"]
    panels = [
        panel("own cost of a step, us", "submodules", modules),
        panel("peak memory, MB", "steps recorded", _medians(steps, "recorded")),
        panel("files, MB", "steps recorded", {n: row["bytes"] / 1e6 for n, row in steps.items()}),
        panel("memory of a rank, MB", "ranks", _medians(ranks, "recorded")),
        panel("files, MB", "ranks", {n: row["bytes"] / 1e6 for n, row in ranks.items()}),
        panel("list, s", "runs", _medians(grown["runs"], "seconds")),
        panel("report, s", "blocks", _medians(studies["blocks"], "seconds")),
        panel("report, s", "arms", _medians(studies["arms"], "seconds")),
    ]
    rows = [alt.hconcat(*panels[:4]), alt.hconcat(*panels[4:])]
    write_chart(alt.vconcat(*rows))


def panel(measure: str, what: str, values: dict[str, float]) -> alt.Chart:
    """Return one line: a measure by how much there is of something, both from 0."""
    rows = [{"x": int(count), "y": value} for count, value in values.items()]
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=rows), width=150, height=110)
        .mark_line(point=True)
        .encode(
            alt.X("x:Q", title=what, scale=alt.Scale(zero=True)).axis(tickCount=4, format="~s"),
            alt.Y("y:Q", title=measure, scale=alt.Scale(zero=True)).axis(tickCount=4),
        )
    )
    return chart


def write_chart(chart: alt.VConcatChart) -> None:
    """Write docs/growth.svg."""
    svg: str = vl_convert.vegalite_to_svg(chart.to_dict())
    write_atomically(RESULTS.parent.parent / "docs" / "growth.svg", f"{svg}\n".encode())


def _medians(rows: dict[str, Any], name: str) -> dict[str, float]:
    return {count: row[name]["median"] for count, row in rows.items()}


def main() -> None:
    if sys.argv[1:] == ["figures"]:
        draw(read_json(RESULTS / "growth.json"), read_json(RESULTS / "peers.json"))
        return
    parts = {
        "steps": measure_steps, "ranks": measure_ranks, "runs": measure_runs,
        "studies": measure_studies,
    }  # fmt: skip
    found = {}
    for name, measure in parts.items():
        with tempfile.TemporaryDirectory(prefix="laptime-bench-") as scratch:
            found[name] = measure(Path(scratch))
    write_result(
        "growth.json",
        {"what": "medians over turns; seconds include imports", "n": TURNS, **found},
    )


if __name__ == "__main__":
    main()
