"""What the C library does with memory that is freed: given back to the system, or kept."""

from __future__ import annotations

import ctypes
import platform

VARIABLES = "MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=-1"
"""The same for a whole process, from outside (``man mallopt``, Environment variables)."""

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def has_glibc() -> bool:
    """Tell whether this Python runs on glibc, whose allocator can be told."""
    return platform.libc_ver()[0] == "glibc"


def keep_freed_memory() -> None:
    """Keep what this process frees for its next request; glibc only, nothing happens elsewhere.

    By default glibc gets a large block from the system for each request and gives it back when it
    is freed: every training step then has its activations filled with zeros by the kernel, page by
    page, before it writes to them. Kept, they are there already. The process holds on to the most
    that it ever used; it lasts until the process ends. Source: ``mallopt(3)``, M_MMAP_MAX and
    M_TRIM_THRESHOLD.
    """
    if has_glibc():
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)
