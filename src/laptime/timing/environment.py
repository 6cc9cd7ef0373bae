"""Facts of machine and software that a timing depends on; usable CPUs and memory."""

from __future__ import annotations

import multiprocessing
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

import laptime
from laptime.record import EnvironmentRecord
from laptime.timing.processor import cpu_name

_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "KMP_AFFINITY",
    "KMP_BLOCKTIME",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_LAUNCH_BLOCKING",
    "CUBLAS_WORKSPACE_CONFIG",
    "PYTORCH_CUDA_ALLOC_CONF",
    "LD_PRELOAD",
    "GLIBC_TUNABLES",
    "MALLOC_MMAP_MAX_",
    "MALLOC_TRIM_THRESHOLD_",
)
"""Variables that change timing. Only these are stored: others may hold secrets."""

_CGROUP = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")
_MEMORY_FILES = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)


def collect_environment(device: str) -> EnvironmentRecord:
    """Ask the machine, torch and git for what a reader needs to judge a timing."""
    import torch

    sha, dirty = _git_state()
    on_cuda = device.startswith("cuda")
    return EnvironmentRecord(
        cpu=cpu_name(),
        cpus_usable=usable_cpus(),
        cpus_total=os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        memory_usable_bytes=usable_memory_bytes(),
        shm_bytes=_shm_bytes(),
        platform=platform.platform(),
        python=platform.python_version(),
        torch=torch.__version__,
        laptime=laptime.__version__,
        device=device,
        device_name=torch.cuda.get_device_name(device) if on_cuda else cpu_name(),
        threads=torch.get_num_threads(),
        interop_threads=torch.get_num_interop_threads(),
        start_method=multiprocessing.get_start_method(),
        variables=tuple((name, os.environ[name]) for name in _VARIABLES if name in os.environ),
        cuda=torch.version.cuda,
        cudnn=str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]
        if on_cuda
        else None,
        driver=_driver() if on_cuda else None,
        git_sha=sha,
        git_dirty=dirty,
        clock_resolution_ns=round(time.get_clock_info("perf_counter").resolution * 1e9) or 1,
    )


def usable_cpus() -> int:
    """Return the whole CPUs that affinity and cgroup quota leave to this process; at least 1."""
    if sys.platform == "linux":
        by_affinity = len(os.sched_getaffinity(0))
    else:
        by_affinity = os.cpu_count() or 1
    quota = _cpu_quota()
    return max(1, min(by_affinity, int(quota) if quota else by_affinity))


def usable_memory_bytes() -> int:
    """Return the memory that the machine has free and the cgroups above this process leave."""
    available: int = psutil.virtual_memory().available
    left = [limit - used for limit, used in _memory_limits()]
    return max(0, min([available, *left]))


def _memory_limits() -> Iterator[tuple[int, int]]:
    """Yield limit and use of each cgroup above this process that has a limit (versions 2 and 1)."""
    for group in _cgroups():
        for limit_file, used_file in _MEMORY_FILES:
            limit, used = _read(group / limit_file), _read(group / used_file) or ""
            if limit and limit.isdigit() and int(limit) < 1 << 60:
                yield int(limit), int(used) if used.isdigit() else 0


def _cgroups() -> list[Path]:
    """Return the cgroups of this process, from its own up to the root, as far as they are seen."""
    own = (_read(_OWN_CGROUP) or "").rpartition("::")[2].strip("/")
    groups = [_CGROUP / own, *(_CGROUP / own).parents] if own else [_CGROUP]
    return [group for group in groups if group == _CGROUP or _CGROUP in group.parents]


def _cpu_quota() -> float | None:
    """Return the CPUs that the tightest cgroup leaves (versions 2 and 1); None without a quota."""
    quotas = []
    for group in _cgroups():
        words = (_read(group / "cpu.max") or "").split() or [
            _read(group / "cpu/cpu.cfs_quota_us") or "",
            _read(group / "cpu/cpu.cfs_period_us") or "",
        ]
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit():
            quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def _shm_bytes() -> int | None:
    shm = Path("/dev/shm")  # noqa: S108 - its size is asked for, nothing is written
    return shutil.disk_usage(shm).free if shm.is_dir() else None


def _git_state() -> tuple[str | None, bool | None]:
    """Return commit and dirtiness of the working directory, where that is a git checkout."""
    git = shutil.which("git")
    if git is None:
        return None, None
    sha = _output([git, "rev-parse", "HEAD"])
    if sha is None:
        return None, None
    changes = _output([git, "status", "--porcelain", "--untracked-files=no"])
    return sha, None if changes is None else bool(changes)


def _driver() -> str | None:
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    return _output([program, "--query-gpu=driver_version", "--format=csv,noheader"])


def _output(command: list[str]) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - fixed commands, found on the PATH
            command, capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None
