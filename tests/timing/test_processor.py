from __future__ import annotations

from pathlib import Path

import pytest

from laptime.timing import processor
from laptime.timing.processor import cpu_name


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("Intel(R) Xeon(R) CPU E5-2690 v4 @ 2.60GHz", "Intel Xeon E5-2690 v4"),
        ("AMD EPYC 7763 64-Core Processor", "AMD EPYC 7763 64-Core Processor"),
    ],
)
def test_a_processor_is_named_without_its_ornaments(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, written: str, name: str
) -> None:
    text = f"processor\t: 0\nmodel name\t: {written}\nflags\t\t: fpu\nmodel name\t: other\n"
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")

    assert cpu_name() == name


def test_a_processor_without_a_name_is_its_architecture(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "none")
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")

    assert cpu_name() == "aarch64"
