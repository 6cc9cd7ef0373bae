"""What the recorder found in a script: loaders, roots, optimizers, and where each of them is."""

from __future__ import annotations

import os
import platform
import sys
from typing import Any, Dict, List, Optional, cast

from laptime.attach.places import Place, Tally
from laptime.timing.processor import cpu_name

Row = Dict[str, Any]


class Found:
    """Facts of one process; all of them are JSON, and none of them is a guess."""

    def __init__(self) -> None:
        self.setup_ns = 0
        self.loaders: List[Row] = []
        self.roots: List[Row] = []
        self.optimizers: List[Row] = []
        self.evaluations: Dict[str, Row] = {}
        self.syncs: Dict[str, Tally] = {}
        self.saves = Tally()
        self.other_ns: Dict[str, int] = {}
        self.backward_at: Optional[Place] = None
        self.missing: Dict[str, str] = {}
        self.notes: List[str] = []
        self.device = "cpu"
        self.device_name = ""
        self.overhead_ns = 0
        self.transitions = 0
        self.headroom: Optional[Row] = None
        self.workers: Optional[Row] = None

    def loader(self, index: int) -> Row:
        """Return the facts of a loader."""
        return self.loaders[index]

    def is_trained_on(self, loader: int) -> bool:
        """Tell a loader that an epoch was made of."""
        return bool(self.loaders[loader]["training_passes"])

    def samples_of(self, loader: int, length: Optional[int]) -> Optional[int]:
        """Return the samples of a batch of some length; None where that is odd.

        A length above the loader's batch size counts something else than samples.
        """
        most = self.loaders[loader]["batch_size"]
        return length if length is not None and most is not None and length <= most else None

    def evaluated(self, loader: int, place: Optional[Place], spent_ns: int) -> None:
        """Add an evaluation pass."""
        self.loaders[loader]["evaluation_passes"] += 1
        key = place["text"] if place else ""
        row = self.evaluations.setdefault(key, {"place": place, "passes": 0, "ns": 0})
        row["passes"] += 1
        row["ns"] += spent_ns

    def count_sync(self, what: str, frame: Any, spent_ns: int = 0) -> None:
        """Count a call that waits for the device, at its line."""
        if what not in self.syncs:
            self.syncs[what] = Tally()
        self.syncs[what].add(frame, spent_ns)

    def note(self, text: str) -> None:
        """Add a sentence about what could not be done or known, once."""
        if text not in self.notes:
            self.notes.append(text)

    def _other(self) -> List[Row]:
        """Return the parts of ``other``, each with the place of what it follows."""
        stepped = max(self.optimizers, key=lambda row: int(row["steps"]), default=None)
        trained = max(self.loaders, key=lambda row: int(row["training_passes"]), default=None)
        saves, evaluations = self.saves.rows(), list(self.evaluations.values())
        places = {
            "loading": trained and trained["read_at"],
            "backward": self.backward_at,
            "optimizer": stepped and stepped["stepped_at"],
            "evaluation": evaluations[0]["place"] if evaluations else None,
            "checkpoint": saves[0]["place"] if saves else None,
        }
        return [
            {"after": after, "ns": spent_ns, "place": places.get(after)}
            for after, spent_ns in self.other_ns.items()
            if spent_ns
        ]

    def document(self) -> Row:
        """Return everything as JSON."""
        return {
            "schema_number": 1,
            **_process_facts(),
            "device": self.device,
            "device_name": self.device_name or cpu_name(),
            **_torch_facts(),
            "setup_ns": self.setup_ns,
            "loaders": self.loaders,
            "roots": self.roots,
            "optimizers": self.optimizers,
            "syncs": [
                {"what": what, **row} for what, tally in self.syncs.items() for row in tally.rows()
            ],
            "saves": self.saves.rows(),
            "evaluations": list(self.evaluations.values()),
            "other": self._other(),
            "missing": [{"boundary": b, "reason": r} for b, r in self.missing.items()],
            "overhead_ns": self.overhead_ns,
            "transitions": self.transitions,
            "headroom": self.headroom,
            "workers": self.workers,
            "notes": self.notes,
        }


def process_rank() -> int:
    """Return the rank that a launcher gave this process; 0 without one."""
    for name in ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK"):
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 0


def _process_facts() -> Row:
    size = os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", "1"))
    return {
        "pid": os.getpid(),
        "rank": process_rank(),
        "world_size": int(size) if size.isdigit() else 1,
        "python": platform.python_version(),
        "executable": sys.executable,
        "argv": list(sys.argv),
        "cwd": os.getcwd(),
    }


def _torch_facts() -> Row:
    import multiprocessing

    import torch

    cuda, cudnn = torch.version.cuda, cast("Any", torch.backends.cudnn)
    return {
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "start_method": multiprocessing.get_start_method(allow_none=True) or "fork",
        "cuda": cuda,
        "cudnn": str(cudnn.version()) if cuda else None,
    }


def length_of(batch: Any) -> Optional[int]:
    """Return the length of a batch's first tensor, or None."""
    kind = type(batch)
    first = batch[0] if (kind is list or kind is tuple) and batch else batch
    shape = getattr(first, "shape", None)  # the usual case, in every step
    return int(shape[0]) if shape else _first_length(batch, 3)


def _first_length(batch: Any, depth: int) -> Optional[int]:
    shape = getattr(batch, "shape", None)
    if shape is not None:
        return int(shape[0]) if len(shape) else None
    if depth and isinstance(batch, dict):
        batch = list(batch.values())
    elif hasattr(batch, "data") and isinstance(batch.data, dict):  # a BatchEncoding
        batch = list(batch.data.values())
    if depth and isinstance(batch, (list, tuple)):
        for part in batch:
            length = _first_length(part, depth - 1)
            if length is not None:
                return length
    return None
