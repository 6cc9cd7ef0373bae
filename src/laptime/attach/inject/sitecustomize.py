"""Found through PYTHONPATH by any Python that a command starts; hands over to the user's own.

The interpreter imports one module of this name at its start. This one lets the recorder in, then
loads the one that would have been imported without it.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))


def _without_us(paths: list[str]) -> list[str]:
    return [path for path in paths if os.path.abspath(path or os.curdir) != _HERE]


def _let_recorder_in() -> None:
    home = os.environ.get("LAPTIME_HOME")
    if not home or not os.environ.get("LAPTIME_RUN"):
        return
    spec = importlib.util.spec_from_file_location(
        "laptime",
        os.path.join(home, "laptime", "__init__.py"),
        submodule_search_locations=[os.path.join(home, "laptime")],
    )
    if spec is None or spec.loader is None:
        return
    package = importlib.util.module_from_spec(spec)
    sys.modules["laptime"] = package
    try:
        spec.loader.exec_module(package)
        entrance = importlib.import_module("laptime.attach.entrance")
        entrance.begin()
    except BaseException:
        sys.modules.pop("laptime", None)
        raise


def _hand_over() -> None:
    """Load the module that this one stands before, under the same name."""
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


sys.path[:] = _without_us(sys.path)
try:
    _let_recorder_in()
except Exception as error:  # noqa: BLE001 - the script must run whatever ails the recorder
    sys.stderr.write(f"laptime: the recorder could not enter this process ({error})\n")
_hand_over()
