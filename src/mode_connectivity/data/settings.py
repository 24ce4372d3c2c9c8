"""What a recipe says about its data set and its augmentation.

Nothing here imports torch: Snakemake reads settings while it parses.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mode_connectivity.settings import Settings

PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
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
    """

    title: str = Field(min_length=1)
    source: Literal["digits", "mnist", "cifar10", "cifar100", "image_folder"]
    folder: str | None = None
    image_size: int | None = Field(default=None, ge=1)
    normalisation: Literal["vgg", "resnet", "mnist", "data", "unit"] | Normalisation = "data"
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    split_seed: int = Field(default=0, ge=0, lt=2**32)
    validation: int = Field(default=0, ge=0)

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
    def _normalisation_fits_the_channels(self) -> Self:
        channels = CHANNELS.get(self.source)
        if channels and self.constants and len(self.constants.mean) != channels:
            raise ValueError(
                f"normalisation has {len(self.constants.mean)} channel(s), but the images of "
                f"source {self.source} have {channels}; `data` and `unit` fit any images"
            )
        return self


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
