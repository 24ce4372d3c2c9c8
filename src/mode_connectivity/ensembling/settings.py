"""Ensembles, as data."""

from pydantic import Field

from mode_connectivity.settings import Settings


class CurveEnsembleSettings(Settings):
    """Equally spaced points of a curve as the members of an ensemble (Garipov et al., 4.3)."""

    curve: str
    points: int = Field(50, ge=2)
