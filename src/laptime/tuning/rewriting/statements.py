"""Settings of torch for the whole process: changed where a script makes them, or added."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from laptime.host_memory import VARIABLES
from laptime.tuning.rewriting.script import Proposal, Script, Scripts
from laptime.tuning.rewriting.source import Replacement

_TF32 = "torch.backends.cuda.matmul.allow_tf32"


class Setting(NamedTuple):
    """A call with one argument, or an assignment, that torch is set with."""

    dotted: str
    value: object
    is_call: bool = True

    @property
    def text(self) -> str:
        """The value as code."""
        return f'"{self.value}"' if isinstance(self.value, str) else repr(self.value)

    def statement(self, torch: str = "torch") -> str:
        """Return the statement, for the name that torch has in a script."""
        name = torch + self.dotted.removeprefix("torch")
        return f"{name}({self.text})" if self.is_call else f"{name} = {self.text}"


def process_settings(overrides: Mapping[str, Any]) -> list[Setting]:
    """Return the settings of torch that overrides stand for."""
    found = []
    if overrides.get("threads"):
        found.append(Setting("torch.set_num_threads", int(overrides["threads"])))
    if overrides.get("tf32"):
        found.append(Setting("torch.set_float32_matmul_precision", "high"))
    if overrides.get("cudnn_benchmark"):
        found.append(Setting("torch.backends.cudnn.benchmark", value=True, is_call=False))
    return found


def process_proposals(scripts: Scripts, settings: Iterable[Setting]) -> list[Proposal]:
    """Return where the process is to be set: where it is now, or after the imports of torch."""
    trained = list(scripts.trained())
    proposals, missing = [], []
    for setting in settings:
        made = [place for script in trained for place in _made(script, setting)]
        proposals += _remade(made)
        if not made:
            missing.append(setting)
    if missing:
        proposals.append(_inserted(trained, missing))
    return proposals


def environment_proposals(overrides: Mapping[str, Any]) -> list[Proposal]:
    """Return what is to be set in the environment that the script is started in."""
    if not overrides.get("keep_memory"):
        return []
    words = " ".join(f"{name}={value}" for name, value in VARIABLES.items())
    return [Proposal(None, f"start the script with {words} in its environment")]


class _Made(NamedTuple):
    """Where a script makes a setting itself."""

    script: Script
    node: ast.Call | ast.Assign
    value: ast.Constant | None
    """What it is set to, where a literal in a statement of the module says so."""
    setting: Setting


def _made(script: Script, setting: Setting) -> list[_Made]:
    if setting.dotted.endswith("matmul_precision"):  # the older word for the same switch
        older = _made(script, Setting(_TF32, value=True, is_call=False))
    else:
        older = []
    body, dotted, found = script.source.tree.body, script.names.dotted, []
    statements = {*body, *(s.value for s in body if isinstance(s, ast.Expr))}
    for node in ast.walk(script.source.tree):
        value: ast.expr | None = None
        if isinstance(node, ast.Call) and dotted(node.func) == setting.dotted:
            value = node.args[0] if len(node.args) == 1 and not node.keywords else None
        elif isinstance(node, ast.Assign) and setting.dotted in map(dotted, node.targets):
            value = node.value if len(node.targets) == 1 else None
        else:
            continue
        is_plain = node in statements and isinstance(value, ast.Constant)
        found.append(_Made(script, node, value if is_plain else None, setting))  # type: ignore[arg-type]
    return [*found, *older]


def _remade(made: Sequence[_Made]) -> list[Proposal]:
    """Return what a setting that the script makes itself has to become."""
    proposals = []
    for one in made:
        script, node, value, setting = one
        place = script.at(node.lineno)
        if value is not None and value.value == setting.value:
            continue
        if len(made) > 1 or value is None:
            words = f"{place.text} has {script.source.words(node)}: make it {setting.text}"
            proposals.append(Proposal(place, words))
            continue
        text = Replacement(*script.source.span(value), setting.text)
        words = f"{place.text} {setting.statement()}"
        proposals.append(Proposal(place, words, (text,), partial(_with_value, one)))
    return proposals


def _with_value(made: _Made) -> ast.Module:
    tree, copies = made.script.source.copied_tree()
    copies[id(made.value)].value = made.setting.value
    return tree


def _inserted(trained: Sequence[Script], settings: Sequence[Setting]) -> Proposal:
    """Return statements after the imports that hold the last one of torch."""
    words = " and ".join(setting.statement() for setting in settings)
    script = next((s for s in trained if any(map(_is_torch, s.source.tree.body))), None)
    if script is None:
        return Proposal(None, f"{words}, before training begins")
    body = script.source.tree.body
    last = max(i for i, statement in enumerate(body) if _is_torch(statement))
    while last + 1 < len(body) and (
        isinstance(body[last + 1], ast.Import | ast.ImportFrom)
        or body[last + 1].lineno == body[last].end_lineno
    ):
        last += 1
    place = script.at(body[last].end_lineno or body[last].lineno)
    torch = script.names.alias("torch")
    if torch is None and script.names.binds("torch"):
        return Proposal(place, f"after {place.text}: {words}; torch has another name there")
    lines = [] if torch else ["import torch"]
    lines += ["", *(setting.statement(torch or "torch") for setting in settings)]
    rows = script.source.added_after(place.line, lines)
    return Proposal(
        place,
        f"after {place.text}: {words}",
        (rows,),
        partial(_with_statements, script, last + 1, lines),
    )


def _with_statements(script: Script, index: int, lines: Sequence[str]) -> ast.Module:
    body, new = script.source.tree.body, ast.parse("\n".join(lines)).body
    return ast.Module([*body[:index], *new, *body[index:]], type_ignores=[])


def _is_torch(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Import):
        return any(alias.name.split(".")[0] == "torch" for alias in statement.names)
    if isinstance(statement, ast.ImportFrom) and statement.level == 0:
        return (statement.module or "").split(".")[0] == "torch"
    return False
