"""Root modules: those the script calls itself; only their classes pay for a hook.

Modules are found among the living objects, when training is about to begin and when an optimizer
has been made since. A root is in no other module; where such a one is never called (a container,
a LightningModule), its children take its place. Replaced is ``__call__`` of the root's class:
modules themselves stay as they are, pickles and copies too, and what torch.compile traces is
inside of that call.
"""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any, Dict, List, Set

from laptime.attach.backlog import NONE
from laptime.attach.hooks.frames import leave_no_frame, stands_for
from laptime.attach.hooks.tracing import build_is_compiling
from laptime.attach.places import caller_place
from laptime.attach.recorder import Recorder
from laptime.timing.clock import read_ns

MOST_DEPTH = 4
"""How far down a root is looked for below modules that are not called."""

_OWN = "_laptime_call"


class Roots:
    """The root modules of a script, found and followed."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._rows: Dict[int, Dict[str, Any]] = {}
        self._modules: Dict[int, Any] = {}
        self._trained: Set[int] = set()
        """Parameters that an optimizer updates, by identity."""
        self._owners: Set[int] = set()
        """Roots that hold such parameters."""
        self._descents = 0
        self._gone: List[Dict[str, Any]] = []
        """Facts of roots that were called and are no more."""
        self.is_dirty = self._was_late = False

    def optimizer_made(self, parameters: Any) -> None:
        """Take note of parameters that are trained."""
        self._trained.update(id(parameter) for parameter in parameters)
        self.is_dirty = True

    def find(self, *, is_late: bool = False) -> None:
        """Look for modules, where an optimizer has been made since the last look.

        Args:
            is_late: The step's call of a root was before this look.
        """
        if not self.is_dirty:
            return
        self.is_dirty, self._was_late = False, is_late
        modules = _living_modules()
        inner = {id(child) for module in modules for child in module._modules.values()}
        for module in modules:
            if id(module) not in inner:
                self._follow(module)

    def forget(self) -> None:
        """Know no module any more: those of before may be gone, and their identities others'."""
        for known in (self._rows, self._modules, self._trained, self._owners, self._gone):
            known.clear()
        self._descents = 0

    def look_deeper(self) -> None:
        """Follow the children of roots that no step has called, where none was called at all."""
        if self._was_late:  # nothing can have been seen in this step
            self._was_late = False
            return
        if self._descents >= MOST_DEPTH or self.was_called:
            return
        self._descents += 1
        for i in list(self._owners):
            module = self._modules[i]()
            for child in module._modules.values() if module is not None else ():
                if child is not None:
                    self._follow(child)

    @property
    def was_called(self) -> bool:
        """Whether a root that is trained has been called."""
        return bool(self._gone) or any(self._rows[i]["calls"] for i in self._owners)

    @property
    def are_known(self) -> bool:
        """Whether there is a module that holds what is trained."""
        return bool(self._owners)

    def rows(self) -> List[Dict[str, Any]]:
        """Return the roots that were called, as facts."""
        return [row for row in (*self._gone, *self._rows.values()) if row["calls"]]

    def device(self) -> Any:
        """Return where the first parameter that is trained is; None where that is not known."""
        for i in self._owners:
            module = self._modules[i]()
            for parameter in module.parameters() if module is not None else ():
                return parameter.device
        return None

    def instances(self) -> List[Any]:
        """Return the roots that are trained and have been called."""
        called = [self._modules[i]() for i in self._owners if self._rows[i]["calls"]]
        return [module for module in called if module is not None]

    def _follow(self, module: Any) -> None:
        parameters = list(module.parameters())
        if not parameters:
            return
        known = self._modules.get(id(module))
        if known is None or known() is not module:
            self._modules[id(module)] = weakref.ref(module, self._forget_one(id(module)))
            self._rows[id(module)] = _facts(module, parameters, late=self._was_late)
        if any(id(parameter) in self._trained for parameter in parameters):
            self._owners.add(id(module))
        self._hook(type(module))

    def _forget_one(self, identity: int) -> Any:
        """Return what is called when a module is gone: its identity may be another's then."""

        def gone(_module: Any) -> None:
            row = self._rows.pop(identity, None)
            self._modules.pop(identity, None)
            self._owners.discard(identity)
            if row is not None and row["calls"]:
                self._gone.append(row)

        return gone

    def _hook(self, module_class: Any) -> None:
        if _OWN in module_class.__dict__:
            return
        import torch

        original, rows, owners = module_class.__call__, self._rows, self._owners
        recorder, grad, current = self._recorder, torch.is_grad_enabled, threading.get_ident
        compiling = build_is_compiling()
        root_called, root_asked = Recorder.root_called, Recorder.root_asked

        @stands_for(original)
        def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807 - it replaces one
            if compiling():  # traced as part of something larger: nothing of ours is in there
                return original(self, *args, **kwargs)
            row = rows.get(id(self))
            if row is not None and current() != recorder.thread:
                row = None
            asked = False
            if row is not None:
                if not row["calls"]:
                    row["place"] = caller_place()
                row["calls"] += 1
                if not recorder.root_depth:
                    asked = not self.training and not grad() and id(self) in owners
                    now_ns = read_ns()
                    recorder.tell((root_asked if asked else root_called, now_ns, NONE))
                    if now_ns > recorder.due_ns:
                        recorder.catch_up()
                recorder.root_depth += 1
            try:
                if row is not None and recorder.around_root is not None:
                    return recorder.around_root(self, original, args, kwargs)
                return original(self, *args, **kwargs)
            except BaseException as error:
                leave_no_frame(error)
                raise
            finally:
                if row is not None and recorder.root_depth:  # a forked child counts from nothing
                    recorder.root_depth -= 1
                if asked:
                    recorder.tell((Recorder.root_answered, read_ns(), NONE))

        module_class.__call__ = __call__
        setattr(module_class, _OWN, True)


def _facts(module: Any, parameters: List[Any], *, late: bool) -> Dict[str, Any]:
    return {
        "class": _name(module),
        "kind": _kind(module),
        "parameters": sum(p.numel() for p in parameters),
        "calls": 0,
        "late": late,  # the calls before the first backward were not seen
        "place": None,
    }


def _living_modules() -> List[Any]:
    """Return every module there is; asking objects for their type alone runs no code of theirs."""
    import torch

    module = torch.nn.Module
    return [o for o in gc.get_objects() if issubclass(type(o), module) and "_modules" in o.__dict__]


def _name(module: Any) -> str:
    inner = getattr(module, "_orig_mod", None) or getattr(module, "module", None)
    return type(inner if inner is not None else module).__name__


def _kind(module: Any) -> str:
    import torch

    name = type(module).__name__
    if name == "OptimizedModule":
        return "compiled"
    if isinstance(module, torch.jit.ScriptModule):
        return "scripted"
    parallel = "DistributedDataParallel", "DataParallel", "FullyShardedDataParallel"
    return "ddp" if name in parallel else "module"
