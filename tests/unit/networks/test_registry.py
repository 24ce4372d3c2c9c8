import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import nn

from mode_connectivity.networks import registry
from mode_connectivity.networks.registry import (
    Option,
    available,
    build,
    check_options,
    specification,
)
from mode_connectivity.settings import UserError

# The smallest form of each network that has all its kinds of layers.
SMALL = {
    "fully_connected": {"hidden": [7, 6]},
    "lenet5": {"width": 0.5},
    "preresnet": {"depth": 11, "width": 2, "block": "bottleneck"},
    "three_conv_three_fc": {"width": 0.02, "channels": [2, 3, 4]},
    "vgg16": {"width": 4, "dropout": 0.0},
    "vgg16_batch_norm": {"width": 4, "dropout": 0.0},
    "wide_resnet": {"depth": 10, "width": 1},
}
# Built by torchvision; and for texts and single numbers, on which nothing below runs.
OF_TORCHVISION = ("resnet50", "vision_transformer", "vit_b_16")
OF_TEXTS, OF_NUMBERS = ("lstm",), ("regression_mlp",)
EVERY = pytest.mark.parametrize("name", sorted(SMALL))

OWN = """
from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass
class Shape:
    numbers: int


def mine(*, input_shape: tuple[int, ...], classes: int, bias: bool = True):
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(Shape(4).numbers, classes, bias=bias)
    )
"""


@pytest.fixture
def own_file(tmp_path: Path) -> Path:
    path = tmp_path / "own_network.py"
    path.write_text(OWN)
    return path


def small(name: str) -> nn.Module:
    return build(name, input_shape=(3, 32, 32), classes=5, **SMALL[name])


def test_every_network_is_available() -> None:
    assert sorted(available()) == sorted([*SMALL, *OF_TORCHVISION, *OF_TEXTS, *OF_NUMBERS])
    assert available()["vgg16"].title == "VGG-16"


@pytest.mark.parametrize("name", sorted([*SMALL, *OF_TORCHVISION, *OF_TEXTS, *OF_NUMBERS]))
def test_specification_agrees_with_the_function(name) -> None:
    found = specification(name)
    function = getattr(import_module(f"mode_connectivity.networks.{found.path.stem}"), name)
    signature = inspect.signature(function).parameters
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in signature.values())
    assert {"input_shape", "classes", *found.options} == set(signature)
    for option, known in found.options.items():
        default = signature[option].default
        assert known.default == (list(default) if isinstance(default, tuple) else default)
    assert check_options(name, {o: known.default for o, known in found.options.items()}) == []


@EVERY
def test_returns_logits(name) -> None:
    images = torch.randn(3, 3, 32, 32)
    before = images.clone()
    assert small(name)(images).shape == (3, 5)
    assert torch.equal(images, before)


@EVERY
def test_every_layer_runs_once_in_the_order_of_its_registration(name, layers_with_weights) -> None:
    network = small(name)
    calls = []
    layers = layers_with_weights(network)
    for layer, module in layers:
        module.register_forward_hook(lambda *_, layer=layer: calls.append(layer))
    network(torch.randn(3, 3, 32, 32))
    assert calls == [layer for layer, _ in layers]


@EVERY
def test_every_parameter_is_trained(name) -> None:
    network = small(name)
    loss = nn.functional.cross_entropy(network(torch.randn(8, 3, 32, 32)), torch.arange(8) % 5)
    loss.backward()
    before_batch_norm = name == "vgg16_batch_norm" or name == "wide_resnet"
    for parameter, value in network.named_parameters():
        assert value.grad is not None, parameter
        # Batch norm takes the mean away, so a bias before it has no effect but rounding.
        if not (before_batch_norm and "convolution" in parameter and parameter.endswith("bias")):
            assert value.grad.abs().max() > 0, parameter


@pytest.mark.parametrize("name", ["fully_connected", "three_conv_three_fc", "vgg16"])
def test_trivial_path_keeps_predictions(name) -> None:
    """Garipov et al. (2018), A.6: W_i t and b_i t^i, i from the input, give t^n the logits."""
    network = small(name).eval().double()
    images = torch.randn(4, 3, 32, 32, dtype=torch.double)
    expected = network(images).detach()
    t, layers = 0.7, 0
    with torch.no_grad():
        for parameter, value in network.named_parameters():
            layers += parameter.endswith("weight")
            value *= t if parameter.endswith("weight") else t**layers
    torch.testing.assert_close(network(images), expected * t**layers)


@EVERY
def test_weights_are_drawn_from_the_global_generator(name) -> None:
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(small(name).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert any(not torch.equal(states[0][key], states[2][key]) for key in states[0])


def test_unknown_network() -> None:
    with pytest.raises(UserError) as raised:
        specification("vgg61")
    message = str(raised.value)
    assert "network 'vgg61' is unknown" in message
    assert all(name in message for name in SMALL)
    assert "did you mean 'vgg16'?" in message
    assert "path/to/file.py:function" in message
    assert check_options("vgg61", {"width": 1}) == [message]
    with pytest.raises(UserError, match="vgg61"):
        build("vgg61", input_shape=(3, 32, 32), classes=10)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("vgg16", {"widht": 8}, "option 'widht' is unknown; options: width (by default 64), "),
        ("vgg16", {"widht": 8}, "did you mean 'width'?"),
        ("vgg16", {"width": 8.5}, "option 'width' is 8.5; it must be an integer"),
        ("vgg16", {"width": True}, "option 'width' is True; it must be an integer"),
        ("vgg16", {"width": "8"}, "'8'; it must be an integer"),
        ("vgg16", {"dropout": "5e-1"}, "a number, without quotes and with a point: 0.5"),
        ("vgg16", {"dropout": "half"}, "option 'dropout' is 'half'; it must be a number"),
        ("vgg16", {"dropout": None}, "option 'dropout' is None; it must be a number"),
        ("vgg16", {"convolutions": 2}, "2; it must be a list, each element an integer"),
        ("vgg16", {"convolutions": [2, 1.5]}, "[2, 1.5]; it must be a list, each element"),
        ("preresnet", {"block": "Basic"}, "'auto', 'basic', 'bottleneck'; did you mean 'basic'?"),
        ("preresnet", {"block": 1}, "it must be one of 'auto', 'basic', 'bottleneck'"),
    ],
)
def test_mistakes_in_options(name, options, expected) -> None:
    mistakes = check_options(name, options)
    assert len(mistakes) == 1
    assert expected in mistakes[0]
    with pytest.raises(UserError) as raised:
        build(name, input_shape=(3, 32, 32), classes=10, **options)
    assert str(raised.value) == mistakes[0]


def test_all_mistakes_at_once() -> None:
    assert len(check_options("vgg16", {"width": "wide", "depth": 3, "dropout": 1})) == 2


def test_an_integer_is_a_number() -> None:
    assert check_options("vgg16", {"dropout": 0, "convolutions": (1, 1)}) == []


def test_own_file(own_file) -> None:
    name = f"{own_file}:mine"
    found = specification(name)
    assert (found.name, found.title, found.path) == (name, "mine", own_file)
    assert found.options == {"bias": Option("bool", True)}
    assert "it must be true or false" in check_options(name, {"bias": 1})[0]
    built = build(name, input_shape=(2, 2), classes=3, bias=False)
    assert [tuple(p.shape) for p in built.parameters()] == [(3, 4)]


def test_own_file_from_the_working_directory(own_file, monkeypatch) -> None:
    monkeypatch.chdir(own_file.parent)
    assert specification("own_network.py:mine").path == own_file
    assert build("own_network.py:mine", input_shape=(4,), classes=2)(torch.ones(1, 4)).shape == (
        1,
        2,
    )


def test_own_module(own_file, monkeypatch) -> None:
    package = own_file.parent / "own_package" / "inner"
    package.mkdir(parents=True)
    own_file.rename(package / "own_module.py")
    monkeypatch.syspath_prepend(own_file.parent)
    name = "own_package.inner.own_module:mine"
    assert specification(name).path == package / "own_module.py"
    assert build(name, input_shape=(4,), classes=2)(torch.ones(1, 4)).shape == (1, 2)


def test_own_module_at_the_top(own_file, monkeypatch) -> None:
    monkeypatch.syspath_prepend(own_file.parent)
    assert specification("own_network:mine").path == own_file
    assert build("own_network:mine", input_shape=(4,), classes=2)(torch.ones(1, 4)).shape == (1, 2)


def test_own_decorated_function_keeps_its_title(tmp_path) -> None:
    path = tmp_path / "titled.py"
    path.write_text(
        "from mode_connectivity.networks import registry\n\n\n"
        "@registry.network(title='Mine')\n"
        "def mine(*, input_shape, classes):\n    return None\n"
    )
    assert specification(f"{path}:mine").title == "Mine"
    with pytest.raises(UserError, match=r"returned NoneType; it must return a torch\.nn\.Module"):
        build(f"{path}:mine", input_shape=(1,), classes=2)


def test_missing_file(own_file) -> None:
    with pytest.raises(UserError) as raised:
        specification(f"{own_file.parent}/own_netwrok.py:mine")
    message = str(raised.value)
    assert f"there is no file {own_file.parent}/own_netwrok.py" in message
    assert "did you mean 'own_network.py'?" in message
    assert str(Path.cwd()) in message


def test_missing_function(own_file) -> None:
    with pytest.raises(UserError, match=r"defines no function 'mien' .*; did you mean 'mine'"):
        specification(f"{own_file}:mien")


@pytest.mark.parametrize(
    "module", ["no_such_package.nets", "mode_connectivity.nets", "sys", ".relative", ""]
)
def test_missing_module(module) -> None:
    with pytest.raises(UserError, match=f"no Python module '{module}'"):
        specification(f"{module}:mine")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def mine(*, input_shape): ...", "write def mine\\(\\*, input_shape, classes, ...\\)"),
        ("def mine(input_shape, classes): ...", "takes \\(input_shape, classes\\)"),
        ("def mine(width=1, *, input_shape, classes): ...", "keyword-only arguments"),
        ("def mine(*, input_shape, classes, width: int): ...", "'width' has no literal default"),
        ("def mine(*, input_shape, classes, width=sum([1])): ...", "no literal default"),
        ("def mine(*, input_shape, classes", "is not valid Python: .* line 1"),
        (
            "TITLE = 'a'\n@network(title=TITLE)\ndef mine(*, input_shape, classes): ...",
            "the decorator has no literal title",
        ),
    ],
)
def test_refused_functions(tmp_path, source, message) -> None:
    path = tmp_path / "refused.py"
    path.write_text(source)
    with pytest.raises(UserError, match=message):
        specification(f"{path}:mine")


@pytest.mark.parametrize(
    ("annotation", "right", "wrong", "words"),
    [
        ("int | None", [None, 3], ["3", 0.5], "an integer or nothing"),
        ("list[list[int]]", [[], [[1], []]], [[1]], "a list, each element a list"),
        ("Literal[1, 2]", [1, 2], [3, True, "1"], "one of 1, 2"),
        ("str", ["a"], [1, None], "a text"),
        ("collections.abc.Sequence[str]", [["a"]], ["a"], "a list, each element a text"),
        ("dict[str, int]", [{"a": "b"}, 1], [], ""),
    ],
)
def test_annotations(tmp_path, annotation, right, wrong, words) -> None:
    path = tmp_path / "annotated.py"
    path.write_text(f"def mine(*, input_shape, classes, option: {annotation} = None): ...")
    name = f"{path}:mine"
    for value in right:
        assert check_options(name, {"option": value}) == []
    for value in wrong:
        (mistake,) = check_options(name, {"option": value})
        assert words in mistake


def test_an_option_without_annotation_takes_anything(tmp_path) -> None:
    path = tmp_path / "bare.py"
    path.write_text("def mine(*, input_shape, classes, option=1): ...")
    assert check_options(f"{path}:mine", {"option": "text"}) == []


def test_two_networks_of_one_name(tmp_path, monkeypatch) -> None:
    for stem in ("one", "two"):
        (tmp_path / f"{stem}.py").write_text(
            "@network(title='T')\ndef same(*, input_shape, classes): ...\n"
        )
    monkeypatch.setattr(registry, "__file__", str(tmp_path / "registry.py"))
    registry._registered.cache_clear()
    try:
        with pytest.raises(UserError, match="'same' is registered twice"):
            available()
    finally:
        registry._registered.cache_clear()


def test_nothing_but_build_imports_torch_or_the_network(own_file) -> None:
    package = own_file.parent / "heavy"
    package.mkdir()
    (package / "__init__.py").write_text("import torch\n")
    own_file.rename(package / "nets.py")
    program = (
        "import sys\n"
        f"sys.path.insert(0, {str(own_file.parent)!r})\n"
        "from mode_connectivity.networks.registry import available, check_options, specification\n"
        "assert len(available()) >= 7\n"
        "assert check_options('vgg16', {'width': 8}) == []\n"
        "assert specification('heavy.nets:mine').options\n"
        f"assert specification({str(package / 'nets.py')!r} + ':mine').options\n"
        "assert 'torch' not in sys.modules\n"
        "assert 'heavy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_no_other_family_needs_torchvision() -> None:
    program = (
        "import sys\n"
        "from mode_connectivity.networks.registry import available, build\n"
        "import torch\n"
        "with torch.device('meta'):\n"
        f"    for name in set(available()) - set({OF_TORCHVISION!r}):\n"
        "        shape = (1,) if name == 'regression_mlp' else (3, 32, 32)\n"
        "        build(name, input_shape=shape, classes=10)\n"
        "assert 'torchvision' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
