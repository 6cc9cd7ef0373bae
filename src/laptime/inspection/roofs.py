"""The fastest that this machine does a matrix product, a convolution, a copy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from laptime.census import COPY, FLOPS_PER_MAC, Roof
from laptime.errors import DeviceError
from laptime.timing.clock import ReadNs, device_wait, read_ns, waiting_read_ns
from laptime.units import nanoseconds

_LEAST, _MOST = 8, 200
_UNCOUNTED = 2


@dataclass(frozen=True)
class Work:
    """Something to be timed, and how much of it one try does."""

    what: str
    amount: int
    run: Callable[[], object]
    share: float = 1.0
    """Of the time that its kind of work has."""


class _Sizes(NamedTuple):
    """How large the tries are: some 30 ms on a laptop, well above a launch on a GPU."""

    side: int
    batch: int
    maps: tuple[tuple[int, int], ...]
    """Of convolutions: channels, and height and width. All cost the same arithmetic."""
    copy_bytes: int


_HOST = _Sizes(side=1024, batch=32, maps=((64, 32), (256, 8)), copy_bytes=128 << 20)
_DEVICE = _Sizes(side=8192, batch=128, maps=((256, 32), (512, 16)), copy_bytes=512 << 20)

_LAYOUTS = (torch.contiguous_format, torch.channels_last)
_SHARE = 1 / 4  # two sizes in two layouts


def measure_roofs(
    device: torch.device, precision: str = "float32", budget_s: float = 0.4
) -> tuple[Roof, ...]:
    """Measure what the device does at best, each kind of work for about so many seconds.

    A product of square matrices; the fastest of 3x3 convolutions, forward only, with few channels
    on large maps and many on small ones, channels first and last; and a copy, which reads and
    writes each byte once. All with the threads that training has.

    Raises:
        DeviceError: The device has no memory left for it.
    """
    read = waiting_read_ns(device_wait(str(device)))
    try:
        with torch.no_grad():
            tried = works(device, precision)
            return _fastest(measure_roof(work, budget_s * work.share, read) for work in tried)
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            f"device is {str(device)!r}, which has less than a gigabyte free to be measured with. "
            f"Use --no-roofs."
        ) from error


def _fastest(tried: Iterable[Roof]) -> tuple[Roof, ...]:
    found: dict[str, Roof] = {}
    for roof in tried:
        best = found.get(roof.what)
        if best is None or roof.best_per_s > best.best_per_s:
            found[roof.what] = roof
    return tuple(found.values())


def measure_roof(work: Work, budget_s: float, read: ReadNs = read_ns) -> Roof:
    """Time tries until the budget is spent: 8 at least, 200 at most, after two that do not count.

    Args:
        work: What is tried.
        budget_s: Seconds for all tries together.
        read: A clock that waits for the device before it reads.
    """
    for _ in range(_UNCOUNTED):
        work.run()
    times: list[int] = []
    begin_ns = start_ns = read()
    while len(times) < _LEAST or (
        len(times) < _MOST and start_ns - begin_ns < nanoseconds(budget_s)
    ):
        work.run()
        end_ns = read()
        times.append(max(1, end_ns - start_ns))
        start_ns = end_ns
    return Roof(what=work.what, amount=work.amount, times_ns=tuple(times))


def works(device: torch.device, precision: str) -> Iterator[Work]:
    """Yield what is tried, one after another, so that few take memory at a time."""
    sizes = _HOST if device.type == "cpu" else _DEVICE
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    yield _product(sizes, device, dtype)
    for channels, side in sizes.maps:
        for layout in _LAYOUTS:
            maps = torch.rand(sizes.batch, channels, side, side, device=device, dtype=dtype)
            yield _convolution(maps, layout)
    yield _copy(sizes, device)


def _product(sizes: _Sizes, device: torch.device, dtype: torch.dtype) -> Work:
    matrix = torch.rand(sizes.side, sizes.side, device=device, dtype=dtype)
    product = torch.empty_like(matrix)
    flops = FLOPS_PER_MAC * sizes.side**3
    return Work("matrix product", flops, lambda: torch.mm(matrix, matrix, out=product))


def _convolution(maps: Tensor, layout: torch.memory_format) -> Work:
    channels = maps.shape[1]
    kernels = torch.rand(channels, channels, 3, 3, device=maps.device, dtype=maps.dtype)
    maps, kernels = (it.contiguous(memory_format=layout) for it in (maps, kernels))
    return Work(
        "convolution",
        amount=FLOPS_PER_MAC * maps.numel() * channels * 9,
        run=lambda: functional.conv2d(maps, kernels, padding=1),
        share=_SHARE,
    )


def _copy(sizes: _Sizes, device: torch.device) -> Work:
    source = torch.zeros(sizes.copy_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return Work(COPY, 2 * source.nbytes, lambda: target.copy_(source))
