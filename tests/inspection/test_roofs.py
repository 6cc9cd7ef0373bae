from __future__ import annotations

import pytest
import torch

from laptime.census import COPY
from laptime.errors import DeviceError
from laptime.inspection.roofs import Work, measure_roof, measure_roofs, works
from laptime.timing.clock import FakeClock, FakeDeviceClock, waiting_read_ns

SECOND = 1_000_000_000


def test_the_first_two_tries_do_not_count_and_the_best_is_the_fastest() -> None:
    clock = FakeClock()
    durations = iter([9, 9, 4, 2, 8, 4, 4, 4, 4, 4])
    work = Work("matrix product", 10, lambda: clock.advance_ns(next(durations) * SECOND))

    found = measure_roof(work, budget_s=1.0, read=clock.read_ns)

    assert [time // SECOND for time in found.times_ns] == [4, 2, 8, 4, 4, 4, 4, 4]
    assert found.best_per_s == 5.0
    assert found.median_per_s == 2.5


def test_tries_go_on_until_the_budget_is_spent_and_no_further() -> None:
    clock = FakeClock()
    work = Work("copy", 1, lambda: clock.advance_ns(SECOND // 100))

    assert len(measure_roof(work, budget_s=0.5, read=clock.read_ns).times_ns) == 50
    assert len(measure_roof(work, budget_s=60, read=clock.read_ns).times_ns) == 200


def test_a_try_ends_when_the_device_is_done_and_not_when_it_was_handed_over() -> None:
    host = FakeClock()
    device = FakeDeviceClock(host)
    work = Work("matrix product", 8, lambda: device.launch(2 * SECOND))

    found = measure_roof(work, budget_s=1.0, read=waiting_read_ns(device.wait, host.read_ns))

    assert set(found.times_ns) == {2 * SECOND}
    assert found.best_per_s == 4.0


def test_a_clock_that_did_not_move_gives_no_infinite_rate() -> None:
    work = Work("copy", 8, lambda: None)

    found = measure_roof(work, budget_s=0.0, read=FakeClock().read_ns)

    assert found.best_per_s == pytest.approx(8 * SECOND)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_try_does_the_work_that_it_is_said_to_do(precision: str) -> None:
    found = {work.what: work for work in works(torch.device("cpu"), precision)}

    assert list(found) == ["matrix product", "convolution", COPY]
    assert found["matrix product"].amount == 2 * 1024**3
    product, target = found["matrix product"].run(), found[COPY].run()
    assert isinstance(product, torch.Tensor)
    assert isinstance(target, torch.Tensor)
    assert product.shape == (1024, 1024)
    assert product.dtype is (torch.bfloat16 if precision == "bf16" else torch.float32)
    assert 2 * target.nbytes == found[COPY].amount


def test_convolutions_of_few_and_many_channels_in_both_layouts_cost_the_same() -> None:
    found = [w for w in works(torch.device("cpu"), "float32") if w.what == "convolution"]
    maps = [work.run() for work in found]

    shapes, last = [], []
    for it in maps:
        assert isinstance(it, torch.Tensor)
        shapes.append(tuple(it.shape))
        last.append(it.is_contiguous(memory_format=torch.channels_last))
    assert shapes == [(32, 64, 32, 32)] * 2 + [(32, 256, 8, 8)] * 2
    assert last == [False, True, False, True]
    assert {work.amount for work in found} == {2 * 32 * 64 * 32 * 32 * 64 * 9}


def test_of_works_of_one_kind_the_fastest_is_the_roof(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    tried = [Work("convolution", 1, lambda s=s: clock.advance_ns(s * SECOND)) for s in (3, 2, 4)]
    monkeypatch.setattr("laptime.inspection.roofs.works", lambda *_: iter(tried))
    monkeypatch.setattr("laptime.inspection.roofs.waiting_read_ns", lambda _: clock.read_ns)

    (found,) = measure_roofs(torch.device("cpu"), budget_s=0)

    assert found.best_per_s == 0.5


def test_each_kind_of_work_is_a_roof(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = [Work(name, 1, lambda: None) for name in ("matrix product", "copy")]
    monkeypatch.setattr("laptime.inspection.roofs.works", lambda *_: iter(tried))

    assert [it.what for it in measure_roofs(torch.device("cpu"), budget_s=0)] == [
        "matrix product", "copy",
    ]  # fmt: skip


def test_a_device_without_memory_for_it_is_told_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full() -> None:
        raise torch.OutOfMemoryError("too much")

    monkeypatch.setattr("laptime.inspection.roofs.works", lambda *_: iter([Work("copy", 1, full)]))

    with pytest.raises(DeviceError, match="Use --no-roofs"):
        measure_roofs(torch.device("cpu"))
