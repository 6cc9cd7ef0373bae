"""Import a user's factory, ``package.module:factory`` or ``file.py:factory``, and call it."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from laptime.errors import LaptimeError

_FILE = re.compile(r"(?P<module>.+\.py):(?P<name>[^/\\:]*)")
_MODULE = re.compile(r"(?P<module>[^\W\d]\w*(\.[^\W\d]\w*)*):(?P<name>[^\W\d]\w*)")

_MAX_TEXT = 300
_MARK = "__laptime_factory__"  # on modules loaded here, which may give way to another file


def is_factory(spec: str) -> bool:
    """Tell ``package.module:factory`` and ``file.py:factory`` from a plain name or path."""
    return bool(_FILE.fullmatch(spec) or _MODULE.fullmatch(spec))


def build_from_factory(spec: str, *, what: str, error: type[LaptimeError]) -> object:
    """Import a factory, call it without arguments and return what it made.

    The import works as under ``python file.py``: the file's folder, or for a module the current
    one, leads ``sys.path``, and stays there for imports that happen later and in loader workers.

    Args:
        spec: For which ``is_factory`` is true.
        what: What the factory is to make, for the message: data, model.
        error: Raised, in one line, for whatever is wrong.
    """
    match = _FILE.fullmatch(spec) or _MODULE.fullmatch(spec)
    if match is None:
        raise error(
            f"{what} is {spec!r}, which names no factory. Give file.py:factory or "
            f"package.module:factory."
        )
    origin, name = match["module"], match["name"]
    module = _called(spec, what, error, _import_file if _FILE.fullmatch(spec) else _import, origin)
    factory = _factory(module, name, spec, what, error)
    return _called(spec, what, error, factory)


class _Unusable(Exception):  # noqa: N818 - a signal within this file, not an error that is shown
    """Say what is wrong with the file or module, remedy included."""


def _called(
    spec: str,
    what: str,
    error: type[LaptimeError],
    function: Callable[..., Any],
    *arguments: object,
) -> Any:
    """Call code of the user; whatever it raises becomes one line."""
    try:
        with contextlib.redirect_stdout(sys.stderr):  # standard output is for results
            return function(*arguments)
    except _Unusable as unusable:
        raise error(f"{what} is {spec!r}, but {unusable}") from None
    except (Exception, SystemExit) as raised:
        # The user's code may raise anything, and a script's argument parser ends the process.
        raise error(
            f"{what} is {spec!r}, whose code raised {_summary(raised)} ({_place(raised)}). "
            f"Correct it there."
        ) from raised


def _factory(
    module: ModuleType, name: str, spec: str, what: str, error: type[LaptimeError]
) -> Callable[[], object]:
    """Return the callable of that name, if it can be called without arguments."""
    factory: Any = _called(spec, what, error, getattr, module, name, None)
    if factory is None:
        raise error(f"{what} is {spec!r}, but there is no {name!r} there; {_offer(module)}")
    if not callable(factory):
        raise error(
            f"{what} is {spec!r}, but {name} is of type {type(factory).__name__}. "
            f"Give a function that returns it."
        )
    needed = _needed_arguments(factory)
    if needed:
        raise error(
            f"{what} is {spec!r}, but {name} needs arguments ({', '.join(needed)}) and is called "
            f"with none. Give them defaults, or wrap it in a function."
        )
    return factory  # type: ignore[no-any-return]


def _import(name: str) -> ModuleType:
    _lead_path(str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name is None or not f"{name}.".startswith(f"{missing.name}."):
            raise
        raise _Unusable(
            f"there is no module {missing.name!r} here. Check the name, or give file.py:factory."
        ) from None


def _import_file(path: str) -> ModuleType:
    """Import a file under its own name, so that loader workers can import it too.

    A dataset travels to workers that were spawned, or forked from a server, as a pickle that
    names the module of its class. They start with this process's ``sys.path``, so the file's
    folder on it and the file's own name are what makes the pickle readable there; a made-up module
    name would work for forked workers only. Where the name is taken by a module that is already
    loaded (a file called random.py), replacing that module would break others, so only then
    the name is made up.
    """
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise _Unusable(f"there is no file {path}. Check the path.")
    _lead_path(str(file.parent))
    loaded = sys.modules.get(file.stem)
    is_free = loaded is None or hasattr(loaded, _MARK)
    name = file.stem if is_free or _is_from(loaded, file) else f"laptime_factory_{file.stem}"
    if _is_from(sys.modules.get(name), file):
        return sys.modules[name]
    return _load(name, file)


def _load(name: str, file: Path) -> ModuleType:
    """Execute a file as a module of that name, in the place of an earlier file's of the same name.

    A module that fails is not left behind.
    """
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    setattr(module, _MARK, True)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _is_from(module: ModuleType | None, file: Path) -> bool:
    origin = getattr(module, "__file__", None)
    return isinstance(origin, str) and Path(origin).resolve() == file


def _lead_path(folder: str) -> None:
    if folder in sys.path:
        sys.path.remove(folder)
    sys.path.insert(0, folder)


def _needed_arguments(factory: Callable[..., object]) -> list[str]:
    """Return the names of parameters without a default; none where Python cannot tell."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return []
    optional = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    return [
        it.name
        for it in parameters
        if it.default is inspect.Parameter.empty and it.kind not in optional
    ]


def _offer(module: ModuleType) -> str:
    """Return what to give instead: the functions and classes that the module itself defines."""
    names = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and callable(value)
        and getattr(value, "__module__", None) == module.__name__
    ]
    return f"it defines {', '.join(names[:8])}." if names else "it defines no function."


def _summary(raised: BaseException) -> str:
    text = str(raised)[:_MAX_TEXT]
    return f"{type(raised).__name__}: {text}" if text else type(raised).__name__


def _place(raised: BaseException) -> str:
    """Return file and line where the exception left the user's own code."""
    if isinstance(raised, SyntaxError) and raised.filename:
        return f"{raised.filename}:{raised.lineno}"
    frames = traceback.extract_tb(raised.__traceback__)
    own = [frame for frame in frames if not _is_library(frame.filename)]
    last = (own or list(frames))[-1]
    return f"{last.filename}:{last.lineno}"


def _is_library(filename: str) -> bool:
    """Tell library code from the user's: the line to correct is the one that called it."""
    standard = sysconfig.get_paths()["stdlib"]
    return filename.startswith((standard, "<frozen", __file__)) or (
        "site-packages" in Path(filename).parts
    )
