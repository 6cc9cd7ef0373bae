"""How the recorder comes into a process: it waits for torch, and starts when torch is there."""

from __future__ import annotations

import os
import sys
from typing import Any, Callable, Dict, List

from laptime.attach.journal import trace
from laptime.timing.clock import read_ns

OnImport = Callable[[Any], None]


class ImportWatch:
    """Call a function with a module once it has been imported, whoever imports it.

    A finder as ``sys.meta_path`` wants one; the classes of ``importlib.abc`` would triple the time
    that a process takes to start.
    """

    def __init__(self, watched: Dict[str, OnImport]) -> None:
        self._watched = watched

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        """Find a watched module where the other finders do, with a loader that tells of its end."""
        if fullname not in self._watched:
            return None
        called = self._watched.pop(fullname)
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_spec", None)
            spec = find(fullname, path, target) if find and finder is not self else None
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _TellingLoader(spec.loader, called)
                return spec
        return None


class _TellingLoader:
    """The loader of a module, and a call after it."""

    def __init__(self, loader: Any, called: OnImport) -> None:
        self._loader, self._called = loader, called

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: Any) -> Any:
        """Let the loader do it."""
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        """Let the loader do it, leave no trace, and tell."""
        module.__loader__ = module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._called(module)


_ENTERED: List[int] = []


def begin() -> None:
    """Wait for torch in this process; called again, by another copy of us, do nothing."""
    if _ENTERED:
        return
    start_ns = read_ns()
    _ENTERED.append(start_ns)
    run = os.environ["LAPTIME_RUN"]
    trace(run, "entered", argv=list(getattr(sys, "orig_argv", [])))
    if _is_worker():
        return

    def started(torch: Any) -> None:
        trace(run, "torch", version=str(torch.__version__))
        try:
            from laptime.attach import recording

            recording.start(run, start_ns)
        except Exception as error:  # noqa: BLE001 - the script must run whatever ails the recorder
            trace(run, "refused", reason=f"{type(error).__name__}: {error}")

    watched: Dict[str, OnImport] = {"torch": started, "safetensors.torch": _hook_safetensors}
    sys.meta_path.insert(0, ImportWatch(watched))


def _hook_safetensors(module: Any) -> None:
    from laptime.attach import recording

    recording.hook_safetensors(module)


def _is_worker() -> bool:
    """Tell a process that only loads data or tracks resources; it never trains."""
    words = " ".join(getattr(sys, "orig_argv", sys.argv))
    return "resource_tracker" in words or "forkserver import" in words
