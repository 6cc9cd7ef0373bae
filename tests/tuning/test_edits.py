from __future__ import annotations

import ast
import dataclasses
import shutil
import stat
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from laptime import files
from laptime.errors import SettingsError, StoreError
from laptime.tuning.edits import Edit, apply, suggest, unified_diff

FOUR = {"num_workers": 4}
IMPORTS = "from torch.utils.data import DataLoader\n"


class Bench:
    """A script on disk, and the facts that a recorder would have written of it."""

    def __init__(self, path: Path, source: str | bytes) -> None:
        self.path = path
        path.write_bytes(source if isinstance(source, bytes) else source.encode())
        self.facts: dict[str, Any] = {
            "argv": [str(path)],
            "cwd": str(path.parent),
            "device": "cpu",
            "loaders": [],
            "optimizers": [],
            "roots": [],
        }

    def place(self, text: str) -> dict[str, Any]:
        """Return the first line that holds a text, as a place."""
        lines = self.path.read_bytes().split(b"\n")
        line = next(i for i, row in enumerate(lines, 1) if text.encode() in row)
        return {"path": str(self.path), "line": line, "text": f"{self.path.name}:{line}"}

    def loader(self, text: str = "DataLoader(", **row: Any) -> Bench:
        self.facts["loaders"].append(
            {"place": self.place(text), "class": "DataLoader", "num_workers": 0, **row}
        )
        return self

    def optimizer(self, kind: str, text: str | None = None) -> Bench:
        place = self.place(text or f"{kind}(")
        self.facts["optimizers"].append({"place": place, "class": kind})
        return self

    def root(self, kind: str, text: str = "model(", **row: Any) -> Bench:
        found = {"class": kind, "kind": "module", "parameters": 9, "place": self.place(text)}
        self.facts["roots"].append({**found, **row})
        return self

    def edits(self, **overrides: Any) -> tuple[Edit, ...]:
        return suggest(overrides, self.facts)

    def edit(self, **overrides: Any) -> Edit:
        (edit,) = self.edits(**overrides)
        return edit

    def words(self, **overrides: Any) -> str:
        """Return what is said where no diff is made."""
        edit = self.edit(**overrides)
        assert edit.diff is None
        assert apply([edit]) == ()
        return edit.words

    def changed(self, **overrides: Any) -> str:
        """Return the script after its edits were applied."""
        edits = self.edits(**overrides)
        assert all(edit.diff for edit in edits), [edit.words for edit in edits]
        assert apply(edits) == (self.path,)
        return self.path.read_bytes().decode()


Write = Callable[..., Bench]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes train.py; source is dedented, and begins with its imports."""

    def build(source: str, imports: str = IMPORTS) -> Bench:
        return Bench(tmp_path / "train.py", imports + textwrap.dedent(source))

    return build


# Calls of DataLoader: what is added


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("DataLoader(data)", "DataLoader(data, num_workers=4)"),
        ("DataLoader(data, 8)", "DataLoader(data, 8, num_workers=4)"),
        ("DataLoader(data, batch_size=8,)", "DataLoader(data, batch_size=8, num_workers=4,)"),
        ("DataLoader( data )", "DataLoader( data, num_workers=4 )"),
        ("DataLoader((data))", "DataLoader((data), num_workers=4)"),
        ("DataLoader(((data)), (8))", "DataLoader(((data)), (8), num_workers=4)"),
        ("(DataLoader)(data)", "(DataLoader)(data, num_workers=4)"),
        ("DataLoader(data, num_workers=2)", "DataLoader(data, num_workers=4)"),
        ("DataLoader(data, num_workers = 2)", "DataLoader(data, num_workers = 4)"),
        ("DataLoader(num_workers=0, dataset=data)", "DataLoader(num_workers=4, dataset=data)"),
        (
            "DataLoader(data, 8, True, None, None, 2)",
            "DataLoader(data, 8, True, None, None, 4)",
        ),
        (
            "DataLoader(data, 8, True, None, None, 2, None, True)",
            "DataLoader(data, 8, True, None, None, 4, None, True)",
        ),
        (
            "DataLoader(data, collate_fn=lambda a, b=',(': (a, b))",
            "DataLoader(data, collate_fn=lambda a, b=',(': (a, b), num_workers=4)",
        ),
        (
            "DataLoader([x for x, y in data], batch_size=8)",
            "DataLoader([x for x, y in data], batch_size=8, num_workers=4)",
        ),
        (
            "print('äöü', '名前'); loader = DataLoader(data, num_workers=1)  # ü",
            "print('äöü', '名前'); loader = DataLoader(data, num_workers=4)  # ü",
        ),
        (
            "loader = list(map(str, DataLoader(data)))",
            "loader = list(map(str, DataLoader(data, num_workers=4)))",
        ),
        (
            "for x, y in DataLoader(data, batch_size=8): pass",
            "for x, y in DataLoader(data, batch_size=8, num_workers=4): pass",
        ),
        (
            "DataLoader(data, # a, (comment)\n  batch_size=8)",
            "DataLoader(data, # a, (comment)\n  batch_size=8,\n  num_workers=4)",
        ),
        ("DataLoader(data, *[])if 1 else 0", None),
        ("DataLoader(x for x in data)", None),
    ],
)
def test_num_workers_is_set_in_a_call_of_any_shape(
    write: Write, before: str, after: str | None
) -> None:
    script = write(before + "\n").loader("DataLoader(" if "(D" not in before else "(DataLoader)")
    if after is None:
        assert "num_workers=4" in script.words(**FOUR)
    else:
        assert script.changed(**FOUR) == f"{IMPORTS}{after}\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            """\
            loader = DataLoader(
                data,
                batch_size=8,  # as in the paper
                shuffle=True,  # ü, (and a comma
            )
            """,
            """\
            loader = DataLoader(
                data,
                batch_size=8,  # as in the paper
                shuffle=True,  # ü, (and a comma
                num_workers=4,
                pin_memory=True,
            )
            """,
        ),
        (
            """\
            loader = DataLoader(
                data,
                shuffle=True  # no comma here
                # num_workers=8
            )
            """,
            """\
            loader = DataLoader(
                data,
                shuffle=True,  # no comma here
                num_workers=4,
                pin_memory=True
                # num_workers=8
            )
            """,
        ),
        (
            """\
            loader = DataLoader(data,
                                shuffle=True)
            """,
            """\
            loader = DataLoader(data,
                                shuffle=True,
                                num_workers=4,
                                pin_memory=True)
            """,
        ),
        (
            """\
            loader = DataLoader(
                data, batch_size=8, shuffle=True
            )
            """,
            """\
            loader = DataLoader(
                data, batch_size=8, shuffle=True, num_workers=4, pin_memory=True
            )
            """,
        ),
        (
            """\
            loader = DataLoader(
            \tdata
            )
            """,
            """\
            loader = DataLoader(
            \tdata,
            \tnum_workers=4,
            \tpin_memory=True
            )
            """,
        ),
        (
            """\
            loader = DataLoader(
                data
                , batch_size=8
                , shuffle=True
            )
            """,
            """\
            loader = DataLoader(
                data
                , batch_size=8
                , shuffle=True, num_workers=4, pin_memory=True
            )
            """,
        ),
        (
            """\
            loader = DataLoader(
                data,
                collate_fn=lambda rows: (
                    rows),
            )
            """,
            """\
            loader = DataLoader(
                data,
                collate_fn=lambda rows: (
                    rows),
                num_workers=4,
                pin_memory=True,
            )
            """,
        ),
        (
            """\
            loader = DataLoader(
                data, \\
                num_workers=1, pin_memory=False,
            )
            """,
            """\
            loader = DataLoader(
                data, \\
                num_workers=4, pin_memory=True,
            )
            """,
        ),
        (
            """\
            def load():
                return DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True, timeout=5)
            """,
            """\
            def load():
                return DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True, timeout=5,
                                  num_workers=4, pin_memory=True)
            """,
        ),
    ],
)
def test_lines_that_are_added_look_like_those_around_them(
    write: Write, before: str, after: str
) -> None:
    changed = write(before).loader().changed(num_workers=4, pin_memory=True)

    assert changed == IMPORTS + textwrap.dedent(after)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("tail", ["", "\n", "\n\n"])
def test_ends_of_lines_and_of_the_file_stay(tmp_path: Path, newline: str, tail: str) -> None:
    source = f"{IMPORTS}\nloader = DataLoader(\n\tdata,\n\tshuffle=True,\n){tail}"
    script = Bench(tmp_path / "train.py", source.replace("\n", newline)).loader()

    changed = script.changed(**FOUR)

    after = source.replace("True,\n", "True,\n\tnum_workers=4,\n")
    assert changed == after.replace("\n", newline)


@pytest.mark.parametrize(
    ("cookie", "encoding"),
    [
        ("# -*- coding: latin-1 -*-\n", "latin-1"),
        ("# coding: cp1252\n", "cp1252"),
        ("", "utf-8-sig"),
        ("# vim: set fileencoding=utf-8 :\n", "utf-8"),
    ],
)
def test_the_encoding_of_a_file_stays(tmp_path: Path, cookie: str, encoding: str) -> None:
    source = f"{cookie}{IMPORTS}über = 'é'; loader = DataLoader(data, num_workers=2)  # für é\n"
    script = Bench(tmp_path / "train.py", source.encode(encoding)).loader()

    apply(script.edits(**FOUR))

    assert script.path.read_bytes() == source.replace("=2)", "=4)").encode(encoding)


def test_what_only_python_takes_for_a_newline_moves_no_column(tmp_path: Path) -> None:
    # str.splitlines ends lines at these too; Python does not.
    source = f"{IMPORTS}x = '\x0c\x1c\u2028\x85'; y = 1\n\x0cloader = DataLoader(data)\n"
    script = Bench(tmp_path / "train.py", source).loader()

    assert script.changed(**FOUR) == source.replace("(data)", "(data, num_workers=4)")


@pytest.mark.parametrize(
    ("imports", "call"),
    [
        ("import torch\n", "torch.utils.data.DataLoader"),
        ("import torch.utils.data\n", "torch.utils.data.DataLoader"),
        ("import torch.utils.data as data_utils\n", "data_utils.DataLoader"),
        ("from torch.utils import data as D\n", "D.DataLoader"),
        ("from torch.utils.data import DataLoader as DL\n", "DL"),
        ("from torch.utils.data import *\n", "DataLoader"),
        ("from torch.utils.data.dataloader import DataLoader\n", "DataLoader"),
        ("if True:\n    import torch as t\n", "t.utils.data.DataLoader"),
    ],
)
def test_a_loader_is_known_by_its_import(write: Write, imports: str, call: str) -> None:
    script = write(f"loader = {call}(ds)\n", imports).loader(f"{call}(")

    assert script.changed(**FOUR) == f"{imports}loader = {call}(ds, num_workers=4)\n"


def test_a_call_over_several_lines_is_found_at_the_line_of_its_name(write: Write) -> None:
    script = write("x = (torch.utils.data\n     .DataLoader(ds))\n", "import torch\n")

    assert ".DataLoader(ds, num_workers=4)" in script.loader(".DataLoader").changed(**FOUR)


# Calls of DataLoader: what cannot be known


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            "parser.add_argument('--workers', type=int)\nDataLoader(d, num_workers=args.workers)",
            "train.py:3 takes num_workers from args.workers: pass --workers 4, or set it there",
        ),
        (
            "p.add_argument('-j', '--jobs', dest='workers')\nDataLoader(d, num_workers=a.workers)",
            "train.py:3 takes num_workers from a.workers: pass --jobs 4, or set it there",
        ),
        (
            "DataLoader(d, num_workers=cfg.data.workers)",
            "train.py:2 takes num_workers from cfg.data.workers: set it to 4 there",
        ),
        (
            "WORKERS = 2\nDataLoader(d, num_workers=WORKERS)",
            "train.py:3 takes num_workers from WORKERS (train.py:2): set it to 4 there",
        ),
        (
            "WORKERS = 2\nif big: WORKERS = 8\nDataLoader(d, num_workers=WORKERS)",
            "train.py:4 takes num_workers from WORKERS: set it to 4 there",
        ),
        (
            "DataLoader(d, num_workers=os.cpu_count() // 2)",
            "train.py:2 takes num_workers from os.cpu_count() // 2: set it to 4 there",
        ),
        (
            "DataLoader(d, **options)",
            "train.py:2 takes arguments from **options: set num_workers=4 there",
        ),
        (
            "DataLoader(d, **{'num_workers': 2})",
            "train.py:2 takes arguments from **{'num_workers': 2}: set num_workers=4 there",
        ),
        (
            "DataLoader(*arguments)",
            "train.py:2 takes arguments from *arguments: set num_workers=4 there",
        ),
        (
            "DataLoader(d, 8, True, None, None, count)",
            "train.py:2 takes num_workers from count: set it to 4 there",
        ),
    ],
)
def test_an_argument_that_is_no_literal_is_left_in_words(
    write: Write, source: str, words: str
) -> None:
    assert write(source + "\n").loader().words(**FOUR) == words


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("'--pin', action='store_true'", True, "pass --pin, or set it there"),
        ("'--pin', action='store_true'", False, "leave --pin out, or set it there"),
        ("'--no-pin', dest='pin', action='store_false'", False, "pass --no-pin, or set it there"),
        ("'--pin', action=argparse.BooleanOptionalAction", False, "pass --no-pin, or set it there"),
        ("'--pin', type=bool", True, "set it to True there"),
        ("'--pin', action=MyAction", True, "set it to True there"),
    ],
)
def test_a_switch_of_the_script_is_named_as_it_is_typed(
    write: Write, option: str, value: bool, words: str
) -> None:
    source = f"p.add_argument({option})\nDataLoader(d, pin_memory=args.pin)\n"

    assert write(source).loader().words(pin_memory=value).endswith(f"from args.pin: {words}")


def test_one_argument_in_words_leaves_the_whole_call_in_words(write: Write) -> None:
    script = write("DataLoader(d, num_workers=n, pin_memory=False)\n").loader()

    assert script.words(num_workers=4, pin_memory=True) == (
        "train.py:2 takes num_workers from n: set it to 4 there; set pin_memory=True too"
    )


def test_stars_hold_no_argument_that_is_written_beside_them(write: Write) -> None:
    script = write("DataLoader(d, num_workers=2, **options)\n").loader()

    assert "DataLoader(d, num_workers=4, **options)" in script.changed(**FOUR)


@pytest.mark.parametrize(
    ("imports", "line"),
    [
        (IMPORTS, "loader = make_loader(data)"),
        (IMPORTS, "loader = self.loaders['train']"),
        (IMPORTS + "def DataLoader(x): pass\n", "DataLoader(data)"),
        ("from .loaders import DataLoader\n", "DataLoader(data)"),
        (
            "try:\n    from fast import DataLoader\nexcept ImportError:\n    " + IMPORTS,
            "DataLoader(d)",
        ),
        (IMPORTS, "super().__init__(data, num_workers=2)"),
        (IMPORTS, "make = lambda DataLoader: DataLoader(data)"),
        (IMPORTS, "functools.partial(DataLoader, data)()"),
    ],
)
def test_another_call_than_torchs_own_is_left_in_words(
    write: Write, imports: str, line: str
) -> None:
    words = write(line + "\n", imports).loader(line).words(**FOUR)

    assert words.endswith(
        "has no call of torch's own DataLoader: set num_workers=4 where it is made"
    )


def test_a_name_that_a_function_binds_is_another_in_that_function_alone(write: Write) -> None:
    source = "def f(DataLoader):\n    return DataLoader(1)\nloader = DataLoader(data)\n"

    assert "= DataLoader(data, num_workers=4)" in write(source).loader("= Data").changed(**FOUR)
    assert "torch's own" in write(source).loader("return").words(**FOUR)


def test_a_library_that_makes_the_loader_is_named(write: Write) -> None:
    imports = "from torch_geometric.loader import DataLoader\n"

    assert write("DataLoader(data)\n", imports).loader().words(**FOUR) == (
        "train.py:2 has no call of torch's own DataLoader but "
        "torch_geometric.loader.DataLoader: set num_workers=4 there"
    )


def test_the_trainer_of_transformers_has_arguments_of_its_own(write: Write) -> None:
    script = write("trainer.train()\n", "from transformers import Trainer\n").loader("train()")

    assert script.words(num_workers=4, pin_memory=True).endswith(
        "set TrainingArguments(dataloader_num_workers=4, dataloader_pin_memory=True)"
    )


def test_the_optimizer_of_transformers_trainer_has_a_name_there(write: Write) -> None:
    script = write("trainer.train()\n", "from transformers import Trainer\n")

    assert (
        script.optimizer("AdamW", "train()")
        .words(fused=True)
        .endswith('set TrainingArguments(optim="adamw_torch_fused")')
    )


@pytest.mark.parametrize(
    ("imports", "words"),
    [
        ("from transformers import Trainer\n", ["(bf16=True)", "(torch_compile=True)"]),
        ("import lightning as L\n", ['Trainer(precision="bf16-mixed")', ".compile() on it"]),
        ("from transformers import AutoModel\n", ["torch.autocast", ".compile() on it"]),
    ],
)
def test_a_framework_is_told_in_its_own_words(write: Write, imports: str, words: list[str]) -> None:
    script = write("trainer.fit(model(1))\n", imports).root("Net")

    edits = script.edits(bf16=True, compile=True)

    assert [word in edit.words for word, edit in zip(words, edits, strict=True)] == [True, True]


def test_a_loader_that_a_library_made_again_is_traced_to_the_first(write: Write) -> None:
    source = "loader = DataLoader(d, batch_size=8)\nloader = accelerator.prepare(loader)\n"
    script = write(source).loader(dataset="D", batch_size=8)
    script.loader("prepare", dataset="D", batch_size=8, training_passes=2)

    edit = suggest({"site": "train.py:3", **FOUR}, script.facts)[0]

    assert edit.words.endswith("set num_workers=4 at train.py:2")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"def broken(:\n", "is not Python 3."),
        (b"# coding: klingon\nDataLoader(d)\n", "unknown encoding"),
        (b"x = '\xff'\nDataLoader(d)\n", "is not Python 3."),
        (b"x = 1\x00\nDataLoader(d)\n", "is not Python 3."),
        (b"x = " + b"-" * 100_000 + b"1\n", "train.py:1 "),
        (b"x = " + b"1 + " * 3_000 + b"1\n", "train.py:1 "),
    ],
)
def test_a_file_that_cannot_be_parsed_is_left_in_words(
    tmp_path: Path, content: bytes, words: str
) -> None:
    script = Bench(tmp_path / "train.py", content)
    place = {"path": str(script.path), "line": 1, "text": "train.py:1"}
    script.facts["loaders"] = [{"place": place, "num_workers": 0}]

    assert words in script.words(**FOUR)


def test_a_file_that_is_not_there_is_left_in_words(write: Write) -> None:
    script = write("DataLoader(d)\n").loader()
    script.path.unlink()

    assert "cannot be read" in script.words(**FOUR)


def test_a_loader_without_a_place_is_left_in_words(write: Write) -> None:
    script = write("DataLoader(d)\n")
    script.facts["loaders"] = [{"place": None, "class": "DataLoader", "num_workers": 0}]
    edit = script.edit(**FOUR)

    assert (edit.path, edit.line, edit.diff) == (None, None, None)
    assert edit.words == "set num_workers=4 where the DataLoader is made: no line is known"


def test_an_installed_package_is_never_changed(tmp_path: Path) -> None:
    folder = tmp_path / "site-packages" / "fast"
    folder.mkdir(parents=True)
    script = Bench(folder / "train.py", f"{IMPORTS}DataLoader(d)\n").loader()

    assert "installed package" in script.words(**FOUR)


# Several loaders


def test_every_call_of_a_line_is_changed_where_all_of_them_were_made(write: Write) -> None:
    source = "a, b = DataLoader(x, num_workers=1), DataLoader(y)\n"

    assert write(source).loader().loader().changed(**FOUR) == (
        IMPORTS + "a, b = DataLoader(x, num_workers=4), DataLoader(y, num_workers=4)\n"
    )


def test_a_line_that_made_one_of_two_loaders_is_left_in_words(write: Write) -> None:
    script = write("a = DataLoader(x) if big else DataLoader(y)\n").loader()

    assert "holds 2 calls of DataLoader, not all of which were made" in script.words(**FOUR)


def test_a_call_within_a_call_is_changed_with_it(write: Write) -> None:
    script = write("a = DataLoader(Cached(DataLoader(x)), batch_size=None)\n").loader().loader()

    assert script.changed(**FOUR) == (
        IMPORTS + "a = DataLoader(Cached(DataLoader(x, num_workers=4)), "
        "batch_size=None, num_workers=4)\n"
    )


def test_one_call_that_makes_several_loaders_is_changed_once(write: Write) -> None:
    script = write("a = [DataLoader(x) for x in parts]\n").loader().loader().loader()

    assert script.changed(**FOUR) == IMPORTS + "a = [DataLoader(x, num_workers=4) for x in parts]\n"


def test_a_site_is_the_only_loader_that_changes(write: Write) -> None:
    script = write("a = DataLoader(x)\nb = DataLoader(y)\n").loader("a = ").loader("b = ")

    assert script.changed(site="train.py:3", **FOUR) == (
        IMPORTS + "a = DataLoader(x)\nb = DataLoader(y, num_workers=4)\n"
    )


def test_without_a_site_every_loader_changes_and_one_patch_shows_it(write: Write) -> None:
    script = write("a = DataLoader(x)\nb = DataLoader(y)\n").loader("a = ").loader("b = ")
    edits = script.edits(**FOUR)

    patch = unified_diff(edits)
    apply(edits)

    assert script.path.read_text().count("num_workers=4") == 2
    assert patch.count("+++ ") == 1
    assert patch.count("\n+b = ") == 1


def test_what_the_call_has_already_is_no_edit(write: Write) -> None:
    script = write("DataLoader(d, num_workers=4, pin_memory=True)\n").loader(num_workers=4)

    assert script.edits(num_workers=4, pin_memory=True) == ()


def test_a_value_that_is_the_default_is_not_added(write: Write) -> None:
    script = write("DataLoader(d)\n").loader()

    assert script.edits(num_workers=0, pin_memory=False) == ()


# Loaders without workers


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "DataLoader(d, num_workers=2, prefetch_factor=4, persistent_workers=True)",
            "DataLoader(d, num_workers=0)",
        ),
        (
            "DataLoader(d, prefetch_factor=4, num_workers=2, timeout=30)",
            "DataLoader(d, num_workers=0)",
        ),
        (
            "DataLoader(prefetch_factor=4, dataset=d, num_workers=2,)",
            "DataLoader(dataset=d, num_workers=0,)",
        ),
        (
            "DataLoader(d, num_workers=2, multiprocessing_context='spawn', pin_memory=True)",
            "DataLoader(d, num_workers=0, pin_memory=True)",
        ),
        (
            "DataLoader(d, 8, True, None, None, 2, None, True, False, 30)",
            "DataLoader(d, 8, True, None, None, 0, None, True, False, 0)",
        ),
        (
            "DataLoader(d, num_workers=2, prefetch_factor=None, persistent_workers=False)",
            "DataLoader(d, num_workers=0, prefetch_factor=None, persistent_workers=False)",
        ),
        (
            "DataLoader(\n    d,\n    num_workers=2,  # all\n    prefetch_factor=4,  # slow\n"
            "    # here to stay\n    persistent_workers=True\n)",
            "DataLoader(\n    d,\n    num_workers=0  # all\n)",
        ),
        (
            "DataLoader(\n    d,\n    prefetch_factor=4,  # slow disk\n    num_workers=2,\n)",
            "DataLoader(\n    d,\n    num_workers=0,\n)",
        ),
        (
            "DataLoader(d, num_workers=2,\n           persistent_workers=True)",
            "DataLoader(d, num_workers=0)",
        ),
        (
            "DataLoader(\n    prefetch_factor=4, persistent_workers=True,\n    dataset=d)",
            "DataLoader(\n    dataset=d)",
        ),
    ],
)
def test_without_workers_their_arguments_go(write: Write, before: str, after: str) -> None:
    script = write(before + "\n").loader(num_workers=2)

    assert script.changed(num_workers=0) == f"{IMPORTS}{after}\n"


@pytest.mark.parametrize(
    "argument", ["persistent_workers=args.keep", "multiprocessing_context=context", "**options"]
)
def test_without_workers_an_argument_of_theirs_that_is_no_literal_is_named(
    write: Write, argument: str
) -> None:
    script = write(f"DataLoader(d, num_workers=2, {argument})\n").loader(num_workers=2)

    assert argument.split("=")[-1] in script.words(num_workers=0)


def test_a_comment_in_the_way_of_an_argument_that_goes_is_kept(write: Write) -> None:
    source = "DataLoader(d, # data\n   num_workers=2, timeout=3, # slow\n   pin_memory=True)\n"
    script = write(source).loader(num_workers=2)

    assert script.changed(num_workers=0) == IMPORTS + source.replace("=2, timeout=3", "=0")
    source = "DataLoader(d, # data\n   timeout=3, num_workers=2)\n"
    assert "comment" in write(source).loader(num_workers=2).words(num_workers=0)


def test_what_is_added_takes_the_place_of_what_goes(write: Write) -> None:
    script = write("DataLoader(d, num_workers=2, timeout=3)\n").loader(num_workers=2)

    assert script.changed(num_workers=0, pin_memory=True) == (
        IMPORTS + "DataLoader(d, num_workers=0, pin_memory=True)\n"
    )


def test_arguments_of_workers_are_not_given_to_a_loader_without(write: Write) -> None:
    script = write("DataLoader(d)\n").loader(num_workers=0)

    assert script.edits(persistent_workers=True, prefetch_factor=4) == ()
    assert script.changed(pin_memory=True, prefetch_factor=4) == (
        IMPORTS + "DataLoader(d, pin_memory=True)\n"
    )


# Optimizers


@pytest.mark.parametrize(
    ("imports", "before", "after", "asked"),
    [
        (
            "import torch\n",
            "o = torch.optim.AdamW(p, lr=1)",
            "o = torch.optim.AdamW(p, lr=1, fused=True)",
            {"fused": True},
        ),
        (
            "import torch.optim as optim\n",
            "o = optim.SGD(p, 0.1, 0.9)",
            "o = optim.SGD(p, 0.1, 0.9, foreach=True)",
            {"foreach": True},
        ),
        (
            "from torch import optim\n",
            "o = optim.Adam(p, foreach=True)",
            "o = optim.Adam(p, fused=True)",
            {"fused": True},
        ),
        (
            "from torch.optim import Adam\n",
            "o = Adam(p, fused=False, foreach=False)",
            "o = Adam(p, fused=False, foreach=True)",
            {"foreach": True},
        ),
        (
            "from torch.optim import RMSprop\n",
            "o = RMSprop(\n    p,\n    lr=1,\n)",
            "o = RMSprop(\n    p,\n    lr=1,\n    foreach=True,\n)",
            {"foreach": True},
        ),
    ],
)
def test_an_optimizer_is_told_how_to_update(
    write: Write, imports: str, before: str, after: str, asked: dict[str, bool]
) -> None:
    kind = next(k for k in ("AdamW", "SGD", "Adam", "RMSprop") if f"{k}(" in before)
    script = write(before + "\n", imports).optimizer(kind)

    assert script.changed(**asked) == f"{imports}{after}\n"


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("SGD", "o = getattr(torch.optim, name)(p)"),
        ("SGD", "o = torch.optim.SGD(p, **options)"),
        ("SGD", "o = torch.optim.SGD(p, fused=is_fast)"),
        ("SGD", "o = torch.optim.SGD(p, 1, 2, 3, 4, True, 6)"),
        ("SGD", "o = torch.optim.Adam(p)"),
        ("SGD", "o = make_optimizer(p)"),
    ],
)
def test_an_optimizer_that_is_made_otherwise_is_left_in_words(
    write: Write, kind: str, line: str
) -> None:
    words = write(line + "\n", "import torch\n").optimizer(kind, line).words(fused=True)

    assert words.startswith("train.py:2 ")
    assert "fused=True" in words or "set it to True" in words


def test_an_optimizer_that_has_no_such_argument_is_left_alone(write: Write) -> None:
    script = write("a = torch.optim.LBFGS(p)\nb = torch.optim.Adam(p)\n", "import torch\n")

    assert "LBFGS(p)\nb = torch.optim.Adam(p, fused=True)" in (
        script.optimizer("LBFGS").optimizer("Adam").changed(fused=True)
    )


# Settings of the process


def test_settings_follow_the_imports_that_hold_the_last_of_torch(write: Write) -> None:
    script = write(
        """\
        \"\"\"Train.\"\"\"
        from __future__ import annotations

        import torch  # first
        from torch.utils.data import (
            DataLoader,
        )  # the last
        import os

        x = 1
        if __name__ == "__main__":
            import torch.distributed
        """,
        "",
    )

    changed = script.changed(threads=2, tf32=True, cudnn_benchmark=True)

    assert changed == script.path.read_text()
    assert (
        "import os\n\ntorch.set_num_threads(2)\n"
        'torch.set_float32_matmul_precision("high")\n'
        "torch.backends.cudnn.benchmark = True\n\nx = 1\n"
    ) in changed


@pytest.mark.parametrize(
    ("imports", "added"),
    [
        ("import torch as th\n", "\nth.set_num_threads(2)\n"),
        ("from torch import nn\n", "import torch\n\ntorch.set_num_threads(2)\n"),
        ("import torch; import os\n", "\ntorch.set_num_threads(2)\n"),
        ("import torch.nn as nn\n", "import torch\n\ntorch.set_num_threads(2)\n"),
    ],
)
def test_settings_use_the_name_that_torch_has(write: Write, imports: str, added: str) -> None:
    assert write("x = 1\n", imports).changed(threads=2) == f"{imports}{added}x = 1\n"


def test_settings_end_a_file_that_ends_without_a_newline(tmp_path: Path) -> None:
    script = Bench(tmp_path / "train.py", "import os\r\nimport torch")

    assert script.changed(threads=2) == "import os\r\nimport torch\r\n\r\ntorch.set_num_threads(2)"


@pytest.mark.parametrize(
    ("before", "after", "asked"),
    [
        ("torch.set_num_threads(8)", "torch.set_num_threads(2)", {"threads": 2}),
        (
            "torch.set_float32_matmul_precision('highest')",
            'torch.set_float32_matmul_precision("high")',
            {"tf32": True},
        ),
        (
            "torch.backends.cudnn.benchmark = False",
            "torch.backends.cudnn.benchmark = True",
            {"cudnn_benchmark": True},
        ),
        (
            "torch.backends.cuda.matmul.allow_tf32 = False",
            "torch.backends.cuda.matmul.allow_tf32 = True",
            {"tf32": True},
        ),
    ],
)
def test_a_setting_that_the_script_makes_is_changed_where_it_is(
    write: Write, before: str, after: str, asked: dict[str, Any]
) -> None:
    assert write(before + "\n", "import torch\n").changed(**asked) == f"import torch\n{after}\n"


@pytest.mark.parametrize(
    "line",
    [
        "torch.set_num_threads(args.threads)",
        "if slow: torch.set_num_threads(8)",
        "def main(): torch.set_num_threads(8)",
    ],
)
def test_a_setting_that_depends_on_something_is_left_in_words(write: Write, line: str) -> None:
    words = write(line + "\n", "import torch\n").words(threads=2)

    assert words.startswith("train.py:2 has torch.set_num_threads(")
    assert words.endswith(": make it 2")


def test_a_setting_that_is_made_already_is_no_edit(write: Write) -> None:
    script = write("torch.set_num_threads(2)\n", "import torch\n")

    assert script.edits(threads=2) == ()


@pytest.mark.parametrize(
    "source",
    ["import os\n", "try:\n    import torch\nexcept ImportError:\n    torch = None\n", "x = (\n"],
)
def test_without_an_import_of_torch_at_the_top_settings_are_left_in_words(
    write: Write, source: str
) -> None:
    words = write(source, "").words(threads=2)

    assert words == "torch.set_num_threads(2), before training begins"


def test_what_the_environment_decides_is_left_in_words(write: Write) -> None:
    words = write("import torch\n", "").words(keep_memory=True)

    assert words == (
        "start the script with MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=-1 in its environment"
    )


def test_settings_go_to_the_file_that_imports_torch_when_the_first_does_not(
    tmp_path: Path,
) -> None:
    engine = Bench(tmp_path / "engine.py", "import torch\nout = model(x)\n")
    main = Bench(tmp_path / "train.py", "import engine\n")
    main.facts["roots"] = engine.root("Net").facts["roots"]

    (edit,) = main.edits(threads=2)

    assert edit.path == engine.path


# Loops and models


LOOP = """\
import torch
model = Net().to(device)
for epoch in range(9):
    for x, y in loader:
        x = x.to(device)
        loss = model(x).sum()
"""


def test_the_collector_is_frozen_before_the_loop_over_epochs(write: Write) -> None:
    changed = write(LOOP, "").root("Net", "model(x)").changed(gc="freeze")

    assert changed.startswith("import gc\nimport torch\n")
    assert "\ngc.collect()\ngc.freeze()\nfor epoch in range(9):\n" in changed


@pytest.mark.parametrize(
    "source",
    [
        "import torch\nfor x in loader:\n    model(x)\n",
        "import torch\ngc = 1\nfor e in y:\n    for x in loader:\n        model(x)\n",
        "for e in y:\n    for x in loader:\n        model(x)\nimport torch\n",
        "import torch\ndef step(x):\n    model(x)\nfor e in y:\n    for x in l: step(x)\n",
    ],
)
def test_a_loop_that_may_not_be_the_one_over_epochs_is_left_in_words(
    write: Write, source: str
) -> None:
    assert "gc.collect() and gc.freeze()" in write(source, "").root("Net").words(gc="freeze")


def test_a_model_that_is_made_once_is_compiled_after_it(write: Write) -> None:
    changed = write(LOOP, "").root("Net", "model(x)").changed(compile=True)

    assert "model = Net().to(device)\nmodel.compile()\nfor" in changed


@pytest.mark.parametrize(
    "creation",
    [
        "self.model = Net()",
        "model = wrap(Net())",
        "model = Net() if big else Net()",
        "model = other = Net()",
        "model = build()",
        "model = Net(); x = 1",
    ],
)
def test_a_model_that_is_made_otherwise_is_compiled_in_words(write: Write, creation: str) -> None:
    script = write(f"{creation}\nout = model(x)\n", "import torch\n").root("Net", "model(x)")

    (edit,) = script.edits(compile=True)

    assert edit.diff is None
    assert "compile" in edit.words


def test_what_changes_numbers_or_lines_of_their_own_is_left_in_words(write: Write) -> None:
    script = write(LOOP, "").root("Net", "model(x)")

    edits = script.edits(bf16=True, channels_last=True, non_blocking=True)

    assert not any(edit.diff for edit in edits)
    assert [edit.words.partition(":")[2].partition(" ")[0].rstrip(":") for edit in edits] == [
        "5",
        "6",
        "6",
    ]
    assert unified_diff(edits) == ""


def test_overrides_that_are_off_and_shifted_seeds_change_nothing(write: Write) -> None:
    script = write(LOOP, "").root("Net", "model(x)")

    assert script.edits(bf16=False, compile=False, tf32=False, seed_shift=3, site=None) == ()


def test_an_unknown_override_is_refused_with_those_that_there_are(write: Write) -> None:
    with pytest.raises(SettingsError, match=r"override is 'workers', but must be one of \['bf16'"):
        write(LOOP, "").edits(workers=4)


def test_everything_at_once_makes_one_patch_that_holds(write: Write) -> None:
    source = LOOP.replace("model =", "loader = DataLoader(d)\no = torch.optim.SGD(p)\nmodel =")
    script = write(source).loader().optimizer("SGD").root("Net", "model(x)")
    edits = script.edits(
        **FOUR, pin_memory=True, fused=True, threads=2, compile=True, gc="freeze", bf16=True
    )

    apply(edits)

    changed = script.path.read_text()
    assert [bool(edit.diff) for edit in edits] == [True, True, True, False, True, True]
    for text in ("num_workers=4", "fused=True", "set_num_threads(2)", ".compile()", "gc.freeze()"):
        assert changed.count(text) == 1
    ast.parse(changed)


# Patches


def applied_by(command: list[str], folder: Path, patch: str) -> None:
    done = subprocess.run(command, cwd=folder, input=patch.encode(), capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [["git", "apply", "-"], ["patch", "-p1", "--binary"]])
@pytest.mark.parametrize("tail", ["", "\n"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_git_and_patch_write_what_apply_writes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    tail: str,
    newline: str,
) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    monkeypatch.chdir(tmp_path)
    source = f"{IMPORTS}x = 'é'\nloader = DataLoader(data){tail}".replace("\n", newline)
    name = "my train.py"
    (tmp_path / "by hand").mkdir()
    shutil.copy(Bench(tmp_path / name, source).path, tmp_path / "by hand")
    script = Bench(tmp_path / name, source).loader()
    edits = script.edits(**FOUR)
    patch = unified_diff(edits)

    apply(edits)
    applied_by(command, tmp_path / "by hand", patch)

    assert (tmp_path / "by hand" / name).read_bytes() == script.path.read_bytes()


def test_a_patch_names_files_relative_to_where_it_is_made(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = write("DataLoader(d)\n").loader()
    monkeypatch.chdir(tmp_path)

    assert script.edit(**FOUR).diff == (
        "--- a/train.py\n+++ b/train.py\n@@ -1,2 +1,2 @@\n"
        f" {IMPORTS}-DataLoader(d)\n+DataLoader(d, num_workers=4)\n"
    )


def test_a_diff_shows_the_end_of_a_file_that_has_no_newline(write: Write) -> None:
    assert (write("DataLoader(d)").loader().edit(**FOUR).diff or "").count(
        "\\ No newline at end of file\n"
    ) == 2


def test_one_patch_holds_the_edits_of_all_files(tmp_path: Path) -> None:
    first = Bench(tmp_path / "a.py", f"{IMPORTS}DataLoader(d)\n").loader()
    second = Bench(tmp_path / "b.py", "import torch\n").edits(threads=2)
    edits = (*first.edits(**FOUR), *second)

    assert unified_diff(edits).count("\n@@ ") == 2
    assert apply(edits) == (tmp_path / "a.py", tmp_path / "b.py")


# Applying


def test_a_file_that_changed_since_is_not_written(write: Write) -> None:
    script = write("DataLoader(d)\n").loader()
    edits = script.edits(**FOUR)
    script.path.write_text(script.path.read_text() + "# mine\n")

    with pytest.raises(SettingsError, match=r"train\.py changed after the diff was made"):
        apply(edits)

    assert "num_workers" not in script.path.read_text()


def test_no_file_is_written_when_one_of_them_changed(tmp_path: Path) -> None:
    first = Bench(tmp_path / "a.py", f"{IMPORTS}DataLoader(d)\n").loader()
    second = Bench(tmp_path / "b.py", "import torch\n")
    edits = (*first.edits(**FOUR), *second.edits(threads=2))
    second.path.write_text("import torch\n\n")

    with pytest.raises(SettingsError):
        apply(edits)

    assert "num_workers" not in first.path.read_text()


def test_files_before_one_that_the_disk_refuses_are_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Bench(tmp_path / "a.py", f"{IMPORTS}DataLoader(d)\n").loader()
    edits = (*first.edits(**FOUR), *Bench(tmp_path / "b.py", "import torch\n").edits(threads=2))

    def refuse(path: Path, content: bytes) -> None:
        if path.name == "b.py":
            raise StoreError("full") from OSError(28, "No space left on device")
        files.write_atomically(path, content)

    monkeypatch.setattr("laptime.tuning.rewriting.patch.write_atomically", refuse)
    with pytest.raises(StoreError, match=r"b\.py cannot be written \(No space left on device\)"):
        apply(edits)

    assert first.path.read_text() == f"{IMPORTS}DataLoader(d)\n"


def test_a_read_only_file_is_not_written_by_a_superuser_either(write: Write) -> None:
    script = write("DataLoader(d)\n").loader()
    edits = script.edits(**FOUR)
    script.path.chmod(0o444)

    with pytest.raises(StoreError, match=r"train\.py is read-only .* or apply the diff by hand"):
        apply(edits)


@pytest.mark.parametrize("mode", [0o755, 0o600, 0o664])
def test_the_mode_of_a_file_stays(write: Write, mode: int) -> None:
    script = write("DataLoader(d)\n").loader()
    script.path.chmod(mode)

    script.changed(**FOUR)

    assert stat.S_IMODE(script.path.stat().st_mode) == mode


def test_a_link_stays_a_link(write: Write, tmp_path: Path) -> None:
    script = write("DataLoader(d)\n")
    target = tmp_path / "elsewhere.py"
    script.path.rename(target)
    script.path.symlink_to(target)

    script.loader().changed(**FOUR)

    assert script.path.is_symlink()
    assert "num_workers=4" in target.read_text()


def test_a_file_that_is_gone_is_one_line_with_its_path(write: Write) -> None:
    script = write("DataLoader(d)\n").loader()
    edits = script.edits(**FOUR)
    script.path.unlink()

    with pytest.raises(StoreError, match=r"train\.py cannot be read: No such file"):
        apply(edits)


def test_edits_that_do_not_go_together_are_refused(write: Write) -> None:
    script = write("DataLoader(d, num_workers=2)\n").loader()
    edits = [*script.edits(**FOUR), *script.edits(num_workers=8)]

    with pytest.raises(SettingsError, match="would be changed twice at one place"):
        unified_diff(edits)

    other = dataclasses.replace(edits[0], content=b"x = 1\n")
    with pytest.raises(SettingsError, match="changed between two edits"):
        apply([edits[0], other])


def test_an_edit_is_frozen_and_its_print_is_short(write: Write) -> None:
    edit = write("DataLoader(d)\n").loader().edit(**FOUR)

    assert edit.words == "train.py:2 DataLoader(num_workers=4)"
    assert "content" not in repr(edit)
    with pytest.raises(dataclasses.FrozenInstanceError):
        edit.words = ""  # type: ignore[misc]


def test_nothing_is_left_beside_the_file(write: Write, tmp_path: Path) -> None:
    write("DataLoader(d)\n").loader().changed(**FOUR)

    assert [path.name for path in tmp_path.iterdir()] == ["train.py"]


# Any call


BY_PLACE = ["data", "(data)", "f(a, b)", "[x for x, y in z]", "'é,)('", '"#"', "lambda a: (a, 1)"]
BY_NAME = [
    *("num_workers=1", "num_workers = (3)", "pin_memory=False", "pin_memory=(True)"),
    *("prefetch_factor=4", "persistent_workers=True", "timeout=5", "collate_fn=c"),
]
GAPS = st.sampled_from(["", " ", "\n    ", "  # ü, (\n    ", " \\\n ", "\n\n\t"])
OF_WORKERS = {"prefetch_factor", "persistent_workers", "timeout", "multiprocessing_context"}


@st.composite
def calls(draw: st.DrawFn) -> str:
    """Return the source of a call of DataLoader: its arguments, blanks, comments and commas."""
    by_place = draw(st.lists(st.sampled_from(BY_PLACE), min_size=1, max_size=4))
    by_name = draw(
        st.lists(st.sampled_from(BY_NAME), max_size=5, unique_by=lambda a: a.split("=")[0].strip())
    )
    rows = [draw(GAPS) + argument + draw(GAPS) for argument in (*by_place, *by_name)]
    return f"DataLoader({','.join(rows)}{draw(st.sampled_from(['', ',']))}{draw(GAPS)})"


def loader_call(source: str) -> ast.Call:
    (call,) = (
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "DataLoader"
    )
    return call


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(call=calls(), workers=st.integers(0, 2), pin_memory=st.booleans())
def test_any_call_keeps_all_but_the_arguments_that_were_asked_for(
    tmp_path_factory: pytest.TempPathFactory, call: str, workers: int, pin_memory: bool
) -> None:
    source = f"{IMPORTS}é = 1; loader = {call}.x  # end\n"
    path = tmp_path_factory.mktemp("any") / "train.py"
    script = Bench(path, source).loader(num_workers=1)

    edits = script.edits(num_workers=workers, pin_memory=pin_memory)
    apply(edits)

    changed = path.read_text()
    if any(edit.diff is None for edit in edits):
        assert "comment" in edits[0].words
        assert "#" in call
        return
    assert changed.startswith(source.partition("(")[0])
    assert changed.endswith(").x  # end\n")
    before, after = loader_call(source), loader_call(changed)
    old = {k.arg: ast.unparse(k.value) for k in before.keywords}
    new = {k.arg: ast.unparse(k.value) for k in after.keywords}
    assert list(map(ast.dump, after.args)) == list(map(ast.dump, before.args))
    assert new.get("num_workers", "0") == str(workers)
    assert new.get("pin_memory", "False") == str(pin_memory)
    gone = OF_WORKERS if workers == 0 else set()
    touched = {"num_workers", "pin_memory"} | gone
    assert {k: v for k, v in old.items() if k not in touched} == {
        k: v for k, v in new.items() if k not in touched
    }
    assert not gone & set(new)
