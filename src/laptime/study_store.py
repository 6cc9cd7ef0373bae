"""A study directory: its plan, written before the first run, and its blocks, each whole."""

from __future__ import annotations

import secrets
from pathlib import Path

from pydantic import BaseModel

from laptime.errors import SettingsError, StoreError
from laptime.files import (
    append_lines,
    checked,
    checked_lines,
    is_marked,
    make_directory,
    marked_directories,
    only_one,
    read_json,
    remove_tree,
    write_json,
)
from laptime.replicate import Aside, AsideName, Block, Stage, TrainedReplicate
from laptime.study import SCHEMA, Plan, StudyRecord, StudyRequest
from laptime.timing.clock import calendar_now

_KIND, _MARKER = "study", "request.json"
"""What a study is called in errors, and the file that every study has."""


class _Sentinel(BaseModel):
    repetitions: int


class StudyDirectory:
    """One study's files. A block is a line of a log: it is there whole, or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.blocks = path / "blocks.jsonl"
        self.trained = path / "trained.jsonl"
        self.logs = path / "logs"
        self.runs = path / "runs"
        self.charts = path / "charts"

    @property
    def id(self) -> str:
        """The name of the study: the name of its directory."""
        return self.path.name

    def is_empty(self) -> bool:
        """Return whether nothing was measured yet."""
        return not (self.blocks.exists() or self.trained.exists())

    def discard(self) -> None:
        """Remove a study that measured nothing: what was refused leaves nothing behind."""
        remove_tree(self.path)

    def write_request(self, request: StudyRequest) -> None:
        """Write what was asked for, before anything else."""
        write_json(self.path / _MARKER, request.model_dump(mode="json"))

    def read_request(self) -> StudyRequest:
        """Read what was asked for."""
        return checked(StudyRequest, read_json(self.path / _MARKER), self.path, _KIND)

    def write_sentinel(self, repetitions: int) -> None:
        """Write how long the sentinel works, in repetitions."""
        write_json(self.path / "sentinel.json", {"repetitions": repetitions})

    def read_sentinel(self) -> int | None:
        """Read how long the sentinel works; None before it is calibrated."""
        path = self.path / "sentinel.json"
        if not path.is_file():
            return None
        return checked(_Sentinel, read_json(path), self.path, _KIND).repetitions

    def write_plan(self, plan: Plan, stage: Stage = "main") -> None:
        """Write a plan before its first run.

        Raises:
            SettingsError: Another plan of this stage is there already.
        """
        if self.has_plan(stage):
            check_same_plan(self.read_plan(stage), plan, self.path)
            return
        write_json(self._plan_path(stage), plan.model_dump(mode="json"))

    def has_plan(self, stage: Stage = "main") -> bool:
        """Return whether the plan of a stage is written."""
        return self._plan_path(stage).is_file()

    def read_plan(self, stage: Stage = "main") -> Plan:
        """Read the plan of a stage.

        Raises:
            StoreError: It is missing, damaged, or of a later version.
        """
        plan = checked(Plan, read_json(self._plan_path(stage)), self.path, _KIND)
        if plan.schema_number > SCHEMA:
            raise StoreError(
                f"{self.path} was made by a later version of laptime (schema "
                f"{plan.schema_number}, here {SCHEMA}). Use that version."
            )
        return plan

    def append_block(self, block: Block) -> None:
        """Add a finished block; it has reached the disk on return."""
        append_lines(self.blocks, [block.model_dump_json()], durable=True)

    def append_trained(self, replicate: TrainedReplicate) -> None:
        """Add a finished training run."""
        append_lines(self.trained, [replicate.model_dump_json()], durable=True)

    def write_aside(self, name: AsideName, value: object) -> None:
        """Keep one thing besides blocks and training runs, the moment it is known."""
        aside = self.read_aside()
        known = {given: getattr(aside, given) for given in aside.model_fields_set}
        now = checked(Aside, {**known, name: value}, self._aside_path, _KIND)
        document = now.model_dump(mode="json", include=now.model_fields_set)
        write_json(self._aside_path, document)

    def read_aside(self) -> Aside:
        """Read what is known besides blocks and training runs; nothing in studies of old.

        Raises:
            StoreError: The file is damaged.
        """
        path = self._aside_path
        return checked(Aside, read_json(path), path, _KIND) if path.is_file() else Aside()

    def read_blocks(self, stage: Stage | None = None) -> list[Block]:
        """Read the finished blocks, of one stage or of all."""
        blocks = checked_lines(Block, self.blocks, _KIND)
        return [block for block in blocks if stage is None or block.stage == stage]

    def read_trained(self) -> list[TrainedReplicate]:
        """Read the finished training runs."""
        return checked_lines(TrainedReplicate, self.trained, _KIND)

    def write_record(self, record: StudyRecord) -> None:
        """Replace what is printed of the study; it can be computed again from the rest."""
        write_json(self.path / "study.json", record.document())

    @property
    def _aside_path(self) -> Path:
        return self.path / "aside.json"

    def _plan_path(self, stage: Stage) -> Path:
        return self.path / ("plan.json" if stage == "main" else f"plan-{stage}.json")


def create_study(runs_dir: Path, request: StudyRequest) -> StudyDirectory:
    """Create a study directory with a name of its own, and write down what was asked for.

    Raises:
        StoreError: The disk refuses.
    """
    stamp = calendar_now().strftime("%Y-%m-%dT%H-%M-%S")
    directory = StudyDirectory(runs_dir / f"{stamp}_study-{request.study}_{secrets.token_hex(3)}")
    make_directory(directory.logs)
    make_directory(directory.runs)
    directory.write_request(request)
    return directory


def is_study(path: Path) -> bool:
    """Tell a study's directory from others: it says what was asked for."""
    return is_marked(path, _MARKER)


def list_studies(runs_dir: Path) -> list[StudyDirectory]:
    """Return the studies in a directory, oldest first."""
    return [StudyDirectory(path) for path in marked_directories(runs_dir, _MARKER)]


def find_study(runs_dir: Path, name: str | None, study: str | None = None) -> StudyDirectory:
    """Return a study by its path, its name or the beginning or end of it; without one, the newest.

    Raises:
        StoreError: There is none, or more than one.
    """
    if name and is_study(Path(name)):
        return StudyDirectory(Path(name).resolve())
    kind = f"_study-{study}_" if study else "_study-"
    paths = [found.path for found in list_studies(runs_dir) if kind in found.id]
    return StudyDirectory(only_one(paths, name, runs_dir, "study", "studies"))


def check_same_plan(was: Plan, now: Plan, path: Path) -> None:
    """Refuse to go on with another plan than the one that was written.

    Raises:
        SettingsError: Something differs.
    """
    for name in Plan.model_fields:
        before, here = getattr(was, name), getattr(now, name)
        if before != here and name not in {"orders", "budget_s"}:
            raise SettingsError(
                f"{path.name} has another plan ({name}: {_shown(before)} there, {_shown(here)} "
                f"here). Leave --resume out, or give what it was started with."
            )


def _shown(value: object) -> str:
    """Return a part of a plan on a few words."""
    if isinstance(value, tuple) and value and hasattr(value[0], "name"):
        return ", ".join(str(arm.name) for arm in value)[:80]
    return repr(value)[:80]
