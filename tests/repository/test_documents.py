from __future__ import annotations

import re
from pathlib import Path

from laptime.phase import LOADING, REMAINING, TRAINING


def test_every_relative_link_leads_to_a_file(root: Path, documents: dict[str, str]) -> None:
    links = {
        (path, link)
        for path, text in documents.items()
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    }

    assert len(links) > 15
    assert not {(p, link) for p, link in links if not ((root / p).parent / link).is_file()}


def test_every_file_named_with_its_folder_exists(root: Path, documents: dict[str, str]) -> None:
    names = {
        (path, name)
        for path, text in documents.items()
        for name in re.findall(
            r"(?<![\w/.-])(?<!^(?:---|\+\+\+) )((?:\w+/)+\w+\.(?:py|md|sh|toml|jinja))\b",
            text,
            re.MULTILINE,
        )
    }
    roots = (root, root / "src" / "laptime")

    assert len(names) > 15
    assert not {(p, name) for p, name in names if not any((r / name).is_file() for r in roots)}


def test_every_name_said_to_be_in_a_file_is_there(root: Path, documents: dict[str, str]) -> None:
    said = {
        (name.rpartition(".")[2], path)
        for text in documents.values()
        for name, path in re.findall(r"`([A-Za-z_][\w.]*)`\s+in\s+`((?:\w+/)*\w+\.py)`", text)
    }

    assert len(said) > 5
    assert not {
        (name, path)
        for name, path in said
        if not re.search(rf"\b{name}\b", (root / "src" / "laptime" / path).read_text())
    }


def test_every_document_is_reached_from_the_readme(documents: dict[str, str]) -> None:
    linked = set(re.findall(r"\]\(([^)#]+\.md)", documents["README.md"]))

    assert set(documents) - {"README.md"} == linked & set(documents)


def test_the_phases_of_the_method_are_those_of_the_program(documents: dict[str, str]) -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| (\w+) \|$", documents["docs/method.md"], re.MULTILINE)
    columns = {"loading": LOADING, "training": TRAINING, "other": REMAINING}
    expected = {phase.value: name for name, phases in columns.items() for phase in phases}

    assert dict(row for row in rows if row[1] in columns) == expected


def test_prose_is_ascii(documents: dict[str, str]) -> None:
    prose = {path: re.sub(r"```.*?```", "", t, flags=re.DOTALL) for path, t in documents.items()}

    assert not {path for path, text in prose.items() if not text.isascii()}
