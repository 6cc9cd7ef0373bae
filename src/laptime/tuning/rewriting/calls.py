"""One call in a script with other arguments, and the rest of its text as it was."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from laptime.tuning.rewriting.source import EditError, Replacement, Source

_TOKEN = re.compile(r"#[^\r\n]*|[(),]")
"""What stands between arguments, blanks apart."""

_LONGEST_ROW = 100


class Opaque(NamedTuple):
    """An argument that a machine does not change: its value is not written in the call."""

    name: str
    value: object
    """What it should be."""
    node: ast.expr | ast.keyword
    """The expression that gives it, or the stars that may."""


class OpaqueError(Exception):
    """Report arguments of a call that are not written as literals."""

    def __init__(self, arguments: Sequence[Opaque]) -> None:
        super().__init__(", ".join(argument.name for argument in arguments))
        self.arguments = tuple(arguments)


@dataclass(frozen=True)
class Signature:
    """What is known of the parameters of a call."""

    positional: tuple[str, ...] = ()
    """Names of those that may be given by position, in order; others have no name here."""
    defaults: Mapping[str, object] = field(default_factory=dict)
    """What leaving an argument out means; a parameter that is not listed is always written."""


@dataclass(frozen=True)
class NewCall:
    """What changes in the text of a call, and the tree that it must then have."""

    call: ast.Call
    replacements: tuple[Replacement, ...]
    args: list[ast.expr]
    keywords: list[ast.keyword]


def new_call(
    source: Source,
    call: ast.Call,
    signature: Signature,
    values: Mapping[str, object],
    dropped: Sequence[str] = (),
) -> NewCall | None:
    """Return a call with some arguments added, replaced or dropped; None when it has them so.

    Raises:
        OpaqueError: An argument that has to change is not a literal, or may be within stars.
        EditError: The call is written in a way that leaves no safe place for a change.
    """
    defaults = signature.defaults
    listed = _Listed(source, call, signature.positional)
    _refuse_opaque(listed, {**{name: defaults[name] for name in dropped}, **values})
    added, changes = [], []
    for name, value in values.items():
        argument = listed.by_name.get(name)
        if argument is None and (name not in defaults or defaults[name] != value):
            added.append(_Change(None, name, repr(value)))
        elif argument is not None and ast.literal_eval(argument.value) != value:
            changes.append(_Change(argument, name, repr(value)))
    removed = []
    for name in dropped:
        argument = listed.by_name.get(name)
        if argument is None or not ast.literal_eval(argument.value):  # None, False, 0: at rest
            continue
        if not isinstance(argument.node, ast.keyword):  # a place in the row must stay filled
            changes.append(_Change(argument, name, repr(defaults[name])))
        elif added:
            changes.append(added.pop(0)._replace(argument=argument))
        else:
            removed.append(argument)
    if not (added or changes or removed):
        return None
    texts = [change.replacement(source) for change in changes]
    texts += _removed(listed, removed) if removed else []
    texts += _added(listed, [f"{name}={text}" for _, name, text in added]) if added else []
    return _tree(listed, texts, [*changes, *added], removed)


@dataclass(frozen=True)
class _Argument:
    """An argument; its start and end hold the parentheses around it."""

    name: str
    node: ast.expr | ast.keyword
    start: int
    end: int

    @property
    def value(self) -> ast.expr:
        return self.node.value if isinstance(self.node, ast.keyword) else self.node


class _Change(NamedTuple):
    """An argument that takes the place of another, or of none."""

    argument: _Argument | None
    name: str
    text: str

    def replacement(self, source: Source) -> Replacement:
        assert self.argument is not None
        if self.argument.name == self.name:  # spaces around the equals sign stay
            return Replacement(*source.span(self.argument.value), self.text)
        return Replacement(*source.span(self.argument.node), f"{self.name}={self.text}")


class _Listed:
    """The arguments of a call as they stand in the text."""

    def __init__(self, source: Source, call: ast.Call, positional: Sequence[str]) -> None:
        self.source, self.call = source, call
        given: list[ast.expr | ast.keyword] = [*call.args, *call.keywords]
        nodes = sorted(given, key=source.span)
        self.stars = [node for node in nodes if _is_star(node)]
        first_star = next((i for i, a in enumerate(call.args) if _is_star(a)), len(call.args))
        names = dict(zip(map(id, call.args[:first_star]), positional, strict=False))
        gaps = self._gaps(nodes)
        self.arguments = [
            _Argument(
                (node.arg or "") if isinstance(node, ast.keyword) else names.get(id(node), ""),
                node,
                min(self._places("(", before), default=before[1]),
                max(self._places(")", after), default=after[0] - 1) + 1,
            )
            for node, before, after in zip(nodes, gaps, gaps[1:], strict=False)
        ]
        self.by_name = {argument.name: argument for argument in self.arguments if argument.name}
        self.commas = [next(iter(self._places(",", gap)), None) for gap in gaps[1:]]
        """Where the comma after each argument stands; the last may have none."""
        self.end = gaps[-1][1]
        """Where the closing parenthesis stands."""

    def _gaps(self, nodes: Sequence[ast.expr | ast.keyword]) -> list[tuple[int, int]]:
        """Return the spans before, between and after arguments, within the call's parentheses."""
        source, call = self.source, self.call
        spans = [source.span(node) for node in nodes]
        close = source.span(call)[1] - 1
        after_name = (source.span(call.func)[1], spans[0][0] if spans else close)
        opening = self._places("(", after_name)
        starts = [opening[0] + 1 if opening else -1, *(end for _, end in spans)]
        gaps = list(zip(starts, [*(start for start, _ in spans), close], strict=True))
        between = "".join(_TOKEN.sub("", source.text[slice(*gap)]) for gap in gaps)
        if not nodes or not opening or between.replace("\\", "").strip():
            raise EditError("is written in a way that leaves no safe place for a change")
        return gaps

    def _places(self, token: str, gap: tuple[int, int]) -> list[int]:
        """Return where a token stands in a gap, comments left out."""
        found = _TOKEN.finditer(self.source.text, *gap)
        return [match.start() for match in found if match[0] == token]


def _is_star(node: ast.expr | ast.keyword) -> bool:
    return isinstance(node, ast.Starred) or (isinstance(node, ast.keyword) and node.arg is None)


def _refuse_opaque(listed: _Listed, values: Mapping[str, object]) -> None:
    opaque = []
    for name, value in values.items():
        argument = listed.by_name.get(name)
        if argument is None:
            opaque += [Opaque(name, value, star) for star in listed.stars[:1]]
        elif not _is_literal(argument.value):
            opaque.append(Opaque(name, value, argument.value))
    if opaque:
        raise OpaqueError(opaque)


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError):
        return False
    return True


def _removed(listed: _Listed, removed: Sequence[_Argument]) -> list[Replacement]:
    """Return what takes arguments out of the text, neighbours together."""
    arguments, texts = listed.arguments, []
    last = first = -1
    for i in sorted(map(arguments.index, removed), reverse=True):
        if i + 1 == first:
            first = i
            continue
        if first >= 0:
            texts += _removed_run(listed, first, last)
        first = last = i
    return [*texts, *_removed_run(listed, first, last)]


def _removed_run(listed: _Listed, first: int, last: int) -> list[Replacement]:
    arguments, source = listed.arguments, listed.source
    before = arguments[first - 1] if first else None
    after = arguments[last + 1] if last + 1 < len(arguments) else None
    start, end, comma = arguments[first].start, arguments[last].end, listed.commas[last]
    end_of_run = end if comma is None else comma + 1
    rest = source.text[end_of_run : source.row_end(end_of_run)].strip()
    if source.indentation(start) is not None and (not rest or rest[0] == "#"):
        rows = Replacement(source.row_start(start), source.next_row(end_of_run), "")
        if before is None or comma is not None:
            return [rows]
        separator = listed.commas[first - 1]
        assert separator is not None
        return [Replacement(separator, separator + 1, ""), rows]
    if before is None:
        end = after.start if after else listed.end
    start = before.end if before else start
    if "#" in source.text[start:end]:
        raise EditError("has a comment beside an argument that has to go")
    return [Replacement(start, end, "")]


def _added(listed: _Listed, texts: Sequence[str]) -> list[Replacement]:
    """Return what adds arguments after the last, in lines of their own where that has one."""
    source, last, comma = listed.source, listed.arguments[-1], listed.commas[-1]
    end = last.end if comma is None else comma + 1
    indentation = source.indentation(last.start)
    if indentation is None:
        return [_added_in_line(listed, end, texts)]
    row_end = source.row_end(end)
    newline = source.newline_at(end) + indentation
    if listed.end < row_end:  # the parenthesis closes on the last argument's line
        row_end = end
    if comma is None:
        rows = newline + f",{newline}".join(texts)
        if row_end == end:
            return [Replacement(end, end, "," + rows)]
        return [Replacement(end, end, ","), Replacement(row_end, row_end, rows)]
    return [Replacement(row_end, row_end, "".join(f"{newline}{text}," for text in texts))]


def _added_in_line(listed: _Listed, end: int, texts: Sequence[str]) -> Replacement:
    """Return arguments after the last on its line; under the first, where that gets too long."""
    source, has_comma = listed.source, listed.commas[-1] is not None
    text = ", ".join(texts)
    row_start, row_end = source.row_start(end), source.row_end(end)
    first = listed.arguments[0].start
    gap = " "
    if row_end - row_start + len(text) + 2 > _LONGEST_ROW and source.row_start(first) == row_start:
        before = source.text[row_start:first]
        blanks = "".join(c if c == "\t" else " " for c in before)
        gap = source.newline_at(end) + blanks
    return Replacement(end, end, f"{gap}{text}," if has_comma else f",{gap}{text}")


def _tree(
    listed: _Listed,
    texts: Sequence[Replacement],
    changes: Sequence[_Change],
    removed: Sequence[_Argument],
) -> NewCall:
    """Return the call that the new text must parse to."""
    new: dict[int, ast.expr | ast.keyword] = {}
    keywords = []
    for argument, name, text in changes:
        value = ast.parse(text, mode="eval").body
        if argument is None:
            keywords.append(ast.keyword(name, value))
        elif isinstance(argument.node, ast.keyword):
            new[id(argument.node)] = ast.keyword(name, value)
        else:
            new[id(argument.node)] = value
    gone = {id(argument.node) for argument in removed}
    call = listed.call
    kept = [new.get(id(keyword), keyword) for keyword in call.keywords if id(keyword) not in gone]
    return NewCall(
        call,
        tuple(texts),
        [arg for old in call.args if isinstance(arg := new.get(id(old), old), ast.expr)],
        [*(keyword for keyword in kept if isinstance(keyword, ast.keyword)), *keywords],
    )
