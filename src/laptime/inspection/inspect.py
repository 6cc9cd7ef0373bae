"""Settings to everything that is said of a model and of the machine it is to train on."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from laptime.census import CensusRecord, Inspection, SampleRecord, Shape
from laptime.inspection.census import take_census
from laptime.inspection.library import build_any_model
from laptime.inspection.peak import CudaAllocator, measure_peak
from laptime.inspection.roofs import measure_roofs
from laptime.settings import ModelSettings, OptimizerSettings, RunSettings
from laptime.timing.environment import collect_environment
from laptime.training.device import check_precision, choose_device
from laptime.training.step import set_arithmetic

IMAGE: Shape = (3, 32, 32)

_CLASSES = 10
_EPOCH_SAMPLES = 50_000


def inspect(
    settings: RunSettings,
    optimizers: Mapping[str, OptimizerSettings],
    input_shape: Shape = IMAGE,
    *,
    tokens: int | None = None,
    with_roofs: bool = True,
) -> Inspection:
    """Count a model and its twin, and measure what the machine could do with them at best.

    Everything is counted on the CPU: the counts are the same on every device. No data is read;
    samples are random, from the seed, and the caller's random numbers stay as they were.

    Args:
        settings: Model, batch size, seed, device and precision; of an epoch its samples.
        optimizers: By the name under which each is reported; memory is that of the first.
        input_shape: Of one sample, without the batch.
        tokens: Give whole numbers below this one instead of values.
        with_roofs: Measure the machine too, which takes about a second and a half.

    Raises:
        LaptimeError: The model cannot be built or does not take such samples, or the device is
            not there.
    """
    training, sample = settings.training, SampleRecord(shape=input_shape, tokens=tokens)
    device = choose_device(training.device)
    check_precision(training, device)
    set_arithmetic(training)
    with torch.random.fork_rng(devices=[]):
        twin = _twin(settings, optimizers, sample)
        census, measured_bytes = _census(settings, optimizers, sample, device)
        roofs = measure_roofs(device, training.precision) if with_roofs else ()
    return Inspection(
        census=census,
        twin=twin,
        batch_size=settings.loader.batch_size,
        epoch_samples=settings.data.samples or _EPOCH_SAMPLES,
        precision=training.precision,
        measured_bytes=measured_bytes,
        roofs=roofs,
        machine=collect_environment(str(device)),
    )


def _census(
    settings: RunSettings,
    optimizers: Mapping[str, OptimizerSettings],
    sample: SampleRecord,
    device: torch.device,
) -> tuple[CensusRecord, int | None]:
    """Return what is counted, and on CUDA the peak of a step with the first optimizer."""
    torch.manual_seed(settings.training.seed)
    model = build_any_model(settings.model, _CLASSES).cpu()
    census = take_census(model, settings.model, optimizers, sample)
    if device.type != "cuda":
        return census, None
    first = next(iter(optimizers.values()))
    batch_size = settings.loader.batch_size
    peak = measure_peak(model, sample, batch_size, first, device, CudaAllocator(device))
    return census, peak


def _twin(
    settings: RunSettings, optimizers: Mapping[str, OptimizerSettings], sample: SampleRecord
) -> CensusRecord | None:
    """Return the census of the built-in model with the other norm; None for other models."""
    if settings.model.model != ModelSettings().model:
        return None
    other = {"batch": "none", "none": "batch"}[settings.model.norm]
    model = settings.model.model_copy(update={"norm": other})
    twin = settings.model_copy(update={"model": model})
    return _census(twin, optimizers, sample, torch.device("cpu"))[0]
