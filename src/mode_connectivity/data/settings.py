"""What a recipe says about its data set and its augmentation.

Nothing here imports torch: Snakemake reads settings while it parses.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mode_connectivity.data.corruption_settings import PUBLISHED_FOLDERS, CorruptionSettings
from mode_connectivity.settings import NonNegative, PositiveFloat, Settings

FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]
Title = Annotated[str, Field(min_length=1, description="the name printed in tables")]

CHANNELS = {"digits": 1, "mnist": 1, "cifar10": 3, "cifar100": 3}
"""Channels of the sources whose images are known before they are read."""


class Normalisation(Settings):
    """Mean and standard deviation of each channel, of pixels scaled to [0, 1]."""

    mean: list[FiniteFloat] = Field(min_length=1, description="what is subtracted")
    std: list[PositiveFloat] = Field(min_length=1, description="what is divided by")

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if len(self.mean) != len(self.std):
            raise ValueError(
                f"mean has {len(self.mean)} values and std has {len(self.std)}; "
                "both need one value a channel"
            )
        return self


NORMALISATIONS = {
    # Garipov et al.'s transforms "VGG" and "ResNet"; the first is ImageNet's.
    "vgg": Normalisation(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
    "resnet": Normalisation(mean=[0.4914, 0.4822, 0.4465], std=[0.2023, 0.1994, 0.2010]),
    "mnist": Normalisation(mean=[0.1307], std=[0.3081]),
}


class DatasetSettings(Settings):
    """Images in memory: where they come from and how their pixels are scaled."""

    title: Title
    source: Literal["digits", "mnist", "cifar10", "cifar100", "image_folder"] = Field(
        description="digits ships with scikit-learn; image_folder is a tree "
        "{train,test}/<class>/<image>; the others are read in torchvision's layout, or else from "
        "such a tree"
    )
    folder: str | None = Field(
        None,
        description="the folder below the data root, required for image_folder; left out, the "
        "others are looked for in the data root itself and in its subfolder {source}",
    )
    image_size: int | None = Field(
        None,
        ge=1,
        description="images are resized to this many pixels square, bilinearly (enlarging "
        "interpolates, shrinking also averages); left out, they keep their size",
    )
    normalisation: Literal["vgg", "resnet", "mnist", "data", "unit"] | Normalisation = Field(
        "data",
        description="constants of the papers' code (vgg, resnet), the usual ones of MNIST (mnist), "
        "those of the training images (data), none beyond scaling to [0, 1] (unit), or your own",
    )
    test_fraction: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="the part of digits that becomes the test set, the same in each class",
    )
    split_seed: int = Field(
        0,
        ge=0,
        lt=2**32,
        description="fixes the split of digits and the order in which the images of a folder tree "
        "are stored",
    )
    validation: int = Field(
        0,
        ge=0,
        description="so many of the last training images take the place of the test set, as in "
        "Garipov et al.'s code without --use_test (there 5,000); 0 keeps the test set",
    )
    training_images: int | None = Field(
        None,
        ge=1,
        description="so many training images are used, the first of those that are left to train "
        "on; left out, all of them",
    )
    corruptions: CorruptionSettings = CorruptionSettings()

    @property
    def constants(self) -> Normalisation | None:
        """The normalisation, where it is known before any image is read."""
        if isinstance(self.normalisation, Normalisation):
            return self.normalisation
        return NORMALISATIONS.get(self.normalisation)

    @model_validator(mode="after")
    def _image_folder_has_a_folder(self) -> Self:
        if self.source == "image_folder" and self.folder is None:
            raise ValueError(
                "source image_folder needs `folder`, the folder below the data root that holds "
                "train/<class>/<image> and test/<class>/<image>"
            )
        return self

    @model_validator(mode="after")
    def _published_corruptions_have_a_folder(self) -> Self:
        wanted = self.corruptions
        if wanted.source == "published" and not (wanted.folder or self.source in PUBLISHED_FOLDERS):
            raise ValueError(
                f"corruptions of source {self.source} were not published; give their folder below "
                "the data root (corruptions: {folder: ...}), or let them be generated"
            )
        return self

    @model_validator(mode="after")
    def _normalisation_fits_the_channels(self) -> Self:
        channels = CHANNELS.get(self.source)
        if channels and self.constants and len(self.constants.mean) != channels:
            raise ValueError(
                f"normalisation has {len(self.constants.mean)} channel(s), but the images of "
                f"source {self.source} have {channels}; `data` and `unit` fit any images"
            )
        return self


class ImageFilesSettings(Settings):
    """Image files that are too many for memory: read from disk batch by batch."""

    title: Title
    source: Literal["imagenet", "image_files"] = Field(
        description="imagenet is the ILSVRC 2012 classification set, 1,000 class folders with "
        "1,281,167 training and 50,000 validation images, which are the test set of every paper; "
        "image_files is any tree of that form"
    )
    folder: str | None = Field(
        None,
        description="the folder below the data root that holds train/<class>/<image> and "
        "val/<class>/<image> (or test); left out, imagenet",
    )
    image_size: int = Field(
        224, ge=1, description="side of the square that the network sees, in pixels"
    )
    resize: int = Field(
        256,
        ge=1,
        description="to so many pixels the shorter side of a test image is scaled before its "
        "centre is cut out; training images are cut out at random places and sizes instead",
    )
    normalisation: Literal["vgg", "resnet"] | Normalisation = Field(
        "vgg", description="mean and standard deviation of each channel; vgg is ImageNet's"
    )
    verify: bool = Field(
        True,
        description="open every image once while preparing, so that an unreadable one is told "
        "before anything is trained; with a million images this takes some minutes",
    )

    @property
    def constants(self) -> Normalisation:
        """The normalisation, as numbers."""
        if isinstance(self.normalisation, Normalisation):
            return self.normalisation
        return NORMALISATIONS[self.normalisation]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.source == "image_files" and self.folder is None:
            raise ValueError(
                "source image_files needs `folder`, the folder below the data root that holds "
                "train/<class>/<image> and val/<class>/<image>"
            )
        if self.resize < self.image_size:
            raise ValueError(
                f"resize ({self.resize}) must be at least image_size ({self.image_size})"
            )
        return self


class TextSettings(Settings):
    """A text for a language model: a training, a validation and a test part.

    Words are what white space separates; a line end is a word of its own, ``<eos>``, also that of
    an empty line. The vocabulary is that of the training part.
    """

    title: Title
    source: Literal["ptb", "text_files", "python_documentation"] = Field(
        description="ptb reads ptb.{train,valid,test}.txt; text_files reads "
        "{train,valid,test}.txt; python_documentation is CPython's own documentation of its "
        "language (pydoc_data.topics), split by topic, in lower case, with each punctuation mark "
        "as a word"
    )
    folder: str | None = Field(
        None,
        description="the folder below the data root that holds the files, required for text_files; "
        "left out, ptb is looked for in the data root itself and in its subfolders ptb and "
        "simple-examples/data",
    )
    minimum_count: int = Field(
        1, ge=1, description="words that the training part has less often are read as <unk>"
    )
    unknown_words: Literal["error", "replace"] = Field(
        "error",
        description="what to do with words of the other parts that the vocabulary lacks: replace "
        "reads them as <unk>, error tells them",
    )
    validation_fraction: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="the share of the topics of python_documentation for validation; topics that "
        "repeat each other's text go to the same part",
    )
    test_fraction: float = Field(
        0.1, gt=0, lt=1, description="likewise the share of the topics for testing"
    )
    split_seed: int = Field(
        0, ge=0, lt=2**32, description="fixes the split of python_documentation"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.source == "text_files" and self.folder is None:
            raise ValueError(
                "source text_files needs `folder`, the folder below the data root that holds "
                "train.txt, valid.txt and test.txt"
            )
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError(
                f"validation_fraction ({self.validation_fraction}) and test_fraction "
                f"({self.test_fraction}) leave nothing to train on"
            )
        return self


class TwoSpiralsSettings(Settings):
    """Two classes in the plane, one on each arm of a spiral (Benton et al. 2021, section 5.3).

    Drawn as in the authors' notebook; a network for it has one output, the logit of the second
    class.
    """

    title: Title
    source: Literal["two_spirals"]
    train_per_class: int = Field(50, ge=1, description="training points of each class")
    test_per_class: int = Field(100, ge=1, description="test points of each class")
    noise: NonNegative = Field(
        1.0, description="standard deviation of the noise of both coordinates"
    )
    seed: int = Field(0, ge=0, lt=2**32, description="fixes the points")
    lattice_step: PositiveFloat = Field(
        0.2,
        description="distance of the points of the lattice on which figures show a network; the "
        "notebook's is 0.05",
    )
    lattice_margin: NonNegative = Field(
        3.0, description="how far the lattice reaches beyond the training points"
    )


class RegressionSettings(Settings):
    """A function of one variable, seen with noise on three intervals (Izmailov et al. 2019).

    The true function is a random network with two hidden layers.
    """

    title: Title
    source: Literal["regression"]
    intervals: list[list[FiniteFloat]] = Field(
        [[-7.2, -4.8], [-1.2, 1.2], [4.8, 7.2]],
        min_length=1,
        description="where inputs are drawn, uniformly, each as [low, high]",
    )
    counts: list[Annotated[int, Field(ge=1)]] = Field(
        [115, 136, 149],
        min_length=1,
        description="how many in each interval; as many again are drawn for testing",
    )
    noise: NonNegative = Field(0.05, description="standard deviation of the noise of the targets")
    target_range: list[FiniteFloat] = Field(
        [-0.55, 0.8],
        min_length=2,
        max_length=2,
        description="lowest and highest value of the true function on the intervals",
    )
    noise_variance: PositiveFloat = Field(
        0.05,
        description="of the Gaussian likelihood under which networks are measured and inference is "
        "made; training minimises half the mean squared error whatever it is",
    )
    seed: int = Field(0, ge=0, lt=2**32, description="fixes the function and the points")
    plot_from: FiniteFloat = Field(
        -10.0, description="first input at which figures show a function"
    )
    plot_to: FiniteFloat = Field(10.0, description="last input at which they do")
    plot_points: int = Field(100, ge=2, description="how many inputs, equally spaced")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.counts) != len(self.intervals):
            raise ValueError(
                f"counts has {len(self.counts)} numbers for {len(self.intervals)} intervals; it "
                "must have one for each"
            )
        spans = [*self.intervals, self.target_range, [self.plot_from, self.plot_to]]
        for span in spans:
            if len(span) != 2 or span[0] >= span[1]:
                raise ValueError(f"{span} is no interval; write the lower end, then the higher one")
        return self


AnyDataset = Annotated[
    DatasetSettings | ImageFilesSettings | TextSettings | TwoSpiralsSettings | RegressionSettings,
    Field(discriminator="source"),
]


class AugmentationSettings(Settings):
    """Random changes of the training images, in the order in which they are applied.

    Garipov et al.'s transform "VGG" is ``[flip, crop]`` and "ResNet" is ``[crop, flip]``; Gotmare
    et al. describe ``[crop]``.
    """

    transforms: list[Literal["flip", "crop"]] = Field(
        description="flip mirrors left and right with probability 1/2; crop pads with black and "
        "cuts out a window of the original size at a uniformly drawn place"
    )
    crop_padding: int = Field(4, ge=0, description="width of the black border, in pixels")

    @model_validator(mode="after")
    def _each_transform_once(self) -> Self:
        if len(set(self.transforms)) != len(self.transforms):
            raise ValueError(
                f"transforms {self.transforms} names a transform twice; each may come once"
            )
        return self
