import pytest

from mode_connectivity.networks.checks import image_shape, require
from mode_connectivity.settings import UserError


def test_require() -> None:
    require(True, "vgg16", "width", 1, "at least 1")
    with pytest.raises(UserError) as raised:
        require(False, "vgg16", "width", 0, "at least 1")
    assert str(raised.value) == "network 'vgg16': option 'width' is 0; it must be at least 1"


def test_image_shape() -> None:
    assert image_shape("vgg16", (3, 32, 33), smallest=32) == (3, 32, 33)
    with pytest.raises(UserError, match=r"images of 32x31 .* the smallest it takes is 32x32"):
        image_shape("vgg16", (3, 32, 31), smallest=32)
    with pytest.raises(UserError, match=r"shape \(2,\); .* choose network 'fully_connected'"):
        image_shape("vgg16", (2,))
