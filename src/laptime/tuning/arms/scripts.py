"""The arms of somebody's script, and what is said of one that cannot be tuned."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from laptime.errors import SettingsError
from laptime.launch.recorded import isolation, shown
from laptime.studies.process import ArmEndedError
from laptime.tune import BASELINE, TuneArm, TuneRequest, Value, overrides_of
from laptime.tuning.arms.pilot import Look, ScriptEndedError, look_at
from laptime.tuning.arms.script import WARM_UP_STEPS, ScriptProcess
from laptime.tuning.arms.watchdog import Watchdog
from laptime.tuning.choice.candidates import KINDS, Kind

_OF_LOADERS = frozenset({"num_workers", "persistent_workers", "pin_memory", "prefetch_factor"})


class Scripts:
    """Starts a script with overrides.

    Args:
        request: What was asked for.
        logs: Where its output goes.
        watchdog: Who ends processes if we cannot.
    """

    is_script = True

    def __init__(self, request: TuneRequest, logs: Path, watchdog: Watchdog) -> None:
        self._request, self._logs, self._watchdog = request, logs, watchdog
        self._site: str | None = None
        self._warm_up = WARM_UP_STEPS

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """What there is to try."""
        return KINDS

    def look(self) -> Look:
        """Take the first look at the unchanged script.

        Raises:
            LaptimeError: It cannot be entered, never trains, fails, or has too few steps.
        """
        flag = isolation(self._request.command)
        if flag is not None:
            raise SettingsError(
                f"python {flag} lets no recorder in: nothing can be tuned. Leave {flag} out."
            )
        try:
            found = look_at(self._unchanged, self._request.turns, self._request.timeout_s)
        except ArmEndedError as error:
            raise self._refused(error) from error
        self._site = found.record.loader.place if found.record.loader else None
        self._warm_up = found.warm_up
        return found

    def start(self, arm: TuneArm, block: int) -> ScriptProcess:
        """Start an arm; all seeds of a block are shifted by its number."""
        return self._start(arm.name, overrides_of(arm.changes), block, self._warm_up)

    def _unchanged(self, warm_up: int) -> ScriptProcess:
        return self._start(BASELINE, {}, 0, warm_up)

    def _start(
        self, name: str, changes: Mapping[str, Value], block: int, warm_up: int
    ) -> ScriptProcess:
        overrides: dict[str, object] = {**changes, "seed_shift": block}
        if self._site and _OF_LOADERS & changes.keys():
            overrides["site"] = self._site
        log = self._logs / f"{name.replace(' ', '_')}.txt"
        return ScriptProcess(self._request.command, overrides, log, self._watchdog, warm_up)

    def _refused(self, error: ArmEndedError) -> ScriptEndedError:
        """Return why the unchanged script cannot be tuned, in one line."""
        command = shown(self._request.command)
        if error.refused:
            return ScriptEndedError(error.reason, exit_status=3)
        if error.status == "failed":
            return ScriptEndedError(
                f"`{command}` fails by itself: {error.reason}. Run it without laptime first.",
                exit_status=1,
            )
        return ScriptEndedError(
            f"`{command}` cannot be tuned: {error.reason}. Run it without laptime first.",
            exit_status=3,
        )
