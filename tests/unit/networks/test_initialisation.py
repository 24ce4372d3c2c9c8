import hashlib
from dataclasses import dataclass
from io import BytesIO
from math import sqrt
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from mode_connectivity.data.torchvision_import import import_torchvision
from mode_connectivity.networks import initialisation
from mode_connectivity.networks.initialisation import initialise
from mode_connectivity.networks.registry import build
from mode_connectivity.settings import UserError
from mode_connectivity.training.recipes import InitialisationSettings


def assert_normal(weight: torch.Tensor, std: float) -> None:
    """Within five standard errors in mean and standard deviation, and Gaussian in its tails."""
    count = weight.numel()
    assert weight.mean().item() == pytest.approx(0, abs=5 * std / sqrt(count))
    assert weight.std().item() == pytest.approx(std, abs=5 * std / sqrt(2 * count))
    outside = (weight.abs() > 2 * std).double().mean().item()
    assert outside == pytest.approx(0.0455, abs=5 * sqrt(0.0455 / count))


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_fan_out(scale) -> None:
    network = build("vgg16_batch_norm", input_shape=(3, 32, 32), classes=10, width=32)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    initialise(network, "fan_out", scale)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            assert_normal(module.weight, scale * sqrt(2 / (3 * 3 * module.out_channels)))
            assert not module.bias.any()
        elif isinstance(module, nn.Linear):
            assert torch.equal(module.weight, before[f"{name}.weight"])
            assert torch.equal(module.bias, before[f"{name}.bias"])


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_fan_in(scale) -> None:
    network = build("vgg16_batch_norm", input_shape=(3, 32, 32), classes=100, width=32)
    initialise(network, "fan_in", scale)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            assert_normal(module.weight, scale * sqrt(2 / (3 * 3 * module.in_channels)))
            assert not module.bias.any()
        elif isinstance(module, nn.Linear):
            assert_normal(module.weight, scale * sqrt(2 / module.in_features))
            assert not module.bias.any()


def test_kernel_and_groups_enter_the_fans() -> None:
    layer = nn.Conv2d(64, 128, kernel_size=(5, 3), groups=4, bias=False)
    initialise(layer, "fan_in")
    assert_normal(layer.weight, sqrt(2 / (16 * 15)))
    initialise(layer, "fan_out")
    assert_normal(layer.weight, sqrt(2 / (128 * 15)))


@pytest.mark.parametrize("scheme", ["fan_in", "fan_out"])
def test_batch_norms_start_at_one_and_zero(scheme) -> None:
    network = build("preresnet", input_shape=(3, 8, 8), classes=10, depth=11, block="bottleneck")
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    initialise(network, scheme)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 10
    assert all((norm.weight == 1).all() and not norm.bias.any() for norm in norms)


def test_batch_norm_without_weights_is_left_alone() -> None:
    initialise(nn.BatchNorm2d(3, affine=False), "fan_in")


def test_torch_leaves_the_defaults() -> None:
    network = build("wide_resnet", input_shape=(3, 8, 8), classes=10, depth=10, width=1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    initialise(network, "torch")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_generator_decides() -> None:
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        network = build("lenet5", input_shape=(1, 32, 32), classes=10, width=0.5)
        initialise(network, "fan_in")
        draws.append(network.get_submodule("output").weight)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def first_step(name: str, scale: float) -> tuple[float, bool]:
    """The first batch's loss, and whether the loss after a step of SGD at 0.05 is a number."""
    torch.manual_seed(0)
    network = build(name, input_shape=(3, 32, 32), classes=10, width=8)
    initialise(network, "fan_in", scale)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.05)
    images, labels = torch.randn(32, 3, 32, 32), torch.randint(10, (32,))
    first = nn.functional.cross_entropy(network(images), labels)
    first.backward()
    optimiser.step()
    second = nn.functional.cross_entropy(network(images), labels)
    return first.item(), bool(second.isfinite())


def test_mode_e_needs_batch_norm() -> None:
    """At three times the width of mode G the losses are about 2e8 and, normalised, about 100."""
    loss, survives = first_step("vgg16", 1.0)
    assert loss < 10
    assert survives
    loss, survives = first_step("vgg16", 3.0)
    assert loss > 1e6
    assert not survives
    loss, survives = first_step("vgg16_batch_norm", 3.0)
    assert loss < 1000
    assert survives


@pytest.mark.parametrize(
    ("scheme", "scale", "message"),
    [
        ("fan_inn", 1.0, "'fan_inn' is unknown; schemes: torch, .*; did you mean 'fan_in'"),
        ("fan_in", 0.0, "scale is 0.0; it must be a number above 0"),
        ("fan_in", float("nan"), "scale is nan"),
        ("torch", 3.0, "scheme 'torch' draws no weights to scale"),
    ],
)
def test_refuses(scheme, scale, message) -> None:
    with pytest.raises(UserError, match=message):
        initialise(nn.Linear(2, 2), scheme, scale)


# Published weights


def tiny() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 5))


@dataclass
class Published:
    """Weights on a server, that torchvision knows as Tiny_Weights.V1, and where they belong."""

    state: dict[str, torch.Tensor]
    served: Path
    downloaded: Path
    url: str


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    models = import_torchvision().models
    state = tiny().state_dict()
    buffer = BytesIO()
    torch.save(state, buffer)
    name = f"tiny-{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.pth"
    served = tmp_path / "server" / name
    served.parent.mkdir()
    served.write_bytes(buffer.getvalue())

    class Tiny_Weights(models.WeightsEnum):  # noqa: N801
        V1 = models.Weights(url=served.as_uri(), transforms=None, meta={})

    known = {"Tiny_Weights.V1": Tiny_Weights.V1}
    monkeypatch.setattr(models, "get_weight", known.__getitem__)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    downloaded = tmp_path / "home" / "hub" / "checkpoints" / name
    return Published(state, served, downloaded, served.as_uri())


def assert_loaded(network: nn.Module, state: dict[str, torch.Tensor]) -> None:
    found = network.state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], value) for name, value in state.items())


def test_published_weights_are_loaded_from_pytorchs_folder(published) -> None:
    published.downloaded.parent.mkdir(parents=True)
    published.served.rename(published.downloaded)
    network = tiny()
    initialise(network, "torchvision", weights="Tiny_Weights.V1")
    assert_loaded(network, published.state)


def test_published_weights_are_downloaded_where_allowed(published) -> None:
    network = tiny()
    with pytest.raises(UserError, match="set `download: true`") as caught:
        initialise(network, "torchvision", weights="Tiny_Weights.V1")
    assert f"there is no file {published.downloaded}. Fetch {published.url} and" in str(
        caught.value
    )
    initialise(network, "torchvision", weights="Tiny_Weights.V1", download=True)
    assert_loaded(network, published.state)
    assert published.downloaded.is_file()
    published.served.unlink()
    initialise(tiny(), "torchvision", weights="Tiny_Weights.V1")


def test_a_failing_download(published) -> None:
    published.served.unlink()
    with pytest.raises(UserError, match="Check the network") as caught:
        initialise(tiny(), "torchvision", weights="Tiny_Weights.V1", download=True)
    assert published.url in str(caught.value)
    published.served.write_bytes(b"<html>Not found</html>")
    with pytest.raises(UserError, match="invalid hash value"):
        initialise(tiny(), "torchvision", weights="Tiny_Weights.V1", download=True)
    assert not published.downloaded.exists()


@pytest.mark.parametrize("download", [False, True])
def test_altered_weights_are_not_opened(published, download) -> None:
    published.downloaded.parent.mkdir(parents=True)
    torch.save({**published.state, "0.bias": torch.zeros(4)}, published.downloaded)
    with pytest.raises(UserError, match=r"its SHA-256 digest begins with .* Delete it"):
        initialise(tiny(), "torchvision", weights="Tiny_Weights.V1", download=download)


def test_nothing_but_tensors_is_unpickled(published, monkeypatch) -> None:
    monkeypatch.setattr(initialisation, "_check_digest", lambda file: None)
    published.downloaded.parent.mkdir(parents=True)
    torch.save({"0.bias": Path("a Python object")}, published.downloaded)
    with pytest.raises(UserError, match=r"cannot be read as .*UnpicklingError"):
        initialise(tiny(), "torchvision", weights="Tiny_Weights.V1")


def test_weights_of_another_network(published) -> None:
    network = nn.Sequential(*tiny()[:3], nn.Linear(4, 6))
    network.add_module("more", nn.Linear(6, 1))
    with pytest.raises(UserError, match=r"Tiny_Weights\.V1 do not fit the network") as caught:
        initialise(network, "torchvision", weights="Tiny_Weights.V1", download=True)
    for problem in ("size mismatch for 3.weight", "size mismatch for 3.bias", '"more.weight"'):
        assert problem in str(caught.value)


def test_a_new_head_keeps_all_other_published_weights(published) -> None:
    network = nn.Sequential(*tiny()[:3], nn.Linear(4, 6))
    drawn = network[3].weight.clone()
    options = {"weights": "Tiny_Weights.V1", "download": True}
    with pytest.raises(UserError, match="new_head: true"):
        initialise(network, "torchvision", **options)
    initialise(network, "torchvision", **options, new_head=True)
    assert torch.equal(network[3].weight, drawn)
    for name, value in network.state_dict().items():
        if not name.startswith("3."):
            assert torch.equal(value, published.state[name]), name


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("ResNet50_Weights.IMAGENET1K_V3", "did you mean 'ResNet50_Weights.IMAGENET1K_V"),
        ("Resnet50_Weights.IMAGENET1K_V1", "did you mean 'ResNet50_Weights.IMAGENET1K_V1'"),
        ("list_models.V1", "named such as"),
        ("resnet", "named such as"),
    ],
)
def test_unknown_weights(name, suggestion) -> None:
    with pytest.raises(UserError, match=f"'{name}' are unknown to torchvision.*{suggestion}"):
        initialise(nn.Linear(2, 2), "torchvision", weights=name)


def test_the_papers_network() -> None:
    """Garipov et al. (2018), section 6.1: a top-1 error of 23.87 %."""
    weights = initialisation._published("ResNet50_Weights.IMAGENET1K_V1")
    assert 100 - weights.meta["_metrics"]["ImageNet-1K"]["acc@1"] == pytest.approx(23.87)
    assert weights.meta["num_params"] == 25_557_032


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scheme": "torchvision"}, "scheme torchvision needs `weights`"),
        ({"scheme": "fan_in", "weights": "A.B"}, "scheme fan_in draws its weights"),
        ({"weights": "A.B"}, "scheme fan_out draws its weights"),
        ({"scheme": "torchvision", "weights": "A.B", "scale": 2.0}, "draws nothing to scale"),
        ({"scheme": "torch", "scale": 2.0}, "draws nothing to scale"),
    ],
)
def test_settings_that_contradict_each_other(settings, message) -> None:
    with pytest.raises(ValidationError, match=message):
        InitialisationSettings.model_validate(settings)
    with pytest.raises(UserError):
        initialise(nn.Linear(2, 2), **{"scheme": "fan_out", **settings})


def test_settings_with_weights() -> None:
    settings = {"scheme": "torchvision", "weights": "ResNet50_Weights.IMAGENET1K_V1"}
    assert InitialisationSettings.model_validate(settings).scale == 1
