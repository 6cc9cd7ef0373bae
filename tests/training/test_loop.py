from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from laptime.data.augment import augment_batch, augmentation, drawn_on, normalise, shuffled
from laptime.data.catalog import build_data
from laptime.errors import (
    CheckpointError,
    ModelError,
    SettingsError,
    StoreError,
    TrainingError,
)
from laptime.files import locked
from laptime.models.catalog import build_model
from laptime.phase import Phase
from laptime.record import EpochRecord, RunRecord, StepRecord
from laptime.settings import RunSettings
from laptime.store import RunDirectory, list_runs
from laptime.training.listener import Progress, Silence
from laptime.training.loop import resume, train


def run_of(record: RunRecord) -> RunDirectory:
    return RunDirectory(Path(record.directory))


def test_a_run_leaves_every_step_every_epoch_and_a_checksum(tiny: Any, tmp_path: Path) -> None:
    record = train(tiny(evaluate=True), tmp_path)

    assert record.status == "completed"
    assert [epoch.epoch for epoch in record.epochs] == [1, 2]
    assert all((epoch.samples, epoch.steps) == (72, 5) for epoch in record.epochs)
    assert [(s.epoch, s.step) for s in run_of(record).read_steps()] == [
        (epoch, step) for epoch in (1, 2) for step in range(1, 6)
    ]
    assert record.epochs[0].test_samples == 10_000
    assert len(record.weights_sha256 or "") == 64
    assert record.data.train_samples == 72


def test_phases_and_windows_sum_to_the_wall_as_stored(tiny: Any, tmp_path: Path) -> None:
    record = train(tiny(num_workers=1, evaluate=True), tmp_path)

    for epoch in record.epochs:
        assert sum(epoch.phases_ns.values()) == epoch.wall_ns
        assert epoch.phases_ns[Phase.TRANSFER] == epoch.phases_ns[Phase.SYNC] == 0
        for phase in (Phase.LOADER_START, Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMIZER):
            assert epoch.phases_ns[phase] > 0
        assert epoch.phases_ns[Phase.EVALUATION] > 0
        assert epoch.phases_ns[Phase.CHECKPOINT] > 0
        windows = [w for w in run_of(record).read_windows() if w.epoch == epoch.epoch]
        assert sum(window.steps for window in windows) == epoch.steps
        assert all(sum(window.phases_ns.values()) == window.wall_ns for window in windows)


@pytest.mark.parametrize("timing", ["off", "sync"])
def test_losses_are_the_same_bits_whatever_the_timing(
    tiny: Any, tmp_path: Path, timing: str
) -> None:
    timed = train(tiny(timing="host"), tmp_path / "timed")
    other = train(tiny(timing=timing), tmp_path / "other")

    assert run_of(timed).read_steps() == run_of(other).read_steps()
    assert timed.weights_sha256 == other.weights_sha256
    assert other.epochs[0].mode == timing


def test_timing_off_measures_the_total_and_nothing_else(tiny: Any, tmp_path: Path) -> None:
    epoch = train(tiny(timing="off", epochs=1), tmp_path).epochs[0]

    assert epoch.phases_ns[Phase.OTHER] == epoch.wall_ns > 0


def plain_training(settings: RunSettings) -> list[tuple[list[float], float, float]]:
    """Train in twenty lines of plain torch; return step losses, epoch loss and accuracy."""
    data = build_data(settings.data).train
    images, labels = (torch.from_numpy(a.copy()) for a in (data.images, data.labels))  # type: ignore[union-attr]
    torch.manual_seed(settings.training.seed)
    model = build_model(settings.model, 10).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    epochs = []
    for epoch in range(1, settings.training.epochs + 1):
        losses, loss_sum, correct = [], 0.0, 0
        for chosen in torch.from_numpy(shuffled(len(labels), 0, epoch)).split(16):
            drawn = drawn_on(chosen.device, augmentation(chosen.numpy().astype("uint64"), 0, epoch))
            logits = model(normalise(augment_batch(images[chosen], drawn)))
            loss = functional.cross_entropy(logits, labels[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.item())
            each = functional.cross_entropy(logits.double(), labels[chosen], reduction="sum")
            loss_sum += each.item()
            correct += sum(
                int(row.argmax()) == int(label)
                for row, label in zip(logits, labels[chosen], strict=True)
            )
        epochs.append((losses, loss_sum / len(labels), correct / len(labels)))
    return epochs


@pytest.mark.parametrize("loader", ["sample", "batch", "device"])
def test_losses_are_those_of_plain_torch_bit_by_bit(tiny: Any, tmp_path: Path, loader: str) -> None:
    settings = tiny(loader=loader)
    record = train(settings, tmp_path)

    for epoch, (losses, _, _) in zip(record.epochs, plain_training(settings), strict=True):
        ours = [s.loss for s in run_of(record).read_steps() if s.epoch == epoch.epoch]
        assert ours == losses


def test_epoch_loss_and_accuracy_equal_brute_force_with_a_short_last_batch(
    tiny: Any, tmp_path: Path
) -> None:
    settings = tiny()
    assert settings.data.samples % settings.loader.batch_size != 0

    for epoch, (_, loss, accuracy) in zip(
        train(settings, tmp_path).epochs, plain_training(settings), strict=True
    ):
        assert epoch.loss == pytest.approx(loss, abs=1e-6)
        assert epoch.accuracy == pytest.approx(accuracy, abs=1e-12)


class StopAfter(Silence):
    """Ask for a stop, as Ctrl-C does, once some steps are recorded."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def progressed(self, progress: Progress) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def _every_step_is_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    from laptime.timing import timers
    from laptime.timing.windows import WindowPolicy

    monkeypatch.setattr(timers, "HOST_POLICY", WindowPolicy(min_ns=0, min_steps=1))


@pytest.mark.usefixtures("_every_step_is_a_window")
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adagrad", "adadelta"])
@pytest.mark.parametrize("stop_after", [1, 4, 5, 7])
def test_a_stopped_run_goes_on_and_ends_with_the_same_bits(
    tiny: Any, tmp_path: Path, stop_after: int, optimizer: str
) -> None:
    settings = tiny(optimizer=optimizer, lr=0.01, num_workers=stop_after % 2)
    whole = train(settings, tmp_path / "whole")

    stopped = train(settings, tmp_path / "stopped", StopAfter(stop_after))
    assert stopped.status == "interrupted"
    epoch, step = divmod(stop_after - 1, 5)
    assert (
        stopped.reason == f"stopped from outside in epoch {epoch + 1}, after step {step + 1} of 5"
    )
    ended = resume(run_of(stopped), settings)

    assert ended.status == "completed"
    assert ended.weights_sha256 == whole.weights_sha256
    assert run_of(ended).read_steps() == run_of(whole).read_steps()
    assert [(e.epoch, e.loss, e.correct, e.steps, e.samples) for e in ended.epochs] == [
        (e.epoch, e.loss, e.correct, e.steps, e.samples) for e in whole.epochs
    ]
    assert all(sum(e.phases_ns.values()) == e.wall_ns for e in ended.epochs)
    assert max(e.segments for e in ended.epochs) == 2
    assert ended.resumed == 1


@pytest.mark.usefixtures("_every_step_is_a_window")
@pytest.mark.parametrize(
    "given",
    [
        {"channels_last": True},
        {"channels_last": True, "loader": "batch", "num_workers": 2, "fused": True},
        {"schedule": "onecycle"},
    ],
)
def test_a_run_with_other_ways_resumes_with_the_same_bits(
    tiny: Any, tmp_path: Path, given: dict[str, Any]
) -> None:
    settings = tiny(**given)
    whole = train(settings, tmp_path / "whole")

    stopped = train(settings, tmp_path / "stopped", StopAfter(3))

    assert resume(run_of(stopped), settings).weights_sha256 == whole.weights_sha256


@pytest.mark.usefixtures("_every_step_is_a_window")
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(tiny: Any, tmp_path: Path) -> None:
    settings = tiny(checkpoint_every=2)
    whole = train(settings, tmp_path / "whole")
    stopped = train(settings, tmp_path / "stopped", StopAfter(4))
    newest = max(run_of(stopped).checkpoints.glob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-1])

    said: list[str] = []
    listener = Silence()
    listener.warned = said.append  # type: ignore[method-assign]
    ended = resume(run_of(stopped), settings, listener)

    assert ended.weights_sha256 == whole.weights_sha256
    assert run_of(ended).read_steps() == run_of(whole).read_steps()
    assert any("missing or damaged" in line for line in said)


def test_a_complete_run_is_not_run_again_but_can_go_on_for_more_epochs(
    tiny: Any, tmp_path: Path
) -> None:
    record = train(tiny(), tmp_path / "a")
    assert resume(run_of(record), tiny()) == record

    longer = resume(run_of(record), tiny(epochs=3))

    assert longer.weights_sha256 == train(tiny(epochs=3), tmp_path / "b").weights_sha256
    assert [epoch.epoch for epoch in longer.epochs] == [1, 2, 3]


def test_a_run_is_not_resumed_as_another(tiny: Any, tmp_path: Path) -> None:
    record = train(tiny(), tmp_path)

    with pytest.raises(SettingsError, match=r"lr is 0\.5, but .* was started with 0\.1"):
        resume(run_of(record), tiny(lr=0.5))


def test_a_run_whose_rate_depends_on_its_length_keeps_its_length(tiny: Any, tmp_path: Path) -> None:
    record = train(tiny(schedule="onecycle"), tmp_path)

    with pytest.raises(SettingsError, match=r"epochs is 3, but .* was started with 2"):
        resume(run_of(record), tiny(schedule="onecycle", epochs=3))


def test_a_running_run_is_not_resumed(tiny: Any, tmp_path: Path) -> None:
    run = run_of(train(tiny(), tmp_path))
    run.write_status(run.read_status().model_copy(update={"status": "running"}))

    with pytest.raises(StoreError, match="is still running"):
        resume(run, tiny())


def test_a_run_is_resumed_by_one_process_at_a_time(tiny: Any, tmp_path: Path) -> None:
    run = run_of(train(tiny(), tmp_path))

    with locked(run.path), pytest.raises(StoreError, match="is being resumed by another process"):
        resume(run, tiny(epochs=3))

    assert resume(run, tiny(epochs=3)).status == "completed"


def test_a_checkpoint_of_another_model_is_refused(tiny: Any, tmp_path: Path) -> None:
    small, large = train(tiny(), tmp_path / "a"), train(tiny(width=2), tmp_path / "b")
    for path in run_of(small).checkpoints.iterdir():
        path.unlink()
    for path in run_of(large).checkpoints.iterdir():
        (run_of(small).checkpoints / path.name).write_bytes(path.read_bytes())

    with pytest.raises(CheckpointError, match=r"is of another model"):
        resume(run_of(small), tiny(epochs=3))


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_epoch(
    tiny: Any, tmp_path: Path
) -> None:
    record = train(tiny(lr=1e6, norm="none"), tmp_path)

    assert record.status == "diverged"
    assert "not finite at epoch 1" in (record.reason or "")
    assert len(record.epochs) == 1
    assert record.epochs[0].loss is None
    assert sum(record.epochs[0].phases_ns.values()) == record.epochs[0].wall_ns
    json.dumps(record.document(), allow_nan=False)


def model_file(tmp_path: Path, forward: str) -> str:
    path = tmp_path / "own_model.py"
    path.write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.linear = torch.nn.Linear(3072, 10)\n"
        "    def forward(self, x):\n"
        f"        {forward}\n"
        "def build():\n"
        "    return Net()\n"
    )
    return f"{path}:build"


def test_a_model_that_raises_in_a_step_is_a_failed_run_with_a_traceback_on_disk(
    tiny: Any, tmp_path: Path
) -> None:
    spec = model_file(
        tmp_path, "assert not self.training, 'my mistake'; return self.linear(x.flatten(1))"
    )
    record = train(tiny(model=spec), tmp_path / "runs")

    assert record.status == "failed"
    assert "AssertionError: my mistake" in (record.reason or "")
    assert "own_model.py" in (record.reason or "")
    assert "Traceback" in (run_of(record).path / "error.txt").read_text()


def test_what_a_worker_raised_is_named_and_not_its_traceback(tiny: Any, tmp_path: Path) -> None:
    path = tmp_path / "own_data.py"
    path.write_text(
        "import torch\n"
        "class Data:\n"
        "    def __len__(self):\n"
        "        return 40\n"
        "    def __getitem__(self, index):\n"
        "        if index == 17:\n"
        "            raise ValueError('sample 17 is torn')\n"
        "        return torch.zeros(3, 32, 32), index % 10\n"
        "def build():\n"
        "    return Data()\n"
    )
    record = train(tiny(data=f"{path}:build", samples=None, num_workers=1), tmp_path / "runs")

    assert record.status == "failed"
    assert "ValueError: sample 17 is torn" in (record.reason or "")
    assert "Original Traceback" not in (record.reason or "")


def test_a_step_that_finds_no_memory_is_out_of_memory(tiny: Any, tmp_path: Path) -> None:
    spec = model_file(
        tmp_path,
        "torch.empty(2**46) if self.training else None; return self.linear(x.flatten(1))",
    )

    assert train(tiny(model=spec), tmp_path / "runs").status == "out_of_memory"


@pytest.mark.parametrize(
    ("forward", "expected"),
    [
        ("return self.linear(x)", "cannot take inputs of shape"),
        ("return x", "must give logits of shape"),
        ("return None", "must give logits of shape"),
        ("return self.linear(x.flatten(1))[:, :5]", "has 5 outputs, but there are labels up to 9"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_before_anything_is_written(
    tiny: Any, tmp_path: Path, forward: str, expected: str
) -> None:
    with pytest.raises(ModelError, match=expected):
        train(tiny(model=model_file(tmp_path, forward)), tmp_path / "runs")

    assert list_runs(tmp_path / "runs") == []


def test_a_full_disk_is_refused_before_the_run_begins(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))

    with pytest.raises(StoreError, match="has 1 MB free, but the checkpoints of this run need"):
        train(tiny(), tmp_path / "runs")


def test_a_disk_that_fills_up_leaves_a_failed_run_that_can_go_on(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from laptime.training import checkpoint

    real, calls = checkpoint.write_atomically, []

    def fills_up(path: Path, content: bytes) -> None:
        calls.append(path)
        if len(calls) > 1:
            raise StoreError(f"{path} cannot be written: No space left on device.")
        real(path, content)

    monkeypatch.setattr(checkpoint, "write_atomically", fills_up)
    with pytest.raises(TrainingError, match="No space left on device"):
        train(tiny(), tmp_path / "full")
    monkeypatch.undo()
    (run,) = list_runs(tmp_path / "full")
    assert run.read_record().status == "failed"

    whole = train(tiny(), tmp_path / "whole")
    assert resume(run, tiny()).weights_sha256 == whole.weights_sha256


def test_training_outside_of_the_main_thread_works(tiny: Any, tmp_path: Path) -> None:
    records: list[RunRecord] = []
    thread = threading.Thread(target=lambda: records.append(train(tiny(), tmp_path)))
    thread.start()
    thread.join()

    assert records[0].status == "completed"


class Telling(Silence):
    def __init__(self) -> None:
        self.epochs: list[EpochRecord] = []
        self.progress: list[Progress] = []

    def epoch_ended(self, record: EpochRecord) -> None:
        self.epochs.append(record)

    def progressed(self, progress: Progress) -> None:
        self.progress.append(progress)


def test_a_listener_hears_every_epoch_and_the_last_step(tiny: Any, tmp_path: Path) -> None:
    listener = Telling()

    record = train(tiny(), tmp_path, listener)

    assert tuple(listener.epochs) == record.epochs
    assert (listener.progress[-1].epoch, listener.progress[-1].step) == (2, 5)
    assert listener.progress[-1].correct == record.epochs[-1].correct


def test_a_step_row_is_small_and_complete(tiny: Any, tmp_path: Path) -> None:
    run = run_of(train(tiny(), tmp_path))

    row = json.loads(run.steps.read_text().splitlines()[0])

    assert set(row) == set(StepRecord.model_fields)
    assert row["samples"] == 16


def test_batch_norm_off_has_no_norm_layer(tiny: Any) -> None:
    model = build_model(tiny(norm="none").model, 10)

    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
