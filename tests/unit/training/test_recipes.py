import pytest
from pydantic import ValidationError

from mode_connectivity.training.recipes import (
    CurveSettings,
    InitialisationSettings,
    NetworkReference,
    NetworkSettings,
    RecipeSettings,
    is_weight_file,
)

TRAINING = {"epochs": 3, "learning_rate": 0.1}


def test_every_further_key_of_a_network_is_an_option() -> None:
    network = NetworkSettings.model_validate(
        {"name": "three_conv_three_fc", "width": 0.3, "channels": [8, 16, 32]}
    )
    assert network.options == {"width": 0.3, "channels": [8, 16, 32]}
    assert network.model_dump() == {"name": "three_conv_three_fc", **network.options}
    assert NetworkSettings(name="vgg16").options == {}


def test_options_are_checked_and_each_mistake_has_a_line() -> None:
    with pytest.raises(ValidationError) as caught:
        NetworkSettings.model_validate({"name": "vgg16", "widht": 3, "dropout": "5e-1"})
    lines = str(caught.value.errors()[0]["ctx"]["error"]).splitlines()
    assert len(lines) == 2
    assert "option 'widht' is unknown" in lines[0]
    assert "did you mean 'width'?" in lines[0]
    assert "option 'dropout' is '5e-1'" in lines[1]


def test_networks_of_the_users_own(tmp_path) -> None:
    path = tmp_path / "own.py"
    path.write_text("def net(*, input_shape, classes, depth: int = 3): ...\n")
    name = f"{path}:net"
    assert NetworkSettings.model_validate({"name": name, "depth": 4}).options == {"depth": 4}
    with pytest.raises(ValidationError, match="option 'deep' is unknown"):
        NetworkSettings.model_validate({"name": name, "deep": 4})
    with pytest.raises(ValidationError, match="defines no function 'nett'"):
        NetworkSettings(name=f"{path}:nett")


def test_recipes_begin_as_the_reference_code_does() -> None:
    recipe = RecipeSettings.model_validate(
        {"dataset": "digits", "network": {"name": "vgg16"}, "training": TRAINING}
    )
    assert recipe.initialisation == InitialisationSettings(scheme="fan_out", scale=1.0)
    assert recipe.title == ""


@pytest.mark.parametrize(
    ("text", "recipe", "seed", "epoch"),
    [
        ("digits_vgg16/3", "digits_vgg16", 3, None),
        ("a/0", "a", 0, None),
        ("a/1@0", "a", 1, 0),
        ("a1/10@200", "a1", 10, 200),
    ],
)
def test_reference(text: str, recipe: str, seed: int, epoch: int | None) -> None:
    reference = NetworkReference.parse(text)
    assert reference == NetworkReference(recipe=recipe, seed=seed, epoch=epoch)
    assert str(reference) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "a", "a/", "/1", "a/b", "a/-1", "a/1.0", "a/1@", "a/1@x", "A/1", "1a/1", "a/1/2"),
        # Equal networks have equal references, and their digits can stand in a path.
        *("a/01", "a/1@05", "a/1@00", "a/1\n", " a/1", "a/١"),
    ],
)
def test_text_that_is_no_reference(text: str) -> None:
    with pytest.raises(ValueError, match="is no network; write recipe/seed or, for a snapshot, "):
        NetworkReference.parse(text)


@pytest.mark.parametrize("kind", ["polychain", "bezier"])
def test_trained_curves(kind: str) -> None:
    record = {"kind": kind, "start": "a/1", "end": "a/2"}
    curve = CurveSettings.model_validate({**record, "training": TRAINING, "bends": 3})
    assert curve.trained
    assert (curve.bends, curve.points, curve.seed, curve.predictions) == (3, 121, 1, False)
    with pytest.raises(ValidationError, match=f"a {kind} is trained: give its training, such as"):
        CurveSettings.model_validate(record)


@pytest.mark.parametrize("kind", ["segment", "random_segment", "trivial_path"])
def test_curves_without_bends(kind: str) -> None:
    record = {"kind": kind, "start": "a/1", "end": "a/2"}
    assert not CurveSettings.model_validate({**record, "training": None}).trained
    for key, value in {"training": TRAINING, "bends": 1}.items():
        with pytest.raises(ValidationError, match=f"{kind} has nothing to train: take {key} out"):
            CurveSettings.model_validate({**record, key: value})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("weights/mine.safetensors", True),
        ("/somewhere/else.safetensors", True),
        ("mine.safetensors", True),
        ("mine/1", False),
        ("mine/1@3", False),
        ("weights/mine.pt", False),
        ("safetensors", False),
    ],
)
def test_files_of_weights(text: str, expected: bool) -> None:
    assert is_weight_file(text) == expected


@pytest.mark.parametrize("key", ["start", "end"])
def test_a_file_of_weights_does_not_say_what_network_it_is_of(key: str) -> None:
    ends = {"start": "a/1", "end": "a/2", key: "weights/mine.safetensors"}
    record = {"kind": "segment", **ends}
    assert CurveSettings.model_validate({**record, "recipe": "a"}).recipe == "a"
    with pytest.raises(ValidationError, match="say with recipe which network and data set it is "):
        CurveSettings.model_validate(record)


def recipe(**changes) -> RecipeSettings:
    return RecipeSettings.model_validate(
        {"dataset": "digits", "network": {"name": "vgg16"}, "training": TRAINING, **changes}
    )


def test_what_a_recipe_continues() -> None:
    assert recipe().start(3) is None
    end = recipe(continues="vgg16_digits").start(3)
    assert end == NetworkReference(recipe="vgg16_digits", seed=3)
    checkpoint = recipe(continues="vgg16_digits@120").start(0)
    assert checkpoint == NetworkReference(recipe="vgg16_digits", seed=0, epoch=120)


@pytest.mark.parametrize(
    "text", ["", "A", "a/1", "a/1@3", "a@", "a@0", "a@03", "a@x", "a@1\n", "@3"]
)
def test_what_no_recipe_can_continue(text) -> None:
    with pytest.raises(ValidationError, match="is no recipe; write recipe or recipe@epoch, withou"):
        recipe(continues=text)


def test_published_weights_have_a_name() -> None:
    weights = "ResNet50_Weights.IMAGENET1K_V1"
    chosen = InitialisationSettings(scheme="torchvision", weights=weights)
    assert (chosen.scheme, chosen.weights, chosen.scale) == ("torchvision", weights, 1.0)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"scheme": "torchvision"}, "scheme torchvision needs `weights`"),
        ({"scheme": "fan_in", "weights": "a"}, "scheme fan_in draws its weights: take `weights`"),
        ({"weights": "a"}, "scheme fan_out draws its weights"),
        ({"scheme": "torch", "scale": 3.0}, "scheme torch draws nothing to scale: take `scale` o"),
        (
            {"scheme": "torchvision", "weights": "a", "scale": 3.0},
            "scheme torchvision draws nothing to scale",
        ),
    ],
)
def test_initialisations_that_contradict_themselves(record, message) -> None:
    with pytest.raises(ValidationError, match=message):
        InitialisationSettings.model_validate(record)
