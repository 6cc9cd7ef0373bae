"""A script as text: read, parsed, and changed at places that the parser names."""

from __future__ import annotations

import ast
import bisect
import copy
import io
import re
import sys
import tokenize
import warnings
from collections.abc import Iterable
from functools import cached_property
from typing import Any, NamedTuple

_NEWLINE = re.compile(r"\r\n|\r|\n")  # what Python takes for the end of a line, and no more


class EditError(Exception):
    """Say why a change is left to the reader, as a sentence that the place begins."""

    def __init__(self, words: str, *, says_how: bool = False) -> None:
        super().__init__(words)
        self.says_how = says_how
        """Whether the words hold the remedy too."""


class Replacement(NamedTuple):
    """Text that takes the place of what stands between two offsets; nothing, where they agree."""

    start: int
    end: int
    text: str


class Source:
    """A script's bytes, text and tree, with the offsets of the tree in the text.

    Encoding cookie, byte order mark and ends of lines stay as they are.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        try:
            self.encoding = tokenize.detect_encoding(io.BytesIO(content).readline)[0]
            self.text = content.decode(self.encoding)
            self.tree = parsed(self.text)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            # Null bytes are a ValueError or a SyntaxError, as the version of Python has it.
            raise EditError(f"is not Python {_version()} ({_reason(error)})") from error
        if self.text.encode(self.encoding) != content:
            raise EditError(f"does not survive its own encoding, {self.encoding}")
        self._rows = [0, *(match.end() for match in _NEWLINE.finditer(self.text))]

    def offset(self, line: int, column: int) -> int:
        """Return the offset in the text of a place in the tree: columns there are UTF-8 bytes."""
        start = self._rows[line - 1]
        if column == 0:
            return start
        row = self.text[start : self._rows[line] if line < len(self._rows) else len(self.text)]
        return start + len(row.encode()[:column].decode())

    def span(self, node: ast.stmt | ast.expr | ast.keyword) -> tuple[int, int]:
        """Return where a node of the tree begins and ends in the text."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self.offset(node.lineno, node.col_offset)
        return start, self.offset(node.end_lineno, node.end_col_offset)

    def words(self, node: ast.stmt | ast.expr | ast.keyword, longest: int = 60) -> str:
        """Return the text of a node on one line, shortened."""
        start, end = self.span(node)
        text = " ".join(self.text[start:end].split())
        return text if len(text) <= longest else text[: longest - 3] + "..."

    def row_start(self, offset: int) -> int:
        """Return where the line of an offset begins."""
        return self._rows[bisect.bisect_right(self._rows, offset) - 1]

    def next_row(self, offset: int) -> int:
        """Return where the line after that of an offset begins, or the end of the text."""
        row = bisect.bisect_right(self._rows, offset)
        return self._rows[row] if row < len(self._rows) else len(self.text)

    def row_end(self, offset: int) -> int:
        """Return where the line of an offset ends, before its newline."""
        start, end = self.row_start(offset), self.next_row(offset)
        return start + len(self.text[start:end].rstrip("\r\n"))

    def indentation(self, offset: int) -> str | None:
        """Return the blanks before an offset, or None when something else stands on its line."""
        before = self.text[self.row_start(offset) : offset]
        return None if before.strip() else before

    @cached_property
    def newline(self) -> str:
        """How the first line ends."""
        first = _NEWLINE.search(self.text)
        return first[0] if first else "\n"

    def newline_at(self, offset: int) -> str:
        """Return how the line of an offset ends."""
        return self.text[self.row_end(offset) : self.next_row(offset)] or self.newline

    def added_after(self, line: int, rows: Iterable[str]) -> Replacement:
        """Return rows as lines of their own after a line, which need not end with a newline."""
        at = self.next_row(self.offset(line, 0))
        newline = self.newline_at(self.offset(line, 0))
        if at == self.row_end(self.offset(line, 0)):
            return Replacement(at, at, "".join(newline + row for row in rows))
        return Replacement(at, at, "".join(row + newline for row in rows))

    def added_before(self, line: int, rows: Iterable[str]) -> Replacement:
        """Return rows as lines of their own before a line."""
        at = self.offset(line, 0)
        return Replacement(at, at, "".join(row + self.newline_at(at) for row in rows))

    def copied_tree(self) -> tuple[ast.Module, dict[int, Any]]:
        """Return a tree to be changed, and its nodes by the identity of the original ones."""
        copies: dict[int, Any] = {}
        return copy.deepcopy(self.tree, copies), copies

    def changed(self, replacements: Iterable[Replacement]) -> Source:
        """Return the source with some of its text replaced.

        Raises:
            EditError: Two replacements overlap, or what comes out is not Python.
        """
        text, end = [], 0
        for replacement in sorted(replacements, key=lambda item: item[:2]):
            if replacement.start < end:
                raise EditError("would be changed twice at one place")
            text += [self.text[end : replacement.start], replacement.text]
            end = replacement.end
        return Source("".join([*text, self.text[end:]]).encode(self.encoding))


def parsed(text: str) -> ast.Module:
    """Return the tree of a source; what it warns of is its author's business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text)


def _version() -> str:
    return "{}.{}".format(*sys.version_info[:2])


def _reason(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
