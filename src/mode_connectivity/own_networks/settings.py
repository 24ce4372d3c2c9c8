"""Curves between two files of weights, where no config names them.

Nothing here imports torch.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mode_connectivity.mistakes import validated
from mode_connectivity.training.recipes import ALIGNED_KINDS, AlignmentSettings, CurveSettings
from mode_connectivity.training.settings import OptimiserSettings, TrainingSettings

CURVE_TRAINING = TrainingSettings(
    epochs=50, learning_rate=0.015, optimiser=OptimiserSettings(weight_decay=5e-4)
)
"""Where nothing else is asked for: that of the reference code of Garipov et al. for VGG-16, but for
its epochs, which are ours. The code trains curves for 200 to 600 epochs; after 20 all points are
close to the ends already (Gotmare et al. 2018, figure 1)."""

OWN = "own"
"""The recipe that the ends of a curve are of, where there is no config."""
ALIGNED = "aligned_"
KINDS = tuple(f"{way}{kind}" for way in ("", ALIGNED) for kind in ALIGNED_KINDS)
"""Curves between two networks."""


def curves_between(
    start: Path,
    end: Path,
    kinds: Iterable[str] = ("bezier",),
    *,
    training: TrainingSettings = CURVE_TRAINING,
    bends: int = 1,
    points: int = 61,
    seed: int = 1,
    alignment: AlignmentSettings | None = None,
    renormalise: bool = True,
) -> dict[str, CurveSettings]:
    """Return the settings of curves between two files of weights: the segment, and some others.

    Args:
        start: the network at t = 0.
        end: the network at t = 1.
        kinds: of ``KINDS``.
        training: of those that have bends.
        bends: how many.
        points: equally spaced t at which they are measured, the ends included.
        seed: of the training.
        alignment: how units are matched where a kind is aligned; left out, by activations.
        renormalise: give the points of an aligned segment the statistics of REPAIR.

    Raises:
        UserError: a number is out of range.
    """
    curves = {}
    for name in dict.fromkeys(["segment", *kinds]):
        kind = name.removeprefix(ALIGNED)
        settings: dict[str, Any] = {"kind": kind, "points": points, "recipe": OWN}
        if kind != "segment":
            settings |= {"training": training, "bends": bends, "seed": seed}
        if name.startswith(ALIGNED):
            settings["alignment"] = alignment or AlignmentSettings()
            settings["renormalise"] = renormalise and kind == "segment"
        settings |= {"start": str(start), "end": str(end)}
        curves[name] = validated(CurveSettings, settings, f"curve {name}")
    return curves
