from __future__ import annotations

import os
import subprocess
import sys

import pytest

from laptime.host_memory import VARIABLES, can_keep_memory, keeps_memory

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


@pytest.mark.skipif(not can_keep_memory(), reason="the allocator is not glibc's")
def test_memory_that_is_kept_is_not_filled_again_and_variables_do_the_same_from_outside() -> None:
    given_back = faults()
    if given_back < PAGES / 2:
        pytest.skip("pages are larger here than the system says: huge ones")

    assert faults("keep") < given_back / 20
    assert faults(**VARIABLES) < given_back / 20


def test_another_allocator_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    assert can_keep_memory()

    monkeypatch.setenv("LD_PRELOAD", "/usr/lib/libjemalloc.so.2")
    assert not can_keep_memory()

    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    monkeypatch.delenv("LD_PRELOAD")
    assert not can_keep_memory()


def test_the_environment_has_told_it_where_both_variables_say_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        assert not keeps_memory()
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    assert keeps_memory()
