"""Environments and directories that the tests of foreign scripts share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.attach.foreign import BARE, Place, has_torch, make_environment


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return this Python with torch and what torch needs."""
    return str(make_environment(tmp_path_factory.mktemp("bare"), "torch", "numpy"))


@pytest.fixture
def interpreter(bare: str) -> Callable[[str], str]:
    """Return what finds the interpreter of a name."""
    return lambda word: bare if word == BARE else word


@pytest.fixture
def with_torch(interpreter: Callable[[str], str]) -> Callable[[str], str]:
    """Return what finds the interpreter of a name, or skips the test where it has no torch."""

    def find(word: str) -> str:
        python = interpreter(word)
        if not has_torch(python):
            pytest.skip(f"{python} has no torch")
        return python

    return find


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Return a directory to run commands in."""
    path = tmp_path / "here"
    path.mkdir()
    return Place(path)
