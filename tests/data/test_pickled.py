"""A pickle is read as plain values: nothing is run, and no length in it is believed."""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laptime.data.pickled import read_pickled
from laptime.errors import DataError, LaptimeError

DATA = np.arange(12, dtype=np.uint8).reshape(2, 6)


class Calls:
    """An object whose pickle calls a function when it is loaded."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> tuple[Any, tuple[object, ...]]:
        return self._call


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_and_arrays_of_bytes_are_read(protocol: int) -> None:
    batch = {
        b"labels": [3, 0, 255, 70_000, -1],
        b"data": DATA,
        b"filenames": [b"a.png", "b\u00e9.png"],
        "nested": ({}, [], (), None, True, False, (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
    }
    read = read_pickled(pickle.dumps(batch, protocol), "batch")
    assert isinstance(read, dict)
    assert np.array_equal(read[b"data"], DATA)
    assert {key: read[key] for key in batch if key != b"data"} == {
        key: value for key, value in batch.items() if key != b"data"
    }


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_the_order_of_a_transposed_array_is_kept(protocol: int) -> None:
    assert np.array_equal(read_pickled(pickle.dumps(DATA.T, protocol), "data"), DATA.T)


@pytest.mark.parametrize("old", [b"numpy._core", b"numpy.core"])
def test_both_names_of_numpys_module_are_known(old: bytes) -> None:
    content = pickle.dumps(DATA, protocol=2)
    for name in (b"numpy._core", b"numpy.core"):
        content = content.replace(name, old)
    assert np.array_equal(read_pickled(content, "data"), DATA)


def canary_pickles(canary: Path) -> dict[str, bytes]:
    text = str(canary)
    calls: dict[str, Calls] = {
        "system": Calls(os.system, f"touch {text}"),
        "open": Calls(open, text, "w"),
        "eval": Calls(eval, f"open({text!r}, 'w')"),
        "exec": Calls(exec, f"open({text!r}, 'w')"),
        "popen": Calls(subprocess.Popen, ["touch", text]),
        "numpy load": Calls(np.load, text),
        "import": Calls(__import__, "antigravity"),
    }
    pickles = {
        f"{name} {protocol}": pickle.dumps({b"data": call}, protocol)
        for name, call in calls.items()
        for protocol in (0, 1, 2, 4, 5)
    }
    pickles["inst"] = f"(S'touch {text}'\nios\nsystem\n.".encode()
    pickles["obj"] = f"(cos\nsystem\nS'touch {text}'\no.".encode()
    pickles["newobj"] = b"\x80\x02cbuiltins\nlist\n)\x81."
    pickles["dotted"] = b"\x80\x04\x8c\x05numpy\x8c\x0ef2py.os.system\x93\x8c\x01x\x85R."
    pickles["copyreg"] = b"ccopyreg\n_reconstructor\n(cbuiltins\nobject\nc__builtin__\nobject\nNtR."
    pickles["extension"] = b"\x80\x02\x82\x01."
    pickles["persistent"] = b"Pmodule\n."
    pickles["ndarray"] = b"\x80\x02cnumpy\nndarray\nK\x05\x85R."
    return pickles


def test_a_pickle_that_would_run_code_is_refused_in_one_line_and_nothing_runs(
    tmp_path: Path,
) -> None:
    canary = tmp_path / "canary"
    for name, content in canary_pickles(canary).items():
        with pytest.raises(DataError, match="nothing was run") as refused:
            read_pickled(content, name)
        assert "\n" not in str(refused.value)
    assert not canary.exists()


def test_the_canary_would_sing_under_the_standard_unpickler(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    pickle.loads(canary_pickles(canary)["open 2"])[b"data"].close()
    assert canary.exists()


@pytest.mark.parametrize(
    "array",
    [np.zeros(3), np.zeros(3, np.int64), np.array(["a"]), np.array([None]), np.zeros(2, "u1,u1")],
    ids=str,
)
def test_arrays_of_anything_but_bytes_are_refused(array: np.ndarray) -> None:
    with pytest.raises(DataError):
        read_pickled(pickle.dumps(array, protocol=4), "data")


HUGE = {
    "bytes8": b"\x80\x04\x8e" + (1 << 40).to_bytes(8, "little") + b"x.",
    "bytes8 negative": b"\x80\x04\x8e" + b"\xff" * 8 + b"x.",
    "unicode8": b"\x80\x04\x8d" + (1 << 40).to_bytes(8, "little") + b"x.",
    "bytearray8": b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b"x.",
    "binstring": b"\x80\x02T\xff\xff\xff\x7fx.",
    "binstring negative": b"\x80\x02T\xff\xff\xff\xffx.",
    "memo": b"\x80\x02Nr\xff\xff\xff\xff0",
    "long4": b"\x80\x02\x8b\xff\xff\xff\x7fx.",
    "decimal": b"I" + b"9" * 100_000 + b"\n.",
    "shape": pickle.dumps(DATA, protocol=2).replace(b"K\x02K\x06", b"J\xff\xff\xff\x7fK\x06"),
    "nested key": b"\x80\x02}" + b"N" + b"\x85" * 200_000 + b"Ns.",
    "nested name": b"\x80\x04N" + b"\x85" * 200_000 + b"\x8c\x01x\x93.",
    "doubling name": b"\x80\x04N\x94" + b"h\x00h\x00\x86\x94" + b"2\x86" * 60 + b"\x8c\x01x\x93.",
    "repeated": b"\x80\x02c_codecs\nencode\nq\x00X\x40\x42\x0f\x00"
    + b"x" * 1_000_000
    + b"q\x01X\x06\x00\x00\x00latin1q\x02"
    + b"h\x00h\x01h\x02\x86R" * 1000
    + b".",
}


@pytest.mark.parametrize("name", HUGE)
def test_a_length_in_a_pickle_is_not_believed(name: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            read_pickled(HUGE[name], name)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "content", [b"", b".", b"N", b"\x80", b"garbage", b"\x80\x04]", b"NN.", b"0."]
)
def test_what_is_no_whole_pickle_is_refused(content: bytes) -> None:
    with pytest.raises(DataError, match=r"not a readable pickle|nothing was run"):
        read_pickled(content, "batch")


def mutated(content: bytes, choice: random.Random) -> bytes:
    if choice.random() < 0.3:
        return content[: choice.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(choice.randint(1, 4)):
        # The structure is at both ends; the middle is pixels.
        edge = min(len(changed), 120)
        at = choice.choice([choice.randrange(edge), len(changed) - 1 - choice.randrange(edge)])
        changed[at] = choice.randrange(256) if choice.random() < 0.5 else changed[at] ^ 1 << 3
    return bytes(changed)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_damaged_pickle_is_read_or_refused_and_nothing_else(protocol: int) -> None:
    choice = random.Random(protocol)
    content = pickle.dumps({b"data": DATA, b"labels": [1, 2], b"names": [b"a", "b"]}, protocol)
    refusals: list[str] = []
    for _ in range(600):
        try:
            read_pickled(mutated(content, choice), "batch")
        except LaptimeError as error:
            refusals.append(str(error))
    assert len(refusals) > 100
    assert not any("\n" in refusal for refusal in refusals)
    assert "antigravity" not in sys.modules
