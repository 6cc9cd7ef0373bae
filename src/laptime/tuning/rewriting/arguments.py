"""Arguments of the calls that make loaders and optimizers, set where the script makes them."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from laptime.tuning.rewriting.calls import NewCall, OpaqueError, Signature, new_call
from laptime.tuning.rewriting.origins import listing, origin_words
from laptime.tuning.rewriting.script import Place, Proposal, Script, Scripts, place_of, rows
from laptime.tuning.rewriting.source import EditError

LOADER_ARGUMENTS = ("num_workers", "persistent_workers", "pin_memory", "prefetch_factor")
OPTIMIZER_ARGUMENTS = ("fused", "foreach")

_LOADERS = {"torch.utils.data.DataLoader", "torch.utils.data.dataloader.DataLoader"}
_LOADER = Signature(
    positional=(
        *("dataset", "batch_size", "shuffle", "sampler", "batch_sampler", "num_workers"),
        *("collate_fn", "pin_memory", "drop_last", "timeout", "worker_init_fn"),
        *("multiprocessing_context", "generator"),
    ),
    defaults={
        "num_workers": 0,
        "pin_memory": False,
        "persistent_workers": False,
        "prefetch_factor": None,
        "multiprocessing_context": None,
        "timeout": 0,
    },
)
_OF_WORKERS = ("prefetch_factor", "persistent_workers", "multiprocessing_context", "timeout")
"""What a loader without workers refuses."""

_OPTIMIZER = Signature(defaults={"fused": None, "foreach": None})
_ACCEPTED = {
    "fused": {"Adagrad", "Adam", "AdamW", "SGD"},
    "foreach": {
        *("ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam"),
        *("RAdam", "RMSprop", "Rprop", "SGD"),
    },
}
_MOST_POSITIONAL = 5  # after these some optimizers take foreach by position


def loader_proposals(
    scripts: Scripts, facts: Mapping[str, Any], overrides: Mapping[str, object]
) -> list[Proposal]:
    """Return what to change at the loaders that overrides were for."""
    values = {name: overrides[name] for name in LOADER_ARGUMENTS if name in overrides}
    site = overrides.get("site")
    found = rows(facts, "loaders")
    proposals = []
    for place, group in _by_place(found).items():
        if not values or (site is not None and (place is None or place.text != site)):
            continue
        target = _Target("DataLoader", _LOADERS.__contains__, _LOADER, values)
        if not values.get("num_workers", group[0].get("num_workers")):
            target = target.without_workers()
        if target.values:
            target = target._replace(made_at=_made_at(found, group[0]))
            proposals += _proposals(scripts, place, target, len(group))
    return proposals


def optimizer_proposals(
    scripts: Scripts, facts: Mapping[str, Any], overrides: Mapping[str, object]
) -> list[Proposal]:
    """Return what to change at the optimizers that take fused or foreach."""
    asked = [name for name in OPTIMIZER_ARGUMENTS if overrides.get(name) is not None]
    if not asked:
        return []
    name, proposals = asked[0], []
    value = overrides[name]
    for kind in sorted(_ACCEPTED[name]):
        target = _Target(kind, _is_optimizer(kind), _OPTIMIZER, {name: value})
        if value:  # torch refuses both
            target = target._replace(dropped=tuple(n for n in OPTIMIZER_ARGUMENTS if n != name))
        group = [row for row in rows(facts, "optimizers") if row.get("class") == kind]
        for place, made in _by_place(group).items():
            proposals += _proposals(scripts, place, target, len(made))
    return proposals


class _Target(NamedTuple):
    """The calls that are looked for, and what they are to be given."""

    kind: str
    is_known: Callable[[str], bool]
    signature: Signature
    values: Mapping[str, object]
    dropped: tuple[str, ...] = ()
    made_at: Place | None = None
    """Where the script makes what a library then makes again, for a hint."""

    def without_workers(self) -> _Target:
        """Return the target for a loader of the training process: what is of workers goes."""
        return self._replace(
            values={n: v for n, v in self.values.items() if n not in _OF_WORKERS},
            dropped=_OF_WORKERS if "num_workers" in self.values else (),
        )

    @property
    def words(self) -> list[str]:
        return [f"{name}={value!r}" for name, value in self.values.items()]


def _is_optimizer(kind: str) -> Callable[[str], bool]:
    return lambda dotted: dotted.startswith("torch.optim.") and dotted.split(".")[-1] == kind


def _by_place(
    found: Iterable[Mapping[str, Any]],
) -> dict[Place | None, list[Mapping[str, Any]]]:
    groups: dict[Place | None, list[Mapping[str, Any]]] = {}
    for row in found:
        groups.setdefault(place_of(row), []).append(row)
    return groups


def _made_at(found: Iterable[Mapping[str, Any]], loader: Mapping[str, Any]) -> Place | None:
    """Return where a loader of the same data was made that nobody iterated: accelerate's way."""
    places = {
        place
        for row in found
        if (place := place_of(row)) != place_of(loader)
        and not (row.get("training_passes") or row.get("evaluation_passes"))
        and (row.get("dataset"), row.get("batch_size"))
        == (loader.get("dataset"), loader.get("batch_size"))
    }
    return places.pop() if len(places) == 1 else None


def _proposals(
    scripts: Scripts, place: Place | None, target: _Target, count: int
) -> list[Proposal]:
    """Return the change of the calls at a place; in words alone where it is not safe."""
    values = listing(target.words)
    if place is None:
        return [Proposal(None, f"set {values} where the {target.kind} is made: no line is known")]
    try:
        script = scripts.read(place.path)
        calls = _calls_at(script, place.line, target, count)
        changed = [call for old in calls if (call := _changed(script, old, target)) is not None]
    except EditError as error:
        remedy = "" if error.says_how else f": set {values} where it is made"
        return [Proposal(place, f"{place.text} {error}{remedy}")]
    if not changed:
        return []
    words = f"{place.text} {target.kind}({', '.join(target.words)})"
    texts = tuple(text for call in changed for text in call.replacements)
    return [Proposal(place, words, texts, partial(_tree, script, changed))]


def _changed(script: Script, call: ast.Call, target: _Target) -> NewCall | None:
    if target.signature is _OPTIMIZER and len(call.args) > _MOST_POSITIONAL:
        raise EditError("gives so much by position that a name may come twice")
    try:
        return new_call(script.source, call, target.signature, target.values, target.dropped)
    except OpaqueError as error:
        opaque = {argument.name for argument in error.arguments}
        rest = [f"{n}={v!r}" for n, v in target.values.items() if n not in opaque]
        words = origin_words(script.source, script.path.name, error.arguments)
        words += f"; set {listing(rest)} too" if rest else ""
        raise EditError(words, says_how=True) from error


def _calls_at(script: Script, line: int, target: _Target, count: int) -> Sequence[ast.Call]:
    """Return the calls that made what was found at a line.

    Raises:
        EditError: There is none, or one of several may not have been made.
    """
    calls = [
        node
        for node in ast.walk(script.source.tree)
        if isinstance(node, ast.Call) and line in {node.lineno, node.func.end_lineno}
    ]
    known = [call for call in calls if target.is_known(script.names.dotted(call.func) or "")]
    if not known:
        raise _nothing_there(script, calls, target)
    if len(known) > 1 and len(known) != count:
        raise EditError(f"holds {len(known)} calls of {target.kind}, not all of which were made")
    return known


def _nothing_there(script: Script, calls: Sequence[ast.Call], target: _Target) -> EditError:
    """Say what a line has in place of the call, and where to look."""
    what, values = f"has no call of torch's own {target.kind}", listing(target.words)
    if target.made_at is not None:
        return EditError(f"{what}: set {values} at {target.made_at.text}", says_how=True)
    if script.framework == "transformers":
        arguments = ", ".join(f"dataloader_{word}" for word in target.words)
        if target.signature is _OPTIMIZER:
            arguments = f'optim="{target.kind.lower()}_torch_fused"'
        if target.signature is _LOADER or "fused" in target.values:
            return EditError(f"{what}: set TrainingArguments({arguments})", says_how=True)
    dotted = {script.names.dotted(call.func) or "torch." for call in calls}
    foreign = sorted(name for name in dotted if not name.startswith("torch."))
    if foreign:
        return EditError(f"{what} but {foreign[0]}: set {values} there", says_how=True)
    return EditError(what)


def _tree(script: Script, calls: Iterable[NewCall]) -> ast.Module:
    """Return the tree of a script with other calls in it."""
    tree, copies = script.source.copied_tree()
    for call in calls:
        node = copies[id(call.call)]
        node.args = [copies.get(id(arg), arg) for arg in call.args]
        node.keywords = [copies.get(id(keyword), keyword) for keyword in call.keywords]
    return tree
