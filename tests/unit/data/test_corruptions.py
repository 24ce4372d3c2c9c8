"""Corruptions of images, against the published formulas, SciPy, Pillow and plain loops."""

import io
from typing import get_args

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage, stats

from mode_connectivity.data import corruptions
from mode_connectivity.data.corruption_settings import CORRUPTION_NAMES, CorruptionName
from mode_connectivity.data.corruptions import CORRUPTIONS, approximation, corrupt
from mode_connectivity.settings import UserError

SHAPES = {"cifar": (3, 32, 32, 3), "grey": (3, 8, 8, 1), "oblong": (3, 20, 27, 3)}
APPROXIMATED = {"motion_blur", "frost", "snow", "spatter"}
# Saturation falls, then rises; images of glass are blurred anew at severity 3, and the others are
# partly other images or grids, with weights or shifts that do not grow throughout.
MONOTONE = set(CORRUPTION_NAMES) - {
    *("saturate", "glass_blur", "frost", "spatter", "elastic_transform", "motion_blur", "pixelate")
}


@pytest.fixture(scope="module")
def photographs():
    """Smooth coloured images with edges, as photographs have them."""
    random = np.random.default_rng(3)
    noise = random.uniform(0, 1, (20, 32, 32, 3))
    smooth = ndimage.gaussian_filter(noise, (0, 3, 3, 0.5), mode="wrap")
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    for image, (top, left) in zip(smooth, random.integers(2, 14, (20, 2)), strict=True):
        image[top : top + 13, left : left + 15] = 1 - image[top : top + 13, left : left + 15]
    return (30 + 200 * smooth).astype(np.uint8)


def flat(value, side=32, channels=3):
    return np.full((1, side, side, channels), value, dtype=np.uint8)


def distance(images, other):
    return np.sqrt(((images.astype(float) - other) ** 2).mean())


def test_all_nineteen_are_there():
    assert tuple(CORRUPTIONS) == get_args(CorruptionName)
    assert len(CORRUPTIONS) == 19
    assert {name for name, each in CORRUPTIONS.items() if not each.exact} == APPROXIMATED


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", CORRUPTION_NAMES)
def test_images_stay_images_and_are_the_same_each_time(name, shape, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, SHAPES[shape], dtype=np.uint8)
    before = images.copy()
    for severity in (1, 5):
        corrupted = corrupt(images, name, severity, seed=7)
        assert corrupted.shape == images.shape
        assert corrupted.dtype == np.uint8
        # Neither the other images nor their order play a part, nor how many are made at once.
        order = np.arange(len(images))[::-1]
        assert np.array_equal(corrupt(images[order], name, severity, seed=7), corrupted[order])
        assert np.array_equal(corrupt(images[1:2], name, severity, seed=7), corrupted[1:2])
        monkeypatch.setattr(corruptions, "IMAGES_AT_ONCE", 2)
        assert np.array_equal(corrupt(images, name, severity, seed=7), corrupted)
        monkeypatch.undo()
    assert np.array_equal(images, before)


RANDOM = {
    *("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "glass_blur"),
    *("motion_blur", "fog", "frost", "snow", "spatter", "elastic_transform"),
}


@pytest.mark.parametrize("name", CORRUPTION_NAMES)
def test_the_seed_changes_what_is_random(name, photographs):
    first, second = (corrupt(photographs[:4], name, 4, seed=seed) for seed in (0, 1))
    assert np.array_equal(first, second) == (name not in RANDOM)


@pytest.mark.parametrize("name", sorted(MONOTONE))
def test_severity_grows(name, photographs):
    distances = [distance(corrupt(photographs, name, severity), photographs) for severity in
                 range(1, 6)]  # fmt: skip
    assert distances[0] > 0
    assert np.all(np.diff(distances) > 0), distances


def test_noises_have_the_published_strengths():
    grey = flat(128, side=250)
    level = 128 / 255
    for severity, deviation in enumerate((0.04, 0.06, 0.08, 0.09, 0.10), start=1):
        noise = corrupt(grey, "gaussian_noise", severity) / 255 - level
        # Truncation takes half a grey level off the mean.
        assert noise.mean() == pytest.approx(-0.5 / 255, abs=4e-4)
        assert noise.std() == pytest.approx(deviation, rel=0.01)
    for severity, deviation in enumerate((0.06, 0.1, 0.12, 0.16, 0.2), start=1):
        noise = corrupt(grey, "speckle_noise", severity) / 255 - level
        assert noise.std() == pytest.approx(deviation * level, rel=0.01)
    for severity, rate in enumerate((500, 250, 100, 75, 50), start=1):
        noise = corrupt(grey, "shot_noise", severity) / 255 - level
        assert noise.std() == pytest.approx(np.sqrt(level / rate), rel=0.03)
    for severity, amount in enumerate((0.01, 0.02, 0.03, 0.05, 0.07), start=1):
        corrupted = corrupt(grey, "impulse_noise", severity)
        salt, pepper = (corrupted == 255).mean(), (corrupted == 0).mean()
        assert salt + pepper == pytest.approx(amount, rel=0.06)
        assert salt == pytest.approx(pepper, rel=0.12)
        assert set(np.unique(corrupted)) == {0, 128, 255}
    # Normal, not merely of that deviation; each channel of each pixel on its own.
    noise = corrupt(grey, "gaussian_noise", 5) / 255 - level + 0.5 / 255
    assert stats.kstest(noise.ravel()[:20000] / 0.1, "norm").statistic < 0.03
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(noise[:, :-1].ravel(), noise[:, 1:].ravel())[0, 1]) < 0.01


def test_severities_share_what_is_drawn(photographs):
    weak, strong = (corrupt(photographs, "gaussian_noise", severity) for severity in (1, 5))
    differences = [(each.astype(float) - photographs).ravel() for each in (weak, strong)]
    assert np.corrcoef(differences)[0, 1] > 0.99


def test_contrast_by_hand(photographs):
    for severity, factor in enumerate((0.75, 0.5, 0.4, 0.3, 0.15), start=1):
        pixels = photographs.astype(np.float64) / 255
        means = np.stack([[image[..., c].mean() for c in range(3)] for image in pixels])
        expected = means[:, None, None] + factor * (pixels - means[:, None, None])
        corrupted = corrupt(photographs, "contrast", severity)
        assert np.array_equal(corrupted, (np.clip(expected, 0, 1) * 255).astype(np.uint8))


def test_colours_by_hand():
    orange = np.tile(np.array([200, 100, 50], np.uint8), (1, 2, 2, 1))
    # Value 200/255 of HSV rises, hue and saturation stay.
    brighter = corrupt(orange, "brightness", 3)[0, 0, 0]
    value = 200 / 255 + 0.15
    expected = np.array([1, 0.5, 0.25]) * value * 255
    np.testing.assert_allclose(brighter, expected, atol=1)
    # Saturation 0.75, times 0.3: the smaller channels rise towards the largest.
    paler = corrupt(orange, "saturate", 1)[0, 0, 0]
    np.testing.assert_allclose(paler, [200, 155 + 15, 155], atol=1)
    assert corrupt(orange, "saturate", 5)[0, 0, 0].tolist()[2] == 0
    grey = flat(90, channels=1)
    assert np.array_equal(corrupt(grey, "brightness", 5), flat(int(90 + 0.3 * 255), channels=1))


def test_images_without_colour_have_no_saturation():
    grey = np.random.default_rng(0).integers(0, 256, (3, 9, 9, 1), dtype=np.uint8)
    assert np.array_equal(corrupt(grey, "saturate", 5), grey)
    assert "stay as they are" in approximation("saturate", 1)
    assert approximation("saturate", 3) == ""
    assert approximation("frost", 3) == approximation("frost", 1) != ""


@pytest.mark.parametrize(("name", "tolerance"), [("frost", 3), ("spatter", 3), ("snow", 3)])
def test_colours_on_greyscale_images_are_luminances(name, tolerance):
    # A grey image of three channels: what lies on it turns grey in the same places.
    grey = np.random.default_rng(1).integers(60, 190, (4, 32, 32, 1), dtype=np.uint8)
    layers = corruptions.CORRUPTIONS[name]
    generators = [[np.random.default_rng(number) for number in range(4)] for _ in range(2)]
    colour = layers.apply(np.repeat(grey, 3, axis=3), layers.constants[4], generators[0])
    single = layers.apply(grey, layers.constants[4], generators[1])
    luminance = colour @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(single[..., 0], luminance, atol=1e-9)


def test_gaussian_blur_is_scipys(photographs):
    for severity, sigma in enumerate((0.4, 0.6, 0.7, 0.8, 1.0), start=1):
        corrupted = corrupt(photographs[:3], "gaussian_blur", severity)
        for image, blurred in zip(photographs, corrupted, strict=False):
            channels = [
                ndimage.gaussian_filter(image[..., c] / 255.0, sigma, mode="nearest")
                for c in range(3)
            ]
            expected = np.stack(channels, axis=2) * 255
            assert np.abs(blurred - expected).max() <= 1


def test_glass_blur_is_the_loop_of_the_authors(photographs):
    """Pixel by pixel with views, whose exchange copies the neighbour."""
    image = photographs[:1]
    sigma, reach, iterations = CORRUPTIONS["glass_blur"].constants[4]
    generators = [[np.random.default_rng(5)] for _ in range(2)]
    ours = CORRUPTIONS["glass_blur"].apply(image, (sigma, reach, iterations), generators[0])
    steps = generators[1][0].integers(-reach, reach, (iterations, 2, 30, 30))
    pixels = ndimage.gaussian_filter(image[0] / 255.0, (sigma, sigma, 0), mode="nearest")
    pixels = (pixels * 255).astype(np.uint8)
    for iteration in range(iterations):
        for h in range(32 - reach, reach, -1):
            for w in range(32 - reach, reach, -1):
                down, right = steps[iteration, :, h - 2, w - 2]
                there = h + down, w + right
                pixels[h, w], pixels[there] = pixels[there], pixels[h, w]
    expected = ndimage.gaussian_filter(pixels / 255.0, (sigma, sigma, 0), mode="nearest")
    np.testing.assert_allclose(ours[0], expected, atol=1e-12)


def test_defocus_spreads_a_point_over_a_disk():
    point = flat(0)
    point[0, 16, 16] = 255
    side = np.exp(-np.array([1, 0, 1]) / (2 * 0.1**2))
    for severity, radius in ((4, 1), (5, 1.5)):
        spread = corrupt(point, "defocus_blur", severity)[0, 14:19, 14:19, 0] / 255
        rows, columns = np.mgrid[-2:3, -2:3]
        disk = (rows**2 + columns**2 <= radius**2).astype(float)
        np.testing.assert_allclose(spread, disk / disk.sum(), atol=0.005)
    # Below half a pixel the disk is a point, and only the alias blur is left.
    spread = corrupt(point, "defocus_blur", 3)[0, 14:19, 14:19, 0] / 255
    side = np.exp(-np.array([1, 0, 1]) / (2 * 0.6**2))
    side /= side.sum()
    np.testing.assert_allclose(spread[1:4, 1:4], np.outer(side, side), atol=0.005)


def test_zoom_blur_is_the_mean_of_enlarged_images(photographs):
    image = photographs[0].astype(np.float32) / 255
    factors = np.arange(1, 1.16, 0.01)
    total = image.copy()
    for factor in factors:
        kept = int(np.ceil(32 / factor))
        top = (32 - kept) // 2
        part = image[top : top + kept, top : top + kept]
        enlarged = ndimage.zoom(part, (factor, factor, 1), order=1)
        trim = (len(enlarged) - 32) // 2
        total += enlarged[trim : trim + 32, trim : trim + 32]
    expected = 255 * total / (len(factors) + 1)
    assert np.abs(corrupt(photographs[:1], "zoom_blur", 3)[0] - expected).max() <= 1


def test_fog_by_its_formula(photographs, monkeypatch):
    clouds = np.random.default_rng(0).uniform(0, 1, (20, 32, 32))
    asked = []

    def plasma(shape, decay, generators):
        asked.append((shape, decay))
        return clouds[: len(generators)]

    monkeypatch.setattr(corruptions, "_plasma", plasma)
    corrupted = corrupt(photographs, "fog", 5)
    assert asked == [((32, 32), 1.75)]
    for image, foggy, cloud in zip(photographs, corrupted, clouds, strict=True):
        pixels = image / 255
        expected = (pixels + 1.5 * cloud[..., None]) * pixels.max() / (pixels.max() + 1.5)
        assert np.abs(foggy - 255 * expected).max() <= 1


def test_clouds_fill_the_unit_interval_and_grow_rougher():
    roughness = []
    for decay in (3, 2, 1.3):
        generators = [np.random.default_rng(number) for number in range(50)]
        clouds = corruptions._plasma((32, 32), decay, generators)
        assert (clouds.min(axis=(1, 2)) == 0).all()
        assert (clouds.max(axis=(1, 2)) == 1).all()
        roughness.append(np.abs(np.diff(clouds, axis=2)).mean())
    assert roughness == sorted(roughness)
    small = corruptions._plasma((5, 9), 2, [np.random.default_rng(0)])
    assert small.shape == (1, 5, 9)


def test_clouds_are_means_of_their_surroundings_and_noise():
    class Zero:
        def uniform(self, low, high, shape):
            noise = np.zeros(shape)
            noise[2, 2] = noise[3, 1] = 1
            return noise

    # The middle of 4 x 4 moves: its neighbours at half the step are means of four, periodic. Noise
    # of half the step is weaker by the square of the decay.
    clouds = corruptions._plasma((4, 4), 2, [Zero()])[0]
    assert clouds[2, 2] == 1
    assert clouds[0, 2] == clouds[2, 0] == 0.5
    assert clouds[1, 1] == pytest.approx((0 + 0.5 + 0.5 + 1) / 4)
    assert clouds[3, 1] == pytest.approx((0 + 0.5 + 0.5 + 1) / 4 + 1 / 2**2)


def test_jpeg_and_pixelate_are_pillows(photographs):
    grey = photographs[..., :1]
    for severity, quality in enumerate((80, 65, 58, 50, 40), start=1):
        file = io.BytesIO()
        Image.fromarray(photographs[0]).save(file, "JPEG", quality=quality)
        corrupted = corrupt(photographs[:1], "jpeg_compression", severity)[0]
        assert np.array_equal(corrupted, np.asarray(Image.open(file)))
        file = io.BytesIO()
        Image.fromarray(grey[0, ..., 0]).save(file, "JPEG", quality=quality)
        corrupted = corrupt(grey[:1], "jpeg_compression", severity)[0, ..., 0]
        assert np.array_equal(corrupted, np.asarray(Image.open(file)))
    for severity, side in enumerate((30, 28, 27, 24, 20), start=1):
        image = Image.fromarray(photographs[0])
        image = image.resize((side, side), Image.Resampling.BOX)
        image = image.resize((32, 32), Image.Resampling.BOX)
        corrupted = corrupt(photographs[:1], "pixelate", severity)[0]
        assert np.array_equal(corrupted, np.asarray(image))


def test_lines_of_motion():
    point = np.zeros((3, 32, 32, 1))
    point[:, 16, 16] = 1
    angles = np.array([0.0, 90.0, -45.0])
    blurred = corruptions._line_blur(point, angles, 6, 2.0)[..., 0]
    weights = np.exp(-(np.arange(13) ** 2) / 8)
    weights /= weights.sum()
    np.testing.assert_allclose(blurred[0, 16, 16:3:-1], weights, atol=1e-5)
    np.testing.assert_allclose(blurred[1, 16:3:-1, 16], weights, atol=1e-5)
    assert blurred.sum(axis=(1, 2)) == pytest.approx(1, abs=1e-4)
    # Up and to the right becomes down and to the left: the line goes against its angle.
    assert blurred[2, 17, 15] > 0
    # The border goes on beyond itself: an even image stays.
    np.testing.assert_allclose(corruptions._line_blur(point * 0 + 0.5, angles, 9, 2.5), 0.5,
                               atol=1e-4)  # fmt: skip


def test_elastic_transform_moves_what_its_fields_say():
    class Fixed:
        def __init__(self, corners, field):
            self.draws = [np.array(corners, float), np.array(field, float)]

        def uniform(self, low, high, shape):
            return np.broadcast_to(self.draws.pop(0), shape)

    ramp = np.tile(np.arange(32, dtype=np.uint8)[:, None, None] * 8, (1, 1, 32, 3))
    elastic = CORRUPTIONS["elastic_transform"]
    # All corners move down by 0.08 * 32 pixels: so does the image.
    down = [[1, 0]] * 3
    moved = elastic.apply(ramp, elastic.constants[0], [Fixed(down, [[[0.0]], [[0.0]]])])
    inner = ramp[0, 8:24, 8:24, 0] / 255
    np.testing.assert_allclose(moved[0, 8:24, 8:24, 0], inner - 2.56 * 8 / 255)
    # A field of ones takes each pixel from alpha pixels further down.
    still = [[0, 0]] * 3
    shifted = elastic.apply(ramp, elastic.constants[4], [Fixed(still, [[[1.0]], [[0.0]]])])
    np.testing.assert_allclose(shifted[0, 8:24, 8:24, 0], inner + 3.2 * 8 / 255)


def test_bilinear_values_are_scipys():
    random = np.random.default_rng(0)
    image = random.uniform(0, 1, (1, 7, 9, 1))
    rows, columns = random.uniform(-9, 15, (2, 1, 7, 9))
    for edge_twice, mode in ((True, "reflect"), (False, "mirror")):
        found = corruptions._interpolated(image, rows, columns, edge_twice=edge_twice)
        expected = ndimage.map_coordinates(
            image[0, ..., 0], [rows[0], columns[0]], order=1, mode=mode
        )
        np.testing.assert_allclose(found[0, ..., 0], expected, atol=1e-12)


def test_snow_whitens_and_spatter_covers(photographs):
    for severity in range(1, 6):
        assert corrupt(photographs, "snow", severity).mean() > photographs.mean()
    # Mud is a share of brown; water brightens.
    muddy = corrupt(flat(255, 100), "spatter", 5).reshape(-1, 3)
    covered = muddy[(muddy < 255).any(axis=1)]
    assert 0.02 < len(covered) / len(muddy) < 0.4
    np.testing.assert_allclose(covered.min(axis=0), [63, 42, 20], atol=1)
    assert corrupt(flat(0, 100), "spatter", 3).max() <= 238 / 2 + 1
    assert corrupt(flat(0, 100), "spatter", 3).max() > 60


def test_histograms_are_equalised_by_hand():
    images = np.array([[[5, 5], [7, 9]], [[3, 3], [3, 3]]], dtype=np.uint8)
    expected = [[[0, 0], [128, 255]], [[3, 3], [3, 3]]]
    assert corruptions._equalised(images).tolist() == expected


def test_mistakes_are_told():
    images = flat(0)
    with pytest.raises(UserError, match=r"no corruption 'gausian_noise'.*did you mean 'gaussian_n"):
        corrupt(images, "gausian_noise", 1)
    for severity in (0, 6):
        with pytest.raises(UserError, match=rf"severity {severity}; it must be from 1 to 5"):
            corrupt(images, "fog", severity)
    for wrong in (images.astype(float), images[0], images[..., :2]):
        with pytest.raises(UserError, match="they must be uint8"):
            corrupt(wrong, "fog", 1)
