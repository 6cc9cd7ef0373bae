"""What a name means in a script, where imports alone decide it."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator

_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


class _Scope:
    """The names that a module, class, function or comprehension binds."""

    def __init__(self, parent: _Scope | None, *, is_class: bool = False) -> None:
        self.parent = parent
        self.is_class = is_class
        self.bound: dict[str, set[str | None]] = {}

    def bind(self, name: str | None, meaning: str | None = None) -> None:
        if name is not None:
            self.bound.setdefault(name, set()).add(meaning)

    def names(self) -> Iterator[str]:
        """Yield the names of this scope and of those around it."""
        scope: _Scope | None = self
        while scope is not None:
            yield from scope.bound
            scope = scope.parent

    def visible(self, name: str) -> _Scope | None:
        """Return the scope whose binding a name means here; functions do not see a class's."""
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.bound and (scope is self or not scope.is_class):
                return scope
            scope = scope.parent
        return None


class Names:
    """The dotted names of a script: ``DL`` is torch.utils.data.DataLoader where it is imported so.

    A name that something else binds too, in the scope that counts, means nothing certain.
    """

    def __init__(self, tree: ast.Module) -> None:
        self._module = _Scope(None)
        self._scopes: dict[ast.AST, _Scope] = {}
        self._stars: set[str] = set()
        self._visit_all(tree.body, self._module)

    @property
    def imported(self) -> set[str]:
        """What the module imports, by dotted names."""
        meanings = {meaning for bound in self._module.bound.values() for meaning in bound}
        return {meaning for meaning in meanings if meaning}

    def binds(self, name: str) -> bool:
        """Return whether the module binds a name, to whatever."""
        return name in self._module.bound

    def dotted(self, node: ast.AST) -> str | None:
        """Return what a name or attribute refers to, or None where imports do not say."""
        if isinstance(node, ast.Attribute):
            owner = self.dotted(node.value)
            return owner and f"{owner}.{node.attr}"
        if not isinstance(node, ast.Name) or node not in self._scopes:
            return None
        return self._meaning(node.id, self._scopes[node])

    def alias(self, dotted: str, node: ast.Name | None = None) -> str | None:
        """Return the name of an imported module where another name stands, or at module level."""
        here = self._module if node is None else self._scopes[node]
        return next((name for name in here.names() if self._meaning(name, here) == dotted), None)

    def _meaning(self, name: str, scope: _Scope) -> str | None:
        home = scope.visible(name)
        if home is not None:
            meanings = home.bound[name]
            return next(iter(meanings)) if len(meanings) == 1 else None
        if len(self._stars) == 1 and not hasattr(builtins, name):
            return f"{next(iter(self._stars))}.{name}"
        return None

    def _visit_all(self, nodes: list[ast.stmt] | list[ast.expr], scope: _Scope) -> None:
        for node in nodes:
            self._visit(node, scope)

    def _visit(self, node: ast.AST, scope: _Scope) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom):
            self._bind_import(node, scope)
        elif isinstance(node, _Function):
            self._visit_function(node, scope)
        elif isinstance(node, ast.ClassDef):
            scope.bind(node.name)
            self._visit_all([*node.decorator_list, *node.bases], scope)
            for keyword in node.keywords:
                self._visit(keyword.value, scope)
            self._visit_all(node.body, _Scope(scope, is_class=True))
        elif isinstance(node, _Comprehension):
            inner = _Scope(scope)
            for child in ast.iter_child_nodes(node):
                self._visit(child, inner)
        else:
            for name in _bindings(node):
                # Where `global` names it, the module's is bound as well.
                (self._module if isinstance(node, ast.Global) else scope).bind(name)
            if isinstance(node, ast.Name):
                self._scopes[node] = scope
            for child in ast.iter_child_nodes(node):
                self._visit(child, scope)

    def _visit_function(self, node: _Function, scope: _Scope) -> None:
        inner = _Scope(scope)
        if not isinstance(node, ast.Lambda):
            scope.bind(node.name)
            self._visit_all(node.decorator_list, scope)
        arguments = node.args
        self._visit_all(arguments.defaults, scope)
        self._visit_all([default for default in arguments.kw_defaults if default], scope)
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        for argument in [*named, arguments.vararg, arguments.kwarg]:
            inner.bind(argument.arg if argument else None)
        self._visit_all([node.body] if isinstance(node, ast.Lambda) else node.body, inner)

    def _bind_import(self, node: ast.Import | ast.ImportFrom, scope: _Scope) -> None:
        for alias in node.names:
            if isinstance(node, ast.Import):
                root = alias.name.split(".")[0]
                scope.bind(alias.asname or root, alias.name if alias.asname else root)
            elif alias.name == "*":
                self._stars.add(node.module or ".")
            else:
                meaning = None if node.level else f"{node.module}.{alias.name}"
                scope.bind(alias.asname or alias.name, meaning)


def _bindings(node: ast.AST) -> Iterator[str | None]:
    """Yield the names that a node binds by itself, imports, functions and classes apart."""
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
        yield node.name
    elif isinstance(node, ast.MatchMapping):
        yield node.rest
    elif isinstance(node, ast.Global):
        yield from node.names
