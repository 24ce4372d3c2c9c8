import subprocess
import sys

import pytest
from pydantic import TypeAdapter, ValidationError

from mode_connectivity.data.settings import (
    AnyDataset,
    AugmentationSettings,
    DatasetSettings,
    TextSettings,
)


def test_settings_do_not_import_torch() -> None:
    code = "import sys, mode_connectivity.data.settings; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"source": "cifar"}, "'cifar10'"),
        ({"source": "image_folder"}, "needs `folder`"),
        ({"source": "digits", "normalisation": "vgg"}, "3 channel(s)"),
        ({"source": "cifar10", "normalisation": "mnist"}, "have 3"),
        ({"source": "cifar10", "normalisation": {"mean": [0.5], "std": [0.1]}}, "have 3"),
        ({"source": "mnist", "normalisation": {"mean": [0.5], "std": [0.0]}}, "greater than 0"),
        ({"source": "mnist", "normalisation": {"mean": [0.5], "std": [0.1, 0.2]}}, "1 values"),
        ({"source": "digits", "test_fraction": 1.0}, "less than 1"),
        ({"source": "digits", "image_size": 0}, "greater than or equal to 1"),
        ({"source": "digits", "imagesize": 32}, "imagesize"),
    ],
)
def test_mistakes_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError) as error:
        DatasetSettings.model_validate({"title": "Data", **settings})
    assert words in str(error.value)


def test_named_constants_are_those_of_the_papers_code() -> None:
    vgg = DatasetSettings(title="CIFAR-10", source="cifar10", normalisation="vgg").constants
    resnet = DatasetSettings(title="CIFAR-10", source="cifar10", normalisation="resnet").constants
    assert vgg and vgg.mean == [0.485, 0.456, 0.406] and vgg.std == [0.229, 0.224, 0.225]
    assert resnet and resnet.mean == [0.4914, 0.4822, 0.4465]
    assert resnet.std == [0.2023, 0.1994, 0.2010]


def test_settings_survive_their_json_form() -> None:
    settings = DatasetSettings.model_validate(
        {
            "title": "Mine",
            "source": "image_folder",
            "folder": "mine",
            "normalisation": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]},
        }
    )
    assert DatasetSettings(**settings.model_dump(mode="json")) == settings


def test_a_transform_comes_once() -> None:
    with pytest.raises(ValidationError, match="twice"):
        AugmentationSettings(transforms=["flip", "crop", "flip"])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"source": "wikitext"}, "'python_documentation'"),
        ({"source": "text_files"}, "needs `folder`"),
        ({"source": "ptb", "minimum_count": 0}, "greater than or equal to 1"),
        ({"source": "ptb", "unknown_words": "drop"}, "'error' or 'replace'"),
        ({"source": "python_documentation", "test_fraction": 0.0}, "greater than 0"),
        (
            {"source": "python_documentation", "test_fraction": 0.5, "validation_fraction": 0.5},
            "leave nothing to train on",
        ),
        ({"source": "ptb", "image_size": 32}, "image_size"),
    ],
)
def test_mistakes_of_a_text_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError) as error:
        TextSettings.model_validate({"title": "Text", **settings})
    assert words in str(error.value)


def test_the_source_tells_a_text_from_images() -> None:
    adapter = TypeAdapter[object](AnyDataset)
    text = adapter.validate_python({"title": "Penn Treebank", "source": "ptb"})
    assert text == TextSettings(title="Penn Treebank", source="ptb")
    assert TextSettings(**text.model_dump(mode="json")) == text
