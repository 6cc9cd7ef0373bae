from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image
from tests.report.studies import (
    GUESSING,
    Learning,
    batchnorm_record,
    devices_record,
    optimizers_record,
    workers_record,
)

from laptime.report.charts.study import study_figures, write_charts
from laptime.report.charts.style import Figure, svg_of
from laptime.study import StudyRecord

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: bytes) -> list[str]:
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def figures(record: StudyRecord) -> dict[str, Figure]:
    return {figure.name: figure for figure in study_figures(record)}


def values(chart: Any) -> list[dict[str, Any]]:
    """Return every row of data that a chart was given."""
    spec = chart.chart().to_dict()
    sets = [*spec.get("datasets", {}).values(), *(d["values"] for d in _inline(spec))]
    return [row for rows in sets for row in rows]


def _inline(node: Any) -> list[dict[str, Any]]:
    if isinstance(node, list):
        return [found for item in node for found in _inline(item)]
    if not isinstance(node, dict):
        return []
    own = [node["data"]] if "values" in node.get("data", {}) else []
    return own + [found for value in node.values() for found in _inline(value)]


CHARTS = {
    "workers": (workers_record, ["workers"]),
    "optimizers": (optimizers_record, ["times", "change", "learning"]),
    "batchnorm": (batchnorm_record, ["times", "change", "learning", "gradients"]),
    "devices": (devices_record, ["times", "change"]),
}


@pytest.mark.parametrize("study", CHARTS)
def test_each_chart_is_written_as_svg_and_as_png(study: str, tmp_path: Path) -> None:
    build, names = CHARTS[study]
    made: Any = build

    written = write_charts(made(), tmp_path / "charts")

    assert [p.name for p in written] == [f"{n}.{s}" for n in names for s in ("svg", "png")]
    for path in written:
        if path.suffix == ".png":
            with Image.open(path) as picture:
                assert picture.size[0] > 1000
        else:
            assert ElementTree.parse(path).getroot().tag == f"{SVG}svg"


def test_a_chart_says_its_units_its_n_and_its_machine() -> None:
    said = " ".join(texts(svg_of(figures(workers_record())["workers"])))

    assert "seconds an epoch" in said
    assert "loader workers" in said
    assert "5 blocks, a point each, and 95 % intervals" in said
    assert "shaded: plateau 4, 8 and 16, recommended: 4" in said
    assert "Quadro RTX 8000 · torch 2.13.0" in said


def test_every_replicate_of_both_curves_is_a_point() -> None:
    rows = values(figures(workers_record())["workers"])

    points = [row for row in rows if set(row) == {"workers", "seconds", "series"}]
    assert len([row for row in points if row["series"] == "training epoch"]) == 6 * 5
    assert len([row for row in points if row["series"] == "loader alone"]) == 6 * 5


def test_the_mean_of_a_learning_curve_leaves_out_what_diverged() -> None:
    record = optimizers_record({"sgd": Learning(diverged=1), "adam": GUESSING})
    arms = list(record.arms)
    partial = arms[0].trained[-1].model_copy(update={"epochs": arms[0].trained[0].epochs[:2]})
    arms[0] = arms[0].model_copy(update={"trained": (*arms[0].trained[:-1], partial)})
    chart = figures(record.model_copy(update={"arms": tuple(arms)}))["learning"]

    assert {row["completed"] for row in values(chart)} == {True, False}
    said = " ".join(texts(svg_of(chart)))
    assert "thick: the mean of those that completed" in said
    assert "1 of 10 runs did not complete" in said


def test_a_loss_that_is_not_finite_does_not_break_the_curve() -> None:
    record = optimizers_record({"sgd": Learning()})
    run = record.arms[0].trained[0]
    lost = run.epochs[-1].model_copy(update={"loss": None})
    runs = (
        run.model_copy(update={"epochs": (*run.epochs[:-1], lost)}),
        *record.arms[0].trained[1:],
    )
    arm = record.arms[0].model_copy(update={"trained": runs})

    chart = figures(record.model_copy(update={"arms": (arm, *record.arms[1:])}))["learning"]

    assert len(svg_of(chart)) > 1000


def test_gradients_that_are_zero_have_no_place_on_a_logarithmic_axis() -> None:
    norms = {"batch": [["a", 0.0], ["b", 1.0]], "none": [["a", 0.0], ["b", 0.001]]}
    rows = values(figures(batchnorm_record(details={"gradients": norms}))["gradients"])

    assert sorted(row["norm"] for row in rows) == [0.001, 1.0]


def test_a_study_without_times_and_runs_has_no_charts() -> None:
    assert figures(optimizers_record(seeds=0, blocks=0)) == {}


def test_equal_records_give_equal_files(tmp_path: Path) -> None:
    first, second = (write_charts(workers_record(), tmp_path / name) for name in ("a", "b"))

    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


HOSTILE = "</text><script>alert(1)</script>&amp;\x1b[2J'\"].x"


def hostile_records() -> list[StudyRecord]:
    machine = {"device_name": HOSTILE, "cpu": HOSTILE, "torch": HOSTILE}
    norms = {name: [[HOSTILE, 0.1], ["fine", 0.2]] for name in (HOSTILE, "none")}
    return [
        workers_record(machine=machine, data_label=HOSTILE, settings={"model": HOSTILE}),
        optimizers_record({HOSTILE: Learning(), "sgd": Learning()}, values=("adam", "sgd")),
        batchnorm_record(details={"gradients": norms}, data_label=HOSTILE),
    ]


@pytest.mark.parametrize("number", range(3))
def test_what_a_user_has_named_is_data_and_not_markup(number: int) -> None:
    for chart in figures(hostile_records()[number]).values():
        svg = svg_of(chart)
        root = ElementTree.fromstring(svg)
        tags = {node.tag.removeprefix(SVG) for node in root.iter()}

        assert tags <= {"svg", "g", "path", "text", "tspan", "rect", "line", "defs", "clipPath",
                        "style", "title"}  # fmt: skip
        assert not [n for node in root.iter() for n in node.attrib if n.lower().startswith("on")]
        assert b"\x1b" not in svg
        assert any("<script>" in text for text in texts(svg))


def test_a_chart_adapts_to_a_dark_page_and_styles_nothing_else() -> None:
    svg = svg_of(figures(devices_record())["times"]).decode()

    style = re.search(r"<style>(.*?)</style>", svg)
    assert style is not None
    assert "prefers-color-scheme: dark" in style[1]
    selectors = re.findall(r"[{}]\s*([^{}]+?)\s*\{", style[1])
    assert selectors
    assert all(selector.startswith(".laptime ") for selector in selectors)
    assert 'class="laptime ' in svg


def test_a_picture_is_opaque() -> None:
    from laptime.report.charts.style import png_of

    picture = Image.open(io.BytesIO(png_of(figures(devices_record())["times"])))

    assert picture.mode == "RGB"
    assert picture.getpixel((2, 2)) == (255, 255, 255)


def test_reading_the_module_loads_nothing_heavy() -> None:
    code = (
        "import sys, laptime.report.charts.study, laptime.report.studies.study\n"
        "import laptime.report.studies.explanations\n"
        "print([n for n in ('torch', 'numpy', 'altair', 'pandas', 'scipy', 'vl_convert', 'PIL') "
        "if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
