"""What making samples takes: sums under a clock that moves when told, and in real workers."""

from __future__ import annotations

import copy
import json
import os
import pickle
import struct
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import dataloader as torch_loader
from torch.utils.data._utils import fetch as torch_fetch
from torch.utils.data._utils import worker as torch_worker

from laptime.attach import workers as under_test
from laptime.attach.composes import SplitCompose, TimedTransform, TransformTimes, living_composes
from laptime.attach.found import Found
from laptime.attach.journal import Slate, read_slates
from laptime.attach.passes import Passes
from laptime.attach.samples import HERE, Sums, hook_fetchers
from laptime.attach.workers import FOLDER, Desk, Pickler, Workers
from laptime.timing.clock import FakeClock

US = 1_000


@pytest.fixture(autouse=True)
def _restored_torch(monkeypatch):
    hooked = [
        (torch_loader._SingleProcessDataLoaderIter, "__init__"),
        (torch_loader._MultiProcessingDataLoaderIter, "__init__"),
        (torch_fetch._MapDatasetFetcher, "fetch"),
        (torch_fetch._IterableDatasetFetcher, "fetch"),
        (torch_worker, "_worker_loop"),
        (under_test, "_WORKER_LOOPS"),
    ]
    for owner, name in hooked:
        monkeypatch.setattr(owner, name, getattr(owner, name))
    yield
    HERE.clear()


@pytest.fixture
def clock():
    return FakeClock()


def spends(clock, duration_us, result=lambda *given: given[-1]):
    """Return a function that takes so long."""

    def function(*given):
        clock.advance_ns(duration_us * US)
        return result(*given)

    return function


class Dataset:
    def __init__(self, clock, duration_us):
        self.read = spends(clock, duration_us)

    def __getitem__(self, index):
        return self.read(index)


class Compose:
    def __init__(self, transforms):
        self.transforms = transforms

    def __call__(self, x):
        for transform in self.transforms:
            x = transform(x)
        return x


class Flip:
    p = 0.5

    def __init__(self, clock, duration_us):
        self.run = spends(clock, duration_us)

    def __call__(self, x):
        return self.run(x)


def fetched(sums, fetcher_class, dataset, collate, index, auto_collation=True, drop_last=False):
    hook_fetchers()
    HERE[:] = [sums]
    fetcher = fetcher_class(dataset, auto_collation, collate, drop_last)
    return fetcher, fetcher.fetch(index)


def new_sums(clock, *composes):
    return Sums(composes, clock.read_ns, clock.read_ns)


# Batches


def test_a_batch_is_getitem_for_each_sample_and_collate_once(clock):
    sums = new_sums(clock)
    made = fetched(
        sums, torch_fetch._MapDatasetFetcher, Dataset(clock, 100), spends(clock, 30), [3, 1, 2]
    )
    assert made[1] == [3, 1, 2]
    assert (sums.samples, sums.batches) == (3, 1)
    assert (sums.getitem_ns, sums.collate_ns) == (300 * US, 30 * US)


def test_a_dataset_that_gives_many_at_once_is_asked_once(clock):
    class Many(Dataset):
        def __getitems__(self, indices):
            return {"x": [self.read(i) for i in indices]}

    sums = new_sums(clock)
    collate = spends(clock, 5)
    fetched(sums, torch_fetch._MapDatasetFetcher, Many(clock, 100), collate, [3, 1, 2])
    assert (sums.samples, sums.getitem_ns) == (3, 300 * US)


def test_a_loader_that_does_not_batch_makes_one_sample_at_a_time(clock):
    sums, dataset = new_sums(clock), Dataset(clock, 100)
    collate = spends(clock, 5)
    fetched(sums, torch_fetch._MapDatasetFetcher, dataset, collate, 7, auto_collation=False)
    assert (sums.samples, sums.batches, sums.collate_ns) == (1, 1, 5 * US)


def test_a_stream_counts_what_it_gave_and_the_time_to_its_end(clock):
    def stream():
        yield from map(spends(clock, 100), range(3))
        clock.advance_ns(7 * US)

    sums = new_sums(clock)
    fetcher_class = torch_fetch._IterableDatasetFetcher
    fetcher, batch = fetched(sums, fetcher_class, stream(), spends(clock, 5), [None] * 4)
    with pytest.raises(StopIteration):
        fetcher.fetch([None] * 4)
    assert batch == [0, 1, 2]
    assert (sums.samples, sums.batches, sums.getitem_ns) == (3, 1, 307 * US)


def test_a_sample_that_fails_took_time_but_was_not_made(clock):
    def fail(index):
        raise ValueError("theirs")

    sums, dataset = new_sums(clock), Dataset(clock, 0)
    dataset.read = spends(clock, 40, fail)
    with pytest.raises(ValueError, match="theirs") as caught:
        fetched(sums, torch_fetch._MapDatasetFetcher, dataset, list, [1])
    assert (sums.samples, sums.getitem_ns, sums.is_busy) == (0, 40 * US, False)
    assert not any("samples.py" in str(entry.path) for entry in caught.traceback)


def test_a_fetcher_is_itself_again_after_each_batch(clock):
    collate = spends(clock, 1)
    fetcher, _ = fetched(
        new_sums(clock), torch_fetch._MapDatasetFetcher, Dataset(clock, 1), collate, [1]
    )
    assert fetcher.collate_fn is collate


def test_a_loader_within_a_dataset_is_part_of_its_getitem(clock):
    class Nested(Dataset):
        def __getitem__(self, index):
            inner = torch_fetch._MapDatasetFetcher(Dataset(clock, 100), True, list, False)
            return inner.fetch([index, index])

    sums = new_sums(clock)
    fetched(sums, torch_fetch._MapDatasetFetcher, Nested(clock, 0), list, [1, 2])
    assert (sums.samples, sums.batches, sums.getitem_ns) == (2, 1, 400 * US)


# Transforms


def test_each_transform_of_a_compose_has_its_own_time(clock):
    compose = Compose([Flip(clock, 10), spends(clock, 20), Flip(clock, 3)])

    class Transformed(Dataset):
        def __getitem__(self, index):
            return compose(self.read(index))

    sums = new_sums(clock, compose)
    before = list(compose.transforms)
    fetched(sums, torch_fetch._MapDatasetFetcher, Transformed(clock, 100), list, [1, 2])
    document = sums.document()
    assert document["transforms"] == {"Flip": 20 * US, "function": 40 * US, "Flip (2)": 6 * US}
    assert document["getitem_ns"] == 266 * US
    assert all(now is one for now, one in zip(compose.transforms, before, strict=True))


def test_a_transform_within_another_counts_once(clock):
    inner = Compose([Flip(clock, 10)])
    outer = Compose([spends(clock, 5, inner), inner])
    times = TransformTimes(clock.read_ns)
    splits = [SplitCompose(inner, times), SplitCompose(outer, times)]
    for split in splits:
        split.begin()
    outer(1)
    assert times.spent_ns == {"function": 5 * US, "Flip": 20 * US}


def test_transforms_of_other_threads_are_not_counted(clock):
    compose, times = Compose([Flip(clock, 10)]), TransformTimes(clock.read_ns)
    SplitCompose(compose, times).begin()
    thread = threading.Thread(target=compose, args=(1,))
    thread.start()
    thread.join()
    assert not times.spent_ns


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_compose_is_itself_again_whatever_it_holds_its_transforms_in(clock, kind):
    flip = Flip(clock, 10)
    compose = Compose(kind([flip]))
    split = SplitCompose(compose, TransformTimes(clock.read_ns))
    split.begin()
    assert type(compose.transforms[0]) is TimedTransform
    split.end()
    assert type(compose.transforms) is kind
    assert compose.transforms[0] is flip


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.by = 2

    def forward(self, x):
        return x * self.by


def test_a_timed_transform_is_the_transform_to_whoever_looks(clock):
    scale = Scale()
    timed: Any = TimedTransform(scale, "Scale", TransformTimes(clock.read_ns))
    timed.by = 3
    assert isinstance(timed, Scale)
    assert isinstance(timed, nn.Module)
    assert timed(2) == 6
    assert (timed.by, scale.by) == (3, 3)
    assert repr(timed) == repr(scale)
    assert type(pickle.loads(pickle.dumps(timed))) is Scale
    assert copy.deepcopy(timed).by == 3
    del timed.by
    assert not hasattr(scale, "by")


def test_a_compose_is_found_wherever_it_is_kept():
    hidden = Compose([1])
    frozen = SimpleNamespace(transforms=[1])

    def transform(x):
        return hidden(x)

    found = living_composes()
    assert any(one is hidden for one in found)
    assert not any(one is frozen for one in found)


def test_what_is_merely_called_compose_is_left_alone():
    class Compose:
        @property
        def transforms(self):
            raise RuntimeError("theirs")

    odd = Compose()
    assert not any(one is odd for one in living_composes())


# Workers


def test_a_slate_is_written_over_and_read_whole(tmp_path):
    slate = Slate(str(tmp_path / "workers"))
    slate.write({"samples": 100, "more": "x" * 50})
    slate.write({"samples": 7})
    (tmp_path / "workers" / "broken.json").write_text('{"samples": ')
    assert read_slates(str(tmp_path / "workers")) == [{"samples": 7}]


def test_slates_of_one_process_do_not_meet(tmp_path):
    slates = [Slate(str(tmp_path)) for _ in range(2)]
    for i, slate in enumerate(slates):
        slate.write({"i": i})
    assert sorted(one["i"] for one in read_slates(str(tmp_path))) == [0, 1]


def test_no_slates_are_no_documents(tmp_path):
    assert read_slates(str(tmp_path / "none")) == []


class FakeQueue:
    def __init__(self, clock):
        self.clock, self.got, self._thread = clock, [], threading.current_thread()

    def put(self, item):
        self.clock.advance_ns(2 * US)
        self.got.append(item)


def test_handing_over_is_the_put_and_what_the_queues_thread_does(tmp_path, clock, monkeypatch):
    from multiprocessing import queues

    monkeypatch.setattr(queues, "_ForkingPickler", queues._ForkingPickler)
    cpu, sums, queue = FakeClock(), new_sums(clock), FakeQueue(clock)
    desk = Desk(sums, str(tmp_path), {"home": "here"}, clock.read_ns, cpu.read_ns)
    desk.watch(queue)
    queue.put("a batch")
    cpu.advance_ns(30 * US)
    assert queues._ForkingPickler.loads(queues._ForkingPickler.dumps([1])) == [1]
    queue._thread = None
    cpu.advance_ns(500 * US)
    queues._ForkingPickler.dumps([2])  # another queue's
    desk.write()
    assert queue.got == ["a batch"]
    assert read_slates(str(tmp_path))[0] == {"home": "here", **sums.document()}
    assert sums.queue_ns == 32 * US


def test_sums_are_written_now_and_then_and_at_the_end(tmp_path, clock, monkeypatch):
    from multiprocessing import queues

    monkeypatch.setattr(queues, "_ForkingPickler", queues._ForkingPickler)
    clock.advance_ns(under_test.WRITE_EVERY_NS)
    sums, queue = new_sums(clock), FakeQueue(clock)
    desk = Desk(sums, str(tmp_path), {}, clock.read_ns, clock.read_ns)
    desk.watch(queue)
    for sums.batches in range(1, 6):
        queue.put("a batch")
    assert read_slates(str(tmp_path))[0]["batches"] == 1
    clock.advance_ns(under_test.WRITE_EVERY_NS)
    queue.put("a batch")
    assert read_slates(str(tmp_path))[0]["batches"] == 5


def test_a_pickler_passes_errors_on():
    told: list[int] = []
    queue = SimpleNamespace(_thread=threading.current_thread())
    pickler = Pickler(pickle, queue, lambda: told.append(1))
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickler.dumps(lambda: 0)
    assert told == [1]


def row(training=0, evaluation=0):
    return {"training_passes": training, "evaluation_passes": evaluation}


def new_workers(run, *rows):
    found = Found()
    found.loaders = list(rows)
    recorder = SimpleNamespace(
        book=SimpleNamespace(found=found), passes=Passes(), enter=lambda phase: phase
    )
    return Workers(recorder, str(run)), found


def leave(run, home, loader, samples, **transforms):
    sums = {"samples": samples, "batches": 1, "getitem_ns": samples * 10, "collate_ns": 4}
    rest = {"queue_ns": 2, "cpu_ns": samples * 5, "transforms": transforms}
    Slate(str(run / FOLDER)).write({"home": home, "loader": loader, **sums, **rest})


def test_what_this_processs_workers_made_for_training_is_added_up(tmp_path):
    workers, found = new_workers(tmp_path, row(training=2), row(evaluation=2), row())
    here = under_test._home()
    leave(tmp_path, here, 0, 3, Flip=7)
    leave(tmp_path, here, 0, 5, Flip=8, Scale=1)
    leave(tmp_path, here, 1, 100)  # an evaluation's
    leave(tmp_path, here, 2, 1)  # read beside the one that counts
    leave(tmp_path, "elsewhere:1", 0, 1000)
    workers.close()
    assert found.workers == {
        "samples": 9,
        "batches": 3,
        "getitem_ns": 90,
        "collate_ns": 12,
        "queue_ns": 6,
        "transforms": [{"name": "Flip", "ns": 15}, {"name": "Scale", "ns": 1}],
    }
    assert found.notes == ["--workers: making samples kept 0.44 cores busy while it went on."]


def test_without_a_sample_there_is_nothing_to_say_but_that(tmp_path):
    workers, found = new_workers(tmp_path, row(evaluation=1))
    leave(tmp_path, under_test._home(), 0, 3)
    workers.close()
    assert found.workers is None
    assert found.notes == ["--workers: no sample was made by a DataLoader that was trained on."]


def test_a_loader_without_workers_is_summed_in_this_process(tmp_path):
    workers, found = new_workers(tmp_path)
    workers.hook()
    compose = Compose([torch.neg])
    dataset = [torch.ones(2)] * 10
    loader = DataLoader(dataset, batch_size=4, collate_fn=lambda data: compose(torch.stack(data)))
    assert [batch.sum() for batch in loader] == [-8, -8, -4]
    workers.close()
    assert (found.workers["samples"], found.workers["batches"]) == (10, 3)
    assert found.workers["getitem_ns"] > 0
    assert found.workers["queue_ns"] == 0
    assert compose.transforms == [torch.neg]


def test_a_child_forgets_what_its_parent_summed(tmp_path):
    workers, found = new_workers(tmp_path)
    workers.hook()
    list(DataLoader([1, 2]))
    workers.forked()
    workers.close()
    assert found.workers is None


# Unedited scripts


SCRIPT = """
import mmap, os, sys, time
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

WORKERS, METHOD, STREAM = int(sys.argv[1]), sys.argv[2], sys.argv[3] == "stream"
NAMES = "getitem Resize Flip scale collate".split()
files = {}

def add(name, start):
    if os.getpid() not in files:
        with open(f"truth-{os.getpid()}", "w+b") as file:
            file.truncate(8 * len(NAMES))
            files[os.getpid()] = memoryview(mmap.mmap(file.fileno(), 0)).cast("q")
    files[os.getpid()][NAMES.index(name)] += time.perf_counter_ns() - start

def cost(name, seconds):
    start = time.perf_counter_ns()
    time.sleep(seconds)
    add(name, start)

class Compose:
    def __init__(self, transforms):
        self.transforms = transforms
    def __call__(self, x):
        for transform in self.transforms:
            x = transform(x)
        return x

class Resize:
    def __call__(self, x):
        cost("Resize", 0.003)
        return x

class Flip(nn.Module):
    def forward(self, x):
        cost("Flip", 0.001)
        return x.flip(0)

def scale(x):
    cost("scale", 0.0005)
    return x * 2

TRANSFORM = Compose([Resize(), Flip(), scale])

def make(i):
    start = time.perf_counter_ns()
    time.sleep(0.002)
    sample = TRANSFORM(torch.full((8,), i / 100)), i % 2
    add("getitem", start)
    return sample

class Busy:
    '''A tensor that is slow to pickle.'''
    def __init__(self, x):
        self.x = x
    def __reduce__(self):
        end = time.thread_time() + 0.003
        while time.thread_time() < end:
            pass
        return Busy, (self.x,)

def collate(data):
    start = time.perf_counter_ns()
    time.sleep(0.004)
    x, y = zip(*data)
    batch = Busy(torch.stack(x)), torch.tensor(y)
    add("collate", start)
    return batch

class Points(Dataset):
    def __len__(self):
        return 96
    def __getitem__(self, i):
        return make(i)

class Stream(IterableDataset):
    def __iter__(self):
        info = torch.utils.data.get_worker_info()
        return map(make, range(info.id, 96, info.num_workers) if info else range(96))

class Evaluation(Dataset):
    def __len__(self):
        return 16
    def __getitem__(self, i):
        time.sleep(0.01)
        return torch.zeros(8)

if __name__ == "__main__":
    torch.manual_seed(0)
    given = {"num_workers": WORKERS, "multiprocessing_context": METHOD} if WORKERS else {}
    dataset = Stream() if STREAM else Points()
    loader = DataLoader(dataset, 8, shuffle=None if STREAM else True, collate_fn=collate, **given)
    evaluation = DataLoader(Evaluation(), 8)
    model = nn.Linear(8, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for epoch in range(2):
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x.x), y)
            loss.backward()
            optimizer.step()
            print(f"{loss.item():.9f}")
        model.eval()
        with torch.no_grad():
            for x in evaluation:
                model(x)
"""


def execute(tmp_path: Path, command: list[str]) -> str:
    (tmp_path / "train.py").write_text(SCRIPT)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LAPTIME_", "COV_"))}
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**kept, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


def truth_ns(tmp_path: Path) -> dict[str, int]:
    names = ("getitem", "Resize", "Flip", "scale", "collate")
    told = [struct.unpack("5q", path.read_bytes()) for path in tmp_path.glob("truth-*")]
    return dict(zip(names, map(sum, zip(*told, strict=True)), strict=True))


@pytest.mark.zoo
@pytest.mark.parametrize(
    ("workers", "method", "kind"),
    [
        (0, "", "map"),
        (2, "fork", "map"),
        (2, "spawn", "map"),
        (2, "forkserver", "map"),
        (2, "fork", "stream"),
    ],
)
def test_planted_costs_of_samples_are_found_and_losses_are_the_same(
    tmp_path, workers, method, kind
):
    script = [sys.executable, "train.py", str(workers), method, kind]
    laptime = [sys.executable, "-m", "laptime", "run", "--runs-dir", "runs", "--workers", "--quiet"]
    alone = execute(tmp_path, script)
    for path in tmp_path.glob("truth-*"):
        path.unlink()
    recorded = execute(tmp_path, [*laptime, "--", *script])
    assert recorded == alone

    (facts,) = (tmp_path / "runs").glob("*/recorder.json")
    found, truth = json.loads(facts.read_text())["workers"], truth_ns(tmp_path)
    assert (found["samples"], found["batches"]) == (192, 24)
    ours = {"getitem": found["getitem_ns"], "collate": found["collate_ns"]}
    ours.update({one["name"]: one["ns"] for one in found["transforms"]})
    assert set(ours) == set(truth)
    for name, spent_ns in truth.items():
        each = 24 if name == "collate" else 192
        told = f"{name}: {ours[name] / each / 1e6:.3f} of {spent_ns / each / 1e6:.3f} ms"
        assert 0.99 * spent_ns <= ours[name] <= 1.03 * spent_ns + each * 200_000, told
    queue_ms = found["queue_ns"] / 24 / 1e6
    assert 3.0 <= queue_ms < 6.0 if workers else queue_ms == 0.0
