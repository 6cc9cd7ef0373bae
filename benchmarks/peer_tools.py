"""Other tools, each in an environment of its own, and how a script is started under each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from laptime.timing.clock import read_ns

HERE = Path(__file__).parent
SCRIPTS = HERE / "peer_scripts"
HOMES = Path(os.environ.get("LAPTIME_PEERS", HERE / ".peers"))
"""Holds an environment for each tool; made where it is missing."""

VERSIONS = {"traceml-ai": "0.5.0", "gpuprof": "0.7.1", "loadtune": "0.3.0"}

LOOP = "    train(inputs, labels)\n"
ALTERNATING = "def is_on(number: int)"
"""In a script whose steps are traced in every second block only: the others are its control."""

START, END = "ends = []\n", "\nblock_us"

Edit = Callable[[str], str]


@dataclass(frozen=True)
class Ran:
    """What a command printed, and how long it took."""

    status: int
    said: str
    wall_s: float


def python_of(tool: str) -> str:
    """Return the interpreter of a tool's environment, which is made if it is not there."""
    home = HOMES / tool
    python = home / "bin" / "python"
    if not python.exists():
        print(f"making {home}", flush=True)
        ours = {name: metadata.version(name).partition("+")[0] for name in ("torch", "numpy")}
        wanted = [f"{name}=={number}" for name, number in {**ours, tool: VERSIONS[tool]}.items()]
        try:
            subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", *wanted], check=True)
        except BaseException:
            shutil.rmtree(home, ignore_errors=True)  # half an environment would be taken for one
            raise
    return str(python)


def execute(
    command: list[str], cwd: Path, variables: Mapping[str, str] | None = None, limit_s: int = 900
) -> Ran:
    """Run a command to its end; what it prints on either stream is kept as one."""
    start_ns = read_ns()
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **(variables or {})}, text=True, check=False,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=limit_s,
    )  # fmt: skip
    return Ran(done.returncode, done.stdout, (read_ns() - start_ns) / 1e9)


def as_it_is(text: str) -> str:
    """Change nothing."""
    return text


def with_trace_step(text: str) -> str:
    """Add what TraceML's documentation asks of a plain loop: an import, a call, a with a step."""
    text = text.replace(
        "import torch\n",
        'import torch\nimport traceml_ai as traceml\n\ntraceml.init(mode="auto")\n',
        1,
    )
    acts = ALTERNATING in text
    for indent in ("", "    "):
        step = f"{indent}{LOOP}"
        context = "traceml.trace_step(model)"
        if acts:
            context += " if is_on(number) else contextlib.nullcontext()"
        traced = f"{indent}    with {context}:\n    {step}"
        text = text.replace(f":\n{step}", f":\n{traced}")
    return (
        text.replace("import itertools\n", "import contextlib\nimport itertools\n")
        if acts
        else text
    )


def with_profile(text: str) -> str:
    """Add what gpuprof's documentation asks for, an import and a with around the loop."""
    text = text.replace("import torch\n", "import torch\nimport gpuprof\n", 1)
    begin = "profile = gpuprof.profile('peers')\nprofile.__enter__()\n"
    end = "profile.__exit__(None, None, None)\n"
    if START in text:
        return text.replace(START, f"{begin}{START}").replace(END, f"\n{end}{END}")
    return text.replace("for epoch in", f"{begin}for epoch in") + end


@dataclass(frozen=True)
class Way:
    """One way to run a script: under a tool, as it is or with the lines that the tool asks for."""

    name: str
    tool: str | None = None
    edit: Edit = as_it_is
    lines: int = 0
    """Added to the script."""
    variables: Mapping[str, str] = field(default_factory=dict)

    def command(self, script: Path, arguments: list[str]) -> list[str]:
        """Return the command; what the tool writes goes where the script is."""
        words = [str(script), *arguments]
        if self.tool is None:
            return [sys.executable, *words]
        if self.tool == "laptime":
            runs = ["--runs-dir", str(script.parent / "runs")]
            return [sys.executable, "-m", "laptime", "run", *runs, "--", sys.executable, *words]
        if self.tool == "traceml-ai":
            traceml = str(Path(python_of(self.tool)).parent / "traceml")
            given = ["--args", *arguments] if arguments else []
            return [traceml, "run", str(script), *given]
        return [python_of(self.tool), *words]

    def run(self, name: str, arguments: list[str], directory: Path) -> Ran:
        """Run one of our scripts in a directory, this way."""
        directory.mkdir(parents=True, exist_ok=True)
        script = directory / name
        plain = (SCRIPTS / name).read_text()
        edited = self.edit(plain)
        if (edited != plain) != bool(self.lines):
            raise RuntimeError(f"the lines of {self.name} do not fit into {name}")
        script.write_text(edited)
        beside = {"PATH": f"{Path(self.command(script, [])[0]).parent}:{os.environ['PATH']}"}
        return execute(self.command(script, arguments), directory, {**self.variables, **beside})


PLAIN = Way("plain")
LAPTIME = Way("laptime run", "laptime")
WAYS = (
    PLAIN,
    LAPTIME,
    Way("traceml run", "traceml-ai"),
    Way("traceml run, with its three lines", "traceml-ai", with_trace_step, 3),
    Way("gpuprof, with its two lines", "gpuprof", with_profile, 2),
)
"""gpuprof has no command that takes a script as it is."""
