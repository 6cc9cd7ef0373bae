from __future__ import annotations

import re
from pathlib import Path

import pytest


@pytest.fixture
def targets(root: Path) -> dict[str, str]:
    """Return what each target of the Makefile depends on."""
    return dict(re.findall(r"^([a-z-]+):(.*)$", (root / "Makefile").read_text(), re.MULTILINE))


def test_the_readme_has_two_commands_to_begin_with_and_both_are_targets(
    root: Path, targets: dict[str, str]
) -> None:
    section = (root / "README.md").read_text().split("## Install and run")[1].split("\n## ")[0]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block is not None

    assert re.findall(r"^make (\S+)", block[1], re.MULTILINE) == ["lab", "test"]
    assert {"lab", "test"} <= set(targets)


@pytest.mark.parametrize("target", ["lab", "test"])
def test_a_readme_command_makes_the_environment_first(
    root: Path, targets: dict[str, str], target: str
) -> None:
    assert "$(INSTALLED)" in targets[target]
    assert "--constraint constraints.txt" in (root / "Makefile").read_text()


def test_continuous_integration_runs_the_readmes_test_command(root: Path) -> None:
    assert re.search(r"^make test$", (root / ".ci" / "run").read_text(), re.MULTILINE)


def test_every_make_command_in_a_document_is_a_target(
    documents: dict[str, str], targets: dict[str, str]
) -> None:
    named = {
        (path, target)
        for path, text in documents.items()
        for target in re.findall(r"(?:^|`|    )make ([a-z-]+)\b", text, re.MULTILINE)
    }

    assert len(named) > 8
    assert not {(path, target) for path, target in named if target not in targets}
