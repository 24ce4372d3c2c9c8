import subprocess
import sys

import pytest
import torch

from mode_connectivity.data.torchvision_import import import_torchvision
from mode_connectivity.evaluation.batch_norm import batch_norms
from mode_connectivity.networks.registry import available, build
from mode_connectivity.settings import UserError
from mode_connectivity.weight_space.flat import FlatParameters


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


# Torchvision's documentation: 86,567,656 parameters. A head for 100 classes has 900 * 769 fewer,
# which makes the "~85.8M" of Benton et al.'s network.
def test_parameters_of_vision_transformers(parameters) -> None:
    assert parameters("vit_b_16", (3, 224, 224), 1000)[0] == 86_567_656
    assert parameters("vit_b_16", (3, 224, 224), 100)[0] == 86_567_656 - 900 * 769
    # Patches and their places, the class token; a block's attention, perceptron and two norms; the
    # last norm and the head.
    patches = 16 * 64 + 64 + 5 * 64 + 64
    block = 4 * (64 * 64 + 64) + (64 * 128 + 128 + 128 * 64 + 64) + 4 * 64
    expected = patches + 4 * block + 2 * 64 + 64 * 10 + 10
    assert parameters("vision_transformer", (1, 8, 8), 10)[0] == expected


def test_a_vision_transformer_is_torchvisions_at_another_size() -> None:
    sizes = {"patch": 16, "layers": 12, "heads": 12, "width": 768, "hidden": 3072}
    with torch.device("meta"):
        ours = build("vision_transformer", input_shape=(3, 224, 224), classes=1000, **sizes)
        theirs = build("vit_b_16", input_shape=(3, 224, 224), classes=1000)
    shapes = [{k: v.shape for k, v in each.state_dict().items()} for each in (ours, theirs)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_vision_transformer_lives_in_a_flat_vector(channels) -> None:
    network = build("vision_transformer", input_shape=(channels, 8, 8), classes=3, width=16)
    torch.nn.init.normal_(network.heads.head.weight)
    images = torch.randn(5, channels, 8, 8)
    expected = network.eval()(images).detach()
    flat = FlatParameters(network, channels_last=True)
    assert len(flat) == sum(parameter.numel() for parameter in network.parameters())
    assert network.conv_proj.weight.is_contiguous(memory_format=torch.channels_last)
    for layout in (torch.contiguous_format, torch.channels_last):
        inputs = images.contiguous(memory_format=layout)
        with torch.inference_mode():
            torch.testing.assert_close(network.eval()(inputs), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(network.train()(inputs), expected, rtol=1e-4, atol=1e-5)
    # A change of the vector is a change of the network, in evaluation mode as well.
    flat.vector.mul_(0.5)
    with torch.inference_mode():
        assert not torch.allclose(network.eval()(images), expected, rtol=1e-2)
    assert not batch_norms(network)


@pytest.mark.parametrize(
    ("name", "shape", "options", "message"),
    [
        ("vit_b_16", (3, 32, 32), {}, "it takes 224x224"),
        ("vit_b_16", (1, 224, 224), {}, "choose another network, such as 'vision_transformer'"),
        ("vision_transformer", (1, 8, 10), {}, "it takes square ones"),
        ("vision_transformer", (1, 8, 8), {"patch": 3}, "a divisor of the side, 8"),
        ("vision_transformer", (1, 8, 8), {"heads": 5}, "a divisor of the width, 64"),
        ("vision_transformer", (1, 8, 8), {"layers": 0}, "at least 1"),
    ],
)
def test_transformers_refuse(name, shape, options, message) -> None:
    with pytest.raises(UserError, match=message):
        build(name, input_shape=shape, classes=10, **options)


def test_torchvision_is_imported_only_to_build() -> None:
    program = (
        "import sys\n"
        "from mode_connectivity.networks import initialisation, registry, torchvision_models\n"
        "assert registry.check_options('resnet50', {}) == []\n"
        "assert 'torchvision' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
