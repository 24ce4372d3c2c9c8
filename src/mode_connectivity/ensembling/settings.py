"""Ensembles, as data."""

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from mode_connectivity.settings import Settings


class CurveEnsembleSettings(Settings):
    """Equally spaced points of a curve as the members of an ensemble (Garipov et al., 4.3)."""

    method: Literal["curve_points"]
    curve: str
    points: int = Field(50, ge=2)


class NetworkEnsembleSettings(Settings):
    """Trained networks as the members of an ensemble (Garipov et al. 2018, Table 1).

    One seed is one run of the method, at the cost of one budget. An ensemble of k budgets has the
    members of k seeds; the runs behind it are disjoint groups of k seeds in the given order.
    """

    method: Literal["independent", "snapshot", "fast_geometric", "weight_average"] = Field(
        description="independent: the networks at the end of their training; snapshot and "
        "fast_geometric: the snapshots of each training; weight_average: the mean of the weights "
        "of these snapshots, one network a training (SWA)"
    )
    recipes: list[str] = Field(min_length=1, description="those of one run, all with its seed")
    seeds: list[NonNegativeInt] = Field(min_length=1)
    budgets: list[PositiveInt] = Field([1], min_length=1)

    @property
    def trainings(self) -> Iterator[tuple[str, int]]:
        """Recipe and seed of every training, in the order of the members."""
        return ((recipe, seed) for seed in self.seeds for recipe in self.recipes)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in ("recipes", "seeds", "budgets"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} {values} names one twice; each may come once")
        large = [budget for budget in self.budgets if budget > len(self.seeds)]
        if large:
            raise ValueError(
                f"budgets {large} need as many seeds; there are {len(self.seeds)}: {self.seeds}"
            )
        return self


AnyEnsemble = Annotated[
    CurveEnsembleSettings | NetworkEnsembleSettings, Field(discriminator="method")
]
