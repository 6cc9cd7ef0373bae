"""Settings changed in an unedited script: what an experiment asks for, and nothing else."""

from __future__ import annotations

import gc
import inspect
import json
import os
from typing import Any, Dict, Optional

from laptime.attach.hooks.frames import stands_for
from laptime.attach.places import Place
from laptime.attach.recorder import Recorder
from laptime.host_memory import keep_freed_memory

WITHOUT_WORKERS = ("prefetch_factor", "persistent_workers", "multiprocessing_context", "timeout")
"""What a loader refuses, or does not use, when it has no workers."""

_LOADER = ("num_workers", "persistent_workers", "pin_memory", "prefetch_factor")


class Overrides:
    """What is changed in this process; without any, everything is passed through."""

    def __init__(self, asked: Dict[str, Any], recorder: Recorder) -> None:
        self._asked, self._recorder = asked, recorder
        self._compiled: Dict[int, Any] = {}
        self._formatted: Dict[int, bool] = {}

    @classmethod
    def from_environment(cls, recorder: Recorder) -> Overrides:
        """Return what the environment asks for."""
        return cls(json.loads(os.environ.get("LAPTIME_OVERRIDES") or "{}"), recorder)

    @property
    def has_later_ones(self) -> bool:
        """Whether something is changed after some steps."""
        return "gc" in self._asked

    def process(self) -> None:
        """Set what holds for the whole process: once, before the script goes on."""
        import torch

        asked, recorder = self._asked, self._recorder
        if "threads" in asked:
            torch.set_num_threads(asked["threads"])
            _leave_threads_alone()
        if asked.get("tf32"):
            torch.set_float32_matmul_precision("high")
            torch.backends.cudnn.allow_tf32 = True
        if asked.get("cudnn_benchmark"):
            torch.backends.cudnn.benchmark = True
        if asked.get("keep_memory"):
            keep_freed_memory()
        if asked.get("seed_shift"):
            _shift_seeds(asked["seed_shift"])
        recorder.non_blocking = bool(asked.get("non_blocking"))
        if any(asked.get(name) for name in ("bf16", "channels_last", "compile")):
            recorder.around_root = self._call_root

    def loader(self, place: Optional[Place], args: Any, kwargs: Dict[str, Any]) -> Any:
        """Return the arguments that a DataLoader is made with.

        ``site`` names the loader that is meant; without one it is every loader.
        """
        changes = {name: self._asked[name] for name in _LOADER if name in self._asked}
        site = self._asked.get("site")
        if not changes or (site and (place is None or place["text"] != site)):
            return args, kwargs
        from torch.utils.data import DataLoader

        names = list(inspect.signature(DataLoader.__init__).parameters)[1:]
        given = {**dict(zip(names, args)), **kwargs, **changes}
        if not given.get("num_workers"):
            for name in WITHOUT_WORKERS:
                given.pop(name, None)
        return (), given

    def optimizer(self, optimizer: Any) -> None:
        """Choose an implementation of an optimizer that has just been made, where it has one."""
        for name in ("fused", "foreach"):
            if self._asked.get(name) and name in optimizer.defaults:
                for group in optimizer.param_groups:
                    group["fused"], group["foreach"] = name == "fused", name == "foreach"
                if name == "fused":
                    optimizer._step_supports_amp_scaling = True

    def stepped(self, steps: int) -> None:
        """After some steps: what is here now stays, and the collector need not look at it."""
        if steps == 2 and self._asked.get("gc") == "freeze":
            gc.collect()
            gc.freeze()

    def _call_root(self, module: Any, original: Any, args: Any, kwargs: Any) -> Any:
        """Call a root module in another format, precision or compiled."""
        import torch

        if self._asked.get("channels_last"):
            if not self._formatted.get(id(module)):
                self._formatted[id(module)] = True
                module.to(memory_format=torch.channels_last)
            args = tuple(_channels_last(a) for a in args)
            kwargs = {name: _channels_last(value) for name, value in kwargs.items()}
        call = original
        if self._asked.get("compile") and module.training:
            if id(module) not in self._compiled:
                self._compiled[id(module)] = torch.compile(original.__get__(module))
            compiled = self._compiled[id(module)]
            call = lambda _module, *a, **k: compiled(*a, **k)  # noqa: E731 - one line
        if not self._asked.get("bf16"):
            return call(module, *args, **kwargs)
        device = next(module.parameters()).device.type
        with torch.autocast(device, dtype=torch.bfloat16):
            answer = call(module, *args, **kwargs)
        return _full_precision(answer)


def _channels_last(value: Any) -> Any:
    import torch

    is_images = isinstance(value, torch.Tensor) and value.dim() == 4
    return value.contiguous(memory_format=torch.channels_last) if is_images else value


def _full_precision(answer: Any) -> Any:
    """Return an answer in float32, so that a loss is computed as the script's author thought."""
    import torch

    if isinstance(answer, torch.Tensor):
        return answer.float() if answer.dtype is torch.bfloat16 else answer
    if isinstance(answer, dict):
        changed = {name: _full_precision(part) for name, part in answer.items()}
        try:
            return type(answer)(changed)
        except TypeError:  # a class of the script's own: its parts are changed in place
            for name, part in changed.items():
                answer[name] = part
            return answer
    if type(answer) in (list, tuple):
        return type(answer)(_full_precision(part) for part in answer)
    return answer


def _leave_threads_alone() -> None:
    """Have the script's own choice of threads pass, here and not in a loader's workers."""
    import torch

    original, here = torch.set_num_threads, os.getpid()

    @stands_for(original)
    def set_num_threads(number: int) -> None:
        if os.getpid() != here:
            original(number)

    torch.set_num_threads = set_num_threads


def _shift_seeds(shift: int) -> None:
    """Let every seed that the script sets be another one, the same for the same shift."""
    import random

    import torch

    set_torch, set_random = torch.manual_seed, random.seed
    torch.default_generator.manual_seed(torch.initial_seed() + shift)

    def manual_seed(seed: Any) -> Any:
        return set_torch(int(seed) + shift)

    def seed_random(a: Any = None, *rest: Any) -> None:
        set_random(a + shift if isinstance(a, int) else a, *rest)

    torch.manual_seed = torch.random.manual_seed = manual_seed
    random.seed = seed_random  # type: ignore[assignment]
    _shift_numpy(shift)


def _shift_numpy(shift: int) -> None:
    try:
        import numpy as np
    except ImportError:
        return
    set_numpy = np.random.seed

    def seed(value: Any = None) -> None:
        set_numpy(value + shift if isinstance(value, int) else value)

    np.random.seed = seed  # type: ignore[assignment]
