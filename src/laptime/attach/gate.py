"""A script that takes turns: it runs some steps when asked to and stands still in between.

Requests and answers are JSON lines on a Unix socket. A script stands between two steps, before
the next batch is fetched, with its loader's workers stopped; when whoever asks is gone, it ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from typing import Any, Callable, Dict, List, Optional, Tuple

from laptime.attach.ledger import Snapshot, between
from laptime.attach.recorder import Recorder
from laptime.phase import Phase

OUTSIDE = (
    Phase.LOADER_START,
    Phase.LOADER_END,
    Phase.EVALUATION,
    Phase.CHECKPOINT,
    Phase.LOGGING,
)
"""What a turn leaves out of its time: it comes once an epoch and is told apart, or is ours."""

Answer = Dict[str, Any]


class Gate:
    """Serve one asker; every method is called between two steps of the script."""

    def __init__(self, recorder: Recorder, path: str, wait: Callable[[], None]) -> None:
        self._recorder, self._wait = recorder, wait
        self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._channel.connect(path)
        self._requests = self._channel.makefile("r")
        self._request: Dict[str, Any] = {}
        self._done = 0
        self._from: Optional[Snapshot] = None
        self._cpu_ns = 0
        self._turn_steps = 0
        self._stopped: List[int] = []

    def stepped(self) -> bool:
        """Go on with what was asked for, or stand still until something is; False: end.

        Called after every step.
        """
        self._done += 1
        while True:
            if self._request:
                answer = self._progress()
                if answer is None:
                    return True
                if not self._reply(answer):
                    return False
            if not self._next_request():
                return False

    def ended(self, steps: int) -> None:
        """Say that the script has come to its own end."""
        reason = f"the script ended after {steps} steps"
        self._reply({"ended": {"status": "completed", "reason": reason}})
        with contextlib.suppress(OSError):
            self._channel.close()

    def _next_request(self) -> bool:
        self._pause()
        try:
            line = self._requests.readline()
        except OSError:
            line = ""
        if not line:
            self._resume()
            return False
        self._request = json.loads(line)
        self._resume()
        if self._request["do"] in ("prepare", "turn"):
            self._done, self._from = 0, None
            if self._request["do"] == "prepare":  # the step that led here is the first one
                self._done = self._recorder.book.steps
        return bool(self._request["do"] != "close")

    def _progress(self) -> Optional[Answer]:
        """Return the answer to the request, or None while more steps are needed."""
        do = self._request["do"]
        if do == "prepare":
            return self._prepared() if self._done >= self._request["warm_up"] else None
        if do == "turn":
            return self._turn()
        asked: Dict[str, Callable[[], Answer]] = {
            "edges": self._edges, "losses": self._losses, "memory": self._memory,
        }  # fmt: skip
        return asked[do]() if do in asked else {"error": f"{do} is unknown"}

    def _turn(self) -> Optional[Answer]:
        """Count steps once the first ones are through; answer when they are enough."""
        request = self._request
        if self._from is None:
            if self._done < request["discard"]:
                return None
            self._begin_counting()
            return None
        start = self._from
        counted = self._done - self._counted_from
        if counted < (self._turn_steps or request["min_steps"]):
            return None
        passed_ns = self._recorder.ledger.now_ns - start.at_ns
        if not self._turn_steps and passed_ns < request["min_s"] * 1e9:
            return None
        if counted % max(1, len(self.worker_pids())):  # batches come in bursts of one a worker
            return None
        self._recorder.enter(Phase.SYNC)
        self._wait()
        self._recorder.enter(Phase.LOGGING)
        phases_ns, wall_ns = self._spent(start)
        self._turn_steps = counted
        return {
            "steps": counted,
            "wall_ns": wall_ns,
            "phases_ns": {phase.value: spent_ns for phase, spent_ns in phases_ns.items()},
            "device_ns": None,
            "discarded": request["discard"],
            "worker_cpu_ns": max(0, self._worker_cpu_ns() - self._cpu_ns),
        }

    def _begin_counting(self) -> None:
        self._wait()
        self._recorder.enter(Phase.LOGGING)
        self._from = self._recorder.ledger.snapshot()
        self._counted_from = self._done
        self._cpu_ns = self._worker_cpu_ns()

    def _spent(self, start: Snapshot) -> Tuple[Dict[Phase, int], int]:
        """Return what was charged since a reading, without what comes once an epoch."""
        spent_ns = between(start, self._recorder.ledger.snapshot())
        for phase in OUTSIDE:
            spent_ns[phase] = 0
        return spent_ns, sum(spent_ns.values())

    def _prepared(self) -> Answer:
        book = self._recorder.book
        book.flush()
        loader = self._loader()
        starts = loader["start_ns"] if loader else []
        return {
            "setup_ns": book.found.setup_ns,
            "cold_start_ns": starts[0] if starts else 0,
            "loader_start_ns": starts[1:],
            "loader_end_ns": loader["end_ns"] if loader else [],
            "first_losses": book.losses,
            "step_ns": self._mean_step_ns(),
            "steps_per_epoch": self._steps_per_epoch(loader),
            "num_workers": len(self.worker_pids()),
            "overhead_share": 0.0,
            "parameters": sum(row["parameters"] for row in book.found.optimizers),
            "recorder": book.facts(complete=False, ended=None),
        }

    def _mean_step_ns(self) -> int:
        epoch, ledger = self._recorder.book.epoch, self._recorder.ledger
        if epoch is None or not epoch.steps:
            return 0
        _, wall_ns = self._spent(epoch.start)
        return wall_ns // epoch.steps if ledger.now_ns else 0

    def _loader(self) -> Any:
        epoch = self._recorder.book.epoch
        if epoch is None or epoch.training is None:
            return None
        return self._recorder.book.found.loader(epoch.training.loader)

    def _steps_per_epoch(self, loader: Any) -> Optional[float]:
        """Return what an epoch has, from the loader's length or from an epoch that is over."""
        epoch = self._recorder.book.epoch
        if epoch is None or epoch.training is None:
            return None
        if self._recorder.book.whole_epoch_steps:
            return float(self._recorder.book.whole_epoch_steps)
        batches, fetched = loader["batches"], epoch.training.fetched
        return batches * epoch.steps / fetched if batches and fetched else None

    def _edges(self) -> Answer:
        loader, book = self._loader(), self._recorder.book
        return {
            "loader_start_ns": loader["start_ns"][1:] if loader else [],
            "loader_end_ns": loader["end_ns"] if loader else [],
            "evaluation_ns": [row["ns"] for row in book.found.evaluations.values()],
            "checkpoint_ns": [row["ns"] for row in book.found.saves.rows()],
            "steps_per_epoch": self._steps_per_epoch(loader),
        }

    def _losses(self) -> Answer:
        self._recorder.book.flush()
        return {"losses": self._recorder.book.losses}

    def _memory(self) -> Answer:
        sizes = [_resident_bytes(pid) for pid in self.worker_pids()]
        known = [size for size in sizes if size is not None]
        return {"worker_bytes": sum(known) if known and len(known) == len(sizes) else None}

    def worker_pids(self) -> List[int]:
        """Return the processes that load batches for the passes that go on."""
        return [
            worker.pid
            for one in self._recorder.passes.open
            for worker in getattr(one.iterator, "_workers", ())
            if worker.pid is not None and worker.is_alive()
        ]

    def _pause(self) -> None:
        """Stop the workers: a script that waits for its turn uses no CPU."""
        self._stopped = self.worker_pids()
        for pid in self._stopped:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGSTOP)

    def _resume(self) -> None:
        for pid in self._stopped:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGCONT)
        self._stopped = []

    def _worker_cpu_ns(self) -> int:
        return sum(_cpu_ns(pid) for pid in self.worker_pids())

    def _reply(self, answer: Answer) -> bool:
        self._request = {}
        pids = [os.getpid(), *self.worker_pids()]
        try:
            self._channel.sendall((json.dumps({**answer, "pids": pids}) + "\n").encode())
        except OSError:
            return False
        return True


def _cpu_ns(pid: int) -> int:
    """Return the CPU time of a process; 0 where the system does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
        return int((int(fields[11]) + int(fields[12])) * 1e9 / os.sysconf("SC_CLK_TCK"))
    return 0


def _resident_bytes(pid: int) -> Optional[int]:
    """Return the memory of a process, shared pages by its share; None where it is not told."""
    with contextlib.suppress(OSError, ValueError), open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return None
