"""Whether torch.compile is tracing: what is ours must leave no trace in what it makes."""

from __future__ import annotations

import sys
from types import CodeType, FunctionType
from typing import Any, Callable, Iterator, List


def build_is_compiling() -> Any:
    """Return what tells, inside of torch.compile, that it traces; it is constant there."""
    import torch

    for name in ("is_dynamo_compiling", "is_compiling"):  # the first calls nothing else
        known = getattr(torch.compiler, name, None)
        if known is not None:
            return known
    from torch._dynamo import external_utils  # torch 2.1 and 2.2 have it here only

    return external_utils.is_compiling


def keep_out() -> None:
    """Ask torch.compile to leave our own functions alone where the script's code calls them.

    It would otherwise take each for a piece of the script and compile it. What it inlines while it
    traces is another matter: a root's call is traced through, and is nothing then.
    """
    for code in _our_code():
        leave_alone(code)


def leave_alone(code: CodeType) -> None:
    """Have the frames of some code run as they are, whatever traces around them."""
    if not _SKIP:
        _SKIP.append(_build_skip())
    _SKIP[0](code)


_SKIP: List[Callable[[CodeType], None]] = []


def _build_skip() -> Any:
    """Return torch's own word for that; a version that has none is left as it is."""
    from torch._C import _dynamo

    frames: Any = _dynamo.eval_frame
    if hasattr(frames, "skip_code"):  # until torch 2.6
        return frames.skip_code
    if not hasattr(frames, "set_code_exec_strategy"):
        return lambda _code: None
    action = frames._FrameAction
    strategy = frames._FrameExecStrategy(action.SKIP, action.DEFAULT)
    return lambda code: frames.set_code_exec_strategy(code, strategy)


def _our_code() -> Iterator[CodeType]:
    for name, module in list(sys.modules.items()):
        if name.startswith("laptime."):
            for value in list(vars(module).values()):
                yield from _code_of(value)


def _code_of(value: Any) -> Iterator[CodeType]:
    """Return the code of a function, of a class's methods, and of what is made within them."""
    if isinstance(value, FunctionType):
        yield from _with_inner(value.__code__)
    elif isinstance(value, type):
        for part in list(vars(value).values()):
            if isinstance(part, property):
                part = part.fget
            if isinstance(part, FunctionType):
                yield from _with_inner(part.__code__)


def _with_inner(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _with_inner(constant)
