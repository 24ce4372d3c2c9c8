"""The 19 corruptions of CIFAR-10-C at five severities, on images in memory.

Hendrycks and Dietterich 2019, *Benchmarking neural network robustness to common corruptions and
perturbations*; constants are those of their code for CIFAR-10, for images of 32 x 32 pixels. Images
of other sizes are corrupted with the same constants: lengths are pixels, but for those of the
elastic transform, which are shares of the smaller side, and of pixelation, a share of each side.

Colours of what lies on greyscale images (frost, spatter) are their luminance.

What is random is drawn for each image from the seed, the corruption and the image's own pixels: it
depends neither on the other images nor on their order, and is common to all severities, so that
these differ by their constants alone.
"""

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator, Philox
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from mode_connectivity.data.corruption_settings import CORRUPTION_NAMES, SEVERITIES
from mode_connectivity.job_log import Steps
from mode_connectivity.settings import UserError, nearest

Images = NDArray[np.uint8]
Floats = NDArray[Any]
Generators = Sequence[Generator]

IMAGES_AT_ONCE = 500
"""Their arrays of floats stay in the cache's neighbourhood, and memory does not grow with N."""
_LUMINANCE = np.array([0.299, 0.587, 0.114])
_TURQUOISE = np.array([175, 238, 238]) / 255
_MUD = np.array([63, 42, 20]) / 255
# Of the weights of a blur: what lies below changes no pixel.
_NEGLIGIBLE = 1e-5


@dataclass(frozen=True)
class Corruption:
    """One kind of corruption.

    Attributes:
        apply: takes images uint8 [N, H, W, C], the constants of a severity and a generator for
            each image; returns pixels scaled to [0, 1], which are clipped, or uint8.
        constants: of each severity.
        approximation: why it is not the one of CIFAR-10-C; empty where it is.
        greyscale_approximation: the same, of images of one channel only.
    """

    apply: Callable[[Images, Any, Generators], Floats]
    constants: tuple[Any, Any, Any, Any, Any]
    approximation: str = ""
    greyscale_approximation: str = ""

    @property
    def exact(self) -> bool:
        """Whether colour images are corrupted as those of CIFAR-10-C are."""
        return not self.approximation


def corrupt(images: Images, name: str, severity: int, *, seed: int = 0) -> Images:
    """Corrupt images.

    Args:
        images: uint8 [N, H, W, C] of 1 or 3 channels.
        name: of the corruption, one of ``CORRUPTIONS``.
        severity: 1 to 5.
        seed: of what is random.

    Returns:
        uint8, shaped as the images; pixels are truncated, not rounded, as in the authors' code.

    Raises:
        UserError: an unknown corruption, a severity out of range, or other images.
    """
    corruption = find_corruption(name)
    if severity not in SEVERITIES:
        raise UserError(
            f"corruption {name}: severity {severity}; it must be from {SEVERITIES[0]} to "
            f"{SEVERITIES[-1]}"
        )
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise UserError(
            f"corruption {name}: images are {images.dtype} {list(images.shape)}; they must be "
            "uint8 [images, height, width, channels] of 1 or 3 channels"
        )
    constants = corruption.constants[severity - 1]
    corrupted = np.empty_like(images)
    steps = Steps("image", len(images))
    for start in range(0, len(images), IMAGES_AT_ONCE):
        part = images[start : start + IMAGES_AT_ONCE]
        generators = [_generator(image, name, seed) for image in part]
        pixels = corruption.apply(part, constants, generators)
        corrupted[start : start + len(part)] = _to_bytes(pixels)
        steps.add(len(part))
    return corrupted


def find_corruption(name: str) -> Corruption:
    """Return a corruption by its name.

    Raises:
        UserError: there is none of that name.
    """
    if name not in CORRUPTIONS:
        raise UserError(
            f"no corruption {name!r}; known are {', '.join(CORRUPTIONS)}"
            f"{nearest(name, CORRUPTIONS)}"
        )
    return CORRUPTIONS[name]


def approximation(name: str, channels: int) -> str:
    """Return why a corruption of such images is not that of CIFAR-10-C; empty where it is.

    Args:
        name: of the corruption.
        channels: of the images.

    Raises:
        UserError: an unknown corruption.
    """
    corruption = find_corruption(name)
    reasons = [corruption.approximation]
    if channels == 1:
        reasons.append(corruption.greyscale_approximation)
    return "; ".join(filter(None, reasons))


def _generator(image: Images, name: str, seed: int) -> Generator:
    state = hashlib.blake2b(f"{seed} {name} {image.shape}".encode(), digest_size=16)
    state.update(np.ascontiguousarray(image).data)
    return Generator(Philox(key=int.from_bytes(state.digest(), "little")))


def _to_bytes(pixels: Floats) -> Images:
    if pixels.dtype == np.uint8:
        return pixels
    return np.asarray(np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def _scaled(images: Images) -> Floats:
    return images / 255.0


def _drawn(generators: Generators, draw: Callable[[Generator], Any]) -> Floats:
    return np.stack([draw(generator) for generator in generators])


def _of_channels(colour: Floats, channels: int) -> Floats:
    """Return a colour [..., 3] as it is, or its luminance [..., 1] for images of one channel."""
    return colour if channels == 3 else np.asarray(colour @ _LUMINANCE)[..., np.newaxis]


def _normal(images: Images, generators: Generators) -> Floats:
    return _drawn(generators, lambda generator: generator.standard_normal(images.shape[1:]))


def _gaussian_noise(images: Images, deviation: float, generators: Generators) -> Floats:
    return _scaled(images) + deviation * _normal(images, generators)


def _shot_noise(images: Images, rate: float, generators: Generators) -> Floats:
    expected = _scaled(images) * rate
    counts = [
        generator.poisson(of_image)
        for generator, of_image in zip(generators, expected, strict=True)
    ]
    return np.stack(counts) / rate


def _impulse_noise(images: Images, amount: float, generators: Generators) -> Floats:
    # Each channel of a pixel on its own, as scikit-image's "salt and pepper" has it.
    drawn = _drawn(generators, lambda generator: generator.random((2, *images.shape[1:])))
    hit, salt = drawn[:, 0] < amount, drawn[:, 1] < 0.5
    return np.where(hit, salt, _scaled(images))


def _speckle_noise(images: Images, deviation: float, generators: Generators) -> Floats:
    return _scaled(images) * (1 + deviation * _normal(images, generators))


def _smooth(pixels: Floats, sigma: float) -> Floats:
    """Blur [N, H, W, ...] within each image."""
    sigmas = (0, sigma, sigma, *[0] * (pixels.ndim - 3))
    return np.asarray(ndimage.gaussian_filter(pixels, sigmas, mode="nearest"))


def _gaussian_blur(images: Images, sigma: float, generators: Generators) -> Floats:
    return _smooth(_scaled(images), sigma)


def _glass_blur(
    images: Images, constants: tuple[float, int, int], generators: Generators
) -> Floats:
    sigma, reach, iterations = constants
    number, height, width, _ = images.shape
    moved = (_smooth(_scaled(images), sigma) * 255).astype(np.uint8)
    rows, columns = np.mgrid[reach + 1 : height, reach + 1 : width]
    shape = (iterations, 2, *rows.shape)
    steps = _drawn(generators, lambda generator: generator.integers(-reach, reach, shape))
    which = np.arange(number)[:, np.newaxis, np.newaxis]
    for iteration in range(iterations):
        # The authors mean to swap pixels, from the last to the first, but what they exchange are
        # views: each pixel takes the value of its neighbour, which stays. As the neighbours are
        # above or to the left (a step is -1 or 0), none of them has been changed before.
        down, right = steps[:, iteration, 0], steps[:, iteration, 1]
        moved[:, reach + 1 :, reach + 1 :] = moved[which, rows + down, columns + right]
    return _smooth(_scaled(moved), sigma)


def _defocus_blur(images: Images, constants: tuple[float, float], generators: Generators) -> Floats:
    radius, alias_sigma = constants
    reach = int(radius) + 1
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = (rows**2 + columns**2 <= radius**2).astype(float)
    side = np.exp(-(np.arange(-1, 2) ** 2) / (2 * alias_sigma**2))
    side /= side.sum()
    kernel = ndimage.convolve(disk / disk.sum(), np.outer(side, side), mode="constant")
    kernel = kernel[np.newaxis, :, :, np.newaxis]
    return np.asarray(ndimage.correlate(_scaled(images), kernel, mode="mirror"))


def _line_blur(pixels: Floats, angles: Floats, radius: int, sigma: float) -> Floats:
    """Blur each of [N, H, W, C] along a ray at its angle [N] (degrees).

    The weights of the 2 radius + 1 pixels of the ray are a Gaussian's from its middle on; beyond
    the border lie the border's own pixels.
    """
    height, width = pixels.shape[1:3]
    reach = 2 * radius + 1
    weights = np.exp(-(np.arange(reach) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    around = ((0, 0), (reach, reach), (reach, reach), (0, 0))
    padded = np.pad(pixels, around, mode="edge")
    directions = np.stack([np.sin(np.radians(angles)), np.cos(np.radians(angles))], axis=1)
    blurred = np.zeros_like(pixels)
    for tap, weight in enumerate(weights):
        if weight < _NEGLIGIBLE * weights[0]:
            break
        offsets = np.ceil(tap * directions - 0.5).astype(int)
        places, owners = np.unique(offsets, axis=0, return_inverse=True)
        for place, (down, right) in enumerate(places + reach):
            own = np.flatnonzero(owners.reshape(-1) == place)
            blurred[own] += weight * padded[own, down : down + height, right : right + width]
    return blurred


def _motion_blur(images: Images, constants: tuple[int, float], generators: Generators) -> Floats:
    angles = _drawn(generators, lambda generator: generator.uniform(-45, 45))
    return _line_blur(_scaled(images), angles, *constants)


def _zoom_matrix(side: int, factor: float) -> Floats:
    """Return the linear map [side, side] that enlarges a line about its middle and crops it."""
    kept = int(np.ceil(side / factor))
    before = (side - kept) // 2
    enlarged = ndimage.zoom(np.eye(kept), (factor, 1), order=1)
    trimmed = (len(enlarged) - side) // 2
    matrix = np.zeros((side, side))
    matrix[:, before : before + kept] = enlarged[trimmed : trimmed + side]
    return matrix


def _zoomed(pixels: Floats, factor: float) -> Floats:
    """Enlarge [..., H, W] about the middle; the size stays."""
    height, width = pixels.shape[-2:]
    rows, columns = (_zoom_matrix(side, factor).astype(pixels.dtype) for side in (height, width))
    return np.asarray(rows @ pixels @ columns.T)


def _zoom_blur(images: Images, end: float, generators: Generators) -> Floats:
    pixels = np.moveaxis(_scaled(images).astype(np.float32), 3, 1)
    # As in the authors' code: rounding lets two of these ranges contain their end.
    factors = np.arange(1, end, 0.01)
    total = pixels.copy()
    for factor in factors:
        total += _zoomed(pixels, factor)
    return np.moveaxis(total / (len(factors) + 1), 1, 3)


def _plasma(shape: tuple[int, ...], decay: float, generators: Generators) -> Floats:
    """Return fractal clouds in [0, 1], [N, H, W], by the diamond-square algorithm.

    The authors' roughness begins with 100 ** 2 and falls by ``decay ** 2`` as the step halves.
    """
    height, width = shape
    side = max(2, 1 << (max(height, width) - 1).bit_length())
    noise = _drawn(generators, lambda generator: generator.uniform(-1, 1, (side, side)))
    clouds = np.zeros_like(noise)
    step, roughness = side, 100.0**2
    while step >= 2:
        half = step // 2
        on, between = slice(0, side, step), slice(half, side, step)
        corners = clouds[:, on, on]
        below, right = np.roll(corners, -1, axis=1), np.roll(corners, -1, axis=2)
        diagonal = np.roll(below, -1, axis=2)
        clouds[:, between, between] = (corners + below + right + diagonal) / 4
        clouds[:, between, between] += roughness * noise[:, between, between]
        centres = clouds[:, between, between]
        above, left = np.roll(centres, 1, axis=1), np.roll(centres, 1, axis=2)
        clouds[:, on, between] = (corners + right + centres + above) / 4
        clouds[:, on, between] += roughness * noise[:, on, between]
        clouds[:, between, on] = (corners + below + centres + left) / 4
        clouds[:, between, on] += roughness * noise[:, between, on]
        step, roughness = half, roughness / decay**2
    clouds -= clouds.min(axis=(1, 2), keepdims=True)
    clouds /= clouds.max(axis=(1, 2), keepdims=True)
    return clouds[:, :height, :width]


def _fog(images: Images, constants: tuple[float, float], generators: Generators) -> Floats:
    weight, decay = constants
    pixels = _scaled(images)
    brightest = pixels.max(axis=(1, 2, 3), keepdims=True)
    clouds = _plasma(images.shape[1:3], decay, generators)[..., np.newaxis]
    return np.asarray((pixels + weight * clouds) * brightest / (brightest + weight))


def _frost(images: Images, constants: tuple[float, float], generators: Generators) -> Floats:
    image_weight, frost_weight = constants
    # Ridges of fractal clouds, which look like the ferns of frost on a window, pale blue to white.
    ridges = 1 - np.abs(2 * _plasma(images.shape[1:3], 1.7, generators) - 1)
    pale = np.array([0.35, 0.45, 0.55])
    texture = pale + (1 - pale) * ridges[..., np.newaxis] ** 2
    frost = _of_channels(texture, images.shape[3])
    return np.asarray(image_weight * _scaled(images) + frost_weight * frost)


def _luminance(pixels: Floats) -> Floats:
    if pixels.shape[3] == 1:
        return pixels
    return np.asarray(pixels @ _LUMINANCE)[..., np.newaxis]


def _snow(images: Images, constants: tuple[float, ...], generators: Generators) -> Floats:
    mean, deviation, zoom, threshold, radius, sigma, image_weight = constants
    shape = images.shape[1:3]
    flakes = _drawn(generators, lambda generator: generator.normal(mean, deviation, shape))
    angles = _drawn(generators, lambda generator: generator.uniform(-135, -45))
    flakes = _zoomed(flakes, zoom)
    flakes[flakes < threshold] = 0
    layer = _scaled(_to_bytes(flakes))[..., np.newaxis]
    layer = _scaled(_to_bytes(_line_blur(layer, angles, int(radius), sigma)))
    pixels = _scaled(images)
    whitened = np.maximum(pixels, 1.5 * _luminance(pixels) + 0.5)
    pixels = image_weight * pixels + (1 - image_weight) * whitened
    return pixels + layer + layer[:, ::-1, ::-1]


def _spatter(images: Images, constants: tuple[float, ...], generators: Generators) -> Floats:
    mean, deviation, sigma, threshold, strength, mud = constants
    shape = images.shape[1:3]
    liquid = _drawn(generators, lambda generator: generator.normal(mean, deviation, shape))
    liquid = _smooth(liquid, sigma)
    liquid[liquid < threshold] = 0
    if mud:
        cover = _smooth((liquid > threshold).astype(float), strength)
        cover[cover < 0.8] = 0
        cover = cover[..., np.newaxis]
        mud_coloured = _of_channels(_MUD, images.shape[3])
        return np.asarray(_scaled(images) * (1 - cover) + cover * mud_coloured)
    drops = _to_bytes(liquid)
    shine = drops * _relief(drops).astype(float)
    strongest = shine.max(axis=(1, 2), keepdims=True)
    shine *= strength / np.where(strongest > 0, strongest, 1)
    water_coloured = _of_channels(_TURQUOISE, images.shape[3])
    return np.asarray(_scaled(images) + shine[..., np.newaxis] * water_coloured)


def _relief(drops: Images) -> Images:
    """Return how drops [N, H, W] reflect light from below right, by the distance to their edges."""
    from skimage.feature import canny

    edges = np.stack([canny(each, sigma=0, low_threshold=50, high_threshold=150) for each in drops])
    # So far apart that the nearest edge is always one of the same image, if that has any.
    distances = ndimage.distance_transform_edt(~edges, sampling=(1e6, 1, 1))
    distances = _box(np.minimum(distances, 20)).astype(np.uint8)
    emboss = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])[np.newaxis]
    slopes = ndimage.correlate(_equalised(distances).astype(int), emboss, mode="mirror")
    return np.rint(_box(np.clip(slopes, 0, 255))).astype(np.uint8)


def _box(pixels: Floats) -> Floats:
    return np.asarray(ndimage.uniform_filter(pixels.astype(float), (1, 3, 3), mode="mirror"))


def _equalised(images: Images) -> Images:
    """Spread the grey levels of each image [N, H, W] by its histogram; a flat image stays."""
    number, levels = len(images), 256
    which = np.arange(number)[:, np.newaxis, np.newaxis]
    flat = (which * levels + images).ravel()
    counts = np.bincount(flat, minlength=number * levels).reshape(number, levels)
    cumulative = counts.cumsum(axis=1)
    lowest = counts[np.arange(number), (counts > 0).argmax(axis=1)][:, np.newaxis]
    others = cumulative[:, -1:] - lowest
    table = np.rint(255 * (cumulative - lowest) / np.maximum(others, 1)).clip(0).astype(np.uint8)
    return np.where(others[:, :, np.newaxis] > 0, table[which, images], images)


def _contrast(images: Images, factor: float, generators: Generators) -> Floats:
    pixels = _scaled(images)
    means = pixels.mean(axis=(1, 2), keepdims=True)
    return np.asarray((pixels - means) * factor + means)


def _brightness(images: Images, added: float, generators: Generators) -> Floats:
    if images.shape[3] == 1:
        return _scaled(images) + added
    return _in_hsv(images, 2, lambda value: value + added)


def _saturate(images: Images, constants: tuple[float, float], generators: Generators) -> Floats:
    factor, added = constants
    if images.shape[3] == 1:
        return images
    return _in_hsv(images, 1, lambda saturation: saturation * factor + added)


def _in_hsv(images: Images, channel: int, change: Callable[[Floats], Floats]) -> Floats:
    from skimage.color import hsv2rgb, rgb2hsv

    pixels = rgb2hsv(_scaled(images))
    pixels[..., channel] = np.clip(change(pixels[..., channel]), 0, 1)
    return np.asarray(hsv2rgb(pixels))


def _by_pillow(images: Images, change: Callable[[Image.Image], Image.Image]) -> Images:
    changed = [
        np.asarray(change(Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)))
        for image in images
    ]
    return np.stack(changed).reshape(images.shape)


def _jpeg_compression(images: Images, quality: int, generators: Generators) -> Floats:
    def compress(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return _by_pillow(images, compress)


def _pixelate(images: Images, share: float, generators: Generators) -> Floats:
    height, width = images.shape[1:3]
    small = (max(1, int(width * share)), max(1, int(height * share)))

    def pixelate(image: Image.Image) -> Image.Image:
        box = Image.Resampling.BOX
        return image.resize(small, box).resize((width, height), box)

    return _by_pillow(images, pixelate)


def _elastic_transform(
    images: Images, constants: tuple[float, float, float], generators: Generators
) -> Floats:
    height, width = images.shape[1:3]
    side = min(height, width)
    strength, sigma, jitter = (side * constant for constant in constants)
    row, column, arm = height // 2, width // 2, max(1, side // 3)
    corners = np.array(
        [[row + arm, column + arm], [row + arm, column - arm], [row - arm, column - arm]], float
    )
    drawn = _drawn(generators, lambda generator: generator.uniform(-1, 1, (3, 2)))
    fields = _drawn(generators, lambda generator: generator.uniform(-1, 1, (2, height, width)))

    # The affine map that takes each moved corner back: [N, 3, 2], from (row, column, 1).
    moved = np.concatenate([corners + jitter * drawn, np.ones((len(images), 3, 1))], axis=2)
    back = np.linalg.solve(moved, np.broadcast_to(corners, drawn.shape))
    grid = np.moveaxis(np.mgrid[:height, :width], 0, 2).astype(float)
    places = np.concatenate([grid, np.ones((height, width, 1))], axis=2)
    sources = np.einsum("hwk,nkd->dnhw", places, back)
    pixels = _interpolated(_scaled(images), *sources, edge_twice=False)

    if strength:
        smooth = ndimage.gaussian_filter(fields, (0, 0, sigma, sigma), mode="reflect", truncate=3)
        shifts = strength * smooth
        pixels = _interpolated(
            pixels, grid[..., 0] + shifts[:, 0], grid[..., 1] + shifts[:, 1], edge_twice=True
        )
    return pixels


def _interpolated(pixels: Floats, rows: Floats, columns: Floats, *, edge_twice: bool) -> Floats:
    """Return bilinear values of each image [N, H, W, C] at its places [N, H, W].

    Beyond its border an image is mirrored; ``edge_twice``: with the border's pixels.
    """
    number, height, width, channels = pixels.shape
    flat = pixels.reshape(number * height * width, channels)
    start = np.arange(number)[:, np.newaxis, np.newaxis] * height * width
    row, column = np.floor(rows).astype(int), np.floor(columns).astype(int)
    down, right = (rows - row)[..., np.newaxis], (columns - column)[..., np.newaxis]
    total = np.zeros_like(pixels)
    for further_row, row_weight in ((0, 1 - down), (1, down)):
        inner_row = _mirrored(row + further_row, height, edge_twice)
        for further_column, column_weight in ((0, 1 - right), (1, right)):
            inner_column = _mirrored(column + further_column, width, edge_twice)
            total += row_weight * column_weight * flat[start + inner_row * width + inner_column]
    return total


def _mirrored(index: NDArray[np.int64], side: int, edge_twice: bool) -> NDArray[np.int64]:
    if side == 1:
        return np.zeros_like(index)
    period = 2 * side if edge_twice else 2 * side - 2
    index = index % period
    return np.where(index < side, index, period - index - edge_twice)


_MAGICK = "the published ones were blurred by ImageMagick"
CORRUPTIONS: Mapping[str, Corruption] = {
    "gaussian_noise": Corruption(_gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10)),
    "shot_noise": Corruption(_shot_noise, (500, 250, 100, 75, 50)),
    "impulse_noise": Corruption(_impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07)),
    "speckle_noise": Corruption(_speckle_noise, (0.06, 0.1, 0.12, 0.16, 0.2)),
    "gaussian_blur": Corruption(_gaussian_blur, (0.4, 0.6, 0.7, 0.8, 1.0)),
    "glass_blur": Corruption(
        _glass_blur, ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))
    ),
    "defocus_blur": Corruption(
        _defocus_blur, ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))
    ),
    "motion_blur": Corruption(
        _motion_blur,
        ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5)),
        approximation=f"motion blur is a Gaussian-weighted line; {_MAGICK}",
    ),
    "zoom_blur": Corruption(_zoom_blur, (1.06, 1.11, 1.16, 1.21, 1.26)),
    "fog": Corruption(_fog, ((0.2, 3), (0.5, 3), (0.75, 2.5), (1.0, 2), (1.5, 1.75))),
    "frost": Corruption(
        _frost,
        ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
        approximation="frost is a procedural texture; the published ones show photographs of frost",
    ),
    "snow": Corruption(
        _snow,
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        approximation=f"snowflakes fall along Gaussian-weighted lines; {_MAGICK}",
    ),
    "spatter": Corruption(
        _spatter,
        (
            (0.62, 0.1, 0.7, 0.7, 0.5, 0),
            (0.65, 0.1, 0.8, 0.7, 0.5, 0),
            (0.65, 0.3, 1, 0.69, 0.5, 0),
            (0.65, 0.1, 0.7, 0.69, 0.6, 1),
            (0.65, 0.1, 0.5, 0.68, 0.6, 1),
        ),
        approximation="drops at severities 1 to 3 have the edges that scikit-image finds; those of "
        "the published ones were found by OpenCV",
    ),
    "contrast": Corruption(_contrast, (0.75, 0.5, 0.4, 0.3, 0.15)),
    "brightness": Corruption(_brightness, (0.05, 0.1, 0.15, 0.2, 0.3)),
    "saturate": Corruption(
        _saturate,
        ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
        greyscale_approximation="images without colour have no saturation and stay as they are",
    ),
    "jpeg_compression": Corruption(_jpeg_compression, (80, 65, 58, 50, 40)),
    "pixelate": Corruption(_pixelate, (0.95, 0.9, 0.85, 0.75, 0.65)),
    "elastic_transform": Corruption(
        _elastic_transform,
        ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    ),
}
assert tuple(CORRUPTIONS) == CORRUPTION_NAMES
