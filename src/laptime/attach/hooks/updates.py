"""Gradients and updates: backward, optimizers, GradScaler, clipping, schedules."""

from __future__ import annotations

import sys
import threading
from typing import Any, Callable, Dict

from laptime.attach.backlog import NONE
from laptime.attach.hooks.frames import leave_no_frame, stands_for
from laptime.attach.hooks.roots import MOST_DEPTH, Roots
from laptime.attach.hooks.tracing import build_is_compiling
from laptime.attach.ledger import After
from laptime.attach.places import caller_place
from laptime.attach.recorder import Recorder
from laptime.phase import Phase
from laptime.timing.clock import read_ns

_ROW = "_laptime_row"

MadeOptimizer = Callable[[Any], None]


def hook_updates(recorder: Recorder, roots: Roots, made: MadeOptimizer) -> None:
    """Follow backward, every optimizer, and what belongs to an update.

    Args:
        recorder: Who is told.
        roots: Told of what is trained.
        made: Called with every optimizer when it is made.
    """
    _hook_backward(recorder, roots)
    hook_class = _hook_steps(recorder, roots)
    _hook_creation(recorder, roots, made, hook_class)
    _hook_scaler(recorder)
    _hook_rest(recorder)


def _hook_backward(recorder: Recorder, roots: Roots) -> None:
    """Replace what ``Tensor.backward`` calls: a hook on the module would break in-place changes."""
    import torch

    original, current = torch.autograd.backward, threading.get_ident
    started, ended = Recorder.backward_started, Recorder.backward_ended

    @stands_for(original)
    def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        ours = current() == recorder.thread
        if ours:
            if roots.is_dirty:
                roots.find(is_late=True)
            if not recorder.knows_backward:
                recorder.knows_backward = True
                recorder.book.found.backward_at = caller_place()
            now_ns = read_ns()
            recorder.tell((started, now_ns, (scalar_of(tensors),)))
            if now_ns > recorder.due_ns:
                recorder.catch_up()
        try:
            return original(tensors, *args, **kwargs)
        except BaseException as error:
            leave_no_frame(error)
            raise
        finally:
            if ours:
                recorder.tell((ended, read_ns(), NONE))

    torch.autograd.backward = backward
    _charge(torch.autograd, "grad", recorder, Phase.BACKWARD, After.BACKWARD)


def scalar_of(tensors: Any) -> Any:
    """Return the loss that backward is called on: a number on a host, a tensor on a device."""
    if type(tensors) is _TENSOR and tensors.is_cpu and tensors.numel() == 1:
        return _ITEM(tensors)
    first = tensors
    if type(first) is list or type(first) is tuple:
        first = first[0] if first else None
    if type(first) is not _TENSOR and not isinstance(first, _TENSOR):
        return None
    if first.numel() != 1:
        return None
    return _ITEM(first) if first.is_cpu else first.detach()


def _tensor_and_item() -> Any:
    import torch

    base = getattr(torch._C, "TensorBase", None) or torch._C._TensorBase  # until 2.1
    return torch.Tensor, base.item


_TENSOR, _ITEM = _tensor_and_item()


def _hook_creation(
    recorder: Recorder, roots: Roots, made: MadeOptimizer, hook_class: Callable[[Any], None]
) -> None:
    from torch.optim import Optimizer

    original, add = Optimizer.__init__, Optimizer.add_param_group

    @stands_for(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - it replaces one
        place = caller_place()
        try:
            original(self, *args, **kwargs)
        except BaseException as error:
            leave_no_frame(error)
            raise
        made(self)
        hook_class(type(self))
        _row_of(self, recorder, place)
        roots.optimizer_made(p for group in self.param_groups for p in group["params"])

    @stands_for(add)
    def add_param_group(self: Any, param_group: Any) -> None:
        try:
            add(self, param_group)
        except BaseException as error:
            leave_no_frame(error)
            raise
        roots.optimizer_made(self.param_groups[-1]["params"])

    Optimizer.__init__ = __init__  # type: ignore[method-assign]
    Optimizer.add_param_group = add_param_group  # type: ignore[method-assign]


def _row_of(optimizer: Any, recorder: Recorder, place: Any) -> Dict[str, Any]:
    """Return the facts of an optimizer; neither its pickles nor its copies hold them."""
    row = optimizer.__dict__.get(_ROW)
    if row is None:
        row = optimizer.__dict__[_ROW] = _facts(optimizer, place)
        recorder.book.found.optimizers.append(row)
    known: Dict[str, Any] = row
    return known


def _facts(optimizer: Any, place: Any) -> Dict[str, Any]:
    groups = optimizer.param_groups
    lr = groups[0].get("lr")
    return {
        "class": type(optimizer).__name__,
        "place": place,
        "stepped_at": None,
        "parameters": sum(p.numel() for group in groups for p in group["params"]),
        "steps": 0,
        "lr": float(lr) if isinstance(lr, (int, float)) else None,
        "foreach": groups[0].get("foreach"),
        "fused": groups[0].get("fused"),
    }


def _hook_steps(recorder: Recorder, roots: Roots) -> Callable[[Any], None]:
    """Use torch's own hooks, which every optimizer calls; a closure runs between the two.

    Returns what hooks a class of optimizers: in early versions torch.compile takes torch's own
    hooks from all of them (``TorchPatcher`` in torch/_dynamo/eval_frame.py of 2.1).
    """
    from torch.optim.optimizer import (
        register_optimizer_step_post_hook,
        register_optimizer_step_pre_hook,
    )

    current, compiling = threading.get_ident, build_is_compiling()

    started, ended = Recorder.optimizer_started, Recorder.optimizer_ended

    def before(optimizer: Any, args: Any, kwargs: Any) -> None:  # noqa: ARG001
        if compiling():
            return
        if current() == recorder.thread or recorder.moves_to_this_thread():
            row = optimizer.__dict__.get(_ROW) or row_of(optimizer)
            recorder.tell((started, read_ns(), (row,)))

    def after(optimizer: Any, args: Any, kwargs: Any) -> None:  # noqa: ARG001
        if compiling() or current() != recorder.thread:
            return
        row, now_ns = optimizer.__dict__[_ROW], read_ns()
        row["steps"] += 1
        if row["steps"] <= MOST_DEPTH:
            if row["steps"] == 1:
                row["stepped_at"] = caller_place()
                recorder.first_step(row)
            if not roots.was_called:
                roots.look_deeper()
        recorder.tell((ended, now_ns, (row,)))
        if now_ns > recorder.due_ns:
            recorder.catch_up()

    def row_of(optimizer: Any) -> Any:
        return _row_of(optimizer, recorder, None)

    def replace_step(optimizer_class: Any) -> None:
        original = optimizer_class.step
        if not getattr(original, "_laptime", False):
            optimizer_class.step = step = _step_between(original, before, after)
            step._laptime = step.hooked = True

    if _loses_hooks():
        return replace_step
    register_optimizer_step_pre_hook(before)
    register_optimizer_step_post_hook(after)
    return lambda _optimizer_class: None


def _loses_hooks() -> bool:
    import torch

    return tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 5)


def _step_between(original: Any, before: Any, after: Any) -> Any:
    """Return a step with a call on both sides; it names nothing that it could be unwrapped to."""

    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            before(self, args, kwargs)
            answer = original(self, *args, **kwargs)
            after(self, args, kwargs)
        except BaseException as error:
            leave_no_frame(error)
            raise
        return answer

    step = stands_for(original)(step)
    del step.__wrapped__  # type: ignore[attr-defined]
    return step


def _hook_scaler(recorder: Recorder) -> None:
    """Follow GradScaler: a step it skips for infinite gradients is an attempt all the same."""
    import torch

    scalers = [torch.cuda.amp.GradScaler, getattr(torch.amp, "GradScaler", None)]
    bases = {c for s in scalers if s is not None for c in s.__mro__ if "step" in c.__dict__}
    for scaler in bases:
        _replace_step(scaler, recorder)
        _replace_scale(scaler, recorder)
        for name in ("unscale_", "update"):
            _charge(scaler, name, recorder, Phase.OPTIMIZER, After.OPTIMIZER)


def _replace_step(scaler: Any, recorder: Recorder) -> None:
    original = scaler.step

    @stands_for(original)
    def step(self: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        ours = threading.get_ident() == recorder.thread
        row = _row_of(optimizer, recorder, None)
        if ours:
            recorder.tell((Recorder.optimizer_started, read_ns(), (row,)))
        try:
            return original(self, optimizer, *args, **kwargs)
        except BaseException as error:
            leave_no_frame(error)
            raise
        finally:
            if ours:
                recorder.tell((Recorder.optimizer_ended, read_ns(), (row,)))

    scaler.step = step


def _replace_scale(scaler: Any, recorder: Recorder) -> None:
    original = scaler.scale

    @stands_for(original)
    def scale(self: Any, outputs: Any) -> Any:
        try:
            scaled = original(self, outputs)
        except BaseException as error:
            leave_no_frame(error)
            raise
        if scaled is not outputs and threading.get_ident() == recorder.thread:
            recorder.tell((Recorder.unscaled, read_ns(), (scalar_of(outputs),)))
        return scaled

    scaler.scale = scale


def _hook_rest(recorder: Recorder) -> None:
    """Charge zero_grad, clipping and schedules to the optimizer."""
    import torch
    from torch.optim import Optimizer, lr_scheduler

    optimizer, after = Phase.OPTIMIZER, After.OPTIMIZER
    _charge(Optimizer, "zero_grad", recorder, optimizer, after)
    _charge(torch.nn.Module, "zero_grad", recorder, optimizer, after)
    schedule = getattr(lr_scheduler, "LRScheduler", None)
    for owner in (schedule, lr_scheduler.ReduceLROnPlateau):
        if owner is not None and "step" in owner.__dict__:
            _charge(owner, "step", recorder, optimizer, after)
    for name in ("clip_grad_norm_", "clip_grad_value_"):
        for owner in (torch.nn.utils, sys.modules["torch.nn.utils.clip_grad"]):
            _charge(owner, name, recorder, optimizer, after)


def _charge(owner: Any, name: str, recorder: Recorder, phase: Phase, after: After) -> None:
    """Replace a function by one whose time belongs to a phase, wherever it is called."""
    original, current, compiling = getattr(owner, name), threading.get_ident, build_is_compiling()
    if getattr(original, "_laptime", False):
        return
    begin, end, phases, afters = Recorder.begin, Recorder.end, (phase,), (after,)

    @stands_for(original)
    def charged(*args: Any, **kwargs: Any) -> Any:
        if compiling():
            return original(*args, **kwargs)
        ours = current() == recorder.thread
        if ours:
            recorder.tell((begin, read_ns(), phases))
        try:
            return original(*args, **kwargs)
        except BaseException as error:
            leave_no_frame(error)
            raise
        finally:
            if ours:
                recorder.tell((end, read_ns(), afters))

    charged._laptime = True
    setattr(owner, name, charged)
