"""``laptime compare``: two runs, two studies or two of their arms against each other."""

from __future__ import annotations

import json as json_text
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from laptime.cli.options import JSON, RUNS_DIR
from laptime.errors import SettingsError, StoreError
from laptime.record import RunRecord
from laptime.report.comparisons.contrast import render_contrast
from laptime.script_store import ScriptDirectory, is_script, list_scripts
from laptime.statistics.contrast import (
    QUANTITIES,
    TIMES,
    Contrast,
    Quantity,
    contrast_arms,
    contrast_runs,
)
from laptime.statistics.requirement import (
    EXIT_STATUS,
    REQUIREMENTS,
    Outcome,
    Requirement,
    outcome_of,
)
from laptime.statistics.script_sides import contrast_scripts
from laptime.statistics.sides import StudyEvidence, find_arm, on_fresh_blocks
from laptime.store import RunDirectory, is_run, list_runs
from laptime.study_store import StudyDirectory, is_study, list_studies

NOT_MEASURABLE = 3

Found = RunDirectory | StudyDirectory | ScriptDirectory


@dataclass(frozen=True, slots=True)
class Named:
    """What a word of the command line means: a run, a script's run, a study, or one arm of one."""

    word: str
    found: Found
    arm: str | None = None

    @property
    def kind(self) -> str:
        """What it is, in a word."""
        return _KINDS[type(self.found)]


_KINDS: dict[type, str] = {
    RunDirectory: "run",
    StudyDirectory: "study",
    ScriptDirectory: "script's run",
}


def compare_command(
    a: str,
    b: str,
    runs_dir: Path,
    quantity: Quantity,
    require: Requirement | None,
    uncontrolled: bool,
    json: bool,
) -> int:
    """Compare, print what may be said, and return the exit status."""
    if require and quantity not in TIMES and require != "equivalent":
        raise SettingsError(
            f"--require {require} is about times, but the quantity is {quantity}. Use --require "
            f"equivalent, or another --quantity."
        )
    named = find_named(runs_dir, a), find_named(runs_dir, b)
    contrast = contrast_of(*named, quantity, uncontrolled=uncontrolled)
    outcome = outcome_of(contrast, require) if require else None
    if json:
        required = {"requirement": require, "outcome": outcome} if require else None
        document = {**contrast.document(), "required": required}
        click.echo(json_text.dumps(document, allow_nan=False))
    else:
        click.echo("\n".join(render_contrast(contrast, require, outcome)))
    return status_of(contrast, outcome)


def status_of(contrast: Contrast, outcome: Outcome | None) -> int:
    """Return the exit status: that of what was required, else 3 where nothing can be measured."""
    if outcome is not None:
        return EXIT_STATUS[outcome]
    return NOT_MEASURABLE if contrast.verdict == "not measurable" else 0


def find_named(runs_dir: Path, word: str) -> Named:
    """Return the run, the study or the arm that a word names.

    A name may hold a colon: what is there under the whole word comes first.

    Raises:
        StoreError: It names nothing, or more than one thing.
    """
    found = _found(runs_dir, word)
    if len(found) == 1:
        return Named(word, found[0])
    places = [place for place, character in enumerate(word) if character == ":"]
    for place in places if not found else ():
        found = _found(runs_dir, word[:place])
        if len(found) == 1 and not isinstance(found[0], StudyDirectory):
            raise StoreError(f"{found[0].id} is a run, and only studies have arms. Use its name.")
        if len(found) == 1:
            return Named(word, found[0], word[place + 1 :])
        if found:
            break
    if not found:
        raise StoreError(
            f"{word[:200]!r} names no run and no study in {runs_dir}. `laptime list` shows the "
            f"runs; --runs-dir names another place."
        )
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    names = ", ".join(one.id for one in found[:3]) + more
    raise StoreError(
        f"{word[:200]!r} names {len(found)} runs and studies in {runs_dir}: {names}. Name one."
    )


def _found(runs_dir: Path, word: str) -> Sequence[Found]:
    """Return what has this path or name; else what has a name that begins or ends so."""
    if not word:
        return []
    path = Path(word)
    if is_study(path):
        return [StudyDirectory(path.resolve())]
    if is_run(path):
        return [RunDirectory(path.resolve())]
    if is_script(path):
        return [ScriptDirectory(path.resolve())]
    everything: list[Found]
    everything = [*list_runs(runs_dir), *list_studies(runs_dir), *list_scripts(runs_dir)]
    return [one for one in everything if one.id == word] or [
        one for one in everything if one.id.startswith(word) or one.id.endswith(word)
    ]


def contrast_of(a: Named, b: Named, quantity: Quantity, *, uncontrolled: bool) -> Contrast:
    """Return the comparison of two things of one kind.

    Raises:
        LaptimeError: They are the same, of two kinds, of two questions, or damaged.
    """
    if a.kind != b.kind:
        raise SettingsError(
            f"A is a {a.kind} and B a {b.kind}. Compare two runs, or two studies or arms of them."
        )
    if isinstance(a.found, RunDirectory) and isinstance(b.found, RunDirectory):
        _refuse_the_same(a, b)
        records = a.found.read_record(), b.found.read_record()
        return contrast_runs(*records, quantity, uncontrolled=uncontrolled)
    if isinstance(a.found, ScriptDirectory) and isinstance(b.found, ScriptDirectory):
        _refuse_the_same(a, b)
        scripts = a.found.read_record(), b.found.read_record()
        return contrast_scripts(*scripts, quantity, uncontrolled=uncontrolled)
    first = read_study(a.found)
    # Read once where both name one study, by a path and by its name for example.
    studies = first, first if _same_place(a, b) else read_study(b.found)
    questions = [study.plan.study for study in studies]
    if questions[0] != questions[1]:
        raise SettingsError(
            f"A is a study of {questions[0]} and B one of {questions[1]}. Compare studies of the "
            f"same question."
        )
    sides = find_arm(studies[0], a.arm), find_arm(studies[1], b.arm)
    _refuse_the_same(a, b, sides[0].arm.name, sides[1].arm.name)
    if quantity in TIMES:
        sides = on_fresh_blocks(*sides)
    whole = a.arm is None and b.arm is None
    return contrast_arms(*sides, quantity, whole=whole, uncontrolled=uncontrolled)


def _same_place(a: Named, b: Named) -> bool:
    return a.found.path.resolve() == b.found.path.resolve()


def _refuse_the_same(a: Named, b: Named, arm_a: str = "", arm_b: str = "") -> None:
    if _same_place(a, b) and arm_a == arm_b:
        arm = f", its arm {arm_a!r}" if arm_a else ""
        raise SettingsError(f"A and B are the same: {a.found.id}{arm}. Name two.")


def read_study(directory: Found) -> StudyEvidence:
    """Read all that a study's directory holds.

    Raises:
        StoreError: A file is missing or damaged.
    """
    assert isinstance(directory, StudyDirectory)
    if not directory.has_plan():
        study = directory.read_request().study
        raise StoreError(
            f"{directory.id} has no plan yet: it ended before its first block. `laptime study "
            f"{study} --resume {directory.id}` goes on with it."
        )
    trained = tuple(directory.read_trained())
    has_confirmation = directory.has_plan("confirmation")
    return StudyEvidence(
        id=directory.id,
        directory=str(directory.path),
        plan=directory.read_plan(),
        blocks=tuple(directory.read_blocks()),
        trained=trained,
        confirmation=directory.read_plan("confirmation") if has_confirmation else None,
        sentinel_repetitions=_sentinel(directory),
        trained_run=_first_run(directory, [run.run for run in trained if run.run]),
    )


def _sentinel(directory: StudyDirectory) -> int | None:
    try:
        return directory.read_sentinel()
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise StoreError(
            f"{directory.path / 'sentinel.json'} is damaged. Use another study."
        ) from error


def _first_run(directory: StudyDirectory, names: Sequence[str]) -> RunRecord | None:
    """Return the first training run that left a whole record."""
    for name in names:
        try:
            return RunDirectory(directory.path / name).read_record()
        except StoreError:
            continue
    return None


_HELP = """Hold two runs, two studies or two arms against each other.

A is the candidate and B the baseline: the ratio is time of A / time of B, and the verdict speaks of
A. Runs are those of `laptime train`, or those of scripts by `laptime run`. Each is a directory, a
name in --runs-dir, or its beginning or end; STUDY:ARM is one arm of a study, STUDY alone its
baseline arm.

Two arms of one study are paired by block. The same question in two studies, before and after a
change for example, is compared by Welch's test, and only on a machine that is the same. Two single
runs give a ratio and never a verdict.
"""

_REQUIRE = (
    "Exit 0 if the verdict supports it, 1 if it contradicts it, 3 if it does not decide. "
    "not-slower: 0 for faster, equivalent, and wherever else the 95 % interval ends below 1.03; 1 "
    "for slower. not-faster: the same the other way round. faster: 0 for faster; 1 for slower, "
    "equivalent and a small difference upwards. equivalent: 0 for equivalent; 1 for faster and "
    "slower. All else is 3: too few blocks, single runs, not measurable, --uncontrolled."
)

_EPILOG = (
    "Exit status: 0 done, inconclusive included; 3 not measurable, conditions that differ included;"
    " with --require as it says there; 2 wrong usage or bad input."
)

command = click.Command(
    "compare",
    callback=compare_command,
    help=_HELP,
    epilog=_EPILOG,
    params=[
        click.Argument(["a"], metavar="A"),
        click.Argument(["b"], metavar="B"),
        click.Option(
            ["--quantity"],
            type=click.Choice(QUANTITIES),
            default="epoch",
            show_default=True,
            help="What is compared: times of an epoch or a step, or the last epoch's training "
            "accuracy or loss over seeds.",
        ),
        click.Option(["--require"], type=click.Choice(REQUIREMENTS), help=_REQUIRE),
        click.Option(
            ["--uncontrolled"],
            is_flag=True,
            help="Give a ratio where the conditions differ, labelled so and without a verdict.",
        ),
        RUNS_DIR,
        JSON,
    ],
)
