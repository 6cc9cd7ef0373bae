from __future__ import annotations

from pathlib import Path

import pytest

from laptime.errors import ModelError
from laptime.models.catalog import build_model, check_name
from laptime.settings import ModelSettings


def write(tmp_path: Path, body: str) -> str:
    path = tmp_path / "net_of_mine.py"
    path.write_text(f"import torch\n\ndef build():\n    {body}\n")
    return f"{path}:build"


def test_a_factory_in_a_file_is_built(tmp_path: Path) -> None:
    spec = write(tmp_path, "return torch.nn.Linear(3, 2)")

    assert build_model(ModelSettings(model=spec), 10).in_features == 3  # type: ignore[comparison-overlap]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return 7", "returned int, but must return a torch.nn.Module"),
        ("return None", "returned NoneType"),
        ("return torch.nn.ReLU()", "has no trainable parameter"),
        ("raise ValueError('no\\nway')", "ValueError: no way"),
        ("raise SystemExit(3)", "SystemExit"),
    ],
)
def test_a_factory_that_gives_no_model_is_refused_in_one_line(
    tmp_path: Path, body: str, expected: str
) -> None:
    with pytest.raises(ModelError) as refused:
        build_model(ModelSettings(model=write(tmp_path, body)), 10)

    assert expected in str(refused.value)


def test_an_unknown_name_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(ModelError, match="Did you mean resnet18"):
        check_name(ModelSettings(model="resnet-18"))
