"""Recipes, and the curves between the networks that they train, as data."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from mode_connectivity.networks import registry
from mode_connectivity.settings import DatasetName, RecipeName, Settings
from mode_connectivity.training.settings import TrainingSettings

CONTINUED = re.compile(r"(?P<recipe>[a-z][a-z0-9_]*)(?:@(?P<epoch>[1-9][0-9]*))?")
# A number has one form only, so that equal texts mean equal networks.
REFERENCE = re.compile(
    r"(?P<recipe>[a-z][a-z0-9_]*)/(?P<seed>0|[1-9][0-9]*)(?:@(?P<epoch>0|[1-9][0-9]*))?"
)


class NetworkSettings(Settings):
    """A network by name, and its options: every further key is one."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(description="a registered name, module:function or path/to/file.py:function")

    @property
    def options(self) -> dict[str, Any]:
        """The options that were given."""
        return dict(self.model_extra or {})

    @model_validator(mode="after")
    def _known(self) -> Self:
        problems = registry.check_options(self.name, self.options)
        if problems:
            raise ValueError("\n".join(problems))
        return self


class InitialisationSettings(Settings):
    """How the weights are drawn before the first step, or which are loaded."""

    scheme: Literal["torch", "fan_out", "fan_in", "torchvision"] = Field(
        "fan_out",
        description="fan_out: the reference code of Garipov et al.; fan_in: Gotmare et al.; "
        "torchvision: weights that torchvision publishes",
    )
    scale: PositiveFloat = Field(1.0, description="factor of the drawn standard deviations")
    weights: str = Field(
        "",
        description="of scheme torchvision, their name there; that of Garipov et al.'s ResNet-50 "
        "is ResNet50_Weights.IMAGENET1K_V1",
    )
    new_head: bool = Field(
        False,
        description="of scheme torchvision: draw the last layer anew, for other classes than those "
        "that the weights were trained for",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.scheme == "torchvision" and not self.weights:
            raise ValueError(
                "scheme torchvision needs `weights`, the name of weights that torchvision "
                "publishes, such as ResNet50_Weights.IMAGENET1K_V1"
            )
        if self.scheme != "torchvision" and self.weights:
            raise ValueError(
                f"scheme {self.scheme} draws its weights: take `weights` out, or set "
                "scheme: torchvision"
            )
        if self.scheme != "torchvision" and self.new_head:
            raise ValueError(
                f"scheme {self.scheme} draws every layer: take `new_head` out, or set "
                "scheme: torchvision"
            )
        if self.scheme in ("torch", "torchvision") and self.scale != 1:
            raise ValueError(
                f"scheme {self.scheme} draws nothing to scale: take `scale` out, or choose scheme "
                "fan_in or fan_out"
            )
        return self


class RecipeSettings(Settings):
    """How one network is trained."""

    dataset: DatasetName = Field(description="what it is trained on")
    network: NetworkSettings
    title: str = Field("", description="the network's name in tables; empty: its registered one")
    continues: RecipeName | None = Field(
        None,
        description="begin with the weights of another recipe's network of the same seed: "
        "recipe@epoch for one of its checkpoints, with the optimiser's state; recipe for its end, "
        "with a fresh optimiser",
    )
    initialisation: InitialisationSettings = InitialisationSettings()
    training: TrainingSettings

    def start(self, seed: int) -> "NetworkReference | None":
        """Return the network that a training from a seed continues, if it continues one."""
        if self.continues is None:
            return None
        match = CONTINUED.fullmatch(self.continues)
        assert match is not None
        epoch = match["epoch"]
        return NetworkReference(
            recipe=match["recipe"], seed=seed, epoch=None if epoch is None else int(epoch)
        )

    @model_validator(mode="after")
    def _continues_a_recipe(self) -> Self:
        if self.continues is not None and CONTINUED.fullmatch(self.continues) is None:
            raise ValueError(
                f"continues: {self.continues!r} is no recipe; write recipe or recipe@epoch, "
                "without a seed: it is that of the network itself"
            )
        return self


FILE_WITHOUT_RECIPE = (
    "an end is a file of weights: say with recipe which network and data set it is of"
)


def is_weight_file(text: str) -> bool:
    """Tell whether a network is named by a file of weights, not by a recipe and a seed."""
    return text.endswith(".safetensors")


class NetworkReference(Settings):
    """A trained network: a recipe, a seed and, for a snapshot, an epoch."""

    recipe: str
    seed: int
    epoch: int | None = None

    @classmethod
    def parse(cls, text: str) -> "NetworkReference":
        """Read ``recipe/seed`` or ``recipe/seed@epoch``.

        Raises:
            ValueError: the text has another form.
        """
        match = REFERENCE.fullmatch(text)
        if match is None:
            raise ValueError(
                f"{text!r} is no network; write recipe/seed or, for a snapshot, recipe/seed@epoch"
            )
        epoch = match["epoch"]
        return cls(
            recipe=match["recipe"],
            seed=int(match["seed"]),
            epoch=int(epoch) if epoch is not None else None,
        )

    def __str__(self) -> str:
        snapshot = "" if self.epoch is None else f"@{self.epoch}"
        return f"{self.recipe}/{self.seed}{snapshot}"


RecipeOfFiles = Annotated[
    RecipeName | None,
    Field(description="the network and the data set, where start or end is a file of weights"),
]
CurveKind = Literal["segment", "random_segment", "polychain", "bezier", "trivial_path"]
TRAINED_KINDS = ("polychain", "bezier")
ALIGNED_KINDS = ("segment", *TRAINED_KINDS)


class AlignmentSettings(Settings):
    """How the units of the network at the end of a curve are matched to those at its start."""

    matching: Literal["activations", "weights"] = Field(
        "activations",
        description="what makes two units alike: their values on training examples, or their "
        "weights (Ainsworth et al. 2022, sections 3.1 and 3.2)",
    )
    examples: PositiveInt = Field(
        1000,
        description="of matching by activations: training examples, drawn at random; all if there "
        "are fewer",
    )
    seed: int = Field(
        0, ge=0, description="of the examples, or of the order in which weights are matched"
    )

    def batch_size(self, numbers: int) -> int:
        """Return how many examples are compared at a time.

        What is compared of a deep network is many times as large as its input.

        Args:
            numbers: those of one example.
        """
        return max(1, min(100, self.examples, 2**21 // numbers))


class CurveSettings(Settings):
    """A curve between two networks, and the grid at which it is evaluated."""

    kind: CurveKind = Field(
        description="random_segment has the length of the segment and a random direction; "
        "polychain and bezier have bends, which are trained; trivial_path leads through the origin"
    )
    start: RecipeName = Field(
        description="the network at t = 0, as recipe/seed or recipe/seed@epoch, or a file of "
        "weights, path/to/weights.safetensors"
    )
    end: RecipeName = Field(
        description="the network at t = 1, likewise; for a random segment, the one whose distance "
        "it has"
    )
    recipe: RecipeOfFiles = None
    bends: PositiveInt = Field(1, description="vertices between start and end")
    training: TrainingSettings | None = Field(
        None,
        description="of the bends; what is left out is that of the recipe at the start, but for "
        "what is kept and recorded on the way",
    )
    alignment: AlignmentSettings | None = Field(
        None,
        description="connect the start with the end's network as its units are permuted to match; "
        "{} for the defaults",
    )
    renormalise: bool = Field(
        False,
        description="of a segment: where no batch norm follows a layer, give its channels the mean "
        "statistics of the two ends (REPAIR, Jordan et al. 2022)",
    )
    seed: int = Field(1, ge=0, description="of the training, or of the random direction")
    points: int = Field(121, ge=2, description="equally spaced t at which the curve is evaluated")
    predictions: bool = Field(False, description="keep the test predictions of every point")

    @property
    def trained(self) -> bool:
        """Whether the curve has bends to train."""
        return self.kind in TRAINED_KINDS

    @property
    def variant(self) -> Literal["", "aligned", "renormalised"]:
        """What sets the curve apart from the papers' of its kind; an aligned one may be both."""
        if self.alignment is not None:
            return "aligned"
        return "renormalised" if self.renormalise else ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.trained and self.training is None:
            raise ValueError(
                f"a {self.kind} is trained: give its training, such as {{epochs: 50}}; what is "
                "left out is that of the recipe at its start"
            )
        if self.recipe is None and any(map(is_weight_file, (self.start, self.end))):
            raise ValueError(FILE_WITHOUT_RECIPE)
        if self.alignment is not None and self.kind not in ALIGNED_KINDS:
            raise ValueError(
                f"only a segment, a polychain or a bezier is aligned, and this is a {self.kind}: "
                "take alignment out"
            )
        if self.renormalise and self.kind != "segment":
            raise ValueError(
                f"only a segment is renormalised, and this is a {self.kind}: take renormalise out"
            )
        for key in ("training", "bends"):
            if not self.trained and key in self.model_fields_set and getattr(self, key):
                raise ValueError(f"a {self.kind} has nothing to train: take {key} out")
        return self
