"""The door: finds the verb, turns what goes wrong into one line and an exit status."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Callable
from typing import NoReturn

import click

import laptime
from laptime.errors import LaptimeError, printable

VERBS = {
    "train": "Train, and say where every second of each epoch went.",
    "run": "Run any command that trains, unedited, and say where its time went.",
    "tune": "Find what makes a command that trains faster, and prove it on fresh blocks.",
    "study": "Answer one question by experiment: workers, devices, optimizers, batchnorm.",
    "compare": "Hold two runs or two studies against each other, with a verdict.",
    "inspect": "Count a model: layers, parameters, gradients, optimizer state, arithmetic.",
    "lab": "Answer the questions of the lab, one after another.",
    "report": "Write what was measured as one page, with charts, tables and limits.",
    "list": "Show the recorded runs.",
    "data": "Show what data is there, or download CIFAR-10.",
    "selftest": "Plant known costs on this machine and see whether they are found.",
    "export": "Write the training as one plain PyTorch file without laptime.",
}
"""Verbs and their help, here so that ``laptime --help`` imports none of them."""

_HELP = """Say where the time of a training epoch goes, and what would make it faster.

Begin with `laptime train`: it needs no data and no GPU.
"""


class Verbs(click.Group):
    """A group that imports a verb when it is called, and not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click passes it
        """Return the verbs in the order in which a newcomer meets them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        """Import a verb's module and return its command."""
        if name not in VERBS:
            return None
        command = importlib.import_module(f"laptime.cli.{name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click passes it
        formatter: click.HelpFormatter,
    ) -> None:
        """Write the list of verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(
    cls=Verbs,
    help=_HELP,
    epilog="Exit status: 0 done; 1 the training diverged, failed or ran out of memory; "
    "2 wrong usage or bad input; 3 refuses to conclude; 130 interrupted.",
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda token: token.replace("_", "-"),  # --num_workers too
        "max_content_width": 100,
    },
)
@click.version_option(laptime.__version__, prog_name="laptime")
def app() -> None:
    """Hold the verbs."""


def main(argv: list[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115 - for good
        getattr(sys, name).reconfigure(errors="replace")
    sys.exit(status_of(lambda: invoke(sys.argv[1:] if argv is None else argv)))


def invoke(arguments: list[str]) -> object:
    """Run a verb and return what it returns.

    Not through click's ``main``, which ends the process with 1 when the reader of a pipe is gone.
    """
    try:
        with app.make_context("laptime", list(arguments)) as context:
            return app.invoke(context)
    except click.exceptions.Exit as left:
        return left.exit_code


def forget_output() -> None:
    """Send what is still printed nowhere: the reader of our output is gone, or its disk is full."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def status_of(command: Callable[[], object]) -> int:
    """Run a command; print what it refuses as one line; return its exit status."""
    try:
        returned = command()
        sys.stdout.flush()
    except LaptimeError as error:
        return _refuse(str(error), error.exit_status)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.ClickException as error:
        return _refuse(_usage(error), 2)
    except (click.Abort, KeyboardInterrupt):
        return _refuse("interrupted.", 130)
    except BrokenPipeError:
        forget_output()
        return 0
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EFBIG, errno.EIO}:
            raise
        forget_output()
        return _refuse(f"output cannot be written: {error.strerror}. Send it elsewhere.", 1)
    return returned if isinstance(returned, int) else 0


def _refuse(text: str, status: int) -> int:
    click.echo(f"laptime: {printable(text)}", err=True)
    return status


def _usage(error: click.ClickException) -> str:
    """Render click's finding as what was wrong and where the remedy stands."""
    message = error.format_message().rstrip(".")
    if isinstance(error, click.NoSuchOption):
        near = error.possibilities
        hint = f"Did you mean {near[0]}?" if near else _see_help(error)
        return f"{error.option_name} is no option. {hint}"
    if isinstance(error, click.UsageError):
        return f"{message}. {_see_help(error)}"
    return f"{message}."


def _see_help(error: click.UsageError) -> str:
    path = error.ctx.command_path if error.ctx else "laptime"
    return f"See `{path} --help`."
