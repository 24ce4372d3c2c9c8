"""Simplexes and complexes between networks, as data."""

import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from mode_connectivity.settings import NonNegative, RecipeName, Settings, nearest
from mode_connectivity.training.recipes import (
    FILE_WITHOUT_RECIPE,
    REFERENCE,
    is_weight_file,
)
from mode_connectivity.training.settings import TrainingSettings

VERTEX = re.compile(
    r"(?P<simplex>[a-z][a-z0-9_]*)/(?P<seed>0|[1-9][0-9]*):(?P<label>w(?:0|[1-9][0-9]*)|t[1-9][0-9]*)"
)

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "released": {
        "reduction": "sum",
        "volume": "squared",
        "complex_volume": "first",
        "choose_simplex": "uniform",
        "regularisation": 1e-6,
        "regularisation_scale": "random_complex",
        "regularisation_floor": 1e-8,
        "first_connector_without_volume": True,
    },
    "as_written": {
        "reduction": "mean",
        "volume": "plain",
        "complex_volume": "all",
        "choose_simplex": "by_volume",
        "regularisation": 1e-8,
        "regularisation_scale": "random_complex",
        "regularisation_floor": 0.0,
        "first_connector_without_volume": False,
    },
}
WEIGHT_DECAY_ON = {"released": "vertex", "as_written": "point"}
"""Of a simplex whose training does not say it."""


class SimplexSettings(Settings):
    """A simplex grown from a network, or a complex of simplexes between networks.

    Benton et al. 2021: connectors are added one at a time, from the mean of the vertices before,
    and trained for a low loss and a large volume; what was there before stays fixed.
    """

    modes: list[RecipeName] = Field(
        min_length=1,
        description="the networks w0, w1, ...: a recipe, whose network with the seed of the "
        "simplex is taken, recipe/seed, recipe/seed@epoch, or a file of weights",
    )
    recipe: RecipeName | None = Field(
        None, description="the network and the data set, where the first mode is a file of weights"
    )
    connectors: PositiveInt = Field(description="t1, t2, ...: how many are trained")
    complex: list[list[str]] | None = Field(
        None,
        description="the simplexes, each as a list of vertices such as [w0, t1, t2]; by default "
        "one a mode, with all connectors",
    )
    training: TrainingSettings = Field(description="of each connector")
    preset: Literal["released", "as_written"] = Field(
        "released",
        description="what the keys below and training.optimiser.weight_decay_on are where they "
        "are not given: as in the released code, or as the paper is written",
    )
    samples: PositiveInt = Field(5, description="H, points drawn a step")
    reduction: Literal["sum", "mean"] = Field(
        "sum", description="of the losses at the H points; a sum makes steps H times as long"
    )
    volume: Literal["squared", "plain"] = Field(
        "squared", description="what of a simplex the volume term takes the logarithm of"
    )
    complex_volume: Literal["first", "all"] = Field(
        "first",
        description="whose volume that is: that of the first simplex, or the sum over all",
    )
    choose_simplex: Literal["uniform", "by_volume"] = Field(
        "uniform", description="how a simplex is chosen to draw a point from"
    )
    regularisation: NonNegative = Field(
        1e-6, description="lambda*, the weight of the volume term; 0: no volume term"
    )
    regularisation_scale: Literal["random_complex", "none"] = Field(
        "random_complex",
        description="random_complex: lambda* is divided by the logarithm of the volume of a "
        "complex of freshly drawn networks; none: it is not",
    )
    regularisation_floor: NonNegative = Field(
        1e-8, description="the smallest lambda that comes of this division"
    )
    first_connector_without_volume: bool = Field(
        True, description="of a complex of several modes, train the first connector without it"
    )
    points: PositiveInt = Field(25, description="drawn from the complex where it is evaluated")
    measure_train: bool = Field(
        True, description="measure the training set, too, at these points; ensembles need it not"
    )

    @property
    def labels(self) -> list[str]:
        """The vertices, in the order in which they are stored."""
        modes = [f"w{number}" for number in range(len(self.modes))]
        return modes + [f"t{number}" for number in range(1, self.connectors + 1)]

    @property
    def simplexes(self) -> list[tuple[int, ...]]:
        """The vertices of each simplex of the complex, as indices."""
        if self.complex is not None:
            places = {label: index for index, label in enumerate(self.labels)}
            return [tuple(sorted(places[label] for label in one)) for one in self.complex]
        first = len(self.modes)
        connectors = range(first, first + self.connectors)
        return [(mode, *connectors) for mode in range(first)]

    def references(self, seed: int) -> list[str]:
        """Return the modes of the complex with a seed, each as recipe/seed... or a file."""
        return [
            mode if "/" in mode or is_weight_file(mode) else f"{mode}/{seed}" for mode in self.modes
        ]

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        preset = PRESETS.get(str(value.get("preset", "released")), {})
        return {**preset, **value}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        repeated = sorted({mode for mode in self.modes if self.modes.count(mode) > 1})
        if repeated:
            raise ValueError(f"modes: {', '.join(repeated)} is given twice: the volume is zero")
        if self.recipe is None and is_weight_file(self.modes[0]):
            raise ValueError(FILE_WITHOUT_RECIPE)
        training = self.training
        for key in ("snapshots", "checkpoints", "record_test"):
            if getattr(training, key):
                raise ValueError(
                    f"training.{key}: a simplex keeps its vertices only; take {key} out"
                )
        return self

    @model_validator(mode="after")
    def _complex_is_one(self) -> Self:
        if self.complex is None:
            return self
        problems = []
        for number, simplex in enumerate(self.complex):
            where = f"complex[{number}]: the simplex [{', '.join(simplex)}]"
            unknown = [label for label in simplex if label not in self.labels]
            if unknown:
                listed = ", ".join(self.labels)
                problems.append(
                    f"{where} names {unknown[0]}, which is no vertex; vertices: {listed}"
                    f"{nearest(unknown[0], self.labels)}"
                )
            if len(simplex) < 2:
                problems.append(f"{where} has {len(simplex)} vertices; a simplex needs at least 2")
            if len(set(simplex)) < len(simplex):
                problems.append(f"{where} names a vertex twice: its volume is zero")
        if len(self.complex) == 0:
            problems.append("complex: no simplex is given; leave it out for one a mode")
        if not problems:
            problems = self._lonely()
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _lonely(self) -> list[str]:
        """Return which vertices could not be trained or are of no use."""
        simplexes = self.simplexes
        problems = []
        for index, label in enumerate(self.labels):
            own = [simplex for simplex in simplexes if index in simplex]
            if not own:
                problems.append(f"complex: {label} is a vertex of no simplex; add it to one")
            elif label.startswith("t") and all(min(simplex) == index for simplex in own):
                problems.append(
                    f"complex: no simplex of {label} has a vertex that is there before {label}, "
                    "which it could be trained with; add one"
                )
        return problems


class VertexReference(Settings):
    """A vertex of a trained complex."""

    simplex: str
    seed: NonNegativeInt
    label: str

    @classmethod
    def parse(cls, text: str) -> "VertexReference | None":
        """Read ``simplex/seed:vertex``; return nothing where the text has another form."""
        match = VERTEX.fullmatch(text)
        if match is None:
            return None
        return cls(simplex=match["simplex"], seed=int(match["seed"]), label=match["label"])


class ComplexReference(Settings):
    """A complex that was trained from a seed."""

    simplex: str
    seed: NonNegativeInt

    @classmethod
    def parse(cls, text: str) -> "ComplexReference | None":
        """Read ``simplex/seed``; return nothing where the text has another form."""
        match = REFERENCE.fullmatch(text)
        if match is None or match["epoch"] is not None:
            return None
        return cls(simplex=match["recipe"], seed=int(match["seed"]))


def recipe_of_mode(mode: str) -> str | None:
    """Return the recipe that a mode names; a file of weights names none."""
    if is_weight_file(mode):
        return None
    match = REFERENCE.fullmatch(mode)
    return mode if match is None else match["recipe"]
