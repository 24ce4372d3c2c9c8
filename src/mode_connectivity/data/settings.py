"""What a recipe says about its data set and its augmentation.

Nothing here imports torch: Snakemake reads settings while it parses.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mode_connectivity.data.corruption_settings import PUBLISHED_FOLDERS, CorruptionSettings
from mode_connectivity.settings import PositiveFloat, Settings

FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]

CHANNELS = {"digits": 1, "mnist": 1, "cifar10": 3, "cifar100": 3}
"""Channels of the sources whose images are known before they are read."""


class Normalisation(Settings):
    """Mean and standard deviation of each channel, of pixels scaled to [0, 1]."""

    mean: list[FiniteFloat] = Field(min_length=1)
    std: list[PositiveFloat] = Field(min_length=1)

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
    """One image data set: where it comes from and how its pixels are scaled.

    Attributes:
        title: The name printed in tables, such as "CIFAR-10".
        source: What is read. ``digits`` ships with scikit-learn; ``image_folder`` is a tree
            ``{train,test}/<class>/<image>``; the others are read in torchvision's layout, or
            else from such a tree.
        folder: The folder below the data root; required for ``image_folder``. Without it the
            others are looked for in the data root itself and in its subfolder ``{source}``.
        image_size: Images are resized to this many pixels square, bilinearly (enlarging
            interpolates, shrinking also averages); without it they keep their size.
        normalisation: Constants taken from the papers' code (``vgg``, ``resnet``), the usual
            ones of MNIST (``mnist``), those of the training images (``data``), none beyond
            scaling to [0, 1] (``unit``), or explicit ones.
        test_fraction: The part of ``digits`` that becomes the test set, the same in each class.
        split_seed: Fixes the split of ``digits`` and the order in which the images of a folder
            tree are stored.
        validation: This many of the last training images take the place of the test set, as in
            Garipov et al.'s code without ``--use_test`` (there 5,000); 0 keeps the test set.
        training_images: The first this many training images are used, of those that are left to
            train on; without it, all of them.
        corruptions: Where the corrupted test images come from, for evaluation under shift.
    """

    title: str = Field(min_length=1)
    source: Literal["digits", "mnist", "cifar10", "cifar100", "image_folder"]
    folder: str | None = None
    image_size: int | None = Field(default=None, ge=1)
    normalisation: Literal["vgg", "resnet", "mnist", "data", "unit"] | Normalisation = "data"
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    split_seed: int = Field(default=0, ge=0, lt=2**32)
    validation: int = Field(default=0, ge=0)
    training_images: int | None = Field(default=None, ge=1)
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
    """A data set of image files that is too large for memory: read from disk batch by batch.

    Attributes:
        title: The name printed in tables.
        source: ``imagenet`` is the ILSVRC 2012 classification set, 1,000 class folders with
            1,281,167 training and 50,000 validation images, which are the test set of every paper;
            ``image_files`` is any tree of that form.
        folder: The folder below the data root that holds ``train/<class>/<image>`` and
            ``val/<class>/<image>`` (or ``test``); ``imagenet`` if left out.
        image_size: Side of the square that the network sees, in pixels.
        resize: To this many pixels the shorter side of a test image is scaled before its centre is
            cut out. Training images are cut out at random places and sizes instead.
        normalisation: Mean and standard deviation of each channel; ``vgg`` is ImageNet's.
        verify: Open every image once while preparing, so that an unreadable one is told before
            anything is trained; with a million images this takes some minutes.
    """

    title: str = Field(min_length=1)
    source: Literal["imagenet", "image_files"]
    folder: str | None = None
    image_size: int = Field(default=224, ge=1)
    resize: int = Field(default=256, ge=1)
    normalisation: Literal["vgg", "resnet"] | Normalisation = "vgg"
    verify: bool = True

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

    Attributes:
        title: The name printed in tables.
        source: ``ptb`` reads ``ptb.{train,valid,test}.txt``; ``text_files`` reads
            ``{train,valid,test}.txt``; ``python_documentation`` is CPython's own documentation of
            its language (``pydoc_data.topics``), split by topic, in lower case, with each
            punctuation mark as a word.
        folder: The folder below the data root that holds the files; without it ``ptb`` is looked
            for in the data root itself and in its subfolders ``ptb`` and ``simple-examples/data``.
            Required for ``text_files``.
        minimum_count: Words that the training part has less often are read as ``<unk>``.
        unknown_words: What to do with words of the other parts that the vocabulary lacks:
            ``replace`` reads them as ``<unk>``, ``error`` tells the user.
        validation_fraction: The share of the topics of ``python_documentation`` for validation;
            topics that repeat each other's text go to the same part.
        test_fraction: Likewise for testing.
        split_seed: Fixes the split of ``python_documentation``.
    """

    title: str = Field(min_length=1)
    source: Literal["ptb", "text_files", "python_documentation"]
    folder: str | None = None
    minimum_count: int = Field(default=1, ge=1)
    unknown_words: Literal["error", "replace"] = "error"
    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    test_fraction: float = Field(default=0.1, gt=0, lt=1)
    split_seed: int = Field(default=0, ge=0, lt=2**32)

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

    Attributes:
        title: The name printed in tables.
        source: ``two_spirals``, drawn as in the authors' notebook; a network for it has one output,
            the logit of the second class.
        train_per_class: Training points of each class.
        test_per_class: Test points of each class.
        noise: Standard deviation of the noise of both coordinates.
        seed: Fixes the points.
        lattice_step: Distance of the points of the lattice on which figures show a network; the
            notebook's is 0.05.
        lattice_margin: How far the lattice reaches beyond the training points.
    """

    title: str = Field(min_length=1)
    source: Literal["two_spirals"]
    train_per_class: int = Field(default=50, ge=1)
    test_per_class: int = Field(default=100, ge=1)
    noise: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    seed: int = Field(default=0, ge=0, lt=2**32)
    lattice_step: PositiveFloat = 0.2
    lattice_margin: float = Field(default=3.0, ge=0, allow_inf_nan=False)


class RegressionSettings(Settings):
    """A function of one variable, seen with noise on three intervals (Izmailov et al. 2019).

    Attributes:
        title: The name printed in tables.
        source: ``regression``; the true function is a random network with two hidden layers.
        intervals: Where inputs are drawn, uniformly, as ``[low, high]``.
        counts: How many in each; as many again are drawn for testing.
        noise: Standard deviation of the noise of the targets.
        target_range: Lowest and highest value of the true function on the intervals.
        noise_variance: Of the Gaussian likelihood under which networks are measured and inference
            is made; training minimises half the mean squared error whatever it is.
        seed: Fixes the function and the points.
        plot_from: First input at which figures show a function.
        plot_to: Last one.
        plot_points: How many, equally spaced.
    """

    title: str = Field(min_length=1)
    source: Literal["regression"]
    intervals: list[list[FiniteFloat]] = Field(
        default=[[-7.2, -4.8], [-1.2, 1.2], [4.8, 7.2]], min_length=1
    )
    counts: list[Annotated[int, Field(ge=1)]] = Field(default=[115, 136, 149], min_length=1)
    noise: float = Field(default=0.05, ge=0, allow_inf_nan=False)
    target_range: list[FiniteFloat] = Field(default=[-0.55, 0.8], min_length=2, max_length=2)
    noise_variance: PositiveFloat = 0.05
    seed: int = Field(default=0, ge=0, lt=2**32)
    plot_from: FiniteFloat = -10.0
    plot_to: FiniteFloat = 10.0
    plot_points: int = Field(default=100, ge=2)

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

    Attributes:
        transforms: ``flip`` mirrors left and right with probability 1/2; ``crop`` pads with black
            and cuts out a window of the original size at a uniformly drawn place.
        crop_padding: Width of the black border, in pixels.
    """

    transforms: list[Literal["flip", "crop"]]
    crop_padding: int = Field(default=4, ge=0)

    @model_validator(mode="after")
    def _each_transform_once(self) -> Self:
        if len(set(self.transforms)) != len(self.transforms):
            raise ValueError(
                f"transforms {self.transforms} names a transform twice; each may come once"
            )
        return self
