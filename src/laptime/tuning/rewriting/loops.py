"""What belongs into or before a script's training loop, or right after its model is made."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from laptime.tuning.rewriting.origins import listing
from laptime.tuning.rewriting.script import Place, Proposal, Script, Scripts, place_of, rows
from laptime.tuning.rewriting.source import EditError, Source

_Loop = ast.For | ast.AsyncFor | ast.While
_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

_CHANNELS_LAST = (
    "call .to(memory_format=torch.channels_last) on it once before, and "
    ".contiguous(memory_format=torch.channels_last) on its images"
)
_COMPILE = "call .compile() on it once before"
_BF16 = {
    "transformers": "TrainingArguments(bf16=True)",
    "lightning": 'Trainer(precision="bf16-mixed")',
}


def loop_proposals(
    scripts: Scripts, facts: Mapping[str, Any], overrides: Mapping[str, object]
) -> list[Proposal]:
    """Return what to change around the calls of the model."""
    root = max(rows(facts, "roots"), key=lambda row: int(row.get("parameters") or 0), default={})
    place = place_of(root)
    script = _read(scripts, place)
    calls = f"{place.text} calls the model" if place else "where the model is called"
    framework = script.framework if script else None
    found = []
    if overrides.get("non_blocking"):
        found.append(_non_blocking(script, place))
    if overrides.get("bf16"):
        device = str(facts.get("device") or "cpu").split(":")[0]
        context = f'torch.autocast("{device}", dtype=torch.bfloat16)'
        words = f"{calls}: call it under {context}, and take its output .float() for the loss"
        words = f"{calls}: set {_BF16[framework]}" if framework else words
        found.append(Proposal(place, words))
    if overrides.get("channels_last"):
        found.append(Proposal(place, f"{calls}: {_CHANNELS_LAST}"))
    if overrides.get("compile"):
        known = _compiled(script, facts, root)
        if framework == "transformers":
            known = Proposal(place, f"{calls}: set TrainingArguments(torch_compile=True)")
        found.append(known or Proposal(place, f"{calls}: {_COMPILE}"))
    if overrides.get("gc") == "freeze":
        found.append(_frozen(script, place))
    return found


def _read(scripts: Scripts, place: Place | None) -> Script | None:
    try:
        return scripts.read(place.path) if place else None
    except EditError:
        return None


def _non_blocking(script: Script | None, place: Place | None) -> Proposal:
    """Return the lines of the innermost loop that move something; nothing is changed by machine.

    Which of them move batches, and whether what follows may begin before, the text does not say.
    """
    loops = list(_loops(script, place)) if script and place else []
    lines = sorted(
        {
            node.lineno
            for node in (ast.walk(loops[-1]) if loops else ())
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in {"to", "cuda"}
        }
    )
    if script is None or not lines:
        return Proposal(place, "pass non_blocking=True where batches are moved to the device")
    places = [script.at(line) for line in lines]
    words = f"{listing([found.text for found in places])}: pass non_blocking=True to .to(device)"
    return Proposal(places[0], words)


def _loops(script: Script, place: Place) -> Iterator[_Loop]:
    """Yield the loops around a line, the outermost first, within the innermost function."""
    around = [
        node
        for node in ast.walk(script.source.tree)
        if isinstance(node, _Loop | _Function)
        and node.lineno <= place.line <= (node.end_lineno or node.lineno)
    ]
    around.sort(key=lambda node: node.lineno)
    functions = [i for i, node in enumerate(around) if isinstance(node, _Function)]
    for node in around[functions[-1] + 1 if functions else 0 :]:
        if isinstance(node, _Loop):
            yield node


def _frozen(script: Script | None, place: Place | None) -> Proposal:
    """Return the freeze before the loop over epochs, which holds another: it is entered once."""
    words = "gc.collect() and gc.freeze()"
    loops = list(_loops(script, place)) if script and place else []
    if script is None or not loops:
        return Proposal(place, f"{words}, before the training loop")
    loop, source = loops[0], script.source
    at = script.at(loop.lineno)
    words = f"before {at.text}: {words}"
    indentation = source.indentation(source.span(loop)[0])
    name = script.names.alias("gc") or "gc"
    first = next((s for s in source.tree.body if _is_ordinary_import(s)), loop)
    is_known = script.names.alias("gc") is not None
    is_free = is_known or (first.lineno < loop.lineno and not _mentions(script, name))
    if len(loops) < 2 or indentation is None or not is_free:
        return Proposal(at, words)
    calls = [f"{name}.{call}()" for call in ("collect", "freeze")]
    texts = [source.added_before(loop.lineno, [indentation + call for call in calls])]
    new = [_New(loop, calls)]
    if not is_known:
        texts.append(source.added_before(first.lineno, ["import gc"]))
        new.append(_New(first, ["import gc"]))
    return Proposal(at, words, tuple(texts), partial(_with_new, source, new))


def _mentions(script: Script, name: str) -> bool:
    """Return whether a script uses a name, for whatever."""
    nodes = ast.walk(script.source.tree)
    return script.names.binds(name) or any(isinstance(n, ast.Name) and n.id == name for n in nodes)


def _is_ordinary_import(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.ImportFrom):
        return statement.module != "__future__"
    return isinstance(statement, ast.Import)


def _compiled(
    script: Script | None, facts: Mapping[str, Any], root: Mapping[str, Any]
) -> Proposal | None:
    """Return ``model.compile()`` after ``model = Net()``, where the file makes one Net, so.

    The method keeps the names of parameters in checkpoints, which ``torch.compile(model)`` does
    not.
    """
    kind = root.get("class")
    same = [row for row in rows(facts, "roots") if row.get("class") == kind]
    if script is None or root.get("kind") != "module" or len(same) != 1:
        return None
    source = script.source
    made = [
        node
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and _last_name(node.func) == kind
    ]
    assigned = [
        node
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Assign) and len(made) == 1 and _innermost(node.value) is made[0]
    ]
    if len(assigned) != 1 or not isinstance(assigned[0].targets[0], ast.Name):
        return None
    statement, target = assigned[0], assigned[0].targets[0]
    indentation = source.indentation(source.span(statement)[0])
    if indentation is None or len(statement.targets) != 1:
        return None
    place = script.at(statement.end_lineno or statement.lineno)
    row = f"{target.id}.compile()"
    new = [_New(statement, [row], after=True)]
    text = source.added_after(place.line, [indentation + row])
    return Proposal(place, f"after {place.text}: {row}", (text,), partial(_with_new, source, new))


def _last_name(node: ast.expr) -> str | None:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None


def _innermost(node: ast.expr) -> ast.expr:
    """Return the call that begins a chain of moves: ``Net()`` of ``Net().to(device)``."""
    while (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"to", "cuda", "train"}
    ):
        node = node.func.value
    return node


class _New(NamedTuple):
    """Statements that are put beside another."""

    beside: ast.stmt
    rows: list[str]
    after: bool = False


def _with_new(source: Source, additions: list[_New]) -> ast.Module:
    """Return the tree of a script with some statements more."""
    tree, copies = source.copied_tree()
    for beside, rows_, after in additions:
        statement = copies[id(beside)]
        bodies = (
            body
            for node in ast.walk(tree)
            for _, body in ast.iter_fields(node)
            if isinstance(body, list) and any(item is statement for item in body)
        )
        body = next(bodies)
        index = next(i for i, item in enumerate(body) if item is statement) + after
        body[index:index] = ast.parse("\n".join(rows_)).body
    return tree
