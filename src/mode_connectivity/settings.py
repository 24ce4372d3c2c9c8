"""The base of every settings model, and the error that speaks to the user.

Nothing here imports torch: Snakemake reads settings while it parses.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
PositiveFloat = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
"""Unlike pydantic's, finite."""


@dataclass(frozen=True)
class Names:
    """Marks a text of the config, or each of several, that names another block of it.

    Attributes:
        section: the key below which the block stands, such as ``curves``.
    """

    section: str


DatasetName = Annotated[str, Names("datasets")]
RecipeName = Annotated[str, Names("recipes")]
CurveName = Annotated[str, Names("curves")]
PlaneName = Annotated[str, Names("planes")]
SimplexName = Annotated[str, Names("simplexes")]
GeometryName = Annotated[str, Names("geometries")]
EnsembleName = Annotated[str, Names("ensembles")]


class UserError(Exception):
    """A mistake that the user can mend; its text says where, what was found and what to do."""


class Settings(BaseModel):
    """A block of the config: typed, without unknown keys, without silent conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the allowed name nearest to ``name``, or nothing."""
    matches = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.6)
    return f"; did you mean {matches[0]!r}?" if matches else ""
