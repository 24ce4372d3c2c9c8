"""The corruptions of CIFAR-10-C by name, and where the corrupted images of a data set come from.

Nothing here imports numpy: Snakemake reads settings while it parses.
"""

from typing import Annotated, Literal, get_args

from pydantic import Field, PositiveInt

from mode_connectivity.settings import Settings

CorruptionName = Literal[
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "speckle_noise",
    "gaussian_blur",
    "glass_blur",
    "defocus_blur",
    "motion_blur",
    "zoom_blur",
    "fog",
    "frost",
    "snow",
    "spatter",
    "contrast",
    "brightness",
    "saturate",
    "jpeg_compression",
    "pixelate",
    "elastic_transform",
]
"""The names of the published files."""
CORRUPTION_NAMES: tuple[str, ...] = get_args(CorruptionName)
SEVERITIES = (1, 2, 3, 4, 5)
Severity = Annotated[int, Field(ge=SEVERITIES[0], le=SEVERITIES[-1])]

PUBLISHED_FOLDERS = {"cifar10": "CIFAR-10-C", "cifar100": "CIFAR-100-C"}
"""Of the data sets whose corrupted test images were published, by source."""


class CorruptionSettings(Settings):
    """Where the corrupted test images of a data set come from, for evaluation under shift."""

    source: Literal["auto", "published", "generated"] = Field(
        "auto",
        description="published reads {corruption}.npy and labels.npy; generated corrupts the test "
        "images here; auto reads published files where their folder is there",
    )
    folder: str | None = Field(
        None,
        description="of the published files, below the data root; left out, CIFAR-10-C or "
        "CIFAR-100-C for these data sets",
    )
    seed: int = Field(0, ge=0, description="of the random parts of what is generated")
    examples: PositiveInt | None = Field(
        None,
        description="so many test images, from the first on, are corrupted and evaluated; left "
        "out, all",
    )
