"""Found through PYTHONPATH by any Python that a command starts; hands over to the user's own.

The interpreter imports one module of this name at its start. This one lets the recorder in, then
has the one imported that would have been without it. Any Python may come by, so what is written
here must be understood by all of them, 2.7 included.
"""

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))


def _without_us(paths):
    # type: (list[str]) -> list[str]
    return [path for path in paths if path != _HERE]


def _let_recorder_in():
    # type: () -> None
    home = os.environ.get("LAPTIME_HOME")
    if not home or not os.environ.get("LAPTIME_RUN"):
        return
    if sys.version_info < (3, 9):  # noqa: UP036 - any Python may come by
        raise ImportError("it needs Python 3.9 or newer, and this is %d.%d" % sys.version_info[:2])  # noqa: UP031 - the same
    import importlib
    import importlib.util

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
        importlib.import_module("laptime.attach.entrance").begin()
    except BaseException:
        sys.modules.pop("laptime", None)
        raise


sys.path[:] = _without_us(sys.path)
try:
    _let_recorder_in()
except Exception as error:  # noqa: BLE001 - the script must run whatever ails the recorder
    sys.stderr.write("laptime: the recorder could not enter this process (%s)\n" % error)  # noqa: UP031 - the same
# Whoever imports this takes what stands under the name afterwards, and hears what it raises: that
# there is no such module, where the user has none.
del sys.modules["sitecustomize"]
import sitecustomize  # type: ignore[import-not-found]  # noqa: E402, F401 - the next of this name
