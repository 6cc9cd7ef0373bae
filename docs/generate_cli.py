"""Write docs/cli.md from the commands themselves.

    .venv/bin/python docs/generate_cli.py [PATH]

A test compares the file with what this makes, so that an option cannot change without it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from laptime.cli.main import VERBS, app

PAGE = Path(__file__).with_name("cli.md")

_HEAD = """# The command line

Generated from the commands by `make docs`; do not edit it by hand.

Results go to standard output, progress and warnings to standard error. A setting is said on the
command line, else in the TOML file of `--config`, else in the run that is resumed, else it has its
default. `train` and `export` read `--num_workers` as `--num-workers`. A switch such as `--evaluate`
takes `true` or `false` or nothing, which means `true`.
"""


class Sections(click.HelpFormatter):
    """Collect what a command writes about its options, instead of wrapping it to a width."""

    def __init__(self) -> None:
        super().__init__(width=10_000)
        self.found: dict[str, list[tuple[str, str]]] = {}
        self._title = ""

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Begin a section of options."""
        self._title = name
        yield

    def write_dl(
        self,
        rows: Iterable[tuple[str, str]],
        col_max: int = 30,  # noqa: ARG002 - click passes it
        col_spacing: int = 2,  # noqa: ARG002 - click passes it
    ) -> None:
        """Keep the options of the section."""
        self.found.setdefault(self._title, []).extend(rows)


def render_page() -> str:
    """Return the whole page."""
    ctx = click.Context(app, info_name="laptime", **app.context_settings)
    parts = [_HEAD, f"{app.epilog}\n", "| verb | what it does |\n| --- | --- |"]
    parts[-1] += "".join(f"\n| [{verb}](#laptime-{verb}) | {VERBS[verb]} |" for verb in VERBS)
    for verb in VERBS:
        command = app.get_command(ctx, verb)
        assert command is not None
        own = click.Context(command, ctx, info_name=verb, **command.context_settings)
        parts.append(render_command(own))
        if isinstance(command, click.Group):
            parts += [
                render_command(click.Context(inner, own, info_name=name))
                for name, inner in command.commands.items()
            ]
    return "\n".join(parts)


def render_command(ctx: click.Context) -> str:
    """Return the section of one command: usage, help, options."""
    command, path = ctx.command, ctx.command_path
    sections = Sections()
    command.format_options(ctx, sections)
    usage = " ".join([path, *command.collect_usage_pieces(ctx)])
    lines = [f"\n## {path}\n", f"```text\n{usage}\n```\n", f"{command.help}\n"]
    for title, rows in sections.found.items():
        lines.append(f"**{title}**\n")
        lines += [f"- `{option.strip()}`: {' '.join(text.split())}" for option, text in rows]
        lines.append("")
    if command.epilog:
        lines.append(" ".join(command.epilog.split()) + "\n")
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    (Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE).write_text(render_page())
