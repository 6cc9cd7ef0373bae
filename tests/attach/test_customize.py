"""A user's own sitecustomize and usercustomize run as they do without us: once, by their name."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.attach.foreign import Place, enterable, make_environment

pytestmark = pytest.mark.zoo

CUSTOMIZE = """
import sys
if "laptime" not in getattr(sys, "orig_argv", ()):  # laptime's own process has one, too
    print({who!r}, __name__, __file__.endswith("customize.py"), __spec__.name,
          sys.modules[__name__].__dict__ is globals())
WHO = {who!r}
"""

ASKS = """
import sys
for name in ("sitecustomize", "usercustomize"):
    try:
        print(name, __import__(name).WHO)
    except ImportError as error:
        print(error)
"""

HANDS_ON = """
import os, sys
here = os.path.dirname(os.path.abspath(__file__))
kept = list(sys.path)
sys.path[:] = [path for path in kept if os.path.abspath(path) != here]
own = sys.modules.pop("sitecustomize")
try:
    import sitecustomize
except ImportError as error:
    print("nobody after", error)
sys.path[:] = kept
sys.modules["sitecustomize"] = own
WHO = "one that hands on"
"""


needs_a_free_name = pytest.mark.skipif(
    Path(sysconfig.get_path("stdlib"), "sitecustomize.py").exists(),
    reason="this Python brings a sitecustomize of its own, found before that of an environment",
)
"""Debian's and Ubuntu's system interpreters do."""


def customized(place: Place, *folders: str) -> Place:
    """Give a place a sitecustomize in each of these folders, all of them on PYTHONPATH."""
    for folder in folders:
        place.write(f"{folder}/sitecustomize.py", CUSTOMIZE.format(who=folder))
    return Place(place.path, {"PYTHONPATH": os.pathsep.join(folders)})


@pytest.mark.parametrize("word", enterable())
def test_a_sitecustomize_on_pythonpath_runs_once_under_its_own_name(
    word: str, place: Place, interpreter: Callable[[str], str]
) -> None:
    place.write("asks.py", ASKS)
    pair = customized(place, "first", "second").pair(interpreter(word), "asks.py")

    pair.check()
    assert pair.plain.stdout.splitlines()[:2] == [
        "first sitecustomize True sitecustomize True",
        "sitecustomize first",
    ]


@needs_a_free_name
def test_a_sitecustomize_in_site_packages_runs_once_under_its_own_name(
    place: Place, tmp_path: Path
) -> None:
    python = make_environment(tmp_path / "environment")
    site = site_packages(python)
    (site / "sitecustomize.py").write_text(CUSTOMIZE.format(who="site"))
    (site / "usercustomize.py").write_text(CUSTOMIZE.format(who="user"))
    configuration = python.parent.parent / "pyvenv.cfg"
    configuration.write_text(configuration.read_text().replace("= false", "= true"))
    place.write("asks.py", ASKS)
    pair = place.pair(str(python), "asks.py")

    pair.check()
    assert pair.plain.stdout.splitlines() == [
        "site sitecustomize True sitecustomize True",
        "user usercustomize True usercustomize True",
        "sitecustomize site",
        "usercustomize user",
    ]


def site_packages(python: Path) -> Path:
    return next(python.parent.parent.glob("lib/python3*")) / "site-packages"


def test_without_a_sitecustomize_there_is_none_to_import(place: Place, bare: str) -> None:
    place.write("asks.py", ASKS)

    place.pair(bare, "asks.py").check()


@needs_a_free_name
@pytest.mark.parametrize("text", ["raise ValueError('theirs')", "import no_such_module", "1 +"])
def test_a_sitecustomize_that_fails_fails_as_without_us(text: str, tmp_path: Path) -> None:
    python = make_environment(tmp_path / "environment")
    (site_packages(python) / "sitecustomize.py").write_text(text + "\n")
    pair = Place(tmp_path).pair(
        str(python),
        "-c",
        "import sys; print(SEEN in sys.modules)".replace("SEEN", repr("sitecustomize")),
    )

    pair.check()
    assert "Error in sitecustomize" in pair.plain.stderr


def test_a_sitecustomize_that_hands_on_finds_the_next(place: Place, bare: str) -> None:
    place.write("asks.py", ASKS)
    before = customized(place, "before", "after")
    place.write("before/sitecustomize.py", HANDS_ON)
    pair = before.pair(bare, "asks.py")

    pair.check()
    assert "after sitecustomize True sitecustomize True" in pair.plain.stdout
