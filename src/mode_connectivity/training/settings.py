"""How a network or a curve is trained, as data."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from mode_connectivity.data.settings import AugmentationSettings, PositiveFloat
from mode_connectivity.settings import Settings

NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class OptimiserSettings(Settings):
    """The optimiser, and where its weight decay acts."""

    name: Literal["sgd", "adam"] = "sgd"
    momentum: NonNegative = Field(0.9, description="of SGD")
    nesterov: bool = Field(False, description="Nesterov's form of the momentum of SGD")
    weight_decay: NonNegative = Field(0.0, description="coefficient of 1/2 ||w||^2 in the loss")
    weight_decay_on: Literal["point", "vertex"] = Field(
        "point",
        description="the sampled point of a family, as Garipov et al. do it, or the trained "
        "vertex, as Benton et al. do it; the same thing for a single network",
    )

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Self:
        if self.name == "sgd" and self.nesterov and self.momentum == 0.0:
            raise ValueError("nesterov needs a momentum above 0")
        return self


class Schedule(Settings):
    """What all schedules have: the learning rate is set anew every epoch or every iteration."""

    per: Literal["epoch", "iteration"] = "epoch"


class ConstantSchedule(Schedule):
    """The initial learning rate throughout."""

    name: Literal["constant"]


class PiecewiseLinearSchedule(Schedule):
    """Garipov et al. 2018: constant, then linear to a fraction of the start, then constant."""

    name: Literal["piecewise_linear"]
    hold: float = Field(0.5, ge=0.0, le=1.0, description="share of the epochs at the start value")
    decay_until: float = Field(0.9, ge=0.0, le=1.0, description="share at which the fall ends")
    final: NonNegative = Field(0.01, description="last learning rate as a factor of the first")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.decay_until <= self.hold:
            raise ValueError(f"decay_until ({self.decay_until}) must exceed hold ({self.hold})")
        return self


class StepSchedule(Schedule):
    """Multiplied by a factor after each of the milestones (finished epochs)."""

    name: Literal["step"]
    milestones: list[PositiveInt] = Field(min_length=1)
    factor: PositiveFloat = Field(description="0.2 for Gotmare et al. 2018")


class LinearSchedule(Schedule):
    """A straight line from the initial learning rate to a factor of it at the last epoch's end."""

    name: Literal["linear"]
    final: NonNegative = 0.0


class CosineSchedule(Schedule):
    """Half a cosine from the initial learning rate down to the minimum."""

    name: Literal["cosine"]
    minimum: NonNegative = Field(0.0, description="learning rate at the end")


class CosineRestartsSchedule(Schedule):
    """SGDR: half a cosine a period, each period longer than the last by the multiplier."""

    name: Literal["cosine_restarts"]
    per: Literal["epoch", "iteration"] = "iteration"
    period: PositiveInt = Field(description="epochs of the first period")
    multiplier: PositiveInt = 1
    minimum: NonNegative = 0.0


class CyclicSchedule(Schedule):
    """FGE's triangle: linear down to the minimum in half a period, and up again."""

    name: Literal["cyclic"]
    per: Literal["epoch", "iteration"] = "iteration"
    period: PositiveInt = Field(description="epochs of a cycle")
    minimum: NonNegative


AnySchedule = Annotated[
    ConstantSchedule
    | PiecewiseLinearSchedule
    | StepSchedule
    | LinearSchedule
    | CosineSchedule
    | CosineRestartsSchedule
    | CyclicSchedule,
    Field(discriminator="name"),
]


class TrainingSettings(Settings):
    """One training: of a network, or of the bends of a curve."""

    epochs: PositiveInt
    batch_size: PositiveInt = 128
    learning_rate: PositiveFloat
    optimiser: OptimiserSettings = OptimiserSettings()
    schedule: AnySchedule = PiecewiseLinearSchedule(name="piecewise_linear")
    augmentation: AugmentationSettings = AugmentationSettings(transforms=[])
    snapshots: list[PositiveInt] = Field(
        default=[], description="finished epochs after which the weights are kept"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 autocast on CUDA, float32 elsewhere"
    )

    @model_validator(mode="after")
    def _snapshots_exist(self) -> Self:
        late = [epoch for epoch in self.snapshots if epoch > self.epochs]
        if late:
            raise ValueError(f"snapshots {late} lie beyond the {self.epochs} epochs of training")
        if len(set(self.snapshots)) < len(self.snapshots):
            raise ValueError(f"snapshots {self.snapshots} name an epoch twice")
        return self
