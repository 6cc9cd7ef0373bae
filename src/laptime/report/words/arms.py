"""Arms as people call them, and which of them a study is about."""

from __future__ import annotations

from laptime.errors import printable
from laptime.study import ArmResult, StudyRecord

OPTIMIZERS = {
    "sgd": "SGD",
    "nesterov": "SGD with Nesterov",
    "adagrad": "Adagrad",
    "adadelta": "Adadelta",
    "adam": "Adam",
    "adamw": "AdamW",
}
"""What papers call them."""

_NORMS = {"batch": "with batch norm", "none": "without batch norm"}


def arm_label(record: StudyRecord, name: str) -> str:
    """Return what people call an arm; of an unknown name only control characters are taken."""
    names = {"optimizers": OPTIMIZERS, "batchnorm": _NORMS}.get(record.plan.study, {})
    own, _, rate = name.partition(" at ")
    if rate and own in names:
        return f"{names[own]} at lr {printable(rate)}"
    own = name.removesuffix(" again")
    return names.get(own, printable(own)) + name[len(own) :]


def is_beside(record: StudyRecord, name: str) -> bool:
    """Tell A/A twins and arms with batches in memory from the arms that a study is about."""
    return name in [arm.name for arm in record.plan.arms if arm.again_of or arm.feed != "loader"]


def main_results(record: StudyRecord) -> list[ArmResult]:
    """Return the arms that a study is about."""
    return [arm for arm in record.arms if not is_beside(record, arm.name)]
