"""What rules about the tree itself look at: its files, its syntax trees, its documents."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the top of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def sources() -> dict[str, ast.Module]:
    """Return the syntax tree of every module of the package, by its path below src/laptime."""
    package = ROOT / "src" / "laptime"
    return {
        path.relative_to(package).as_posix(): ast.parse(path.read_text())
        for path in sorted(package.rglob("*.py"))
    }


@pytest.fixture(scope="session")
def documents() -> dict[str, str]:
    """Return the text of every document, by its path."""
    paths = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in sorted(paths)}


@pytest.fixture(scope="session")
def blocks(load: Callable[[str], ModuleType], documents: dict[str, str]) -> list[re.Match[str]]:
    """Return the marked blocks of all documents: files and examples, in order."""
    pattern = load("docs/refresh_examples.py").BLOCK
    return [block for text in documents.values() for block in pattern.finditer(text)]


@pytest.fixture(scope="session")
def tracked() -> list[Path]:
    """Return the files that git tracks or would, the working tree's own additions included."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [ROOT / name for name in sorted(listed.split("\0")) if (ROOT / name).is_file()]


@pytest.fixture(scope="session")
def load() -> Callable[[str], ModuleType]:
    """Return a function that imports a script by its path."""

    def load_script(path: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load_script
