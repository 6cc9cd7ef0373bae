from __future__ import annotations

import itertools
from typing import Any

import pytest
from tests.report.studies import MACHINE

from laptime.census import (
    CensusRecord,
    Convolutions,
    Inspection,
    LayerRecord,
    LinearLayers,
    OptimizerState,
    Parameters,
    PassRecord,
    Roof,
    SampleRecord,
)
from laptime.record import EnvironmentRecord
from laptime.report.models.census import answers, notes, render_inspection
from laptime.report.models.tables import layer_blocks, memory_blocks, roof_blocks, state_blocks
from laptime.report.words.blocks import Prose, Table, lines_of

ESCAPE = "\x1b[31m\u202e\n"


def layer(name: str, kind: str = "Conv2d", **given: Any) -> LayerRecord:
    values: dict[str, Any] = {
        "depth": 1, "is_leaf": True, "calls": 1, "input_shape": (3, 8, 8),
        "output_shape": (4, 8, 8), "parameters": 108, "macs": 6912,
    }  # fmt: skip
    return LayerRecord(name=name, kind=kind, **{**values, **given})


def state(elements: dict[str, int]) -> OptimizerState:
    return OptimizerState(
        settings="lr 0.1",
        gradient_tensors=3,
        gradient_elements=1_234_567,
        gradient_bytes=4_938_268,
        nonzero_gradients=1_000_000,
        state_elements=elements,
        step_counters=elements.get("step", 0),
        state_bytes=4 * sum(elements.values()),
    )


def census(**given: Any) -> CensusRecord:
    passes = [
        PassRecord(
            samples=samples,
            macs=3_000_000 * samples,
            input_bytes=768 * samples,
            saved_bytes=1000 + 500 * samples,
            gradient_tensors=3,
            gradient_elements=1_234_567,
            nonzero_gradients=900_000 + samples,
        )
        for samples in (1, 2)
    ]
    values: dict[str, Any] = {
        "model": "resnet18",
        "width": 64,
        "norm": "batch",
        "sample": SampleRecord(shape=(3, 8, 8)),
        "convolutions": Convolutions(
            total=2, main_path=1, projections=1, uncalled=0, functions=0,
            by_kernel={"3x3": 1, "1x1": 1}, by_stage={"8x8": 2},
        ),
        "linear": LinearLayers(
            total=1, last="head", in_features=4, out_features=10, last_map=(4, 8, 8)
        ),
        "norms": {"BatchNorm2d": 2},
        "parameters": Parameters(
            trainable=1_234_567, frozen=0, tensors=3, bytes=4_938_268, buffers=8, buffer_bytes=32
        ),
        "macs": 1_000_000,
        "layers": (layer("", "Net", depth=0, is_leaf=False), layer("conv", kernel=(3, 3))),
        "passes": tuple(passes),
        "optimizers": {
            "sgd": state({"momentum_buffer": 1_234_567}),
            "adam": state({"step": 3, "exp_avg": 1_234_567, "exp_avg_sq": 1_234_567}),
        },
    }  # fmt: skip
    return CensusRecord(**{**values, **given})


def foreign(**given: Any) -> CensusRecord:
    return census(**{"model": "net.py:build", "width": None, "norm": None, **given})


def inspection(found: CensusRecord | None = None, **given: Any) -> Inspection:
    machine = EnvironmentRecord(**{**MACHINE, **given.pop("machine", {})})
    values: dict[str, Any] = {"batch_size": 128, "epoch_samples": 50_000, "precision": "float32"}
    return Inspection(census=found or census(), machine=machine, **{**values, **given})


def prose(blocks: list[Any]) -> str:
    return " ".join(block.text for block in blocks if isinstance(block, Prose))


def rows(blocks: list[Any]) -> list[list[str]]:
    return [list(row) for block in blocks if isinstance(block, Table) for row in block.rows]


def test_the_questions_of_the_lab_are_answered_by_their_numbers() -> None:
    text = prose(answers(inspection()))

    assert "Q1: 2 convolutions, 1 on the main path and 1 projection." in text
    assert "By kernel: 1 of 3x3 and 1 of 1x1." in text
    assert "1 linear layer; norm layers: 2 of BatchNorm2d." in text
    assert "Rule: a convolution module counts once" in text
    assert "Q2: Last linear layer, head: 4 inputs, 10 outputs. Before pooling: (4, 8, 8)" in text
    assert "Q3, Q4: 1,234,567 trainable parameters in 3 tensors" in text
    assert "1,234,567 gradient elements in 3 tensors" in text
    assert "900,001 were not zero for 1 random sample and 900,002 for 2. That number" in text


def test_a_foreign_model_is_not_asked_the_questions_of_the_lab() -> None:
    assert "Q1" not in prose(answers(inspection(foreign())))


def test_the_twin_stands_beside_the_model() -> None:
    found = inspection(twin=census(norm="none"))

    assert "Without batch norm: 1,234,567 parameters" in prose(answers(found))
    (table, _) = state_blocks(found)
    assert isinstance(table, Table)
    assert table.head[1:4] == ("batch norm\ngradients", "state", "no batch norm\ngradients")
    assert table.rows[1] == (
        "adam", "1,234,567", "2,469,134", "1,234,567", "2,469,134", "exp_avg, exp_avg_sq",
    )  # fmt: skip


def test_an_optimizer_without_state_holds_nothing() -> None:
    found = inspection(foreign(optimizers={"sgd": state({})}))

    assert rows(state_blocks(found)) == [["sgd", "1,234,567", "0", "-"]]


def test_what_cannot_be_said_is_left_out() -> None:
    convolutions = Convolutions(
        total=3, main_path=None, projections=None, uncalled=0, functions=0,
        by_kernel={"3": 3}, by_stage={"8": 3},
    )  # fmt: skip
    found = foreign(convolutions=convolutions, linear=LinearLayers(total=0), norms={})

    text = prose(answers(inspection(found)))

    assert text.startswith("3 convolutions. By kernel")
    assert "There is no linear layer." in text
    assert "0 linear layers; norm layers: none." in text
    assert "cannot be told from the main path" in prose(notes(found))


def test_without_a_convolution_there_is_no_rule_for_counting_them() -> None:
    none = Convolutions(
        total=0, main_path=0, projections=0, uncalled=0, functions=0, by_kernel={}, by_stage={}
    )

    text = prose(answers(inspection(foreign(convolutions=none))))

    assert text.startswith("No convolution. 1 linear layer")
    assert "Rule" not in text


def test_a_map_that_is_flattened_is_not_said_to_be_pooled() -> None:
    linear = LinearLayers(total=1, last="", in_features=256, out_features=1, last_map=(4, 8, 8))

    text = prose(answers(inspection(foreign(linear=linear))))

    assert "Last linear layer, the model itself: 256 inputs, 1 output. Its input is a map" in text
    assert "pooling" not in text


def test_frozen_parameters_and_missing_gradients_are_said() -> None:
    parameters = Parameters(
        trainable=2_000_000, frozen=70, tensors=5, bytes=8, buffers=0, buffer_bytes=0
    )
    found = foreign(parameters=parameters)

    text = prose(answers(inspection(found)))

    assert "2,000,000 trainable parameters in 5 tensors, and 70 frozen ones" in text
    assert "A backward pass gives 1,234,567 of them, in 3 tensors, a gradient." in text
    assert "2 trainable tensors without a gradient" in prose(notes(found))


NOTED = {
    "1 of 2 convolutions not called in evaluation mode": {"uncalled": 1},
    "1 convolution more that a function computes": {"functions": 1, "projections": None},
}


@pytest.mark.parametrize(("said", "changed"), NOTED.items(), ids=["uncalled", "functions"])
def test_a_convolution_off_both_paths_is_noted(said: str, changed: dict[str, Any]) -> None:
    found = foreign(convolutions=census().convolutions.model_copy(update=changed))

    assert prose(notes(found)).startswith(f"Note: {said}")
    assert len(notes(found)) == 1


def test_layers_that_work_twice_or_hide_matrices_are_noted() -> None:
    layers = (layer("a", calls=2), layer("b", "ReLU", calls=9, parameters=0))
    attention = layer("c", "MultiheadAttention", is_leaf=False)

    text = prose(notes(foreign(layers=(*layers, attention))))

    assert "1 layer called more than once: the arithmetic counts each time" in text
    assert "1 attention module: of the matrices only out_proj is a linear layer" in text
    assert not notes(census())


def test_layers_that_only_pass_a_shape_on_are_not_listed_but_told() -> None:
    passing = {"parameters": 0, "macs": 0, "output_shape": (3, 8, 8)}
    layers = (
        layer("", "Net", depth=0, is_leaf=False),
        layer("act", "ReLU", **passing),
        layer("block", "Sequential", is_leaf=False, **passing),
        layer("pool", "MaxPool2d", **{**passing, "output_shape": (3, 4, 4)}),
        layer("block.proj", depth=2, kernel=(1, 1), is_projection=True, calls=2),
    )

    blocks = layer_blocks(census(layers=layers))

    assert [row[:2] for row in rows(blocks)] == [
        ["block", "Sequential"],
        ["pool", "MaxPool2d"],
        ["block.proj", "Conv2d 1x1 projection (2 calls)"],
        ["together", ""],
    ]
    assert "Not listed: 1 module (ReLU) without parameters" in prose(blocks)


def test_a_model_of_one_layer_has_a_row() -> None:
    blocks = layer_blocks(census(layers=(layer("", "Linear", depth=0),)))

    assert [row[0] for row in rows(blocks)] == ["(the model)", "together"]


def test_a_deep_model_is_listed_as_deep_as_can_be_read() -> None:
    top = [layer(f"{i}", "Block", is_leaf=False) for i in range(10)]
    deep = [layer(f"{i}.conv{j}", depth=2) for i in range(10) for j in range(20)]
    found = census(layers=(layer("", "Net", depth=0, is_leaf=False), *top, *deep))

    assert len(rows(layer_blocks(found))) == 11
    assert "200 modules deeper in: --depth N lists more." in prose(layer_blocks(found))
    assert len(rows(layer_blocks(found, depth=2))) == 211
    assert "deeper" not in prose(layer_blocks(found, depth=2))


def test_memory_is_told_for_one_sample_and_for_the_batch() -> None:
    found = {row[0]: row[1:] for row in rows(memory_blocks(inspection()))}

    assert found["input"] == ["768 B", "98.3 kB"]
    assert found["kept by forward for backward"] == ["1.5 kB", "65.0 kB"]
    assert found["state of adam"] == ["9.9 MB", "9.9 MB"]
    assert found["together, with sgd"] == ["14.8 MB", "15.0 MB"]
    assert "measured on cpu" not in found


@pytest.mark.parametrize(
    ("device", "measured", "said"),
    [
        ("cpu", None, "On a CPU torch counts no peak"),
        ("cuda:0", None, "No step of this batch was measured on cuda:0."),
        ("cuda:0", 20_000_000, "Measured: the most that the allocator had given out"),
    ],
)
def test_a_measured_peak_stands_beside_the_estimate_or_the_reason_why_not(
    device: str, measured: int | None, said: str
) -> None:
    blocks = memory_blocks(inspection(measured_bytes=measured, machine={"device": device}))

    assert said in prose(blocks)
    assert (rows(blocks)[-1] == ["measured on cuda:0", "", "20.0 MB"]) is (measured is not None)


def test_the_fastest_arithmetic_bounds_an_epoch_from_below() -> None:
    roofs = (
        Roof(what="matrix product", amount=2_000_000_000, times_ns=(20_000_000, 40_000_000)),
        Roof(what="convolution", amount=1_000_000_000, times_ns=(40_000_000,)),
        Roof(what="copy", amount=100_000_000, times_ns=(10_000_000,)),
    )
    found = inspection(roofs=roofs)

    blocks = roof_blocks(found)

    assert found.epoch_bound_s() == pytest.approx(50_000 * 6_000_000 / 100e9)
    assert rows(blocks) == [
        ["matrix product", "100 GFLOP/s", "66.7 GFLOP/s", "2"],
        ["convolution", "25 GFLOP/s", "25 GFLOP/s", "1"],
        ["copy", "10 GB/s", "10 GB/s", "1"],
    ]
    assert "50,000 samples is 300 GFLOP" in prose(blocks)
    assert "at 100 GFLOP/s it takes 3.0 s. That is a lower bound and no forecast" in prose(blocks)
    assert "fewer than 10 FLOPs for each byte" in prose(blocks)


def test_without_roofs_nothing_is_said_of_the_machine_at_best() -> None:
    assert not roof_blocks(inspection())
    assert inspection().document()["epoch"]["bound_s"] is None


def test_no_line_is_wider_than_a_hundred_columns_and_no_name_escapes() -> None:
    long = f"stages.{ESCAPE}{'deeply.' * 20}conv"
    layers = (
        layer("", "Net", depth=0, is_leaf=False),
        layer(long, f"Kind{ESCAPE}{'x' * 80}", kernel=(13, 13), is_projection=True),
    )
    linear = LinearLayers(total=1, last=long, in_features=3, out_features=2)
    found = foreign(
        model=f"{ESCAPE}net.py:build", layers=layers, linear=linear, norms={f"N{ESCAPE}": 1},
        sample=SampleRecord(shape=(16,), tokens=32_000),
    )  # fmt: skip

    lines = render_inspection(inspection(found))

    assert "a sample is (16,) of whole numbers below 32,000" in lines[0]
    assert all(line.isprintable() for line in lines)
    assert [line for line in lines if "deeply.conv" in line]
    # A word that is longer than a line is the one thing that prose does not break.
    assert not [line for line in lines if len(line) > 100 and "deeply.deeply" not in line]


def test_everything_is_told_in_blocks_that_an_empty_line_parts() -> None:
    held = {"square_avg": 11_173_962, "acc_delta": 11_173_962}
    both = {"adadelta": state(held), "sgd without momentum": state({})}
    found = inspection(census(optimizers=both), twin=census(norm="none", optimizers=both))

    lines = render_inspection(found)

    assert lines[0] == "resnet18, 1,234,567 parameters · a sample is (3, 8, 8)"
    assert max(map(len, lines)) <= 100
    assert "" not in (lines[0], lines[-1])
    assert ("", "") not in itertools.pairwise(lines)
    assert lines_of(answers(found))[0] in lines


def test_the_document_holds_what_was_counted_and_what_follows_from_it() -> None:
    document = inspection(twin=census(norm="none")).document()

    assert document["convolutions"]["main_path"] == 1
    assert document["last_linear"] == {"name": "head", "in_features": 4, "out_features": 10}
    assert document["parameters"]["tensors"] == 3
    assert document["optimizers"]["adam"]["state_total"] == 2 * 1_234_567
    assert document["optimizers"]["adam"]["state_elements"]["exp_avg"] == 1_234_567
    assert (document["macs"], document["flops"]) == (1_000_000, 2_000_000)
    assert document["training_flops"] == 6_000_000
    assert document["memory"]["estimated_bytes"] == sum(
        document["memory"][f"{part}_bytes"]
        for part in ("input", "saved", "parameters", "gradients", "state")
    )
    assert document["twin"]["norm"] == "none"
