"""Two spirals and a regression in one dimension: drawn, not read, and small enough for any machine.

Everything is drawn from the seed of the settings with numpy's PCG64, so that the same settings give
the same bytes on every machine.
"""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mode_connectivity.data import prepared_file
from mode_connectivity.data.settings import RegressionSettings, TwoSpiralsSettings
from mode_connectivity.files import canonical_json

Array = NDArray[Any]

_HIDDEN = 50
"""Units of each of the two hidden layers of the network that is the regression's true function."""
_KNOTS = 400
"""Points at which the true function is looked at when it is scaled."""


def prepare_two_spirals(settings: TwoSpiralsSettings, *, output: Path) -> None:
    """Draw the two spirals and write them to ``output``, whole or not at all.

    Args:
        settings: the data set.
        output: the prepared file, format ``prepared_file.POINTS_FORMAT``.
    """
    generator = np.random.default_rng(settings.seed)
    train, train_labels = _spirals(settings.train_per_class, settings.noise, generator)
    test, test_labels = _spirals(settings.test_per_class, settings.noise, generator)
    prepared_file.write(
        output,
        tensors={
            "train_inputs": train.astype(np.float32),
            "train_labels": train_labels,
            "test_inputs": test.astype(np.float32),
            "test_labels": test_labels,
            "plot_inputs": _lattice(train, settings.lattice_step, settings.lattice_margin),
        },
        metadata={
            "settings": canonical_json(settings.model_dump(mode="json")),
            "classes": canonical_json(["first spiral", "second spiral"]),
        },
        format=prepared_file.POINTS_FORMAT,
    )


def _spirals(per_class: int, noise: float, generator: np.random.Generator) -> tuple[Array, Array]:
    """Draw points of both spirals, first those of class 0: float64 [2 n, 2] and int64 [2 n].

    The notebook of Benton et al. 2021: an angle of at most 600 degrees, more often a large one,
    and a point at 1.5 times the angle from the origin, the angle counted clockwise from the left;
    the second spiral is the first one turned by half a turn, with noise of its own.
    """
    parts = []
    for sign in (1.0, -1.0):
        angle = np.sqrt(generator.random((per_class, 1))) * np.deg2rad(600.0)
        places = 1.5 * angle * np.hstack([-np.cos(angle), np.sin(angle)])
        parts.append(sign * (places + noise * generator.standard_normal((per_class, 2))))
    labels = np.repeat(np.arange(2, dtype=np.int64), per_class)
    return np.vstack(parts), labels


def _lattice(points: Array, step: float, margin: float) -> Array:
    """Return a lattice around points, row by row from below: float32 [G, 2]."""
    low, high = points.min(axis=0) - margin, points.max(axis=0) + margin
    across, up = (np.arange(low[axis], high[axis] + step, step) for axis in (0, 1))
    first, second = np.meshgrid(across, up)
    return np.column_stack([first.ravel(), second.ravel()]).astype(np.float32)


def prepare_regression(settings: RegressionSettings, *, output: Path) -> None:
    """Draw the regression in one dimension and write it to ``output``, whole or not at all.

    Args:
        settings: the data set.
        output: the prepared file, format ``prepared_file.REGRESSION_FORMAT``.
    """
    generator = np.random.default_rng(settings.seed)
    function = _true_function(settings, generator)
    train = _inputs(settings, generator)
    test = _inputs(settings, generator)
    plot = np.linspace(settings.plot_from, settings.plot_to, settings.plot_points)

    def noisy(inputs: Array) -> Array:
        return function(inputs) + settings.noise * generator.standard_normal(len(inputs))

    values = {
        "train_inputs": train[:, None],
        "train_targets": noisy(train),
        "test_inputs": test[:, None],
        "test_targets": noisy(test),
        "plot_inputs": plot[:, None],
        "plot_targets": function(plot),
    }
    prepared_file.write(
        output,
        tensors={name: array.astype(np.float32) for name, array in values.items()},
        metadata={
            "settings": canonical_json(settings.model_dump(mode="json")),
            "noise_variance": canonical_json(settings.noise_variance),
        },
        format=prepared_file.REGRESSION_FORMAT,
    )


def _inputs(settings: RegressionSettings, generator: np.random.Generator) -> Array:
    """Draw inputs uniformly from each interval, ascending: float64 [N]."""
    parts = [
        generator.uniform(low, high, count)
        for (low, high), count in zip(settings.intervals, settings.counts, strict=True)
    ]
    return np.sort(np.concatenate(parts))


def _true_function(
    settings: RegressionSettings, generator: np.random.Generator
) -> Callable[[Array], Array]:
    """Draw a network with two hidden layers and scale its outputs.

    Izmailov et al. 2019 describe theirs so and release only its data. Weights of a layer are
    N(0, 1 / inputs), hidden biases N(0, 1), the activation is tanh of the features x / 2 and
    (x / 2)^2 of their regression network; over the intervals the values are scaled to
    ``settings.target_range``.
    """
    widths = (2, _HIDDEN, _HIDDEN, 1)
    layers = [
        (
            generator.standard_normal((inputs, outputs)) / np.sqrt(inputs),
            generator.standard_normal(outputs),
        )
        for inputs, outputs in pairwise(widths)
    ]

    def raw(inputs: Array) -> Array:
        half = inputs[:, None] / 2
        hidden = np.hstack([half, half**2])
        for weights, biases in layers[:-1]:
            hidden = np.tanh(hidden @ weights + biases)
        result: Array = (hidden @ layers[-1][0])[:, 0]
        return result

    seen = raw(
        np.concatenate([np.linspace(start, end, _KNOTS) for start, end in settings.intervals])
    )
    low, high = settings.target_range
    scale = (high - low) / (seen.max() - seen.min())
    return lambda inputs: low + scale * (raw(inputs) - seen.min())
