from __future__ import annotations

import os
import subprocess
import sys

import pytest

from laptime.host_memory import VARIABLES, has_glibc

FAULTS = """
import resource, sys
from laptime.host_memory import keep_freed_memory
if "keep" in sys.argv:
    keep_freed_memory()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
used = bytearray(b"x") * (64 << 20)
del used
before = faults()
used = bytearray(b"x") * (64 << 20)
print(faults() - before)
"""
"""How often the kernel has to fill a page when 64 MiB are used for the second time."""

PAGES = (64 << 20) // os.sysconf("SC_PAGE_SIZE")


def faults(*words: str, **environ: str) -> int:
    command = [sys.executable, "-c", FAULTS, *words]
    printed = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, **environ}
    ).stdout
    return int(printed)


@pytest.mark.skipif(not has_glibc(), reason="the C library is not glibc")
def test_memory_that_is_kept_is_not_filled_again() -> None:
    assert faults() > 0
    assert faults("keep") < PAGES / 100


@pytest.mark.skipif(not has_glibc(), reason="the C library is not glibc")
def test_the_variables_do_the_same_from_outside() -> None:
    assert faults(**dict(word.split("=") for word in VARIABLES.split())) < PAGES / 100
