"""Reads the data sets that users have and writes them prepared for the device."""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

from mode_connectivity.data import prepared_file
from mode_connectivity.data.settings import (
    CHANNELS,
    AnyDataset,
    DatasetSettings,
    ImageFilesSettings,
    Normalisation,
    RegressionSettings,
    TextSettings,
    TwoSpiralsSettings,
)
from mode_connectivity.data.small_problems import prepare_regression, prepare_two_spirals
from mode_connectivity.data.text import prepare_text
from mode_connectivity.data.torchvision_import import import_torchvision
from mode_connectivity.files import canonical_json
from mode_connectivity.job_log import Steps
from mode_connectivity.settings import UserError

logger = logging.getLogger(__name__)

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_GREY_MODES = {"1", "L", "LA"}
_EIGHT_BIT_MODES = _GREY_MODES | {"CMYK", "P", "PA", "RGB", "RGBA", "RGBX", "YCbCr"}
_READING_THREADS = 8


@dataclass(frozen=True)
class _Original:
    """What is known of a published data set, and torchvision's way to it."""

    torchvision_class: str
    home: str
    size: tuple[int, int]
    classes: int
    train: int
    test: int


_ORIGINALS = {
    "mnist": _Original("MNIST", "MNIST/raw", (28, 28), 10, 60_000, 10_000),
    "cifar10": _Original("CIFAR10", "cifar-10-batches-py", (32, 32), 10, 50_000, 10_000),
    "cifar100": _Original("CIFAR100", "cifar-100-python", (32, 32), 100, 50_000, 10_000),
}


@dataclass(frozen=True, eq=False)
class _Contents:
    """A data set as read: images uint8 [N, H, W, C], labels int64 [N]."""

    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels
    classes: list[str]


def prepare(settings: AnyDataset, *, data_root: Path, download: bool, output: Path) -> None:
    """Read a data set, check it, and write it to ``output``, whole or not at all.

    The same settings and files give the same bytes.

    Args:
        settings: The data set.
        data_root: The folder that holds the user's data.
        download: Whether torchvision may fetch what is missing into the data root.
        output: The prepared file, see :mod:`mode_connectivity.data.prepared_file`.

    Raises:
        UserError: the data are missing, incomplete or unreadable, or the file cannot be written.
    """
    match settings:
        case DatasetSettings():
            _prepare_images(settings, data_root, download, output)
        case ImageFilesSettings():
            from mode_connectivity.data.image_files import prepare_image_files

            prepare_image_files(settings, data_root=data_root, output=output)
        case TextSettings():
            prepare_text(settings, data_root=data_root, output=output)
        case TwoSpiralsSettings():
            prepare_two_spirals(settings, output=output)
        case RegressionSettings():
            prepare_regression(settings, output=output)


def _prepare_images(
    settings: DatasetSettings, data_root: Path, download: bool, output: Path
) -> None:
    contents = _read(settings, data_root, download)
    if settings.validation:
        contents = _hold_out_validation(contents, settings)
    if settings.training_images is not None:
        contents = _keep_some(contents, settings.training_images, settings.title)
    normalisation = _normalisation(contents.train_images, settings)
    prepared_file.write(
        output,
        tensors={
            "train_images": contents.train_images,
            "train_labels": contents.train_labels,
            "test_images": contents.test_images,
            "test_labels": contents.test_labels,
        },
        metadata={
            # Corruptions are made of what is written here, and change nothing in it.
            "settings": canonical_json(settings.model_dump(mode="json", exclude={"corruptions"})),
            "classes": canonical_json(contents.classes),
            "mean": canonical_json(normalisation.mean),
            "std": canonical_json(normalisation.std),
        },
    )


def _read(settings: DatasetSettings, data_root: Path, download: bool) -> _Contents:
    if settings.source == "digits":
        return _read_digits(settings)
    tree = data_root / (settings.folder or settings.source)
    if settings.source == "image_folder":
        if not _is_tree(tree):
            raise UserError(
                f"{settings.title}: no images found. Looked for {tree}/train/<class>/<image> and "
                f"{tree}/test/<class>/<image>. Put the images there, or name another `folder` "
                "below the data root."
            )
        return _read_tree(tree, settings)

    original = _ORIGINALS[settings.source]
    homes = [tree] if settings.folder else [data_root, tree]
    for home in homes:
        if (home / original.home).is_dir() and any((home / original.home).iterdir()):
            contents = _read_torchvision(home, original, settings, download)
            break
    else:
        if _is_tree(tree):
            contents = _read_tree(tree, settings)
        elif download:
            contents = _read_torchvision(homes[0], original, settings, download)
        else:
            looked = "".join(f"\n  {home / original.home} (torchvision's layout)" for home in homes)
            raise UserError(
                f"{settings.title}: no data found. Looked for{looked}\n"
                f"  {tree}/train/<class>/<image> and {tree}/test/<class>/<image>\n"
                "Put the files in one of these places, or set `download: true` (an archive that is "
                "there already is unpacked, not fetched)."
            )
    _check_counts(contents, original, settings)
    return contents


def _read_digits(settings: DatasetSettings) -> _Contents:
    """Read scikit-learn's 1,797 handwritten digits, 8 x 8 pixels of 17 grey levels."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    images = _resize(images, settings.image_size)
    try:
        train_images, test_images, train_labels, test_labels = train_test_split(
            images,
            digits.target.astype(np.int64),
            test_size=settings.test_fraction,
            random_state=settings.split_seed,
            stratify=digits.target,
        )
    except ValueError as error:
        raise UserError(
            f"{settings.title}: test_fraction {settings.test_fraction} does not leave an image of "
            f"each class in both sets ({error})"
        ) from error
    classes = [str(name) for name in digits.target_names]
    return _Contents(train_images, train_labels, test_images, test_labels, classes)


def _read_torchvision(
    home: Path, original: _Original, settings: DatasetSettings, download: bool
) -> _Contents:
    """Read MNIST or CIFAR with torchvision, downloading first what is missing where allowed.

    CIFAR's own files are pickles: each is compared with its published MD5 before it is opened.
    """
    torchvision = import_torchvision()
    reader = getattr(torchvision.datasets, original.torchvision_class)
    place = home / original.home
    faults = _faulty_files(reader, place)
    if faults and download:
        _download(reader, home, settings)
        faults = _faulty_files(reader, place)
    if faults:
        raise UserError(
            f"{settings.title}: {place} is not whole: {'; '.join(faults)}. "
            "Put the right files there, or set `download: true`."
        )
    try:
        train, test = (reader(home, train=train) for train in (True, False))
    # What a reader raises on foreign bytes is not documented.
    except Exception as error:
        raise UserError(
            f"{settings.title}: cannot read {place} ({type(error).__name__}: {error}). "
            "Replace the files, or delete them and set `download: true`."
        ) from error
    (train_images, train_labels), (test_images, test_labels) = (
        (
            _resize(
                np.asarray(part.data, dtype=np.uint8).reshape(*part.data.shape[:3], -1),
                settings.image_size,
            ),
            np.asarray(part.targets, dtype=np.int64),
        )
        for part in (train, test)
    )
    return _Contents(train_images, train_labels, test_images, test_labels, list(train.classes))


def _faulty_files(reader: Any, place: Path) -> list[str]:
    """Say which files of a torchvision data set are missing or, where MD5s are known, wrong."""
    from torchvision.datasets.utils import check_integrity

    if hasattr(reader, "resources"):
        # MNIST's published MD5s are those of the compressed files.
        files = [(Path(name).stem, None) for name, _ in reader.resources]
    else:
        files = [*reader.train_list, *reader.test_list]
        files.append((reader.meta["filename"], reader.meta["md5"]))
    faults = []
    for name, md5 in files:
        if (place / f"{name}.gz").is_file() and not (place / name).is_file():
            faults.append(f"{name}.gz is compressed, gunzip it")
        elif not (place / name).is_file():
            faults.append(f"{name} is missing")
        elif not check_integrity(place / name, md5):
            faults.append(f"{name} has a wrong MD5")
    return faults


def _download(reader: Any, home: Path, settings: DatasetSettings) -> None:
    """Let torchvision download; data sets prepared at once that share their files take turns."""
    logger.info("downloading %s to %s", settings.title, home)
    try:
        home.mkdir(parents=True, exist_ok=True)
        with FileLock(home / ".download.lock"):
            reader(home, download=True)
    # Network, archive and disk each fail in their own ways.
    except Exception as error:
        raise UserError(
            f"{settings.title}: cannot be downloaded to {home} ({error}). Check the network and "
            "the disk, or put the files there by hand."
        ) from error


def _is_tree(folder: Path) -> bool:
    return (folder / "train").is_dir() or (folder / "test").is_dir()


def _read_tree(tree: Path, settings: DatasetSettings) -> _Contents:
    """Read ``{train,test}/<class>/<image>``; classes are sorted as torchvision's ImageFolder does.

    Images are stored in a fixed random order, mixed as MNIST's and CIFAR's own files are: sorted by
    class, batches taken in order would hold one class each, and batch-norm statistics measured on
    them would be wrong.
    """
    for part in ("train", "test"):
        if not (tree / part).is_dir():
            raise UserError(
                f"{settings.title}: {tree / part} is missing; it holds a folder a class"
            )
    classes = class_names(tree / "train", tree / "test", settings.title)
    # The legacy generator, because NumPy promises that its stream never changes.
    generator = np.random.RandomState(settings.split_seed)
    train_paths, train_labels = list_images(tree / "train", classes, generator)
    test_paths, test_labels = list_images(tree / "test", classes, generator)
    paths = train_paths + test_paths
    with ThreadPoolExecutor(_READING_THREADS) as threads:
        read = threads.map(lambda path: read_image(path, settings.image_size), paths)
        images = list(Steps("image", len(paths)).over(read))
    _check_sizes(paths, images)
    stacked = _stack(images)
    return _Contents(
        train_images=stacked[: len(train_paths)],
        train_labels=train_labels,
        test_images=stacked[len(train_paths) :],
        test_labels=test_labels,
        classes=classes,
    )


def class_names(train: Path, test: Path, title: str) -> list[str]:
    """Return the names of the class folders, which both parts of a data set must have.

    Args:
        train: The folder of the training part.
        test: That of the other part.
        title: The data set's, for the messages.

    Raises:
        UserError: a part has no class folders, or lacks one that the other has.
    """
    names = {
        part: {
            entry.name
            for entry in part.iterdir()
            if entry.is_dir() and not entry.name.startswith(".")
        }
        for part in (train, test)
    }
    for part, found in names.items():
        if not found:
            raise UserError(
                f"{title}: {part} has no class folders. Sort its images into one folder a class, "
                "named alike in both parts."
            )
    differences = [
        f"\n  {part} lacks {_some(sorted(names[other] - names[part]))}"
        for part, other in ((train, test), (test, train))
        if names[other] - names[part]
    ]
    if differences:
        raise UserError(
            f"{title}: both parts need the same class folders:{''.join(differences)}\n"
            "Add the missing ones, or remove the others."
        )
    return sorted(names[train])


def list_images(
    folder: Path, classes: list[str], generator: np.random.RandomState
) -> tuple[list[Path], Labels]:
    """Return the images below class folders and their labels, in an order that is drawn.

    Raises:
        UserError: a class has no images.
    """
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(Steps("class", len(classes)).over(classes)):
        found = sorted(
            path
            for path in (folder / name).rglob("*")
            if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")
        )
        if not found:
            raise UserError(
                f"{folder / name} has no images; files that end in "
                f"{' '.join(sorted(_SUFFIXES))} count as images"
            )
        paths += found
        labels += [label] * len(found)
    order = generator.permutation(len(paths))
    return [paths[index] for index in order], np.asarray(labels, dtype=np.int64)[order]


def read_image(path: Path, size: int | None) -> Images:
    """Read one image as uint8 [H, W, 1] if it is grey, else [H, W, 3]."""
    try:
        with Image.open(path) as image:
            if image.mode not in _EIGHT_BIT_MODES:
                raise UserError(
                    f"{path}: pixels of mode {image.mode} are not read; "
                    "convert the image to 8 bits a channel"
                )
            converted = image.convert("L" if image.mode in _GREY_MODES else "RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(
            f"{path}: cannot be read as an image ({error}). Replace or remove it."
        ) from error
    pixels = np.asarray(resize_image(converted, size))
    return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]


def _check_sizes(paths: list[Path], images: list[Images]) -> None:
    expected = images[0].shape[:2]
    for path, image in zip(paths, images, strict=True):
        if image.shape[:2] != expected:
            raise UserError(
                f"images differ in size: {paths[0]} is {_pixels(expected)}, {path} is "
                f"{_pixels(image.shape[:2])}. Set `image_size` to resize all of them."
            )


def _stack(images: list[Images]) -> Images:
    """Stack images, grey if all of them are, else each in three channels."""
    channels = max(image.shape[2] for image in images)
    stacked = np.empty((len(images), *images[0].shape[:2], channels), dtype=np.uint8)
    for position, image in zip(stacked, images, strict=True):
        position[:] = image
    return stacked


def _check_counts(contents: _Contents, original: _Original, settings: DatasetSettings) -> None:
    channels = CHANNELS[settings.source]
    height, width = (settings.image_size,) * 2 if settings.image_size else original.size
    parts = {
        "training": (contents.train_images, contents.train_labels, original.train),
        "test": (contents.test_images, contents.test_labels, original.test),
    }
    problems = []
    if len(contents.classes) != original.classes:
        problems.append(f"{len(contents.classes)} classes where there are {original.classes}")
    for part, (images, labels, expected) in parts.items():
        if len(images) != expected:
            problems.append(f"{len(images):,} {part} images where there are {expected:,}")
        if len(labels) != len(images):
            problems.append(f"{len(labels):,} {part} labels for {len(images):,} images")
        if images.shape[1:] != (height, width, channels):
            problems.append(
                f"{part} images of shape {images.shape[1:]} where it is {(height, width, channels)}"
            )
        if labels.size and not (labels.min() >= 0 and labels.max() < original.classes):
            problems.append(f"{part} labels outside 0 .. {original.classes - 1}")
    if problems:
        raise UserError(
            f"{settings.title}: this is not the whole of {original.torchvision_class}: "
            f"{'; '.join(problems)}. Get the missing files, or read a data set of your own with "
            "source image_folder."
        )


def _hold_out_validation(contents: _Contents, settings: DatasetSettings) -> _Contents:
    """Let the last training images take the place of the test set."""
    count = len(contents.train_images)
    if settings.validation >= count:
        raise UserError(
            f"{settings.title}: validation {settings.validation} leaves none of the {count} "
            "training images to train on"
        )
    split = count - settings.validation
    return replace(
        contents,
        train_images=contents.train_images[:split],
        train_labels=contents.train_labels[:split],
        test_images=contents.train_images[split:],
        test_labels=contents.train_labels[split:],
    )


def _keep_some(contents: _Contents, count: int, title: str) -> _Contents:
    """Train on the first images only."""
    available = len(contents.train_images)
    if count > available:
        raise UserError(
            f"{title}: training_images is {count}, but there are {available} images to train on; "
            "ask for fewer, or leave it out to use all of them"
        )
    return replace(
        contents,
        train_images=contents.train_images[:count],
        train_labels=contents.train_labels[:count],
    )


def _normalisation(images: Images, settings: DatasetSettings) -> Normalisation:
    channels = images.shape[-1]
    if settings.normalisation == "unit":
        return Normalisation(mean=[0.0] * channels, std=[1.0] * channels)
    if settings.normalisation == "data":
        return _measure(images, settings)
    constants = settings.constants
    assert constants is not None
    if len(constants.mean) != channels:
        raise UserError(
            f"{settings.title}: normalisation has {len(constants.mean)} channel(s), but the images "
            f"have {channels}; `data` and `unit` fit any images"
        )
    return constants


def _measure(images: Images, settings: DatasetSettings) -> Normalisation:
    """Return mean and standard deviation of the pixels of each channel, scaled to [0, 1].

    Pixels are counted by value, so the sums are exact and use little memory.
    """
    values = np.arange(256) / 255
    means, stds = [], []
    for channel in range(images.shape[-1]):
        counts = sum(np.bincount(image[..., channel].ravel(), minlength=256) for image in images)
        mean = float(np.average(values, weights=counts))
        std = float(np.average((values - mean) ** 2, weights=counts) ** 0.5)
        if std == 0:
            raise UserError(
                f"{settings.title}: channel {channel} is the same everywhere in the training "
                "images, so normalisation `data` would divide by zero; use `unit`"
            )
        means.append(mean)
        stds.append(std)
    return Normalisation(mean=means, std=stds)


def _resize(images: Images, size: int | None) -> Images:
    """Resize images [N, H, W, C], C being 1 or 3."""
    if size is None or images.shape[1:3] == (size, size):
        return images
    resized = np.empty((len(images), size, size, images.shape[3]), dtype=np.uint8)
    for image, place in zip(images, resized, strict=True):
        grey_or_colour = image[..., 0] if image.shape[2] == 1 else image
        pixels = np.asarray(resize_image(Image.fromarray(grey_or_colour), size))
        place[:] = pixels.reshape(place.shape)
    return resized


def resize_image(image: Image.Image, size: int | None) -> Image.Image:
    """Resize an image to a square of ``size`` pixels, bilinearly; without a size, keep it."""
    # Pillow's bilinear filter widens when it shrinks (so there is no aliasing) and is plain
    # interpolation when it enlarges; its integer arithmetic is the same on every machine.
    if size is None or image.size == (size, size):
        return image
    return image.resize((size, size), Image.Resampling.BILINEAR)


def _pixels(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]} pixels"


def _some(names: list[str], limit: int = 10) -> str:
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest
