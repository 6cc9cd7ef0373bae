"""The time of a step as a function of the number of loader workers, fitted to measured points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class CurveFit:
    """Compute or loading, whichever takes longer; workers share the loading and cost something."""

    compute_s: float
    """Seconds a step computes."""
    load_s: float
    """Seconds in which one worker makes a batch."""
    overhead_s: float
    """Seconds a step that each worker adds to loading."""
    residual: float
    """Root mean square of the log residuals: about the relative error of a point."""

    def step_s(self, num_workers: int) -> float:
        """Return the seconds of a step that the fit expects."""
        if num_workers == 0:
            return self.compute_s + self.load_s
        return max(self.compute_s, self.load_s / num_workers + self.overhead_s * num_workers)


def fit_curve(workers: Sequence[int], step_s: Sequence[float]) -> CurveFit | None:
    """Fit ``max(compute, load / w + overhead * w)`` for w >= 1 and ``compute + load`` for w = 0.

    A loader in the training process overlaps with nothing. Least squares of the logs from several
    starts, parameters not negative. A flat curve says little about loading: of load and overhead
    it only says that they are small enough. Points that are not positive are left out.

    Returns:
        None for fewer than three different numbers of workers.
    """
    points = [(w, s) for w, s in zip(workers, step_s, strict=True) if math.isfinite(s) and s > 0]
    if len({w for w, _ in points}) < 3:
        return None
    unit = min(s for _, s in points)  # solved in units of the fastest step
    fits = [_descend(points, unit, start) for start in _starts(points, unit)]
    return min(fits, key=lambda fit: fit.residual)


def _starts(points: list[tuple[int, float]], unit: float) -> list[tuple[float, float, float]]:
    alone = [s / unit - 1 for w, s in points if w == 0]
    shared = [s / unit * w for w, s in points if w > 0]
    loads = {max(1e-3, load) for load in (*alone, min(shared), max(shared))}
    most, slowest = max(points)
    overheads = (1e-4, 0.5 / most, slowest / unit / most)  # the last: workers in each other's way
    return list(product((0.1, 1.0), sorted(loads), overheads))


def _descend(
    points: list[tuple[int, float]], unit: float, start: tuple[float, float, float]
) -> CurveFit:
    import numpy as np
    from scipy.optimize import least_squares

    def curve(parameters: npt.NDArray[np.float64]) -> CurveFit:
        compute, load, overhead = (parameters * unit).tolist()
        return CurveFit(compute, load, overhead, math.nan)

    def residuals(parameters: npt.NDArray[np.float64], /) -> list[float]:
        fit = curve(parameters)
        return [math.log(fit.step_s(w) / s) for w, s in points]

    found = least_squares(residuals, start, bounds=([1e-6, 0, 0], np.inf), x_scale="jac")
    fit = curve(found.x)
    size = math.sqrt(math.fsum(r**2 for r in residuals(found.x)) / len(points))
    return CurveFit(fit.compute_s, fit.load_s, fit.overhead_s, size)
