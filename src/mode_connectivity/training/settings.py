"""How a network or a curve is trained, as data."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from mode_connectivity.data.settings import AugmentationSettings
from mode_connectivity.settings import NonNegative, PositiveFloat, Settings


class OptimiserSettings(Settings):
    """The optimiser, and where its weight decay acts."""

    name: Literal["sgd", "adam"] = Field(
        "sgd", description="stochastic gradient descent, or Adam with beta 0.9 and 0.999"
    )
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


Per = Annotated[
    Literal["epoch", "iteration"], Field(description="how often the learning rate is set anew")
]
Minimum = Annotated[NonNegative, Field(description="the lowest learning rate")]
Factor = Annotated[PositiveFloat, Field(description="of the learning rate, each time it falls")]
Final = Annotated[NonNegative, Field(description="last learning rate as a factor of the first")]


class Schedule(Settings):
    """What all schedules have."""

    per: Per = "epoch"


class ConstantSchedule(Schedule):
    """The initial learning rate throughout."""

    name: Literal["constant"]


class PiecewiseLinearSchedule(Schedule):
    """Garipov et al. 2018: constant, then linear to a fraction of the start, then constant."""

    name: Literal["piecewise_linear"]
    hold: float = Field(0.5, ge=0.0, le=1.0, description="share of the epochs at the start value")
    decay_until: float = Field(0.9, ge=0.0, le=1.0, description="share at which the fall ends")
    final: Final = 0.01

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.decay_until <= self.hold:
            raise ValueError(f"decay_until ({self.decay_until}) must exceed hold ({self.hold})")
        return self


class StepSchedule(Schedule):
    """Multiplied by a factor after each of the milestones: 0.2 for Gotmare et al. 2018."""

    name: Literal["step"]
    milestones: list[PositiveInt] = Field(min_length=1, description="finished epochs")
    factor: Factor


class LinearSchedule(Schedule):
    """A straight line from the initial learning rate to a factor of it at the last epoch's end."""

    name: Literal["linear"]
    final: Final = 0.0


class CosineSchedule(Schedule):
    """Half a cosine from the initial learning rate down to the minimum."""

    name: Literal["cosine"]
    minimum: Minimum = 0.0


class CosineRestartsSchedule(Schedule):
    """SGDR: half a cosine a period, each period longer than the last by the multiplier."""

    name: Literal["cosine_restarts"]
    per: Per = "iteration"
    period: PositiveInt = Field(description="epochs of the first period")
    multiplier: PositiveInt = Field(1, description="of the length, from one period to the next")
    minimum: Minimum = 0.0


class CosineCyclesSchedule(Schedule):
    """Snapshot ensembles: half a cosine a cycle, all of one length; the last takes the remainder.

    Where the epochs are no multiple of the cycles, the code of Huang et al. 2017 begins the last
    cycle in the midst of its cosine; here every cycle begins at the initial learning rate.
    """

    name: Literal["cosine_cycles"]
    per: Per = "iteration"
    cycles: PositiveInt = Field(description="M of Garipov et al. 2018, the number of snapshots")
    minimum: Minimum = 0.0


class CyclicSchedule(Schedule):
    """FGE's triangle: linear down to the minimum in half a period, and up again."""

    name: Literal["cyclic"]
    per: Per = "iteration"
    period: PositiveInt = Field(description="epochs of a cycle; even")
    minimum: Minimum

    @model_validator(mode="after")
    def _even(self) -> Self:
        if self.period % 2:
            raise ValueError(
                f"period is {self.period}; it must be even, so that the minimum of a cycle falls "
                f"on the end of an epoch, such as {self.period + 1}"
            )
        return self


class ExponentialSchedule(Schedule):
    """Constant, then multiplied by a factor after each further epoch (the PTB models)."""

    name: Literal["exponential"]
    hold: NonNegativeInt = Field(description="epochs at the initial learning rate")
    factor: Factor


class Breakpoint(Settings):
    """A time in a training, and the learning rate there."""

    epoch: NonNegative = Field(description="finished epochs, as a decimal number within one")
    learning_rate: NonNegative = Field(description="the one at that time")


class BreakpointsSchedule(Schedule):
    """Straight lines from one breakpoint to the next, then constant.

    The first line begins at the initial learning rate; two breakpoints at one time are a jump.
    SWAG's schedule is one (Maddox et al. 2019), and that of the chains of Benton et al. 2021, A.4.
    """

    name: Literal["breakpoints"]
    points: list[Breakpoint] = Field(min_length=1, description="in the order of their epochs")

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        epochs = [point.epoch for point in self.points]
        for before, after in pairwise(epochs):
            if after < before:
                raise ValueError(
                    f"points: epoch {after:g} comes after epoch {before:g}; give them ascending"
                )
        crowded = [epoch for epoch in sorted(set(epochs)) if epochs.count(epoch) > 2]
        if crowded:
            raise ValueError(
                f"points: {epochs.count(crowded[0])} at epoch {crowded[0]:g}; a jump has two, what "
                "it jumps from and what to"
            )
        return self


AnySchedule = Annotated[
    ConstantSchedule
    | PiecewiseLinearSchedule
    | StepSchedule
    | LinearSchedule
    | CosineSchedule
    | CosineRestartsSchedule
    | CosineCyclesSchedule
    | CyclicSchedule
    | ExponentialSchedule
    | BreakpointsSchedule,
    Field(discriminator="name"),
]


def cycle_ends(schedule: CosineCyclesSchedule, epochs: int) -> list[int]:
    """Return the finished epochs at the end of each cycle (Garipov et al. 2018, section 6)."""
    length = epochs // schedule.cycles
    return [length * cycle for cycle in range(1, schedule.cycles)] + [epochs]


def minima(schedule: AnySchedule, epochs: int) -> Sequence[int]:
    """Return the finished epochs after which the learning rate of a schedule is at a minimum.

    Raises:
        ValueError: the schedule does not fit the epochs, or has no minima within a training.
    """
    match schedule:
        case CosineSchedule():
            return [epochs]
        case CosineCyclesSchedule(cycles=cycles):
            if cycles > epochs:
                raise ValueError(f"{cycles} cycles do not fit into {epochs} epochs")
            return cycle_ends(schedule, epochs)
        case CyclicSchedule(period=period):
            half = period // 2
            if epochs % half:
                near = [half * halves for halves in (epochs // half, epochs // half + 1) if halves]
                raise ValueError(
                    f"cycles of {period} epochs do not fit into {epochs} epochs: the epochs must "
                    f"be a multiple of half a cycle, such as {' or '.join(map(str, near))}"
                )
            return range(half, epochs + 1, period)
        case CosineRestartsSchedule(period=period, multiplier=multiplier):
            ends, end = [], period
            while end <= epochs:
                ends.append(end)
                period *= multiplier
                end += period
            if not ends:
                raise ValueError(
                    f"the first period, of {period} epochs, does not end within {epochs} epochs"
                )
            return ends
    raise ValueError(
        f"schedule {schedule.name!r} has no minima; list the epochs, or choose cosine, "
        "cosine_cycles, cosine_restarts or cyclic"
    )


class SnapshotRange(Settings):
    """Evenly spaced epochs, to the end of the training."""

    first: NonNegativeInt = Field(
        description="finished epochs; 0 for what the training begins with"
    )
    every: PositiveInt = Field(1, description="epochs from one to the next")


class TrainingSettings(Settings):
    """One training: of a network, or of the bends of a curve."""

    epochs: PositiveInt = Field(description="passes over the training set")
    batch_size: PositiveInt = Field(
        128,
        description="examples of a step, or parallel streams of a text; one larger than the "
        "training set makes one batch an epoch",
    )
    learning_rate: PositiveFloat = Field(description="the initial one")
    optimiser: OptimiserSettings = OptimiserSettings()
    schedule: AnySchedule = Field(
        PiecewiseLinearSchedule(name="piecewise_linear"),
        description="what becomes of the learning rate",
    )
    augmentation: AugmentationSettings = AugmentationSettings(transforms=[])
    gradient_clipping: PositiveFloat | None = Field(
        None, description="largest norm of the gradient; a longer one is scaled down to it"
    )
    window: PositiveInt = Field(
        35,
        description="steps of truncated back-propagation through time; of texts only",
    )
    snapshots: list[NonNegativeInt] | SnapshotRange | Literal["minima", "all"] = Field(
        default=[],
        description="finished epochs after which the weights are kept, 0 for those it begins "
        "with; {first: 162, every: 1} for those from one on; minima, where the learning rate of a "
        "cyclic schedule is lowest; or all",
    )
    average_snapshots: bool = Field(
        False,
        description="the trained network has the mean of the snapshots' weights (SWA, Izmailov et "
        "al. 2018) in place of the last ones; of recipes only",
    )
    checkpoints: list[PositiveInt] = Field(
        default=[],
        description="finished epochs after which weights and the optimiser's state are kept, for "
        "recipes that continue from there",
    )
    records_per_epoch: PositiveInt = Field(1, description="rows of the history an epoch")
    record_test: bool = Field(
        False,
        description="measure the test error and the distance from the first weights in every row "
        "of the history, with the batch-norm statistics of the training",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 autocast on CUDA, float32 elsewhere"
    )

    @property
    def snapshot_epochs(self) -> list[int]:
        """The finished epochs after which the weights are kept, ascending."""
        if self.snapshots == "all":
            return list(range(1, self.epochs + 1))
        if isinstance(self.snapshots, str):
            return list(minima(self.schedule, self.epochs))
        if isinstance(self.snapshots, SnapshotRange):
            return list(range(self.snapshots.first, self.epochs + 1, self.snapshots.every))
        return sorted(self.snapshots)

    @model_validator(mode="after")
    def _snapshots_exist(self) -> Self:
        for name in ("snapshots", "checkpoints"):
            epochs = getattr(self, name)
            if isinstance(epochs, str):
                continue
            if isinstance(epochs, SnapshotRange):
                epochs = [epochs.first]
            late = [epoch for epoch in epochs if epoch > self.epochs]
            if late:
                raise ValueError(f"{name} {late} lie beyond the {self.epochs} epochs of training")
            if len(set(epochs)) < len(epochs):
                raise ValueError(f"{name} {epochs} name an epoch twice")
        return self

    @model_validator(mode="after")
    def _average_of_some(self) -> Self:
        if self.average_snapshots and not self.snapshots:
            raise ValueError(
                "average_snapshots is on, but there are no snapshots: set snapshots, such as to "
                f"{{first: {max(1, self.epochs * 3 // 4)}}}"
            )
        return self

    @model_validator(mode="after")
    def _breakpoints_fit(self) -> Self:
        if isinstance(self.schedule, BreakpointsSchedule):
            late = [point.epoch for point in self.schedule.points if point.epoch > self.epochs]
            if late:
                listed = ", ".join(f"{epoch:g}" for epoch in late)
                raise ValueError(
                    f"the schedule's points at epoch {listed} lie beyond the {self.epochs} epochs "
                    "of training: move them or train longer"
                )
        return self

    @model_validator(mode="after")
    def _cycles_fit(self) -> Self:
        restarts = self.schedule
        if isinstance(restarts, CosineRestartsSchedule) and restarts.period > self.epochs:
            raise ValueError(
                f"the first period of {restarts.period} epochs is longer than the training of "
                f"{self.epochs} epochs: nothing restarts; shorten it, or choose schedule cosine"
            )
        if self.snapshots == "minima" or isinstance(
            self.schedule, CosineCyclesSchedule | CyclicSchedule
        ):
            minima(self.schedule, self.epochs)
        return self
