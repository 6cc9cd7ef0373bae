"""Replayed batches beside the script's own: real loaders under a clock that moves when told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import namedtuple
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset
from torch.utils.data import dataloader as torch_loader

from laptime.attach.found import Found
from laptime.attach.headroom import Headroom, Policy
from laptime.attach.hooks.loader import hook_loaders
from laptime.attach.journal import Journal
from laptime.attach.recorder import Recorder
from laptime.attach.replay import OwnBook
from laptime.attach.shelf import MOST_BATCHES, Shelf, copied, size_of
from laptime.attach.standstill import Standstill
from laptime.timing.clock import FakeClock, FakeDeviceClock
from laptime.timing.windows import EventTimer, WindowPolicy

MS = 1_000_000
SHORT = Policy(min_steps=10, min_ns=20 * MS, most_pairs=5)


class FakeStill:
    """Notes what is asked of it."""

    def __init__(self):
        self.events, self.is_on, self.was_late = [], False, False

    def stop(self, pids, most_s):
        self.events.append(("stop", pids))
        self.is_on = True

    def resume(self):
        if self.is_on:
            self.events.append(("resume", None))
        self.is_on = False


class Points(Dataset):
    """Samples that take a millisecond each, by the clock."""

    def __init__(self, clock, n):
        self.clock, self.n, self.made = clock, n, 0

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        self.clock.advance_ns(1 * MS)
        self.made += 1
        return torch.tensor([float(index)]), index


class Stream(IterableDataset):
    def __init__(self, clock, n):
        self.points = Points(clock, n)

    def __iter__(self):
        return (self.points[i] for i in range(self.points.n))


class Script:
    """A training without a model: what a recorder sees of one."""

    directory = Path()

    def __init__(self, policy=SHORT, step_ns=3 * MS):
        self.clock, self.step_ns = FakeClock(), step_ns
        self.recorder = Recorder(
            OwnBook(lambda: Journal(str(self.directory), 0), Found(), 0), self.clock.read_ns
        )  # fmt: skip
        self.found = self.recorder.book.found
        self.found.optimizers.append({"parameters": 1, "steps": 0, "stepped_at": None})
        self.still = FakeStill()
        self.headroom = Headroom(self.recorder, policy, self.still)
        self.headroom.replay.hook()
        hook_loaders(self.recorder, lambda place, args, kwargs: (args, kwargs))
        self.recorder.at_boundary = self.at_boundary
        self.headroom.replay.listen()
        self.is_over = self.is_closed = False
        self.seen = []

    def at_boundary(self):
        if not self.headroom.stepped():
            self.is_over = True
            self.close()
            raise SystemExit

    def step(self, launch=lambda: None):
        self.recorder.optimizer_started(None)
        launch()
        self.clock.advance_ns(self.step_ns)
        self.recorder.optimizer_ended(None)

    def train(self, loader, epochs):
        """Train until it is stopped; return how many batches each pass gave."""
        passes = []
        with suppress(SystemExit):
            for _ in range(epochs):
                passes.append(0)
                for x, _ in loader:
                    passes[-1] += 1
                    self.seen.append(x.flatten().tolist())
                    x.zero_()  # scripts change what they are given
                    self.step()
        return passes

    def close(self):
        if not self.is_closed:
            self.is_closed = True
            self.headroom.close()
            self.recorder.close("steps" if self.is_over else "exit")
        facts = self.directory / "recorder.json"
        found = self.found.document()
        return json.loads(facts.read_text()) if facts.is_file() else found

    def rows(self, name):
        log = self.directory / name
        return [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []


@pytest.fixture(autouse=True)
def _restored_loaders(monkeypatch, tmp_path):
    monkeypatch.setattr(Script, "directory", tmp_path)
    hooked = [
        (DataLoader, "__init__"),
        (DataLoader, "__iter__"),
        (torch_loader._BaseDataLoaderIter, "__next__"),
        (torch_loader._MultiProcessingDataLoaderIter, "_shutdown_workers"),
    ]
    for owner, name in hooked:
        monkeypatch.setattr(owner, name, getattr(owner, name))


def per_step(stretches):
    return {one["wall_ns"] / one["steps"] for one in stretches}


def test_a_loaded_step_takes_its_loading_and_a_replayed_one_does_not():
    script = Script()
    script.train(DataLoader(Points(script.clock, 800), batch_size=4), epochs=3)
    headroom = script.close()["headroom"]
    assert per_step(headroom["loaded"]) == {7 * MS}
    assert per_step(headroom["replayed"]) == {3 * MS}
    assert len(headroom["loaded"]) == len(headroom["replayed"]) == 5
    assert headroom["batches"] == MOST_BATCHES


def test_a_stretch_is_at_least_so_many_steps_and_so_long():
    script = Script()
    script.train(DataLoader(Points(script.clock, 800), batch_size=4), epochs=3)
    headroom = script.close()["headroom"]
    for stretch in headroom["loaded"] + headroom["replayed"]:
        assert stretch["steps"] >= SHORT.min_steps
        assert stretch["wall_ns"] >= SHORT.min_ns


def test_it_ends_once_there_are_pairs_enough_and_says_since_when_losses_are_not_the_scripts():
    script = Script()
    script.train(DataLoader(Points(script.clock, 800), batch_size=4), epochs=50)
    assert script.is_over
    (note,) = script.close()["notes"]
    assert "after step 22 some batches were replayed" in note


def test_what_was_replayed_is_no_part_of_the_scripts_own_record():
    script = Script()
    dataset = Points(script.clock, 200)
    script.train(DataLoader(dataset, batch_size=4), epochs=20)
    facts = script.close()
    epochs, steps = script.rows("epochs.jsonl"), script.rows("steps.jsonl")
    assert len(steps) == facts["steps"] == sum(epoch["steps"] for epoch in epochs)
    assert len(script.seen) > facts["steps"]
    assert dataset.made >= sum(epoch["samples"] for epoch in epochs) == 4 * len(steps)
    for epoch in epochs:
        own = epoch["steps"]
        assert sum(epoch["phases_ns"].values()) == epoch["wall_ns"]
        assert min(epoch["phases_ns"].values()) >= 0
        assert epoch["phases_ns"]["optimizer"] == own * 3 * MS
        assert epoch["phases_ns"]["data_wait"] <= own * 4 * MS
    for window in script.rows("windows.jsonl"):
        assert window["phases_ns"]["optimizer"] == window["steps"] * 3 * MS


def test_an_epoch_with_replayed_batches_is_not_called_whole():
    script = Script()
    script.train(DataLoader(Points(script.clock, 80), batch_size=4), epochs=8)
    script.close()
    epochs = script.rows("epochs.jsonl")
    assert any(epoch["complete"] for epoch in epochs)
    assert all(epoch["complete"] == (epoch["steps"] == 20) for epoch in epochs)


def test_a_pass_gives_no_more_batches_than_its_loader_has():
    script = Script()
    passes = script.train(DataLoader(Points(script.clock, 130), batch_size=4), epochs=9)
    assert set(passes[:-1]) == {33}


def test_every_batch_is_a_copy_of_its_own():
    script = Script()
    script.train(DataLoader(Points(script.clock, 800), batch_size=4), epochs=3)
    assert all(any(batch) for batch in script.seen)  # each was set to zero by the one before


def test_a_stream_without_a_length_is_replayed_too():
    script = Script()
    loader = DataLoader(Stream(script.clock, 240), batch_size=4)
    script.train(loader, epochs=9)
    headroom = script.close()["headroom"]
    assert per_step(headroom["loaded"]) == {7 * MS}
    assert per_step(headroom["replayed"]) == {3 * MS}


def test_a_loader_that_is_made_anew_in_each_epoch_is_kept_anew():
    script = Script()
    for _ in range(9):
        script.train(DataLoader(Points(script.clock, 120), batch_size=4), epochs=1)
    headroom = script.close()["headroom"]
    assert per_step(headroom["replayed"]) == {3 * MS}
    assert len(headroom["replayed"]) >= 3


def test_an_evaluation_within_an_epoch_is_no_part_of_a_stretch():
    script = Script()
    evaluation = DataLoader(Points(script.clock, 8), batch_size=4)
    loader = DataLoader(Points(script.clock, 1600), batch_size=4)
    with suppress(SystemExit):
        for i, _ in enumerate(loader):
            script.step()
            if i % 25 == 24:
                for _ in evaluation:
                    script.recorder.root_asked()
                    script.clock.advance_ns(50 * MS)
                    script.recorder.root_answered()
    facts = script.close()
    assert per_step(facts["headroom"]["loaded"]) == {7 * MS}
    assert per_step(facts["headroom"]["replayed"]) == {3 * MS}
    assert facts["evaluations"][0]["passes"] > 3


def test_two_loaders_read_side_by_side_are_both_replayed():
    script = Script()
    first = DataLoader(Points(script.clock, 1600), batch_size=4)
    second = DataLoader(Points(script.clock, 1600), batch_size=2)
    with suppress(SystemExit):
        for _ in zip(first, second, strict=True):
            script.step()
    headroom = script.close()["headroom"]
    assert per_step(headroom["loaded"]) == {9 * MS}
    assert per_step(headroom["replayed"]) == {3 * MS}
    assert headroom["batches"] == 2 * MOST_BATCHES


def test_workers_stand_still_in_replayed_stretches_only_and_go_on_in_the_end():
    script = Script()
    script.train(DataLoader(Points(script.clock, 800), batch_size=4), epochs=1)
    script.close()
    kinds = [kind for kind, _ in script.still.events]
    assert kinds == ["stop", "resume"] * (len(kinds) // 2)
    assert len(kinds) >= 10


def test_what_workers_made_ahead_is_not_counted():
    script = Script()
    dataset = Points(script.clock, 4000)
    loader = DataLoader(dataset, batch_size=4)
    script.found.loaders[0].update(num_workers=2, prefetch_factor=2)
    resume = script.still.resume

    def resume_with_batches_ahead():
        if script.still.is_on:
            dataset.free = 16  # samples of four batches
        resume()

    make = dataset.__class__.__getitem__
    dataset.free = 0

    class Ahead(Points):
        def __getitem__(self, index):
            if self.free:
                self.free -= 1
                return torch.tensor([float(index)]), index
            return make(self, index)

    dataset.__class__ = Ahead
    script.still.resume = resume_with_batches_ahead
    script.train(loader, epochs=1)
    headroom = script.close()["headroom"]
    assert per_step(headroom["loaded"]) == {7 * MS}
    assert all(one["steps"] % 2 == 0 for one in headroom["loaded"])  # they come in bursts of two


def test_a_script_that_leaves_its_loop_in_a_replayed_stretch_has_its_workers_again():
    script = Script()
    loader = DataLoader(Points(script.clock, 800), batch_size=4)
    with suppress(SystemExit):
        for _ in range(4):
            for i, _ in enumerate(loader):
                if script.still.is_on and i > 24:
                    break
                script.step()
    facts = script.close()
    assert not script.still.is_on
    assert per_step(facts["headroom"]["replayed"]) == {3 * MS}
    for epoch in script.rows("epochs.jsonl"):
        assert min(epoch["phases_ns"].values()) >= 0


def test_the_end_of_a_loaders_workers_lets_them_go_on_first():
    script = Script()
    script.still.is_on = True
    torch_loader._MultiProcessingDataLoaderIter._shutdown_workers(
        SimpleNamespace(_shutdown=True, _workers=[], _worker_pids_set=False)
    )
    assert script.still.events == [("resume", None)]
    assert script.headroom.replay.was_cut


def test_too_few_steps_are_said_and_nothing_is_measured():
    script = Script(Policy())
    script.train(DataLoader(Points(script.clock, 80), batch_size=4), epochs=2)
    facts = script.close()
    assert facts["headroom"] is None
    assert not script.is_over
    assert any("too few steps" in note for note in facts["notes"])


def test_fewer_pairs_than_an_interval_needs_are_kept_and_said():
    script = Script()
    script.train(DataLoader(Points(script.clock, 160), batch_size=4), epochs=3)
    facts = script.close()
    assert 0 < len(facts["headroom"]["replayed"]) < SHORT.min_pairs
    assert any("too few steps for more than" in note for note in facts["notes"])


def test_without_a_loader_there_is_nothing_to_replay():
    script = Script()
    for _ in range(30):
        script.step()
    facts = script.close()
    assert facts["headroom"] is None
    assert any("no DataLoader was trained on" in note for note in facts["notes"])


def test_batches_that_cannot_be_copied_are_given_up():
    class Odd(Points):
        def __getitem__(self, index):
            return super().__getitem__(index)[0], (i for i in ())

    script = Script()
    loader = DataLoader(Odd(script.clock, 200), batch_size=4, collate_fn=lambda data: data[0])
    script.train(loader, epochs=1)
    facts = script.close()
    assert facts["headroom"] is None
    assert any("cannot be copied" in note for note in facts["notes"])


def test_a_script_that_waits_for_workers_that_stand_still_gets_them_back():
    script = Script()
    loader = DataLoader(Points(script.clock, 800), batch_size=4)
    for i, _ in enumerate(loader):
        script.step()
        script.still.was_late = script.still.is_on
        if i == 60:
            break
    facts = script.close()
    assert not script.is_over
    assert facts["headroom"] is None
    assert any("waited for its loader's workers" in note for note in facts["notes"])


@pytest.mark.parametrize(("loading_ms", "loaded_ms"), [(1, 10), (3, 13)])
def test_on_a_device_a_stretch_takes_what_the_device_takes(monkeypatch, loading_ms, loaded_ms):
    script = Script(step_ns=1 * MS)
    device = FakeDeviceClock(script.clock)
    monkeypatch.setattr("laptime.attach.headroom.CudaClock", lambda name: device)
    script.found.device = "cuda:0"
    timer = EventTimer(script.recorder.ledger, device, WindowPolicy(min_ns=0, min_steps=1000))
    script.recorder.use_timer(timer)
    loader = DataLoader(Points(script.clock, 1600 * loading_ms), batch_size=4 * loading_ms)
    with suppress(SystemExit):
        for _ in loader:
            script.step(lambda: device.launch(10 * MS))
    facts = script.close()
    assert per_step(facts["headroom"]["replayed"]) == {10 * MS}
    assert per_step(facts["headroom"]["loaded"]) == {loaded_ms * MS}
    for window in script.rows("windows.jsonl"):
        assert window["device_ns"] is None or not window["device_ns"]["invalid_windows"]
        assert min(window["phases_ns"].values()) >= 0


def test_a_child_forgets_what_its_parent_kept():
    script = Script()
    script.train(DataLoader(Points(script.clock, 80), batch_size=4), epochs=1)
    replay = script.headroom.replay
    assert replay.shelves
    script.headroom.forked()
    assert script.headroom.replay is replay
    assert not replay.shelves


# Copies


Pair = namedtuple("Pair", "x y")


class Batch:
    def __init__(self, x):
        self.x = x


@pytest.mark.parametrize(
    "build",
    [
        lambda x: x,
        lambda x: [x, [x], (x, "name")],
        lambda x: {"x": x, "meta": {"id": 3}},
        lambda x: Pair(x, 1),
        lambda x: (x.numpy(), x),
    ],
)
def test_a_copy_has_the_same_structure_types_and_values(build):
    value = build(torch.arange(6.0).view(2, 3).t())
    another = copied(value, is_pinned=False)
    assert type(another) is type(value)
    assert repr(another) == repr(value)


def test_a_copy_shares_no_memory_and_keeps_strides():
    x = torch.arange(6.0).view(2, 3).t()
    another = copied(x, is_pinned=False)
    another.zero_()
    assert x.any()
    assert another.stride() == x.stride()


def test_a_copy_of_a_view_holds_the_view_only():
    x = torch.zeros(1000, 10)[3:5]
    assert copied(x, is_pinned=False).untyped_storage().nbytes() == 2 * 10 * 4


def test_objects_of_the_script_are_copied_with_what_they_hold():
    batch = Batch(torch.ones(3))
    another = copied(batch, is_pinned=False)
    another.x.zero_()
    assert type(another) is Batch
    assert batch.x.all()


def test_the_size_of_a_batch_is_that_of_its_arrays():
    x = torch.zeros(4, 2)
    assert size_of({"x": x, "y": [x, x.numpy()], "batch": Batch(x), "name": "n"}) == 4 * 32


def test_a_shelf_keeps_what_there_is_room_for_and_gives_it_in_turn():
    shelf = Shelf(is_pinned=False)
    for i in range(12):
        shelf.keep(torch.full((2,), i), most_bytes=3 * 16)
    assert (len(shelf), shelf.kept_bytes, shelf.is_full) == (3, 48, True)
    assert [int(shelf.give()[0]) for _ in range(4)] == [0, 1, 2, 0]


def test_a_batch_without_room_is_refused():
    shelf = Shelf(is_pinned=False)
    shelf.keep(torch.zeros(2**20), most_bytes=100)
    assert not shelf
    assert shelf.refused == "a batch takes 4 MiB"


# Processes


@pytest.fixture
def child():
    """Return a process that waits for us."""
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    yield process
    process.kill()
    process.communicate()


def waits_until_stopped(process):
    return os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])


def waits_until_continued(process):
    return os.WIFCONTINUED(os.waitpid(process.pid, os.WCONTINUED)[1])


def test_processes_stand_still_until_they_are_asked_to_go_on(child):
    still = Standstill()
    still.stop([child.pid], 60.0)
    assert waits_until_stopped(child)
    assert still.is_on
    still.resume()
    assert waits_until_continued(child)
    assert not still.is_on
    assert not still.was_late


def test_processes_go_on_when_whoever_stopped_them_is_gone(child):
    still = Standstill()
    still.stop([child.pid], 60.0)
    assert waits_until_stopped(child)
    still._guard.stdin.close()  # the kernel does this when a process is killed
    assert waits_until_continued(child)
    assert still._guard.wait() == 0
    still._guard = None
    still.resume()


def test_processes_go_on_when_the_time_is_over(child):
    still = Standstill()
    still.stop([child.pid], 60.0)
    assert waits_until_stopped(child)
    still._deadline.function()
    assert waits_until_continued(child)
    assert still.was_late
    still.resume()


def test_without_processes_nothing_is_started():
    still = Standstill()
    still.stop([], 60.0)
    assert not still.is_on
    still.resume()


# Unedited scripts


TRAINING = """
import json, os, sys, time
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

SAMPLE_S, STEP_S, WORKERS = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])

class Points(Dataset):
    def __len__(self):
        return 1600
    def __getitem__(self, i):
        if SAMPLE_S:
            time.sleep(SAMPLE_S)
        return torch.full((8,), i / 1600), i % 2

torch.manual_seed(0)
loader = DataLoader(Points(), batch_size=8, shuffle=True, num_workers=WORKERS)
model = nn.Linear(8, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(20):
    kept = [None] * len(loader)
    for i, (x, y) in enumerate(loader):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        time.sleep(STEP_S)
        loss.backward()
        optimizer.step()
        kept[i] = loss.item()
        x.zero_()
    print("epoch", epoch, flush=True)
print("the end")
"""


def run(tmp_path: Path, *arguments: Any) -> tuple[dict[str, Any], dict[str, Any], str]:
    (tmp_path / "train.py").write_text(TRAINING)
    command = [sys.executable, "-m", "laptime", "run", "--runs-dir", str(tmp_path / "runs")]
    command += ["--headroom", "--", sys.executable, "train.py", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    (left,) = (tmp_path / "runs").iterdir()
    documents = [json.loads((left / name).read_text()) for name in ("recorder.json", "script.json")]
    return documents[0], documents[1], done.stdout


def environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LAPTIME_", "COV_"))}
    return {**kept, "OMP_NUM_THREADS": "1"}


def step_ms(stretches: list[dict[str, int]]) -> float:
    each = sorted(one["wall_ns"] / one["steps"] / 1e6 for one in stretches)
    return each[len(each) // 2]


@pytest.mark.zoo
@pytest.mark.parametrize("workers", [0, 2])
def test_perfect_loading_saves_what_was_planted_in_loading(tmp_path, workers):
    sample_ms, step = 2.0, 6.0
    recorder, script, stdout = run(tmp_path, sample_ms / 1e3, step / 1e3, workers)
    headroom = recorder["headroom"]
    loaded, replayed = step_ms(headroom["loaded"]), step_ms(headroom["replayed"])
    made = 8 * sample_ms
    truth = max(made / workers, step) if workers else made + step
    told = f"loaded {loaded:.2f} of {truth} ms, replayed {replayed:.2f} of {step}"
    assert len(headroom["loaded"]) >= 5
    assert truth <= loaded <= 1.4 * truth, told
    assert step <= replayed <= 1.4 * step, told
    assert "the end" not in stdout
    assert script["status"] == "stopped"


@pytest.mark.zoo
def test_perfect_loading_saves_next_to_nothing_of_a_slow_model(tmp_path):
    headroom = run(tmp_path, 0, 0.02, 0)[0]["headroom"]
    saved = 1 - step_ms(headroom["replayed"]) / step_ms(headroom["loaded"])
    assert abs(saved) < 0.05


@pytest.mark.zoo
def test_a_script_that_is_killed_in_a_replayed_stretch_leaves_nobody_stopped(tmp_path):
    (tmp_path / "train.py").write_text(TRAINING)
    killer = """
import os, signal, threading, time
def states():
    pids = open(f"/proc/self/task/{os.getpid()}/children").read().split()
    return [open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] for pid in pids]
def kill():
    while states().count("T") < 2:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
threading.Thread(target=kill, daemon=True).start()
exec(open("train.py").read())
"""
    command = [sys.executable, "-m", "laptime", "run", "--runs-dir", str(tmp_path / "runs")]
    command += ["--headroom", "--", sys.executable, "-c", killer, "0.001", "0.02", "2"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        process.communicate(timeout=120)  # the pipe is closed once the last of them has gone
    assert process.returncode == -signal.SIGKILL
