"""python loops.py RUNS: training loops that open a ledger, told about as JSON on standard output.

They run in a process of their own: the recorder stays in torch for as long as a process lives.
Time is a fake clock's, which only the loops move.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import laptime.timing.clock as clock

TIME = clock.FakeClock()
clock.read_ns = TIME.read_ns

IMPORTED_BEFORE = set(sys.modules)
from laptime import door  # noqa: E402 - the clock has to be the fake one by then
from laptime.errors import LaptimeError, SettingsError  # noqa: E402

IMPORTED = set(sys.modules) - IMPORTED_BEFORE

import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, Dataset  # noqa: E402

MS = 1_000_000
RUNS = Path(sys.argv[1] if len(sys.argv) > 1 else "runs")


def spend(milliseconds: int) -> None:
    TIME.advance_ns(milliseconds * MS)


class Samples(Dataset):
    """Eight samples; each takes a millisecond."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Any:
        spend(1)
        return torch.ones(3) * index


class Net(nn.Module):
    """A model whose call takes five milliseconds."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, x: Any) -> Any:
        spend(5)
        return self.layer(x)


def told(ledger: door.LoopLedger) -> dict[str, Any]:
    """Return what a ledger left on disk, times in milliseconds."""
    folder = ledger.directory
    assert folder is not None
    found: dict[str, Any] = {"id": folder.name, "files": sorted(p.name for p in folder.iterdir())}
    found["status"] = json.loads((folder / "script.json").read_text())
    if (folder / "recorder.json").exists():
        found["facts"] = json.loads((folder / "recorder.json").read_text())
        found["epochs"] = [
            {**row, "ms": {k: v / MS for k, v in row["phases_ns"].items() if v}}
            for row in map(json.loads, (folder / "epochs.jsonl").read_text().splitlines())
        ]
    return found


def train(ledger: door.LoopLedger, batches: Any, epochs: int = 2) -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(epochs):
        for x in ledger.loading(batches):
            optimizer.zero_grad()
            model(x).sum().backward()
            spend(2)  # nobody says what this is
            optimizer.step()
        with ledger.phase("evaluation"), torch.no_grad():
            for x in DataLoader(Samples(), batch_size=8):
                model(x)
        with ledger.phase("checkpoint"):
            spend(20)
        with ledger.phase("logging"):
            spend(3)


def whole_loop() -> Any:
    with door.ledger(RUNS, name="Whole Loop") as ledger:
        train(ledger, DataLoader(Samples(), batch_size=2))
    return told(ledger)


def made_before() -> Any:
    """Model, optimizer and loader are there when the ledger is opened; the loop does not use it."""
    model, batches = Net(), DataLoader(Samples(), batch_size=4)
    optimizer = torch.optim.Adam(model.parameters())
    with door.ledger(RUNS) as ledger:
        for x in batches:
            model(x).sum().backward()
            optimizer.step()
    return told(ledger)


class Stream:
    """Three batches that come from something else than a DataLoader."""

    def __iter__(self) -> Any:
        for _ in range(3):
            spend(4)
            yield torch.ones(2, 3)
        spend(1)


def own_batches() -> Any:
    with door.ledger(RUNS) as ledger:
        train(ledger, Stream(), epochs=2)
    return told(ledger)


def list_of_batches() -> Any:
    with door.ledger(RUNS) as ledger:
        batches = ledger.loading([torch.ones(2, 3)] * 3)
        length = len(batches)  # type: ignore[arg-type]
        train(ledger, batches, epochs=1)
    return {**told(ledger), "length": length}


def own_updates() -> Any:
    """No optimizer of torch, no module, no backward: only what the loop says."""
    with door.ledger(RUNS) as ledger:
        for _ in range(2):
            for _batch in ledger.loading(range(3)):
                with ledger.phase("forward"):
                    spend(6)
                with ledger.phase("backward"):
                    spend(7)
                with ledger.phase("optimizer"):
                    spend(1)
                    ledger.step()
                spend(2)
    return told(ledger)


def no_loader() -> Any:
    with door.ledger(RUNS) as ledger:
        spend(50)
        for _ in range(4):
            with ledger.phase("data_wait"):
                spend(3)
            with ledger.phase("forward"):
                spend(6)
            ledger.step()
    return told(ledger)


def nested_parts() -> Any:
    """Backward within forward is backward; what is within an evaluation is all the evaluation's."""
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with door.ledger(RUNS) as ledger:
        for x in ledger.loading([torch.ones(2, 3)]):
            with ledger.phase("forward"):
                spend(1)
                model(x).sum().backward()
                spend(1)
            optimizer.step()
            with ledger.phase("evaluation"), ledger.phase("forward"):
                model(x)
                with ledger.phase("checkpoint"):
                    spend(1)
            with ledger.phase("logging"), ledger.phase("sync"):
                spend(9)
    return told(ledger)


def fail(error: BaseException) -> None:
    raise error


def raised() -> Any:
    ledger = door.ledger(RUNS)
    try:
        with ledger:
            train(ledger, DataLoader(Samples(), batch_size=2), epochs=1)
            fail(ValueError("first line\nsecond \x1b[31mline"))
    except ValueError as error:
        return {**told(ledger), "error": str(error)}


def interrupted() -> Any:
    ledger = door.ledger(RUNS)
    try:
        with ledger:
            fail(KeyboardInterrupt())
    except KeyboardInterrupt:
        return told(ledger)


def left() -> Any:
    ledger = door.ledger(RUNS)
    try:
        with ledger:
            train(ledger, DataLoader(Samples(), batch_size=2), epochs=1)
            sys.exit(0)
    except SystemExit:
        return told(ledger)


def two_at_once() -> Any:
    errors = []
    with door.ledger(RUNS):
        try:
            door.ledger(RUNS).open()
        except SettingsError as error:
            errors.append(str(error))
    door.ledger(RUNS).close()  # of one that was never opened
    return errors


def unknown_phase() -> Any:
    try:
        door.ledger(RUNS).phase("forwards")
    except SettingsError as error:
        return str(error)


def unwritable() -> Any:
    (RUNS / "file").write_text("")
    try:
        door.ledger(RUNS / "file").open()
    except LaptimeError as error:
        return str(error)
    finally:
        (RUNS / "file").unlink()


def after_the_end() -> Any:
    """Training goes on when the ledger is closed; phases of a closed one do nothing."""
    with door.ledger(RUNS) as ledger:
        train(ledger, DataLoader(Samples(), batch_size=2), epochs=1)
    before = told(ledger)
    train(ledger, DataLoader(Samples(), batch_size=2), epochs=1)
    train(ledger, Stream(), epochs=1)
    ledger.step()
    return {"before": before, "after": told(ledger)}


def other_threads() -> Any:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with door.ledger(RUNS) as ledger:

        def beside() -> None:
            with ledger.phase("forward"):
                list(ledger.loading(Stream()))
                ledger.step()

        for x in ledger.loading([torch.ones(2, 3)] * 2):
            thread = threading.Thread(target=beside)
            thread.start()
            thread.join()
            model(x).sum().backward()
            optimizer.step()
    return told(ledger)


def loop_that_is_left() -> Any:
    with door.ledger(RUNS) as ledger:
        for _ in range(3):
            for i, _batch in enumerate(ledger.loading(Stream())):
                ledger.step()
                if i == 1:
                    break
    return told(ledger)


def source_that_raises() -> Any:
    def broken() -> Any:
        yield 1
        raise OSError("torn")

    ledger = door.ledger(RUNS)
    try:
        with ledger:
            for _batch in ledger.loading(broken()):
                ledger.step()
    except OSError:
        return told(ledger)


def second_rank() -> Any:
    os.environ["RANK"] = "1"
    before = sorted(RUNS.iterdir())
    with door.ledger(RUNS) as ledger:
        train(ledger, Stream(), epochs=1)
        ledger.step()
    del os.environ["RANK"]
    return {"directory": ledger.directory, "new": len(sorted(RUNS.iterdir())) - len(before)}


def forked() -> Any:
    with door.ledger(RUNS) as ledger:
        train(ledger, Stream(), epochs=1)
        child = os.fork()
        if child == 0:
            sys.exit(0)
        os.waitpid(child, 0)
        train(ledger, Stream(), epochs=1)
    return told(ledger)


LOOPS = (
    *(made_before, whole_loop, own_batches, list_of_batches, own_updates, no_loader),
    *(nested_parts, raised, interrupted, left, two_at_once, unknown_phase, unwritable),
    *(after_the_end, other_threads, loop_that_is_left, source_that_raises, second_rank, forked),
)

if __name__ == "__main__":
    RUNS.mkdir(exist_ok=True)
    found = {loop.__name__: loop() for loop in LOOPS}
    found["again"] = whole_loop()
    found["imported"] = sorted(IMPORTED)
    json.dump(found, sys.stdout)
