"""The code of docs/one-lab.md makes the errors that it says it makes."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

Run = Callable[[str], str]

_RATIO = r"CPU with \d workers, GPU with \d: \d+\.\dx\n"
_TRAINING = r"training \d\.\d{3} s of an epoch of \d+\.\d\d s\n"

PRINTS = {
    "no_wait.py": rf"without a wait: {_TRAINING}with a wait: {_TRAINING}",
    "two_columns.py": r"epoch \d+\.\d\d s, loading \d+\.\d\d s, training \d+\.\d\d s\n"
    r"in neither column: \d+%\n",
    "set_up.py": r"(\d workers: set-up 0\.\d{5} s, loading \d+\.\d\d s\n){3}",
    "lowest_point.py": r"reports by their best number: \{.*\}\ngain over 0 workers .*: 7%\n",
    "flat_study.py": r"(spread \d%: 0 workers \d+, none \d+, another \d+\n){2}",
    "two_ratios.py": rf"({_RATIO}){{3}}",
    "totals.py": r"(epoch \d: total time \d+\.\d s, or \d+\.\d s\n){3}",
    "four_rules.py": r"16 .*\n17 .*\n20 .*\n46 .*\n",
    "parameters.py": r"11,173,962 .*\n11,164,362 .*\n11,181,642 .*\n",
    "nonzero.py": r"(random images: \d, gradients: 11,164,362, not zero: [\d,]+\n){3}",
    "lucky.py": r"(right on \d+%: best mini-batch 0\.\d{4} = \d+ of 128\n){3}",
    "seeds.py": r"(\d+\.\d%(, |\n)){10}",
    "first_update.py": r"(\w+ +moves a weight by \d+% of its size\n){4}",
    "rising.py": r"(epoch \d: \d+\.\d{3} s \| loss \d+\.\d\d\n){5}",
}
"""What each script prints, here and on the page."""

ELSEWHERE = {"full_queue.py", "last_batch.py", "sums.py"}
"""Run in test_examples.py, or below with something to read."""


@pytest.fixture(scope="module")
def page(documents: dict[str, str]) -> str:
    return documents["docs/one-lab.md"]


@pytest.fixture(scope="module")
def files(load: Callable[[str], ModuleType], page: str) -> dict[str, str]:
    """Return the files that the page writes, by name."""
    pattern = load("docs/refresh_examples.py").BLOCK
    return {m["name"]: m["body"] for m in pattern.finditer(page) if m["kind"] == "file"}


@pytest.fixture
def run(
    files: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Run]:
    """Return what runs a script of the page and returns what it prints; nothing really sleeps."""
    threads = torch.get_num_threads()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "sleep", lambda _: None)

    def run_script(name: str) -> str:
        exec(compile(files[name], name, "exec"), {"__name__": "__main__"})
        return capsys.readouterr().out

    yield run_script
    torch.set_num_threads(threads)


def printed(page: str, name: str) -> str:
    """Return what the page says that a script prints."""
    found = re.search(rf"^\$ python {re.escape(name)}\n(.*?)(?=^```|^\$ )", page, re.M | re.S)
    assert found is not None, name
    return found[1]


def test_every_script_of_the_page_is_run(files: dict[str, str]) -> None:
    assert set(files) == set(PRINTS) | ELSEWHERE


@pytest.mark.parametrize("name", PRINTS)
def test_a_script_prints_what_the_page_shows(run: Run, page: str, name: str) -> None:
    assert re.fullmatch(PRINTS[name], printed(page, name))
    assert re.fullmatch(PRINTS[name], run(name))


@pytest.mark.parametrize(
    "name", ["lowest_point.py", "flat_study.py", "four_rules.py", "parameters.py", "lucky.py"]
)
def test_what_needs_no_clock_comes_out_as_on_the_page(run: Run, page: str, name: str) -> None:
    assert run(name) == printed(page, name)


def test_every_count_is_the_best_one_somewhere(run: Run) -> None:
    found = dict(re.findall(r"(\d+): (\d+)", run("lowest_point.py").splitlines()[0]))

    assert len(found) == 10
    assert max(map(int, found.values())) < 150


def test_forty_seven_of_128_come_from_a_quarter(run: Run) -> None:
    assert "right on 25%: best mini-batch 0.3672 = 47 of 128\n" in run("lucky.py")


def test_gradients_that_are_not_zero_depend_on_the_image(run: Run) -> None:
    counts = [int(n.replace(",", "")) for n in re.findall(r"not zero: (.*)", run("nonzero.py"))]

    assert len(set(counts)) == 3
    assert max(counts) < 11_164_362


def test_seeds_scatter_by_more_than_ten_points(run: Run) -> None:
    shares = [float(share) for share in re.findall(r"([\d.]+)%", run("seeds.py"))]

    assert max(shares) - min(shares) > 10


def test_adam_moves_weights_by_more_than_they_are(run: Run) -> None:
    moved = dict(re.findall(r"(\w+) +moves a weight by (\d+)%", run("first_update.py")))

    assert int(moved["adam"]) > 100 > 10 > int(moved["sgd"])


def test_the_rising_loss_rises(run: Run) -> None:
    losses = [float(loss) for loss in re.findall(r"loss (.*)", run("rising.py"))]

    assert losses == sorted(losses)
    assert losses[0] > 2.303
    assert losses[-1] > 2 * losses[0]


def test_the_sums_are_those_of_the_phases(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    epoch = {"wall_ns": 3000, "phases_ns": {"forward": 1000, "other": 2000}}
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({"epochs": [epoch]})))

    assert run("sums.py") == "2 phases: 3,000 ns; the epoch: 3,000 ns\n"


def test_the_phases_on_the_page_sum_to_the_epoch(page: str) -> None:
    found = re.findall(r"^12 phases: ([\d,]+) ns; the epoch: ([\d,]+) ns$", page, re.M)

    assert found
    assert all(phases == epoch for phases, epoch in found)
