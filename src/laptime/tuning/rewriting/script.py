"""The files that a recording names: read once, and what is proposed for them."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from laptime.tuning.rewriting.names import Names
from laptime.tuning.rewriting.source import EditError, Replacement, Source

_INSTALLED = {"site-packages", "dist-packages"}


class Place(NamedTuple):
    """A line of a script, as the recorder writes it."""

    path: Path
    line: int
    text: str


def place_of(row: Mapping[str, Any], key: str = "place") -> Place | None:
    """Return a place of a row of facts; None where the recorder knew none."""
    place = row.get(key)
    if not isinstance(place, Mapping):
        return None
    return Place(Path(place["path"]), int(place["line"]), str(place["text"]))


def rows(facts: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """Return a list of the facts, which a recording of another age may lack."""
    return [row for row in facts.get(key) or () if isinstance(row, Mapping)]


@dataclass(frozen=True)
class Proposal:
    """What to change, in words; and in the text, where that is safe."""

    place: Place | None
    words: str
    replacements: tuple[Replacement, ...] = ()
    tree: Callable[[], ast.Module] | None = None
    """Returns what the file must parse to afterwards."""


class Script:
    """One file of a script."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if _INSTALLED & set(path.parts):
            raise EditError("belongs to an installed package")
        try:
            content = path.read_bytes()
        except (OSError, ValueError) as error:
            raise EditError(f"cannot be read ({error})") from error
        self.source = Source(content)
        try:
            self.names = Names(self.source.tree)
        except RecursionError as error:
            raise EditError("is nested too deeply to be read") from error

    @property
    def framework(self) -> str | None:
        """Whose training loop it uses: ``transformers``, ``lightning``; None: its own."""
        for name in self.names.imported:
            package, _, member = name.partition(".")
            if package == "transformers" and member.endswith("Trainer"):
                return package
            if package in {"lightning", "pytorch_lightning"}:
                return "lightning"
        return None

    def at(self, line: int) -> Place:
        """Return a line of it as a place."""
        return Place(self.path, line, f"{self.path.name}:{line}")


class Scripts:
    """The files of one recording."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self._facts = facts
        self._known: dict[Path, Script | EditError] = {}

    def read(self, path: Path) -> Script:
        """Return a file, read once.

        Raises:
            EditError: It cannot be read, or is not to be changed.
        """
        if path not in self._known:
            try:
                self._known[path] = Script(path)
            except EditError as error:
                self._known[path] = error
        known = self._known[path]
        if isinstance(known, EditError):
            raise known
        return known

    def trained(self) -> Iterator[Script]:
        """Yield the readable files of the training: what was started, then where it trains."""
        seen = set()
        for path in self._paths():
            if path not in seen:
                seen.add(path)
                try:
                    yield self.read(path)
                except EditError:
                    continue

    def _paths(self) -> Iterator[Path]:
        started = (self._facts.get("argv") or [""])[0]
        if str(started).endswith(".py"):
            yield Path(self._facts.get("cwd") or ".") / started
        for key, name in (
            ("optimizers", "stepped_at"),
            ("optimizers", "place"),
            ("roots", "place"),
            ("loaders", "place"),
        ):
            yield from (
                place.path for row in rows(self._facts, key) if (place := place_of(row, name))
            )
