"""What the allocator does with host memory that is freed: given back to the system, or kept."""

from __future__ import annotations

import ctypes
import os
import platform

VARIABLES = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "-1"}
"""The same for a whole process, from outside (``mallopt(3)``, environment variables)."""

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def can_keep_memory() -> bool:
    """Tell whether memory comes from glibc's allocator, which can be told to keep it."""
    return platform.libc_ver()[0] == "glibc" and "malloc" not in os.environ.get("LD_PRELOAD", "")


def keeps_memory() -> bool:
    """Tell whether the environment has told the allocator already."""
    return all(os.environ.get(name) == value for name, value in VARIABLES.items())


def keep_freed_memory() -> None:
    """Keep what this process frees for its next request; nothing happens without glibc's allocator.

    Left to itself, glibc gets a block of 32 MiB and more from the system for each request and gives
    it back when it is freed, and gives the end of its heap back too. A training step that allocates
    such activations has the kernel fill them with zeros, page by page, before it writes to them.
    Kept, they are there already. The process holds on to the most that its heap ever was, gaps
    included, until it ends. Source: ``mallopt(3)``, M_MMAP_MAX, M_MMAP_THRESHOLD and
    M_TRIM_THRESHOLD.
    """
    if can_keep_memory():
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)
