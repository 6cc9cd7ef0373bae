"""The user's code, imported by file or by module name and called."""

from __future__ import annotations

import multiprocessing
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from laptime.errors import DataError, ModelError
from laptime.factory import build_from_factory, is_factory


@pytest.fixture(autouse=True)
def _imports_undone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(path: Path, code: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(code))
    return path


def build(spec: str) -> object:
    return build_from_factory(spec, what="data", error=DataError)


def refusal(spec: str) -> str:
    with pytest.raises(DataError) as refused:
        build(spec)
    assert str(refused.value).isprintable()
    assert str(refused.value).startswith(f"data is {spec!r}")
    return str(refused.value)


@pytest.mark.parametrize(
    "spec", ["own.py:make", "/a/b/own.py:make", "own:make", "a.b.c:make", "C:/x/own.py:f", "x.py:"]
)
def test_a_factory_is_a_module_or_python_file_a_colon_and_a_name(spec: str) -> None:
    assert is_factory(spec)


@pytest.mark.parametrize(
    "spec",
    [
        "resnet18",
        "data/cifar",
        "C:/data",
        "C:\\data",
        "a:b/c",
        ":x",
        "x:",
        "",
        "own.py",
        "http://x/y",
    ],
)
def test_names_and_paths_are_no_factories(spec: str) -> None:
    assert not is_factory(spec)


def test_a_file_is_imported_and_its_factory_called(tmp_path: Path) -> None:
    path = write(tmp_path / "lt_own.py", "def make():\n    return __name__, __file__")
    assert build(f"{path}:make") == ("lt_own", str(path))


def test_a_module_is_found_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "lt_package" / "__init__.py", "")
    write(tmp_path / "lt_package" / "module.py", "def make():\n    return 7")
    monkeypatch.chdir(tmp_path)
    assert build("lt_package.module:make") == 7


def test_a_file_may_import_its_neighbours_early_and_late(tmp_path: Path) -> None:
    write(tmp_path / "lt_early.py", "value = 1")
    write(tmp_path / "lt_late.py", "value = 2")
    code = """
        import lt_early
        def make():
            import lt_late
            return lt_early.value + lt_late.value
    """
    assert build(f"{write(tmp_path / 'lt_own.py', code)}:make") == 3


def test_a_class_can_be_the_factory(tmp_path: Path) -> None:
    path = write(tmp_path / "lt_own.py", "class Made:\n    def __init__(self, size=3): ...")
    assert type(build(f"{path}:Made")).__name__ == "Made"


def test_two_factories_of_a_file_share_one_module(tmp_path: Path) -> None:
    path = write(tmp_path / "lt_own.py", "class A: ...\ndef one(): return A\ndef two(): return A")
    assert build(f"{path}:one") is build(f"{path}:two")


def test_files_of_one_name_in_two_folders_do_not_mix(tmp_path: Path) -> None:
    for name in ("one", "two"):
        path = write(tmp_path / name / "lt_own.py", f"def make(): return {name!r}")
        assert build(f"{path}:make") == name


def test_a_file_named_like_a_loaded_module_does_not_replace_it(tmp_path: Path) -> None:
    path = write(tmp_path / "random.py", "def make(): return 'mine'")
    loaded = sys.modules["random"]
    assert build(f"{path}:make") == "mine"
    assert sys.modules["random"] is loaded


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_what_a_file_defines_reaches_worker_processes(tmp_path: Path, method: str) -> None:
    code = "class Own:\n    def __len__(self): return 5\ndef make(): return Own()"
    made = build(f"{write(tmp_path / 'lt_own.py', code)}:make")
    context = multiprocessing.get_context(method)
    with context.Pool(1) as pool:
        assert pool.apply(len, (made,)) == 5
        pool.close()
        pool.join()


def test_what_the_file_prints_stays_out_of_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "lt_own.py", "print('early')\ndef make(): print('late')")
    build(f"{path}:make")
    assert capsys.readouterr() == ("", "early\nlate\n")


FAILURES = {
    "def make():\n    raise ValueError('bad\\nvalue')": r"ValueError: bad value \(.*lt_own\.py:2\)",
    "import json\ndef make():\n    return json.loads('{')": r"JSONDecodeError.*lt_own\.py:3\)",
    "1 / 0\ndef make(): ...": r"ZeroDivisionError: division by zero \(.*lt_own\.py:1\)",
    "def make(:\n    ...": r"SyntaxError.*lt_own\.py:1\)",
    "import lt_no_such_module\ndef make(): ...": r"ModuleNotFoundError.*lt_own\.py:1\)",
    "raise SystemExit(3)": r"SystemExit: 3 \(.*lt_own\.py:1\)",
    "def make():\n    make()": r"RecursionError.*lt_own\.py:2\)",
    "def make():\n    raise MemoryError": r"raised MemoryError \(.*lt_own\.py:2\)",
    "def make():\n    raise KeyError('x' * 9999)": r"KeyError: 'xxx",
    "def make(root, size): ...": r"needs arguments \(root, size\)",
    "def make(*, root): ...": r"needs arguments \(root\)",
    "make = 42": "make is of type int",
    "make = None": "there is no 'make' there",
    "def other(): ...\nclass Also: ...": "there is no 'make' there; it defines other, Also",
    "": "it defines no function",
}


@pytest.mark.parametrize("code", FAILURES)
def test_what_goes_wrong_in_the_users_code_is_one_line(tmp_path: Path, code: str) -> None:
    message = refusal(f"{write(tmp_path / 'lt_own.py', code)}:make")
    assert re.search(FAILURES[code], message), message
    assert len(message) < 1000


def test_a_file_that_failed_is_not_left_half_imported(tmp_path: Path) -> None:
    path = write(tmp_path / "lt_own.py", "def make(): return 1\nraise ValueError")
    refusal(f"{path}:make")
    assert "lt_own" not in sys.modules


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "there is no file" in refusal(f"{tmp_path}/lt_none.py:make")
    (tmp_path / "lt_folder.py").mkdir()
    assert "there is no file" in refusal(f"{tmp_path}/lt_folder.py:make")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lt_binary.py").write_bytes(b"\x00\xff\xfe" * 10)
    assert "lt_binary" in refusal(f"{tmp_path}/lt_binary.py:make")


@pytest.mark.parametrize("name", ["", "two words", "1x"])
def test_a_name_that_no_function_can_have_is_refused(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "lt_own.py", "def make(): ...")
    assert "it defines make" in refusal(f"{path}:{name}")


def test_a_module_that_is_not_there_is_told_from_one_that_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "lt_broken.py", "import lt_missing")
    monkeypatch.chdir(tmp_path)
    assert "there is no module 'lt_nowhere'" in refusal("lt_nowhere:make")
    assert "there is no module 'lt_broken.sub'" not in refusal("lt_broken:make")
    assert "No module named 'lt_missing'" in refusal("lt_broken:make")


def test_the_caller_says_what_was_to_be_made_and_which_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="model is"):
        build_from_factory("lt_nowhere:make", what="model", error=ModelError)


def test_what_is_no_factory_is_refused() -> None:
    assert "names no factory" in refusal("resnet18")
