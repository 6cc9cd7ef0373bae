"""The lab's training as one plain PyTorch file that imports nothing of laptime.

Model, shuffles, crops and the embedded images are copied from their own modules, so that there
is one copy of each; the loop is written out anew, and a test holds its losses against ours, bit
by bit.
"""

from __future__ import annotations

import ast
import json
from functools import partial
from pathlib import Path

import jinja2

from laptime.data import augment, randomness, synthetic
from laptime.data.dataset import Data, ImageDataset
from laptime.errors import SettingsError
from laptime.models import resnet
from laptime.settings import RunSettings

_OPTIMIZERS = {
    "sgd": "torch.optim.SGD(model.parameters(), lr={lr}, momentum={momentum}, weight_decay={wd})",
    "nesterov": "torch.optim.SGD(\n        model.parameters(), lr={lr}, momentum={momentum}, "
    "weight_decay={wd}, nesterov=True\n    )",
    "adagrad": "torch.optim.Adagrad(model.parameters(), lr={lr}, weight_decay={wd})",
    "adadelta": "torch.optim.Adadelta(model.parameters(), lr={lr}, weight_decay={wd})",
    "adam": "torch.optim.Adam(model.parameters(), lr={lr}, weight_decay={wd})",
    "adamw": "torch.optim.AdamW(model.parameters(), lr={lr}, weight_decay={wd})",
}

_PLAIN = {
    "precision": "float32",
    "channels_last": False,
    "compile": False,
    "cuda_graphs": False,
    "cudnn_benchmark": False,
    "fused": False,
    "schedule": "constant",
    "threads": None,
    "keep_memory": False,
    "evaluate": False,
    "holdout": 0.0,
}


def render_plain_script(settings: RunSettings, data: Data, filename: str) -> str:
    """Render the script of a run.

    Raises:
        SettingsError: The run uses something that the plain script does not have.
    """
    check_plain(settings, data)
    optimizer = settings.optimizer
    return _template().render(
        filename=filename,
        settings=settings.flat(),
        optimizer=_OPTIMIZERS[optimizer.optimizer].format(
            lr=optimizer.lr, momentum=optimizer.momentum, wd=optimizer.weight_decay
        ),
        layout=layout_of(data),
        source=str(Path(data.source).resolve()),
        train_samples=len(data.train),
        num_classes=len(data.classes or ()),
        model_source=definitions(
            resnet, "BasicBlock", "ResNet18", "_group", "_convolution", "_norm"
        ),
        augment_source=definitions(
            augment, "shuffled", "Augmentation", "augmentation", "augment_image"
        ),
        augment_constants=constants(augment),
        randomness_source=all_definitions(randomness),
        synthetic_source=definitions(synthetic, "synthetic_images", "class_views", "random_bits"),
    )


def layout_of(data: Data) -> str:
    """Return which reader of the plain script reads the data."""
    if data.name in {"synthetic", "folder"}:
        return data.name
    source = Path(data.source)
    if source.is_file():
        return "archive_python" if "python" in source.name else "archive_binary"
    if (source / "data_batch_1.bin").is_file():
        return "binary"
    return "python" if (source / "data_batch_1").is_file() else "parquet"


def check_plain(settings: RunSettings, data: Data) -> None:
    """Refuse what the plain script does not have.

    Raises:
        SettingsError: A setting has no plain counterpart.
    """
    flat = settings.flat()
    for name, plain in _PLAIN.items():
        if flat[name] != plain:
            raise SettingsError(
                f"{name} is {flat[name]!r}, but the plain script has only {plain!r}. "
                f"Leave --{name.replace('_', '-')} out."
            )
    if settings.model.model != "resnet18":
        raise SettingsError(
            f"model is {settings.model.model!r}, but the plain script is the lab's. Use resnet18."
        )
    if not isinstance(data.train, ImageDataset):
        raise SettingsError(
            f"data is {data.source!r}, a factory, but the plain script reads CIFAR-10, folders and "
            f"the embedded set. Use one of those."
        )


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - the output is Python, and its values are quoted as such
    )
    environment.filters["quoted"] = partial(json.dumps, ensure_ascii=True)
    return environment.from_string((Path(__file__).parent / "plain_script.jinja").read_text())


def definitions(module: object, *names: str) -> str:
    """Return the source of some functions and classes of a module, in its order."""
    return "\n\n\n".join(text for name, text in _top_level(module) if name in names)


def constants(module: object) -> str:
    """Return the assignments of plain constants at the top level of a module."""
    return "\n".join(text for name, text in _top_level(module) if name.isupper())


def all_definitions(module: object) -> str:
    """Return a module's source without its docstring and imports."""
    return "\n\n\n".join(text for name, text in _top_level(module))


def _top_level(module: object) -> list[tuple[str, str]]:
    source = Path(str(getattr(module, "__file__", ""))).read_text()
    found = []
    for node in ast.parse(source).body:
        text = ast.get_source_segment(source, node) or ""
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            decorators = "".join(f"@{ast.unparse(d)}\n" for d in node.decorator_list)
            found.append((node.name, decorators + text))
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            found.append((ast.unparse(target), text))
    return found
