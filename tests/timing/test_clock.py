import pytest
import torch

from laptime.timing.clock import (
    CudaClock,
    FakeClock,
    FakeDeviceClock,
    device_wait,
    read_ns,
    waiting_read_ns,
)


def test_a_waiting_clock_waits_before_it_reads() -> None:
    clock = FakeClock(100)
    device = FakeDeviceClock(clock)
    device.launch(40)
    # Read first, and the 40 ns of the phase being left would be charged to the next.
    assert waiting_read_ns(device.wait, clock.read_ns)() == 140
    assert (device.num_waits, clock.num_reads) == (1, 1)


def test_the_host_clock_gives_whole_nanoseconds_that_do_not_go_back() -> None:
    readings = [read_ns() for _ in range(1_000)]
    assert all(isinstance(reading, int) for reading in readings)
    assert readings == sorted(readings)


def test_a_fake_clock_refuses_to_go_back() -> None:
    clock = FakeClock(5)
    with pytest.raises(ValueError, match="time does not go back: -1 ns"):
        clock.advance_ns(-1)
    assert clock.now_ns == 5


def test_a_fake_clock_stands_still_between_advances_and_counts_its_readings() -> None:
    clock = FakeClock(5)
    assert [clock.read_ns(), clock.read_ns()] == [5, 5]
    clock.advance_ns(3)
    assert (clock.read_ns(), clock.num_reads) == (8, 3)


def test_there_is_nothing_to_wait_for_on_a_cpu() -> None:
    assert device_wait("cpu")() is None


def test_the_cuda_device_that_is_timed_is_waited_for_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waited: list[object] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)

    device_wait("cuda:1")()

    assert waited == ["cuda:1"]


def test_an_apple_gpu_is_waited_for_by_its_own_synchronize() -> None:
    assert device_wait("mps") is torch.mps.synchronize


def test_a_fake_device_starts_work_at_once_when_idle_and_in_order_when_busy() -> None:
    clock = FakeClock(10)
    device = FakeDeviceClock(clock)
    start = device.record()
    device.launch(5)
    first = device.record()
    device.launch(7)
    second = device.record()
    assert clock.now_ns == 10
    device.wait()
    assert clock.now_ns == 22
    clock.advance_ns(100)
    device.launch(1)
    third = device.record()
    device.wait()
    assert [start.elapsed_ns(event) for event in (first, second, third)] == [5, 12, 113]


def test_waiting_for_an_idle_fake_device_takes_no_time_and_counts() -> None:
    clock = FakeClock(10)
    device = FakeDeviceClock(clock)
    device.wait()
    assert (clock.now_ns, device.num_waits) == (10, 1)


def test_a_fake_event_that_is_not_reached_cannot_be_read() -> None:
    device = FakeDeviceClock(FakeClock())
    start = device.record()
    device.launch(5)
    end = device.record()
    with pytest.raises(RuntimeError, match="wait first"):
        start.elapsed_ns(end)


def test_a_fake_event_recorded_again_has_its_new_stamp_only() -> None:
    clock = FakeClock()
    device = FakeDeviceClock(clock)
    start, event = device.record(), device.record()
    clock.advance_ns(9)
    event.record()
    assert start.elapsed_ns(event) == 9


class StubEvent:
    """Stands for torch.cuda.Event: keeps the streams that it was recorded in."""

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing
        self.streams: list[str] = []

    def record(self, stream: str) -> None:
        self.streams.append(stream)

    def elapsed_time(self, later: "StubEvent") -> float:
        return 1.5


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "Event", StubEvent)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")


@pytest.mark.usefixtures("cuda")
def test_a_cuda_event_goes_into_the_stream_of_the_timed_device_each_time() -> None:
    event = CudaClock("cuda:1").record()
    event.record()
    assert event._event.streams == ["stream of cuda:1"] * 2


@pytest.mark.usefixtures("cuda")
def test_milliseconds_of_cuda_events_become_whole_nanoseconds() -> None:
    clock = CudaClock("cuda:0")
    assert clock.record().elapsed_ns(clock.record()) == 1_500_000


def test_a_cuda_clock_waits_for_the_timed_device(monkeypatch: pytest.MonkeyPatch) -> None:
    waited_for: list[str] = []
    monkeypatch.setattr("torch.cuda.synchronize", waited_for.append)
    CudaClock("cuda:1").wait()
    assert waited_for == ["cuda:1"]
