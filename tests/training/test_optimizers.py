from __future__ import annotations

import inspect
from typing import Any, get_args

import pytest
import torch
from torch import nn, optim

from laptime.errors import SettingsError
from laptime.settings import OptimizerSettings, build_settings
from laptime.training.optimizers import OPTIMIZERS, build_optimizer, scheduled_lr, set_lr

SETTINGS: dict[str, Any] = {"lr": 0.03, "momentum": 0.7, "weight_decay": 0.002}

RULES: dict[str, tuple[type[optim.Optimizer], dict[str, Any]]] = {
    "sgd": (optim.SGD, {"momentum": 0.7, "nesterov": False}),
    "nesterov": (optim.SGD, {"momentum": 0.7, "nesterov": True}),
    "adagrad": (optim.Adagrad, {}),
    "adadelta": (optim.Adadelta, {}),
    "adam": (optim.Adam, {}),
    "adamw": (optim.AdamW, {}),
}


def test_every_name_of_the_settings_has_a_builder() -> None:
    names = set(get_args(OptimizerSettings.model_fields["optimizer"].annotation))

    assert names == set(OPTIMIZERS) == set(RULES)


@pytest.mark.parametrize("name", RULES)
def test_a_name_is_torchs_rule_with_the_settings_numbers_and_torchs_defaults(name: Any) -> None:
    rule, expected = RULES[name]

    optimizer = build_optimizer(nn.Linear(2, 2), OptimizerSettings(optimizer=name, **SETTINGS))

    assert type(optimizer) is rule
    defaults = {
        key: parameter.default
        for key, parameter in inspect.signature(rule).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    (group,) = optimizer.param_groups
    for key, value in {**defaults, **expected, "lr": 0.03, "weight_decay": 0.002}.items():
        assert group[key] == value, key


def test_sgd_without_momentum_keeps_no_state() -> None:
    model = nn.Linear(2, 2)
    optimizer = build_optimizer(model, OptimizerSettings(momentum=0.0))
    model(torch.ones(1, 2)).sum().backward()

    optimizer.step()

    assert all(value is None for state in optimizer.state.values() for value in state.values())


def test_nesterov_without_momentum_is_refused_in_one_line() -> None:
    with pytest.raises(SettingsError, match="momentum is 0"):
        build_settings({"optimizer": "nesterov", "momentum": 0.0})


@pytest.mark.parametrize("name", ["sgd", "nesterov", "adagrad", "adam", "adamw"])
def test_the_fused_form_computes_the_same_up_to_rounding(name: Any) -> None:
    weights = []
    for fused in (False, True):
        torch.manual_seed(0)
        model = nn.Linear(20, 20)
        optimizer = build_optimizer(
            model, OptimizerSettings(optimizer=name, fused=fused, **SETTINGS)
        )
        for _ in range(5):
            optimizer.zero_grad()
            model(torch.ones(3, 20)).square().sum().backward()
            optimizer.step()
        weights.append(model.weight.detach())

    assert bool(optimizer.param_groups[0]["fused"])
    assert torch.allclose(*weights, rtol=1e-5, atol=1e-6)


def test_adadelta_has_no_fused_form() -> None:
    with pytest.raises(SettingsError, match="no fused form"):
        build_settings({"optimizer": "adadelta", "fused": True})


def test_onecycle_rises_in_a_fifth_of_all_steps_and_falls_in_the_rest() -> None:
    settings = OptimizerSettings(schedule="onecycle", lr=0.4)

    rates = [scheduled_lr(settings, step, 100) for step in range(1, 101)]

    assert rates[:20] == pytest.approx([0.4 * (step + 0.5) / 20 for step in range(20)])
    assert rates[20:] == pytest.approx([0.4 * (80 - step - 0.5) / 80 for step in range(80)])
    assert min(rates) > 0
    assert max(rates) < 0.4


def test_a_constant_rate_is_the_same_in_every_step() -> None:
    assert {scheduled_lr(OptimizerSettings(lr=0.4), step, 9) for step in range(1, 10)} == {0.4}


def test_a_rate_is_set_for_all_parameters() -> None:
    optimizer = build_optimizer(nn.Linear(2, 2), OptimizerSettings())
    optimizer.add_param_group({"params": nn.Linear(2, 2).parameters()})

    set_lr(optimizer, 0.25)

    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]


def test_frozen_weights_are_left_out_and_stay_as_they_are() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    before = model[0].weight.clone()

    optimizer = build_optimizer(model, OptimizerSettings(weight_decay=0.5))
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()

    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert [id(it) for it in held] == [id(it) for it in model[1].parameters()]
    assert torch.equal(model[0].weight, before)
