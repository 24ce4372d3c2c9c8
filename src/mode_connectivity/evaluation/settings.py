"""How points of weight space are evaluated, as data."""

from typing import Annotated, Self

from pydantic import Field, PositiveInt, model_validator

from mode_connectivity.settings import EnsembleName, Names, RecipeName, Settings
from mode_connectivity.training.recipes import FILE_WITHOUT_RECIPE, RecipeOfFiles, is_weight_file


class EvaluationSettings(Settings):
    """What is measured at every point, and on which images."""

    batch_size: PositiveInt = Field(
        500,
        description="examples of a forward pass; batch-norm statistics are means over such batches",
    )
    augment_statistics: bool = Field(
        True,
        description="re-estimate batch-norm statistics on augmented training images, on which the "
        "network was trained; only for networks with batch norm",
    )
    augment_metrics: bool = Field(
        False,
        description="measure train loss and error on one augmented draw of the training images, "
        "as the reference code of Garipov et al. does",
    )


class PlaneSettings(Settings):
    """A plane through three points of weight space, and the lattice at which it is evaluated."""

    start: Annotated[RecipeName, Names("simplexes")] = Field(
        description="origin: a network, as recipe/seed or recipe/seed@epoch, or a vertex of a "
        "simplex, as simplex/seed:w0 or simplex/seed:t1"
    )
    end: Annotated[RecipeName, Names("simplexes")] = Field(
        description="likewise the second one, along the first axis"
    )
    recipe: RecipeOfFiles = None
    third: Annotated[RecipeName, Names("simplexes"), Names("curves")] = Field(
        description="a third network or vertex, or the name of a curve for its first bend"
    )
    points: int = Field(21, ge=2, description="lattice points a side")
    margin: float = Field(
        0.2,
        ge=0.0,
        allow_inf_nan=False,
        description="around the triangle, as a share of its sides",
    )
    iterates: RecipeName | None = Field(
        None,
        description="a training, recipe/seed, whose snapshots are projected onto the plane",
    )
    samples: EnsembleName | None = Field(
        None,
        description="an ensemble of the method curve_swag: its samples of the bend that is the "
        "third point are projected onto the plane",
    )

    @model_validator(mode="after")
    def _files_are_of_a_recipe(self) -> Self:
        if self.recipe is None and any(map(is_weight_file, (self.start, self.end))):
            raise ValueError(FILE_WITHOUT_RECIPE)
        return self


class GeometrySettings(Settings):
    """Points of weight space whose distances from each other are measured."""

    points: dict[str, Annotated[RecipeName, Names("curves")]] = Field(
        min_length=2,
        description="a label, and a network as recipe/seed or recipe/seed@epoch, or the name of a "
        "curve for its first bend",
    )
