"""The processor's name; standard library only, because recorders ask for it too."""

from __future__ import annotations

import platform
import re
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def cpu_name() -> str:
    """Return the processor's name as its maker writes it; its architecture where it has none."""
    try:
        text = CPUINFO.read_text(errors="replace")
    except OSError:
        text = ""
    match = re.search(r"model name\s*:\s*(.+)", text)
    name = match.group(1) if match else platform.processor() or platform.machine()
    return re.sub(r"\s+", " ", re.sub(r"\(R\)|\(TM\)|CPU|@.*", "", name)).strip()
