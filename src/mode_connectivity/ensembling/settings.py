"""Ensembles, as data."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from mode_connectivity.settings import CurveName, RecipeName, Settings, SimplexName

Seeds = Annotated[
    list[NonNegativeInt],
    Field(min_length=1, description="each is one run, at the cost of one budget"),
]
Budgets = Annotated[
    list[PositiveInt],
    Field(
        min_length=1,
        description="sizes of the ensembles that are measured, in seeds whose members they have",
    ),
]


class CurveEnsembleSettings(Settings):
    """Equally spaced points of a curve as the members of an ensemble (Garipov et al., 4.3)."""

    method: Literal["curve_points"]
    curve: CurveName = Field(description="the curve whose points they are")
    points: int = Field(50, ge=2, description="how many, both ends among them")


class TrainedEnsembleSettings(Settings):
    """Members that come from trained networks.

    One seed is one run of the method, at the cost of one budget. An ensemble of k budgets has the
    members of k seeds; the runs behind it are disjoint groups of k seeds in the given order.
    """

    recipes: list[RecipeName] = Field(
        min_length=1, description="those of one run, all with its seed"
    )
    seeds: Seeds
    budgets: Budgets = Field([1])

    @property
    def trainings(self) -> Iterator[tuple[str, int]]:
        """Recipe and seed of every training, in the order of the members."""
        return ((recipe, seed) for seed in self.seeds for recipe in self.recipes)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _refuse_repeated("recipes", self.recipes)
        _refuse_runs(self.seeds, self.budgets)
        return self


class NetworkEnsembleSettings(TrainedEnsembleSettings):
    """Trained networks as the members of an ensemble (Garipov et al. 2018, Table 1)."""

    method: Literal["independent", "snapshot", "fast_geometric", "weight_average"] = Field(
        description="independent: the networks at the end of their training; snapshot and "
        "fast_geometric: the snapshots of each training; weight_average: the mean of the weights "
        "of these snapshots, one network a training (SWA; of several seeds, MultiSWA)"
    )


class SwagSettings(Settings):
    """A Gaussian fitted to the snapshots of a training, and what is drawn from it (SWAG)."""

    rank: int = Field(
        20, ge=2, description="of the low-rank part of the covariance: the last K snapshots"
    )
    samples: PositiveInt = Field(20, description="networks that are drawn, of each training")
    scale: float = Field(
        0.5,
        ge=0.0,
        allow_inf_nan=False,
        description="of the covariance; 0.5 is the Gaussian of Maddox et al. 2019, 0 its mean",
    )
    variance_floor: float = Field(
        1e-6, ge=0.0, allow_inf_nan=False, description="least variance of a weight on the diagonal"
    )


class SwagEnsembleSettings(TrainedEnsembleSettings, SwagSettings):
    """Draws from the Gaussian of each training; of several seeds, MultiSWAG."""

    method: Literal["swag"]


class CurveSwagEnsembleSettings(SwagSettings):
    """Draws from a Gaussian around the bend of a curve (Benton et al. 2021, figure 2)."""

    method: Literal["curve_swag"]
    curve: CurveName = Field(description="a curve with one bend whose training keeps snapshots")


class SubspaceEnsembleSettings(Settings):
    """Draws from a posterior over the weights in the plane of a curve (Izmailov et al. 2019)."""

    method: Literal["subspace"]
    curve: CurveName = Field(description="a curve with trained bends")
    samples: PositiveInt = Field(1000, description="length of the chain")
    temperature: PositiveFloat = Field(
        1.0, allow_inf_nan=False, description="the likelihood counts to the power of its inverse"
    )
    prior_sigma: PositiveFloat = Field(
        1.0, allow_inf_nan=False, description="standard deviation of the prior of each coordinate"
    )
    seed: int = Field(1, ge=0, lt=2**63, description="of the chain")

    @property
    def seeds(self) -> list[int]:
        """The one run there is."""
        return [self.seed]

    @property
    def budgets(self) -> list[int]:
        """The one budget there is."""
        return [1]


class SimplexEnsembleSettings(Settings):
    """Points drawn from the simplexes of several seeds (ESPRO, Benton et al. 2021, section 5).

    Seeds and budgets as of trained networks: each seed is one component.
    """

    method: Literal["simplex"]
    simplex: SimplexName = Field(description="a simplex; each seed's is one component")
    connectors: NonNegativeInt = Field(
        description="how many of its connectors are used; 0, its modes alone, is a deep ensemble"
    )
    points: PositiveInt | None = Field(
        None, description="members of each component, the first of the simplex's points; empty: all"
    )
    seeds: Seeds
    budgets: Budgets = Field([1])

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _refuse_runs(self.seeds, self.budgets)
        return self


def _refuse_repeated(name: str, values: Sequence[object]) -> None:
    if len(set(values)) < len(values):
        raise ValueError(f"{name} {values} names one twice; each may come once")


def _refuse_runs(seeds: Sequence[int], budgets: Sequence[int]) -> None:
    """Refuse seeds and budgets from which no runs can be made."""
    _refuse_repeated("seeds", seeds)
    _refuse_repeated("budgets", budgets)
    large = [budget for budget in budgets if budget > len(seeds)]
    if large:
        raise ValueError(f"budgets {large} need as many seeds; there are {len(seeds)}: {seeds}")


AnyEnsemble = Annotated[
    CurveEnsembleSettings
    | NetworkEnsembleSettings
    | SwagEnsembleSettings
    | CurveSwagEnsembleSettings
    | SubspaceEnsembleSettings
    | SimplexEnsembleSettings,
    Field(discriminator="method"),
]
CURVE_ENSEMBLES = (CurveEnsembleSettings, CurveSwagEnsembleSettings, SubspaceEnsembleSettings)
"""Those whose members come from a curve."""
