from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Written in pieces, so that this file is not found by its own rule.
FOREIGN = re.compile(
    r"\bissue " + r"2\b|\bses" + r"sions?\b|(?<![\w.])/wo" + r"rk\b|\bfa" + r"rms?\b", re.IGNORECASE
)
PYTEST_WORDS = re.compile(r"scope=\"ses" + r"sion\"|request\.ses" + "sion")


def texts(tracked: list[Path]) -> dict[Path, str]:
    """Return the text of every file that is text."""
    return {p: p.read_bytes().decode() for p in tracked if b"\0" not in p.read_bytes()[:8000]}


def test_nothing_speaks_of_where_it_was_written(tracked: list[Path]) -> None:
    found = [
        f"{path}: {match[0]}"
        for path, text in texts(tracked).items()
        for match in FOREIGN.finditer(PYTEST_WORDS.sub("", text))
    ]

    assert len(tracked) > 100
    assert not found


def test_no_data_is_kept_among_the_sources(tracked: list[Path]) -> None:
    assert not {path: path.stat().st_size for path in tracked if path.stat().st_size > 200_000}


def test_text_ends_with_a_newline_and_no_line_with_a_blank(tracked: list[Path]) -> None:
    for path, text in texts(tracked).items():
        assert not text or text.endswith("\n"), path
        assert path.suffix == ".md" or not re.search(r"[ \t]$", text, re.MULTILINE), path


def test_every_lint_that_is_ignored_in_the_project_has_its_reason(root: Path) -> None:
    text = (root / "pyproject.toml").read_text()
    listed = re.search(r"^ignore = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    by_file = re.search(r"per-file-ignores\]\n(.*?)\n\n", text, re.DOTALL)
    assert listed is not None
    assert by_file is not None
    entries = [
        line
        for line in (*listed[1].splitlines(), *by_file[1].splitlines())
        if re.search(r'"[A-Z]+\d*"', line)
    ]

    assert len(entries) > 12
    assert not [line for line in entries if not re.search(r"# \S+ \S+", line)]


def test_every_ignore_in_the_code_names_what_it_ignores(tracked: list[Path]) -> None:
    bare = re.compile(r"# noqa(?!: [A-Z]+\d+)|# type: ignore(?!\[[\w-]+)|# ruff: noqa$")

    assert not [
        f"{path}:{number}"
        for path, text in texts(tracked).items()
        if path.suffix in {".py", ".pyi"} and path != Path(__file__)
        for number, line in enumerate(text.splitlines(), 1)
        if bare.search(line)
    ]


def test_every_noqa_in_the_package_says_why(root: Path) -> None:
    # An argument that a protocol passes and a function does not need explains itself.
    missing = re.compile(r"# noqa: (?!ARG\d+$)[A-Z0-9, ]+$")

    assert not [
        f"{path}: {line.strip()}"
        for path in sorted((root / "src").rglob("*.py"))
        for line in path.read_text().splitlines()
        if missing.search(line)
    ]


def pins(root: Path) -> dict[str, str]:
    lines = (root / "constraints.txt").read_text().split()
    return {canonicalize_name(n): v for n, _, v in (line.partition("==") for line in lines)}


def needed(name: str, extras: frozenset[str]) -> list[Requirement]:
    """Return what a distribution requires here, with these extras."""
    requirements = [Requirement(line) for line in metadata.requires(name) or []]
    environments = [{"extra": extra} for extra in extras or {""}]
    return [r for r in requirements if not r.marker or any(map(r.marker.evaluate, environments))]


def test_every_constraint_is_exact(root: Path) -> None:
    lines = (root / "constraints.txt").read_text().splitlines()

    assert not [line for line in lines if not re.fullmatch(r"[\w.-]+==\d[\w.]*", line)]
    assert pins(root)["torch"] == "2.13.0"


WITH_CUDA = {"cuda-bindings", "cuda-pathfinder", "nvidia-nvjitlink"}
"""What torch's CUDA build needs in any version; a build for the CPU alone does not need it."""


def test_every_dependency_is_pinned_and_installed_as_pinned(root: Path) -> None:
    pinned, seen = pins(root), set()
    walked: list[tuple[str, set[str]]] = []
    by_parent: set[str] = set()
    unpinned: dict[str, str] = {}
    waiting = [(r, "laptime") for r in needed("laptime", frozenset({"", "dev"}))]
    while waiting:
        requirement, parent = waiting.pop()
        name = canonicalize_name(requirement.name)
        # torch's CUDA build pins most of the libraries that it brings along itself; one of them may
        # also be needed, without a version, by another.
        if any(s.operator in {"==", "==="} for s in requirement.specifier):
            by_parent.add(name)
        if (name, requirement.extras) in walked or name == "laptime":
            continue
        walked.append((name, requirement.extras))
        seen.add(name)
        if name in pinned:
            assert metadata.version(name).partition("+")[0] == pinned[name], name
        else:
            unpinned[name] = parent
        waiting += [(r, name) for r in needed(name, frozenset(requirement.extras))]

    assert "torch" in seen
    assert {n: parent for n, parent in unpinned.items() if n not in by_parent} == {}
    assert not set(pinned) - seen - {"setuptools"} - WITH_CUDA, "pinned and not needed"
