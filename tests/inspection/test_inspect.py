from __future__ import annotations

from typing import Any

import pytest
import torch

from laptime.census import CensusRecord, Inspection
from laptime.errors import DeviceError, ModelError
from laptime.inspection.inspect import inspect
from laptime.inspection.optimizers import choose_optimizers
from laptime.settings import LAB_OPTIMIZERS, build_settings
from laptime.timing.environment import collect_environment

WITH_NORM, WITHOUT_NORM = 11_173_962, 11_164_362


def inspected(names: tuple[str, ...] = LAB_OPTIMIZERS, **given: Any) -> Inspection:
    settings = build_settings({"device": "cpu", **given})
    return inspect(settings, choose_optimizers(names, settings.optimizer), with_roofs=False)


@pytest.fixture(scope="module")
def found() -> Inspection:
    return inspected()


@pytest.fixture(scope="module")
def lab(found: Inspection) -> CensusRecord:
    return found.census


@pytest.fixture(scope="module")
def twin(found: Inspection) -> CensusRecord:
    assert found.twin is not None
    return found.twin


def test_the_lab_has_17_convolutions_on_the_main_path_and_3_projections(lab: CensusRecord) -> None:
    found = lab.convolutions

    assert (found.total, found.main_path, found.projections) == (20, 17, 3)
    assert found.by_kernel == {"3x3": 17, "1x1": 3}
    assert found.by_stage == {"32x32": 5, "16x16": 5, "8x8": 5, "4x4": 5}
    assert (found.uncalled, found.functions) == (0, 0)
    assert lab.norms == {"BatchNorm2d": 20}


def test_the_projections_are_those_on_the_shortcuts(lab: CensusRecord) -> None:
    assert [layer.name for layer in lab.layers if layer.is_projection] == [
        f"group{group}.0.shortcut.0" for group in (2, 3, 4)
    ]


def test_the_last_linear_layer_takes_512_features_that_were_a_map_of_4_by_4(
    lab: CensusRecord,
) -> None:
    assert (lab.linear.total, lab.linear.last) == (1, "linear")
    assert (lab.linear.in_features, lab.linear.out_features) == (512, 10)
    assert lab.linear.last_map == (512, 4, 4)


def test_there_is_a_gradient_element_for_each_parameter_with_every_optimizer(
    lab: CensusRecord,
) -> None:
    assert (lab.parameters.trainable, lab.parameters.tensors) == (WITH_NORM, 62)
    assert lab.parameters.frozen == 0
    for state in lab.optimizers.values():
        assert (state.gradient_elements, state.gradient_tensors) == (WITH_NORM, 62)
        assert state.gradient_bytes == 4 * WITH_NORM


@pytest.mark.parametrize(("which", "one"), [("lab", WITH_NORM), ("twin", WITHOUT_NORM)])
def test_the_state_of_each_optimizer_is_what_the_lab_asks_for(
    which: str, one: int, request: pytest.FixtureRequest
) -> None:
    found = request.getfixturevalue(which).optimizers

    assert {name: state.state_total for name, state in found.items()} == {
        "sgd": one, "sgd without momentum": 0, "nesterov": one, "adagrad": one,
        "adadelta": 2 * one, "adam": 2 * one,
    }  # fmt: skip
    assert {name: state.kinds for name, state in found.items()} == {
        "sgd": ("momentum_buffer",), "sgd without momentum": (), "nesterov": ("momentum_buffer",),
        "adagrad": ("sum",), "adadelta": ("acc_delta", "square_avg"),
        "adam": ("exp_avg", "exp_avg_sq"),
    }  # fmt: skip


def test_step_counters_stand_apart_one_a_tensor(lab: CensusRecord) -> None:
    adam = lab.optimizers["adam"]

    assert adam.state_elements["step"] == adam.step_counters == 62
    assert adam.state_bytes == 4 * (2 * WITH_NORM + 62)
    assert lab.optimizers["sgd"].step_counters == 0


def by_hand(width: int = 64) -> int:
    """Stem; four groups of four 3x3 convolutions; projections where the shape changes; linear."""
    macs = 3 * width * 9 * 32**2 + 8 * width * 10
    before = width
    for after, side in ((width, 32), (2 * width, 16), (4 * width, 8), (8 * width, 4)):
        macs += side**2 * 9 * (before * after + 3 * after * after)
        macs += side**2 * before * after if before != after else 0
        before = after
    return macs


def test_a_forward_pass_takes_the_macs_of_its_convolutions_and_its_linear_layer(
    lab: CensusRecord, twin: CensusRecord
) -> None:
    assert lab.macs == twin.macs == by_hand() == 555_422_720
    assert lab.flops == 2 * lab.macs


def test_counting_two_for_each_element_of_a_norm_gives_the_figure_that_others_print(
    lab: CensusRecord,
) -> None:
    shapes = [layer.output_shape for layer in lab.layers if layer.kind == "BatchNorm2d"]
    elements = sum(shape[0] * shape[1] * shape[2] for shape in shapes if shape)

    assert lab.macs + 2 * elements == 556_651_520


def test_backward_takes_twice_the_forward_pass_but_for_the_gradient_of_the_images(
    lab: CensusRecord,
) -> None:
    stem = 3 * 64 * 9 * 32**2

    assert lab.training_flops == 2 * (3 * lab.macs - stem)


def test_without_batch_norm_there_are_11_164_362_parameters(twin: CensusRecord) -> None:
    assert (twin.parameters.trainable, twin.parameters.tensors) == (WITHOUT_NORM, 22)
    assert twin.parameters.buffers == 0
    assert twin.optimizers["adam"].gradient_elements == WITHOUT_NORM
    assert twin.norms == {}
    assert (twin.convolutions.main_path, twin.convolutions.projections) == (17, 3)
    assert twin.linear.last_map == (512, 4, 4)


def test_how_many_gradients_are_not_zero_depends_on_the_samples(twin: CensusRecord) -> None:
    few, many = twin.passes

    assert (few.samples, many.samples) == (1, 2)
    assert few.gradient_elements == many.gradient_elements == WITHOUT_NORM
    assert 0 < few.nonzero_gradients < many.nonzero_gradients < WITHOUT_NORM
    assert twin.optimizers["sgd"].nonzero_gradients == many.nonzero_gradients


def test_the_parameters_of_the_blocks_are_those_of_the_layers_in_them(lab: CensusRecord) -> None:
    leaves = sum(layer.parameters for layer in lab.layers if layer.is_leaf)
    groups = sum(layer.parameters for layer in lab.layers if layer.depth == 1)

    assert leaves == groups == lab.layers[0].parameters == WITH_NORM


def test_what_is_kept_for_backward_grows_with_the_batch_and_the_rest_does_not(
    lab: CensusRecord,
) -> None:
    one, two, many = (lab.memory_bytes(size, "sgd") for size in (1, 2, 128))

    assert [one["saved"], two["saved"]] == [it.saved_bytes for it in lab.passes]
    assert many["saved"] == one["saved"] + 127 * (two["saved"] - one["saved"])
    assert many["input"] == 128 * 3 * 32 * 32 * 4
    for part in ("parameters", "gradients", "state"):
        assert one[part] == many[part]
    assert one["parameters"] == 4 * WITH_NORM + lab.parameters.buffer_bytes


def test_an_inspection_comes_back_from_json_as_it_was(found: Inspection) -> None:
    assert Inspection.model_validate_json(found.model_dump_json()) == found


def test_the_other_norm_is_the_twin_whichever_is_asked_for() -> None:
    found = inspected(("sgd",), norm="none", width=2, samples=640, batch_size=32)

    assert found.twin is not None
    assert (found.census.norm, found.twin.norm) == ("none", "batch")
    assert found.census.macs == by_hand(width=2)
    assert (found.epoch_samples, found.batch_size) == (640, 32)


def test_a_foreign_model_has_no_twin() -> None:
    found = inspected(("sgd",), model="tests.inspection.foreign:PreActivation")

    assert found.twin is None
    assert (found.census.norm, found.census.width) == (None, None)


def test_random_numbers_of_the_caller_stay_as_they_were() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()

    first = inspected(("sgd",), width=1).census

    assert torch.equal(torch.get_rng_state(), before)
    assert inspected(("sgd",), width=1).census == first


def test_a_device_that_is_not_there_is_refused_before_anything_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(DeviceError, match="no CUDA device"):
        inspected(("sgd",), device="cuda", model="nowhere.py:build")


def test_an_unknown_model_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(ModelError, match="Did you mean resnet18"):
        inspected(("sgd",), model="resnet-18")


def test_on_cuda_a_real_step_of_the_batch_is_measured_with_the_first_optimizer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []
    home = "laptime.inspection.inspect"
    machine = collect_environment("cpu").model_copy(update={"device": "cuda:0"})

    def measure(model: Any, sample: Any, batch_size: int, how: Any, device: Any, _: Any) -> int:
        asked.append((batch_size, how.optimizer, str(device)))
        return 77

    monkeypatch.setattr(f"{home}.choose_device", lambda _: torch.device("cuda", 0))
    monkeypatch.setattr(f"{home}.measure_peak", measure)
    monkeypatch.setattr(f"{home}.collect_environment", lambda _: machine)

    found = inspected(("adam", "sgd"), width=1, batch_size=32)

    assert asked == [(32, "adam", "cuda:0")]  # and not the twin's
    assert (found.measured_bytes, found.optimizer) == (77, "adam")
