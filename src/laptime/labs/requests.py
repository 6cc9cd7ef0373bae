"""What the lab asks: its settings, and what it asks of each study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from laptime.lab import GRIDS, LabRequest, Scale
from laptime.settings import LAB_OPTIMIZERS, RunSettings, build_settings
from laptime.studies.plan import varied
from laptime.studies.scale import QUICK
from laptime.study import StudyRequest, TurnPolicy

QUICK_TURNS = TurnPolicy(min_turns=4, max_turns=4)


def lab_settings(scale: Scale, given: Mapping[str, Any]) -> RunSettings:
    """Return the assignment's settings, or the quick version of them."""
    return build_settings({**(QUICK if scale == "quick" else {}), **given})


def study_request(request: LabRequest, study: str, settings: RunSettings) -> StudyRequest:
    """Return what the lab asks of one study."""
    quick = request.scale == "quick"
    first = settings.training.seed
    learns = study in {"optimizers", "batchnorm"}
    return StudyRequest(
        study=study,
        settings=settings,
        grid=GRIDS[request.scale] if study == "workers" else None,
        optimizers=LAB_OPTIMIZERS if study == "optimizers" else (),
        seeds=tuple(range(first, first + request.seeds)) if learns else (),
        blocks=request.blocks,
        turns=QUICK_TURNS if quick else TurnPolicy(),
        timeout_s=request.timeout_s,
        table_epochs=2 if quick else 5,
        full=_assigned(settings) if quick and study == "workers" else None,
    )


def _assigned(settings: RunSettings) -> RunSettings:
    """Return the settings without what quick scale reduces, on the same data."""
    return varied(settings, **{name: RunSettings().flat()[name] for name in QUICK})
