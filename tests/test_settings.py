from __future__ import annotations

import pytest
from pydantic import ValidationError

from laptime.errors import SettingsError
from laptime.settings import FIELDS, GROUPS, RunSettings, build_settings, choices


def test_the_defaults_are_the_lab() -> None:
    flat = build_settings({}).flat()

    assert {name: flat[name] for name in ("batch_size", "epochs", "optimizer", "lr")} == {
        "batch_size": 128,
        "epochs": 5,
        "optimizer": "sgd",
        "lr": 0.1,
    }
    assert (flat["momentum"], flat["weight_decay"], flat["num_workers"]) == (0.9, 5e-4, 2)
    assert (flat["model"], flat["width"], flat["norm"], flat["loader"]) == (
        "resnet18",
        64,
        "batch",
        "sample",
    )


def test_flat_settings_build_the_same_settings_again() -> None:
    settings = build_settings({"lr": 0.01, "num_workers": 4, "samples": 100})

    assert build_settings(settings.flat()) == settings


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        build_settings({}).optimizer.lr = 1.0  # type: ignore[misc]


def test_text_is_read_as_the_command_line_gives_it() -> None:
    settings = build_settings({"lr": "1e-3", "num_workers": "4", "evaluate": "True"})

    assert settings.optimizer.lr == 1e-3
    assert settings.loader.num_workers == 4
    assert settings.training.evaluate is True


def test_no_name_stands_in_two_groups() -> None:
    assert len(FIELDS) == sum(len(group.model_fields) for group in GROUPS.values())
    assert set(RunSettings.model_fields) == set(GROUPS)


def test_every_field_is_described_in_a_sentence() -> None:
    for name, field in FIELDS.items():
        assert field.description, name
        assert field.description.endswith("."), name


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"num_workers": "-1"}, "num_workers is -1, but must be 0 or more."),
        ({"num_workers": 10**30}, "must be 512 or less."),
        ({"optimizer": "sgdd"}, "optimizer is 'sgdd', which is unknown. Did you mean sgd?"),
        ({"lr": "nan"}, "lr is nan, but must be a finite number."),
        ({"lr": float("inf")}, "lr is inf, but must be a finite number."),
        ({"lr": "-0.1"}, "lr is -0.1, but must be 0 or more."),
        ({"momentum": 1}, "momentum is 1, but must be less than 1."),
        ({"epochs": "2.5"}, "epochs is 2.5, but must be a whole number."),
        ({"epochs": "9" * 5000}, "epochs is 999"),
        ({"epochs": "x"}, "epochs is 'x', but must be a whole number."),
        ({"epochs": 0}, "epochs is 0, but must be 1 or more."),
        ({"samples": "0"}, "samples is 0, but must be 1 or more."),
        ({"device": "tpu"}, "device is 'tpu', but cannot be used. auto, cpu, cuda"),
        ({"evaluate": "perhaps"}, "evaluate is 'perhaps', but must be true or false."),
        ({"batchsize": 3}, "'batchsize' is not a setting. Did you mean batch_size?"),
        ({"zzz": 3}, "'zzz' is not a setting. Use one of: batch_size,"),
        ({"seed": "-5"}, "seed is -5, but must be 0 or more."),
        ({"data": ""}, "data is ''"),
    ],
)
def test_a_refusal_names_setting_value_and_remedy_on_one_line(
    values: dict[str, object], expected: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        build_settings(values)

    assert expected in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 500


def test_choices_are_known_only_for_words() -> None:
    assert choices("norm") == ("batch", "none")
    assert choices("lr") == ()
    assert choices("data_dir") == ()
