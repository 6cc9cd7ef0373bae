from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn, optim

from laptime.errors import CheckpointError
from laptime.phase import Phase
from laptime.record import RunRecord
from laptime.settings import RunSettings, build_settings
from laptime.store import RunDirectory
from laptime.training.checkpoint import (
    Cursor,
    checkpoints,
    load_checkpoint,
    newest_valid,
    save_checkpoint,
)
from laptime.training.listener import Progress, Silence
from laptime.training.loop import resume, train
from laptime.training.optimizers import OPTIMIZERS, build_optimizer
from laptime.training.weights import weights_sha256


class Net(nn.Module):
    """Convolution, normalisation with its buffers, dropout, and a frozen weight."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(width, 10)
        self.scale = nn.Parameter(torch.ones(()), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.dropout(self.norm(self.convolution(x)).relu())  # (batch, width, 6, 6)
        return self.scale * self.head(x.mean((2, 3)))


def cursor(epoch: int = 1, steps: int = 1) -> Cursor:
    return Cursor(
        epoch=epoch,
        steps=steps,
        samples=16 * steps,
        correct=3,
        loss_sum=0.1 + 0.2,
        wall_ns=7,
        phases_ns={Phase.FORWARD: 7},
        step_rows=steps,
    )


def built(
    name: str, *, channels_last: bool = False, seed: int = 0, width: int = 4
) -> tuple[Net, optim.Optimizer]:
    torch.manual_seed(seed)
    model = Net(width)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    settings = build_settings({"optimizer": name, "lr": 0.05, "weight_decay": 0.01})
    return model, build_optimizer(model, settings.optimizer)


def step(model: nn.Module, optimizer: optim.Optimizer, count: int = 1) -> None:
    """Train on what torch's global generator gives, so that dropout and inputs follow from it."""
    for _ in range(count):
        loss = nn.functional.cross_entropy(model(torch.randn(8, 3, 8, 8)), torch.arange(8))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def state_bits(model: nn.Module, optimizer: optim.Optimizer) -> dict[str, Any]:
    """Return every number of the optimizer's state, and how it lies in memory."""
    return {
        f"{key}.{name}": (value.dtype, value.stride(), value.contiguous().numpy().tobytes())
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_training_goes_on_from_a_checkpoint_with_the_same_bits(
    tmp_path: Path, name: str, channels_last: bool
) -> None:
    model, optimizer = built(name, channels_last=channels_last)
    step(model, optimizer, 3)
    declaration = save_checkpoint(tmp_path, cursor(), model, optimizer)
    saved = state_bits(model, optimizer)
    other, its_optimizer = built(name, channels_last=channels_last, seed=1)

    load_checkpoint(declaration, other, its_optimizer)

    assert state_bits(other, its_optimizer) == saved
    assert saved
    generator = torch.get_rng_state()
    step(model, optimizer, 3)
    torch.set_rng_state(generator)
    step(other, its_optimizer, 3)
    assert weights_sha256(other) == weights_sha256(model)
    assert state_bits(other, its_optimizer) == state_bits(model, optimizer)


def test_channels_last_momentum_lies_in_memory_as_its_weight_does(tmp_path: Path) -> None:
    model, optimizer = built("sgd", channels_last=True)
    step(model, optimizer)
    declaration = save_checkpoint(tmp_path, cursor(), model, optimizer)
    other, its_optimizer = built("sgd", channels_last=True, seed=1)

    load_checkpoint(declaration, other, its_optimizer)

    weight = other.convolution.weight
    assert not weight.is_contiguous()
    assert its_optimizer.state[weight]["momentum_buffer"].stride() == weight.stride()


def test_buffers_and_frozen_weights_come_back_too(tmp_path: Path) -> None:
    model, optimizer = built("sgd")
    step(model, optimizer, 2)
    with torch.no_grad():
        model.scale.fill_(0.25)
    declaration = save_checkpoint(tmp_path, cursor(), model, optimizer)
    other, its_optimizer = built("sgd", seed=1)

    load_checkpoint(declaration, other, its_optimizer)

    assert other.scale.item() == 0.25
    assert int(other.norm.num_batches_tracked or 0) == 2
    assert torch.equal(other.norm.running_var, model.norm.running_var)  # type: ignore[arg-type]


def test_a_checkpoint_before_the_first_update_has_no_state_to_restore(tmp_path: Path) -> None:
    model, optimizer = built("adam")
    declaration = save_checkpoint(tmp_path, cursor(), model, optimizer)
    other, its_optimizer = built("adam", seed=1)

    load_checkpoint(declaration, other, its_optimizer)

    assert not its_optimizer.state
    assert weights_sha256(other) == weights_sha256(model)


def test_the_generators_of_python_numpy_and_torch_go_on_where_they_were(tmp_path: Path) -> None:
    def draw() -> tuple[object, ...]:
        # An odd count of normal numbers leaves one in NumPy's and Python's caches.
        return (
            random.random(),
            random.gauss(0, 1),
            np.random.rand(),
            np.random.randn(),
            torch.rand(3).tolist(),
        )

    model, optimizer = built("sgd")
    random.seed(1)
    np.random.seed(1)
    draw()
    declaration = save_checkpoint(tmp_path, cursor(), model, optimizer)
    expected = [draw(), draw()]

    random.seed(2)
    np.random.seed(2)
    load_checkpoint(declaration, model, optimizer)

    assert [draw(), draw()] == expected


def test_saving_draws_from_no_generator(tmp_path: Path) -> None:
    model, optimizer = built("sgd")
    before = random.getstate(), torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()

    save_checkpoint(tmp_path, cursor(), model, optimizer)

    after = random.getstate(), torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()
    assert after == before


def test_the_cursor_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    declaration = save_checkpoint(tmp_path, cursor(epoch=3, steps=2), *built("sgd"))

    assert newest_valid(tmp_path) == ((declaration, cursor(epoch=3, steps=2)), [])


def test_the_two_newest_are_kept(tmp_path: Path) -> None:
    model, optimizer = built("sgd")
    for epoch, steps in ((1, 2), (1, 10), (2, 1), (10, 1)):
        save_checkpoint(tmp_path, cursor(epoch, steps), model, optimizer)

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "epoch-0000002_step-0000000001.json",
        "epoch-0000002_step-0000000001.safetensors",
        "epoch-0000010_step-0000000001.json",
        "epoch-0000010_step-0000000001.safetensors",
    ]
    assert [path.stem for path in checkpoints(tmp_path)] == [
        "epoch-0000010_step-0000000001",
        "epoch-0000002_step-0000000001",
    ]


def test_the_last_epoch_that_settings_allow_is_the_newest(tmp_path: Path) -> None:
    model, optimizer = built("sgd")
    for epoch in (999_998, 999_999, 1_000_000):
        declaration = save_checkpoint(tmp_path, cursor(epoch), model, optimizer)

    assert checkpoints(tmp_path)[0] == declaration


def test_weights_that_no_declaration_stands_for_are_removed(tmp_path: Path) -> None:
    orphan = tmp_path / "epoch-0000001_step-0000000001.safetensors"
    orphan.write_bytes(b"written, then killed")

    save_checkpoint(tmp_path, cursor(epoch=1, steps=2), *built("sgd"))

    assert not orphan.exists()


def test_what_a_kill_left_half_written_is_removed(tmp_path: Path) -> None:
    half = tmp_path / ".epoch-0000001_step-0000000001.safetensors.4711.tmp"
    half.write_bytes(b"killed while writing")

    save_checkpoint(tmp_path, cursor(epoch=1, steps=2), *built("sgd"))

    assert not half.exists()


def test_what_was_just_written_outlives_damaged_checkpoints_with_later_names(
    tmp_path: Path,
) -> None:
    model, optimizer = built("sgd")
    for epoch in (8, 9):
        save_checkpoint(tmp_path, cursor(epoch), model, optimizer)
    for weights in tmp_path.glob("*.safetensors"):
        weights.write_bytes(b"damaged")
    assert newest_valid(tmp_path)[0] is None  # so the run begins again, at epoch 1

    declaration = save_checkpoint(tmp_path, cursor(1), model, optimizer)

    assert newest_valid(tmp_path) == ((declaration, cursor(1)), [])


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """Return a folder with a checkpoint of epoch 1 and one of epoch 2."""
    model, optimizer = built("sgd")
    for epoch in (1, 2):
        step(model, optimizer)
        save_checkpoint(tmp_path, cursor(epoch), model, optimizer)
    return tmp_path


def check_older_is_used(directory: Path) -> None:
    found, damaged = newest_valid(directory)
    assert found == (checkpoints(directory)[1], cursor(1))
    assert len(damaged) == 1
    assert "\n" not in damaged[0]


def test_the_newest_is_used(two: Path) -> None:
    assert newest_valid(two) == ((checkpoints(two)[0], cursor(2)), [])


def positions(size: int, count: int = 24) -> list[int]:
    """Return places in a file: its ends, and some spread over all of it."""
    return sorted({0, 1, size - 2, size - 1, *(size * i // count for i in range(count))})


def test_weights_that_are_cut_anywhere_give_way_to_older_ones(two: Path) -> None:
    path = two / "epoch-0000002_step-0000000001.safetensors"
    whole = path.read_bytes()

    for length in positions(len(whole)):
        path.write_bytes(whole[:length])
        check_older_is_used(two)


def test_weights_with_a_flipped_bit_anywhere_give_way_to_older_ones(two: Path) -> None:
    path = two / "epoch-0000002_step-0000000001.safetensors"
    whole = path.read_bytes()

    for position in positions(len(whole), count=64):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        check_older_is_used(two)


def test_missing_weights_give_way_to_older_ones(two: Path) -> None:
    (two / "epoch-0000002_step-0000000001.safetensors").unlink()

    check_older_is_used(two)


def test_a_declaration_that_is_cut_anywhere_gives_way_to_an_older_one(two: Path) -> None:
    path = two / "epoch-0000002_step-0000000001.json"
    whole = path.read_bytes()

    for length in positions(len(whole) - 2):  # without its newline it is still whole
        path.write_bytes(whole[:length])
        check_older_is_used(two)


def test_a_declaration_with_a_flipped_bit_anywhere_gives_way_to_an_older_one(two: Path) -> None:
    path = two / "epoch-0000002_step-0000000001.json"
    whole = path.read_bytes()
    meaning = json.loads(whole)
    silent = []
    for position in positions(len(whole), count=200):
        flipped = bytearray(whole)
        flipped[position] ^= 1
        path.write_bytes(flipped)
        found, _ = newest_valid(two)
        assert found is not None
        if found[0] == path and _meaning(bytes(flipped)) != meaning:
            silent.append(whole[max(0, position - 20) : position + 20])

    assert silent == []


def _meaning(content: bytes) -> object:
    try:
        return json.loads(content)
    except ValueError:
        return None


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"null", b"{}", b'"text"', b'{"cursor": {}, "sha256": ""}', b"\xff" * 100],
)
def test_a_declaration_of_another_shape_gives_way_to_an_older_one(
    two: Path, content: bytes
) -> None:
    (two / "epoch-0000002_step-0000000001.json").write_bytes(content)

    check_older_is_used(two)


@pytest.mark.parametrize("name", ["cursor", "optimizer", "weights_sha256", "generators"])
@pytest.mark.parametrize("value", [None, {}, {"python": [3, [], None], "numpy": []}])
def test_a_declaration_with_another_value_gives_way_to_an_older_one(
    two: Path, name: str, value: object
) -> None:
    path = checkpoints(two)[0]
    document = json.loads(path.read_text())
    document["declared"][name] = value
    path.write_text(json.dumps(document))

    check_older_is_used(two)


def test_without_a_valid_checkpoint_there_is_none(two: Path) -> None:
    for declaration in checkpoints(two):
        declaration.write_text("{}")

    found, damaged = newest_valid(two)
    assert (found, len(damaged)) == (None, 2)
    assert newest_valid(two / "none") == (None, [])


def test_weights_that_are_no_safetensors_are_refused(two: Path) -> None:
    declaration = checkpoints(two)[0]
    declaration.with_suffix(".safetensors").write_bytes(b"\0" * 100)

    with pytest.raises(CheckpointError, match="missing or damaged"):
        load_checkpoint(declaration, *built("sgd"))


class Wider(Net):
    def __init__(self) -> None:
        super().__init__()
        self.more = nn.Linear(2, 2)


def test_another_model_is_refused_and_left_as_it_was(two: Path) -> None:
    declaration = checkpoints(two)[0]
    others: list[tuple[nn.Module, str]] = [
        (Wider(), "'more.bias' is in the model and not in the checkpoint"),
        (nn.Conv2d(3, 4, 3), "of another model"),
        (Net(width=8), r"\(4, 3, 3, 3\) there and torch.float32 \(8, 3, 3, 3\) here"),
        (Net().double(), r"torch.float32 .* there and torch.float64"),
    ]
    for model, expected in others:
        before = weights_sha256(model)
        optimizer = build_optimizer(model, build_settings({}).optimizer)

        with pytest.raises(CheckpointError, match=expected):
            load_checkpoint(declaration, model, optimizer)

        assert weights_sha256(model) == before
        assert not optimizer.state


@pytest.mark.parametrize("other", ["adam", "adagrad", "adadelta"])
def test_another_optimizer_is_refused(two: Path, other: str) -> None:
    with pytest.raises(CheckpointError, match="optimizer"):
        load_checkpoint(checkpoints(two)[0], *built(other))


def test_a_weight_that_is_frozen_here_and_was_trained_there_is_refused(two: Path) -> None:
    model = Net()
    model.head.requires_grad_(False)
    optimizer = build_optimizer(model, build_settings({}).optimizer)

    with pytest.raises(CheckpointError):
        load_checkpoint(checkpoints(two)[0], model, optimizer)


class Wrapped(nn.Module):
    """A module of the user's that is itself called ``module``, beside a weight of the same name."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(2, 2))
        self.module = nn.Linear(2, 2)


def test_a_users_own_module_called_module_is_restored_too(tmp_path: Path) -> None:
    model, other = Wrapped(), Wrapped()
    optimizers = [build_optimizer(it, build_settings({}).optimizer) for it in (model, other)]
    declaration = save_checkpoint(tmp_path, cursor(), model, optimizers[0])

    load_checkpoint(declaration, other, optimizers[1])

    assert torch.equal(other.weight, model.weight)
    assert torch.equal(other.module.weight, model.module.weight)


class Tied(Net):
    """Two names for one weight, as in language models."""

    def __init__(self) -> None:
        super().__init__()
        self.twin = nn.Linear(4, 10)
        self.twin.weight = self.head.weight


class Extra(Net):
    """State that is no tensor, as torch allows."""

    def get_extra_state(self) -> dict[str, int]:
        return {"seen": 3}

    def set_extra_state(self, state: dict[str, int]) -> None:
        pass


def test_a_model_with_tied_weights_can_be_saved(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, other = Tied(), Tied()
    optimizer = build_optimizer(model, build_settings({}).optimizer)

    declaration = save_checkpoint(tmp_path, cursor(), model, optimizer)
    load_checkpoint(declaration, other, build_optimizer(other, build_settings({}).optimizer))

    assert weights_sha256(other) == weights_sha256(model)
    assert other.twin.weight is other.head.weight


def test_a_model_with_state_that_is_no_tensor_can_be_saved(tmp_path: Path) -> None:
    model = Extra()

    save_checkpoint(tmp_path, cursor(), model, build_optimizer(model, build_settings({}).optimizer))

    assert len(weights_sha256(model)) == 64


class StopAfter(Silence):
    """Ask for a stop, as Ctrl-C does, once some steps are recorded."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def progressed(self, progress: Progress) -> None:
        import os
        import signal

        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def drawing(tiny: Callable[..., RunSettings], tmp_path: Path) -> RunSettings:
    """Return settings of a training on data that draws from every global generator."""
    path = tmp_path / "drawing.py"
    path.write_text(
        "import random\n"
        "import numpy, torch\n"
        "class Drawn:\n"
        "    def __len__(self):\n"
        "        return 40\n"
        "    def __getitem__(self, index):\n"
        "        shift = numpy.random.randn() + random.gauss(0, 1) + torch.rand(()).item()\n"
        "        return torch.full((3, 8, 8), shift), index % 10\n"
        "def data():\n"
        "    return Drawn()\n"
        "def model():\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(),"
        " torch.nn.Linear(192, 10))\n"
    )
    return tiny(data=f"{path}:data", model=f"{path}:model", samples=None, batch_size=8, lr=0.001)


@pytest.mark.parametrize("stop_after", [1, 3, 5, 6])
def test_data_that_draws_from_global_generators_resumes_with_the_same_bits(
    drawing: RunSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int
) -> None:
    from laptime.timing import timers
    from laptime.timing.windows import WindowPolicy

    monkeypatch.setattr(timers, "HOST_POLICY", WindowPolicy(min_ns=0, min_steps=1))
    whole = train(drawing, tmp_path / "whole")
    stopped = train(drawing, tmp_path / "stopped", StopAfter(stop_after))
    assert (whole.status, stopped.status) == ("completed", "interrupted")

    ended = resume(run_of(stopped), drawing)

    assert run_of(ended).read_steps() == run_of(whole).read_steps()
    assert ended.weights_sha256 == whole.weights_sha256


def run_of(record: RunRecord) -> RunDirectory:
    return RunDirectory(Path(record.directory))


def test_a_run_whose_checkpoints_are_all_damaged_says_that_it_begins_again(
    tiny: Callable[..., RunSettings], tmp_path: Path
) -> None:
    record = train(tiny(), tmp_path)
    for weights in run_of(record).checkpoints.glob("*.safetensors"):
        weights.write_bytes(b"damaged")
    said: list[str] = []
    listener = Silence()
    listener.warned = said.append  # type: ignore[method-assign]

    ended = resume(run_of(record), tiny(epochs=3), listener)

    assert len([line for line in said if "missing or damaged" in line]) == 2
    assert any(line.endswith("has no checkpoint that is whole: it begins again.") for line in said)
    assert [epoch.epoch for epoch in ended.epochs] == [1, 2, 3]
