"""What enters foreign processes is written for them: old grammar, standard library, torch."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import laptime

HOME = Path(laptime.__file__).parent
PARENTS = HOME / "attach" / "command.py"
"""Runs in laptime's own process."""

INJECTED = HOME / "attach" / "inject" / "sitecustomize.py"
SHARED = (
    "host_memory",
    "phase",
    "timing.clock",
    "timing.ledger",
    "timing.processor",
    "timing.windows",
)
ENTERING = [
    *sorted(path for path in (HOME / "attach").rglob("*.py") if path != PARENTS),
    *(HOME / f"{name.replace('.', '/')}.py" for name in SHARED),
]
NEWER = {"tomllib"}
"""Of this Python's standard library, but not of Python 3.9's."""


def word(path: Path) -> str:
    return str(path.relative_to(HOME))


def imported(tree: ast.AST) -> Iterator[str]:
    """Return the modules that a file imports anywhere, but for those it can do without."""
    optional = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.Try) and any("ImportError" in ast.dump(h) for h in node.handlers)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if node in optional:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_there(module: str) -> bool:
    """Tell what a foreign environment with torch has, and what is brought along."""
    root, _, rest = module.partition(".")
    if root == "laptime":
        return rest.startswith("attach") or any(rest.startswith(name) for name in SHARED)
    return root == "torch" or (root in sys.stdlib_module_names and root not in NEWER)


@pytest.mark.parametrize("path", ENTERING, ids=word)
def test_what_enters_is_written_in_the_grammar_of_python_3_9(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 9))


@pytest.mark.parametrize("path", ENTERING, ids=word)
def test_what_enters_imports_what_is_there(path: Path) -> None:
    missing = [name for name in imported(ast.parse(path.read_text())) if not is_there(name)]

    assert missing == ([] if path != INJECTED else ["sitecustomize"])


@pytest.mark.parametrize("path", [path for path in ENTERING if path != INJECTED], ids=word)
def test_what_enters_leaves_its_annotations_unread(path: Path) -> None:
    """Python 3.9 knows no ``int | None``; from the future, it need not."""
    tree = ast.parse(path.read_text())
    annotated = any(
        isinstance(node, ast.AnnAssign) or getattr(node, "returns", None) for node in ast.walk(tree)
    )

    assert not annotated or "__future__.annotations" in set(imported(tree))


def test_what_any_python_finds_first_is_understood_by_any() -> None:
    """A syntax error there would keep the user's own sitecustomize from running."""
    tree = ast.parse(INJECTED.read_text(), feature_version=(3, 4))
    newer = [
        node
        for node in ast.walk(tree)
        if isinstance(node, (ast.AnnAssign, ast.JoinedStr, ast.NamedExpr, ast.AsyncFunctionDef))
        or (isinstance(node, ast.arg) and node.annotation is not None)
        or getattr(node, "returns", None) is not None
    ]

    assert newer == []
    assert not any(name.startswith("__future__") for name in imported(tree))
