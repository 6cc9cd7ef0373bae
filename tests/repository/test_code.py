from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median

CLOCK = "timing/clock.py"

CLOCK_READS = {
    *("time", "time_ns", "perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns"),
    *("process_time", "process_time_ns", "thread_time", "thread_time_ns", "sleep", "clock_gettime"),
}

Sources = dict[str, ast.Module]


def functions(tree: ast.AST) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def length(node: ast.FunctionDef) -> int:
    return (node.end_lineno or 0) - node.lineno + 1


def dotted(node: ast.AST) -> str:
    return ast.unparse(node) if isinstance(node, ast.Attribute | ast.Name) else ""


def test_a_file_stays_under_350_lines(root: Path, sources: Sources) -> None:
    package = root / "src" / "laptime"
    lines = {path: len((package / path).read_text().splitlines()) for path in sources}

    assert not {path: count for path, count in lines.items() if count >= 350}


def test_a_function_stays_under_60_lines(sources: Sources) -> None:
    lines = {(p, f.name): length(f) for p, tree in sources.items() for f in functions(tree)}

    assert not {where: count for where, count in lines.items() if count >= 60}


def test_the_median_function_stays_under_10_lines(sources: Sources) -> None:
    assert median(length(f) for tree in sources.values() for f in functions(tree)) < 10


def imported(tree: ast.Module) -> set[str]:
    """Return the modules of ours that a module imports, inside of functions too."""
    found = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] == "laptime"}


def test_a_module_imports_fewer_than_five_of_its_own_folder(sources: Sources) -> None:
    joints = {  # where the parts of an epoch, a study, the lab, a recording come together
        "attach/recording.py",
        *("training/loop.py", "training/epoch.py"),
        *("studies/workers.py", "studies/catalog.py", "labs/parts.py"),
    }
    many = {}
    for path, tree in sources.items():
        folder = ".".join(["laptime", *Path(path).parts[:-1]])
        siblings = {name for name in imported(tree) if name.rpartition(".")[0] == folder}
        if len(siblings) >= 5:
            many[path] = siblings

    assert set(many) <= joints, many


def test_no_module_is_called_by_what_it_is_not(sources: Sources) -> None:
    vague = re.compile(r"(^|/|_)(utils?|helpers?|common|misc|tools|lib)(\.py|/|_)")

    assert not [path for path in sources if vague.search(path)]


def test_no_class_is_called_by_what_it_is_not(sources: Sources) -> None:
    vague = re.compile(r"(Manager|Handler|Helper|Base|Impl|Processor|Utils?)$")
    names = [
        f"{path}:{node.name}"
        for path, tree in sources.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    ]

    assert len(names) > 30
    assert not [name for name in names if vague.search(name)]


def clock_reads(tree: ast.Module) -> Iterator[str]:
    """Yield every mention of a clock, or of a wait for a device."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (alias.name for alias in node.names if alias.name in CLOCK_READS)
        if isinstance(node, ast.Attribute):
            owner, name = dotted(node.value), node.attr
            if owner == "time" and name in CLOCK_READS:
                yield f"time.{name}"
            if name == "synchronize" or (
                name in {"now", "utcnow", "today"} and owner.split(".")[-1] in {"datetime", "date"}
            ):
                yield f"{owner}.{name}"


def test_only_the_clock_reads_time_or_waits_for_a_device(sources: Sources) -> None:
    reads = {path: list(clock_reads(tree)) for path, tree in sources.items()}

    assert {"time.perf_counter_ns", "time.sleep", "torch.cuda.synchronize"} <= set(reads[CLOCK])
    assert not {path: names for path, names in reads.items() if names and path != CLOCK}


def dangers(tree: ast.Module) -> Iterator[str]:
    """Yield what can run code that a file or a name brings along."""
    modules = {"pickle", "_pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "yaml"}
    calls = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.load"}
    flags = {("shell", True), ("weights_only", False), ("allow_pickle", True)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] in modules)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in modules:
            yield node.module or ""
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            if name in calls or name.endswith((".extractall", ".extract")):
                yield name
            for keyword in node.keywords:
                value = keyword.value
                if isinstance(value, ast.Constant) and (keyword.arg, value.value) in flags:
                    yield f"{keyword.arg}={value.value}"


def test_dangers_are_recognised() -> None:
    code = (
        "import pickle\nfrom yaml import load\neval('1')\nsubprocess.run('a', shell=True)\n"
        "archive.extractall()\nx.load(f, weights_only=False)\nmodel.eval()\nre.compile('a')\n"
    )

    assert sorted(dangers(ast.parse(code))) == sorted(
        ["pickle", "yaml", "eval", "shell=True", "archive.extractall", "weights_only=False"]
    )


def test_nothing_runs_code_that_a_file_brings_along(sources: Sources) -> None:
    found = {path: list(dangers(tree)) for path, tree in sources.items()}

    assert not {path: names for path, names in found.items() if names}


def public(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.ClassDef]]:
    """Yield what others may use: functions and classes of the module, methods of these."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node
            for inner in node.body if isinstance(node, ast.ClassDef) else []:
                if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                    yield f"{node.name}.{inner.name}", inner


def test_whatever_is_public_says_what_it_does_in_one_line(sources: Sources) -> None:
    lines = {
        f"{path}:{name}": (ast.get_docstring(node) or "").split("\n")[0]
        for path, tree in sources.items()
        for name, node in public(tree)
    }

    assert len(lines) > 200
    assert not {name: line for name, line in lines.items() if not line.endswith(".")}
