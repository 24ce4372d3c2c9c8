import subprocess
import sys

import pytest
import torch

from mode_connectivity.data.torchvision_import import import_torchvision
from mode_connectivity.networks.registry import available, build
from mode_connectivity.settings import UserError


# Torchvision's documentation counts 25,557,032 parameters of ResNet-50 and 4.09 GFLOPS, by which it
# means multiply-adds; He et al. (2015) give 3.8e9 with the stride in the first 1x1 convolution.
def test_parameters(parameters) -> None:
    numbers, _ = parameters("resnet50", (3, 224, 224), 1000)
    assert numbers == 25_557_032
    numbers, _ = parameters("resnet50", (3, 224, 224), 10)
    assert numbers == 25_557_032 - 990 * 2049


def test_arithmetic(mega_multiply_adds) -> None:
    assert mega_multiply_adds("resnet50", (3, 224, 224), 1000) == pytest.approx(4089, abs=1)


def test_published_weights_would_fit() -> None:
    with torch.device("meta"):
        network = build("resnet50", input_shape=(3, 224, 224), classes=1000)
        own = import_torchvision().models.get_model("resnet50")
    assert {name: value.shape for name, value in network.state_dict().items()} == {
        name: value.shape for name, value in own.state_dict().items()
    }
    assert available()["resnet50"].title == "ResNet-50"
    assert available()["resnet50"].options == {}


@pytest.mark.parametrize(
    ("shape", "message"), [((1, 224, 224), "images have 1 channel"), ((8,), "it takes images")]
)
def test_refuses(shape, message) -> None:
    with pytest.raises(UserError, match=message):
        build("resnet50", input_shape=shape, classes=10)


def test_torchvision_is_imported_only_to_build() -> None:
    program = (
        "import sys\n"
        "from mode_connectivity.networks import initialisation, registry, torchvision_models\n"
        "assert registry.check_options('resnet50', {}) == []\n"
        "assert 'torchvision' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
