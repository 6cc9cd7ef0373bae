"""Where an argument that is not a literal comes from, and what to do there."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence

from laptime.tuning.rewriting.calls import Opaque
from laptime.tuning.rewriting.source import Source


def origin_words(source: Source, file: str, opaque: Iterable[Opaque]) -> str:
    """Return what a call takes from elsewhere, and how to set it: a sentence without its subject.

    Places in the script are written with the name of its file.
    """
    sentences = []
    starred: dict[str, list[str]] = {}
    for name, value, node in opaque:
        if isinstance(node, ast.keyword | ast.Starred):
            starred.setdefault(source.words(node), []).append(f"{name}={value!r}")
            continue
        place = _constant_place(source, file, node) if isinstance(node, ast.Name) else ""
        option = _option(source, node)
        passed = _option_words(option, value) if option is not None else None
        remedy = f"{passed}, or set it there" if passed else f"set it to {value!r} there"
        sentences.append(f"takes {name} from {source.words(node)}{place}: {remedy}")
    sentences += [f"takes arguments from {s}: set {listing(w)} there" for s, w in starred.items()]
    return "; ".join(sentences)


def listing(words: Sequence[str]) -> str:
    """Return words as a sentence lists them."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _constant_place(source: Source, file: str, name: ast.Name) -> str:
    """Return where the module sets a name once, to a literal."""
    stores = [
        node
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Name) and node.id == name.id and not isinstance(node.ctx, ast.Load)
    ]
    places = [
        statement.lineno
        for statement in source.tree.body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.value, ast.Constant)
        and statement.targets == stores
    ]
    return f" ({file}:{places[0]})" if len(places) == 1 else ""


def _options(source: Source) -> Iterator[ast.Call]:
    for node in ast.walk(source.tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "add_argument"
        ):
            yield node


def _option(source: Source, node: ast.expr | ast.keyword) -> ast.Call | None:
    """Return the script's own command-line option that fills ``args.name``, if there is one."""
    if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
        return None
    found = [option for option in _options(source) if _destination(option) == node.attr]
    return found[0] if len(found) == 1 else None


def _flags(option: ast.Call) -> list[str]:
    values = [arg.value for arg in option.args if isinstance(arg, ast.Constant)]
    return [value for value in values if isinstance(value, str)]


def _keyword(option: ast.Call, name: str) -> ast.expr | None:
    return next((keyword.value for keyword in option.keywords if keyword.arg == name), None)


def _destination(option: ast.Call) -> str | None:
    named = _keyword(option, "dest")
    if isinstance(named, ast.Constant):
        return str(named.value)
    flags = [flag for flag in _flags(option) if flag.startswith("-")]
    flag = next((flag for flag in flags if flag.startswith("--")), flags[0] if flags else None)
    return flag.lstrip("-").replace("-", "_") if flag else None


def _option_words(option: ast.Call, value: object) -> str | None:
    """Return what to pass so that an option gives a value, as argparse reads it."""
    flags = _flags(option)
    flag = next((flag for flag in flags if flag.startswith("--")), flags[0])
    action = _keyword(option, "action")
    if action is None:
        return None if isinstance(value, bool) else f"pass {flag} {value}"
    if isinstance(action, ast.Constant) and action.value in {"store_true", "store_false"}:
        wanted = action.value == "store_true"
        return f"pass {flag}" if value is wanted else f"leave {flag} out"
    if isinstance(action, ast.Attribute) and action.attr == "BooleanOptionalAction":
        return f"pass {flag if value else flag.replace('--', '--no-', 1)}"
    return None
