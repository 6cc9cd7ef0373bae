"""``laptime selftest``: planted costs, found or not, on this machine."""

from __future__ import annotations

import json as json_text

import click

from laptime.cli.options import JSON


def selftest_command(json: bool) -> int:
    """Run the selftest; print a line a configuration and a verdict; 3 when it fails."""
    from laptime.studies.planted import Comparison, Planted
    from laptime.studies.selftest import OVERHEAD_LIMIT_US, SHORT, run_selftest

    def show(planted: Planted, found: list[Comparison]) -> None:
        worst = max(found, key=lambda c: abs(c.error_ns) / c.tolerance_ns)
        click.echo(
            f"{'found ' if all(c.holds for c in found) else 'MISSED'}  {planted.name:<72} "
            f"largest error {worst.error_ns / 1e6:+.2f} ms of {worst.tolerance_ns / 1e6:.2f} ms "
            f"allowed, in {worst.phase.value}",
            err=json,
        )

    click.echo(
        f"Planting {len(SHORT)} known costs in real trainings, each beside a control without cost; "
        f"about 15 s.",
        err=json,
    )
    result = run_selftest(on_configuration=show)
    verdict = (
        f"laptime measures truly here: {len(result.comparisons)} phases of {result.configurations} "
        f"planted trainings within 2 ms or 2 % of the time really spent; its own cost is "
        f"{result.per_step_us:.1f} us a step."
        if result.passed
        else f"Do not trust timings from this machine now: {len(result.missed)} of "
        f"{len(result.comparisons)} planted phases were missed, own cost "
        f"{result.per_step_us:.1f} us a step (at most {OVERHEAD_LIMIT_US:g}). "
        f"Something else may be using its cores: close it and run again."
    )
    if json:
        click.echo(json_text.dumps(_document(result.passed, verdict, result.comparisons)))
    else:
        click.echo(verdict)
    return 0 if result.passed else 3


def _document(passed: bool, verdict: str, comparisons: object) -> dict[str, object]:
    assert isinstance(comparisons, tuple)
    return {
        "passed": passed,
        "verdict": verdict,
        "comparisons": [
            {
                "configuration": c.configuration,
                "phase": c.phase.value,
                "truth_ns": c.truth_ns,
                "measured_ns": c.measured_ns,
                "control_ns": c.control_ns,
                "tolerance_ns": c.tolerance_ns,
                "holds": c.holds,
            }
            for c in comparisons
        ],
    }


command = click.Command(
    "selftest",
    callback=selftest_command,
    help="Plant known costs in real trainings on this machine and see whether they are found.\n\n"
    "Exit status 3 when they are not: timings from this machine cannot be believed now.",
    params=[JSON],
)
