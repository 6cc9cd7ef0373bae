"""Where the time of a training epoch goes, and which change makes it faster.

From Python, a run is settings, a call and a record::

    from pathlib import Path

    import laptime

    settings = laptime.build_settings(
        {"width": 8, "samples": 512, "epochs": 2, "num_workers": 0, "data": "synthetic"}
    )
    record = laptime.train(settings, Path("runs"))
    for epoch in record.epochs:
        print(epoch.epoch, epoch.loss, epoch.loading_ns, epoch.training_ns, epoch.wall_ns)

A run that is on disk is read without torch: ``laptime.find_run(Path("runs"), None).read_record()``.
Names are loaded when they are first used; their types stand in ``__init__.pyi``.
"""

import importlib

__version__ = "0.1.0"

_HOMES = {
    "CheckpointError": "errors",
    "DataError": "errors",
    "DeviceError": "errors",
    "EpochRecord": "record",
    "LaptimeError": "errors",
    "LoopLedger": "door",
    "ModelError": "errors",
    "Phase": "phase",
    "RunDirectory": "store",
    "RunRecord": "record",
    "RunSettings": "settings",
    "SettingsError": "errors",
    "StoreError": "errors",
    "TrainingError": "errors",
    "build_settings": "settings",
    "find_run": "store",
    "ledger": "door",
    "resume": "training.loop",
    "train": "training.loop",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> object:
    """Load a public name from the module that holds it (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'laptime' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"laptime.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, loaded or not."""
    return sorted(__all__)
