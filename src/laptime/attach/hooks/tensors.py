"""Tensors on their way: to a device, back to the host, to a file."""

from __future__ import annotations

import sys
import threading
from typing import Any

from laptime.attach.backlog import NONE
from laptime.attach.hooks.frames import leave_no_frame, stands_for
from laptime.attach.ledger import After
from laptime.attach.recorder import Recorder
from laptime.phase import Phase
from laptime.timing.clock import read_ns

_WAITS = ("item", "tolist", "cpu", "numpy")
_WAITS_ON_DEVICE = ("__float__", "__int__", "__bool__", "__index__")


def hook_tensors(recorder: Recorder) -> None:
    """Follow saves, calls that wait for a device, and, where torch has one, transfers to it."""
    import torch

    _hook_save(torch, "save", recorder)
    for name in _WAITS:
        _hook_wait(torch.Tensor, name, recorder)
    cuda: Any = torch.backends.cuda
    if cuda.is_built():  # asks no driver: a process may still want to fork
        for name in _WAITS_ON_DEVICE:
            _hook_wait(torch.Tensor, name, recorder)
        for name in ("to", "cuda"):
            _hook_transfer(torch.Tensor, name, recorder)


def hook_safetensors(module: Any, recorder: Recorder) -> None:
    """Follow what frameworks write checkpoints with."""
    _hook_save(module, "save_file", recorder)


def _hook_save(owner: Any, name: str, recorder: Recorder) -> None:
    original = getattr(owner, name)

    @stands_for(original)
    def save(*args: Any, **kwargs: Any) -> Any:
        ours = threading.get_ident() == recorder.thread
        frame, start_ns = sys._getframe(1), read_ns()
        if ours:
            recorder.tell((Recorder.saving, start_ns, NONE))
        try:
            return original(*args, **kwargs)
        except BaseException as error:
            leave_no_frame(error)
            raise
        finally:
            if ours:
                now_ns = read_ns()
                recorder.tell((Recorder.saved, now_ns, NONE))
                recorder.book.found.saves.add(frame, now_ns - start_ns)

    setattr(owner, name, save)


def _hook_wait(owner: Any, name: str, recorder: Recorder) -> None:
    """Count a call that waits for the device; where it does, its time is ``sync``."""
    original, current, frame_of = getattr(owner, name), threading.get_ident, sys._getframe
    what = name.strip("_")

    @stands_for(original)
    def wait(self: Any, *args: Any, **kwargs: Any) -> Any:
        ours, waits = current() == recorder.thread, self.is_cuda
        start_ns = spent_ns = 0
        if ours and waits:
            start_ns = read_ns()
            recorder.tell((Recorder.begin, start_ns, (Phase.SYNC,)))
        try:
            return original(self, *args, **kwargs)
        except BaseException as error:
            leave_no_frame(error)
            raise
        finally:
            if ours and waits:
                now_ns = read_ns()
                recorder.tell((Recorder.end, now_ns, NONE))
                spent_ns = now_ns - start_ns
            if ours:
                recorder.book.found.count_sync(what, frame_of(1), spent_ns)

    setattr(owner, name, wait)


def _hook_transfer(owner: Any, name: str, recorder: Recorder) -> None:
    """Charge copies from the host to a device; other uses of ``to`` stay where they are."""
    original, current = getattr(owner, name), threading.get_ident
    goes_to_device = _goes_to_device if name == "to" else _always

    @stands_for(original)
    def move(self: Any, *args: Any, **kwargs: Any) -> Any:
        ours = not self.is_cuda and current() == recorder.thread and goes_to_device(args, kwargs)
        if ours:
            if recorder.non_blocking:
                kwargs.setdefault("non_blocking", True)
            recorder.tell((Recorder.begin, read_ns(), (Phase.TRANSFER,)))
        try:
            return original(self, *args, **kwargs)
        except BaseException as error:
            leave_no_frame(error)
            raise
        finally:
            if ours:
                recorder.tell((Recorder.end, read_ns(), (After.TRANSFER,)))

    setattr(owner, name, move)


def _always(args: Any, kwargs: Any) -> bool:  # noqa: ARG001
    return True


def _goes_to_device(args: Any, kwargs: Any) -> bool:
    import torch

    try:
        device = torch._C._nn._parse_to(*args, **kwargs)[0]
    except (TypeError, RuntimeError):  # the call itself will say what is wrong
        return False
    return device is not None and device.type == "cuda"
