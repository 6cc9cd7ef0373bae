"""Run the examples of the documents and write down what they print.

    .venv/bin/python docs/refresh_examples.py [FILE.md ...]

Without names: all documents. In a document, ``<!-- example -->`` stands before a block whose lines
``$ command`` are run with bash, one after another, and followed by their standard output;
``<!-- file: NAME -->`` stands before a block that is first written to a file of that name. All
blocks of a document share one scratch directory, so that a later command finds an earlier run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCUMENTS = (
    ROOT / "README.md",
    ROOT / "docs" / "tutorial.md",
    ROOT / "docs" / "one-lab.md",
)

BLOCK = re.compile(
    r"(?P<head><!-- (?P<kind>example|file)(?:: (?P<name>\S+))? -->\n```\w+\n)(?P<body>.*?)(?=```)",
    re.DOTALL,
)


def commands(body: str) -> list[str]:
    """Return the commands of an example."""
    return [line.removeprefix("$ ") for line in body.splitlines() if line.startswith("$ ")]


def refresh(text: str, directory: Path) -> str:
    """Return the document with its examples run anew in that directory."""

    def replaced(block: re.Match[str]) -> str:
        if block["kind"] == "file":
            (directory / block["name"]).write_text(block["body"])
            return block[0]
        return block["head"] + "".join(_transcript(c, directory) for c in commands(block["body"]))

    return BLOCK.sub(replaced, text)


def _transcript(command: str, directory: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(  # noqa: S603 - the commands stand in our own documents
        ["bash", "-c", command],  # noqa: S607 - the reader's bash
        cwd=directory,
        env={**os.environ, "PATH": path, "PYTHONWARNINGS": "default"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    said = done.stdout.replace(f"{ROOT}{os.sep}", "")  # where the repository is, is not told
    printed = "\n".join(line.rstrip() for line in said.strip("\n").splitlines())
    return f"$ {command}\n{printed}\n" if printed.strip() else f"$ {command}\n"


if __name__ == "__main__":
    for document in [Path(name) for name in sys.argv[1:]] or DOCUMENTS:
        with tempfile.TemporaryDirectory(prefix="laptime-examples-") as scratch:
            document.write_text(refresh(document.read_text(), Path(scratch)))
