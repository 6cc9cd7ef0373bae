from __future__ import annotations

import pytest

from laptime.errors import SettingsError
from laptime.inspection.optimizers import choose_optimizers, describe
from laptime.settings import LAB_OPTIMIZERS, OptimizerSettings


def test_sgd_comes_with_and_without_momentum() -> None:
    found = choose_optimizers(LAB_OPTIMIZERS, OptimizerSettings(lr=0.5))

    assert list(found) == [
        "sgd", "sgd without momentum", "nesterov", "adagrad", "adadelta", "adam",
    ]  # fmt: skip
    assert [how.momentum for how in list(found.values())[:2]] == [0.9, 0.0]
    assert {how.lr for how in found.values()} == {0.5}


def test_sgd_comes_once_where_momentum_is_0() -> None:
    assert list(choose_optimizers(("sgd", "adam"), OptimizerSettings(momentum=0))) == [
        "sgd", "adam",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "momentum", "said"),
    [
        (("adm",), 0.9, r"optimizer 'adm' is unknown. Did you mean adam\?"),
        (("",), 0.9, "optimizer '' is unknown. Use one of: adadelta"),
        (("nesterov",), 0.0, "momentum is 0, but nesterov needs some"),
    ],
)
def test_what_cannot_be_stepped_with_is_refused(
    names: tuple[str, ...], momentum: float, said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        choose_optimizers(names, OptimizerSettings(momentum=momentum))


def test_an_optimizer_is_described_by_what_it_uses() -> None:
    assert describe(OptimizerSettings()) == "lr 0.1, momentum 0.9, weight decay 0.0005"
    assert describe(OptimizerSettings(optimizer="adam")) == "lr 0.1, weight decay 0.0005"
