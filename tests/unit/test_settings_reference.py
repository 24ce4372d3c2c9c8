import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from mode_connectivity.config import Config, load_config
from mode_connectivity.mistakes import metadata_of
from mode_connectivity.networks.registry import available
from mode_connectivity.reporting.claim_settings import ClaimSettings
from mode_connectivity.settings import Names
from mode_connectivity.settings_reference import PAGE, Block, Key, anchor, blocks, page

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def described() -> dict[str, Block]:
    return {block.heading: block for block in blocks()}


def keys_of(block: Block) -> dict[str, Key]:
    return {key.name: key for key in block.keys}


def test_the_page_is_up_to_date() -> None:
    if PAGE.read_text(encoding="utf-8") != page():
        pytest.fail("docs/settings.md is out of date: run make docs")


def test_settings_are_described_without_torch() -> None:
    code = "import sys; from mode_connectivity.settings_reference import page; page()"
    code += "; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_key_is_without_a_meaning(described: dict[str, Block]) -> None:
    assert [
        f"{block.heading}: {key.name}"
        for block in described.values()
        for key in block.keys
        if not key.meaning
    ] == []
    assert [block.heading for block in described.values() if not block.text] == []


def test_no_meaning_stands_twice_in_the_source() -> None:
    meanings = Counter(
        node.value.value
        for path in (CHECKOUT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.keyword)
        and node.arg == "description"
        and isinstance(node.value, ast.Constant)
    )
    assert len(meanings) > 150
    assert [text for text, count in meanings.items() if count > 1 and text != "likewise"] == []


def test_every_link_leads_to_one_heading() -> None:
    headings = re.findall(r"^#+ (.*)$", page(), flags=re.MULTILINE)
    # GitHub: lower case, punctuation left out, hyphens for spaces.
    anchors = Counter(
        "".join(c for c in heading.lower() if c.isalnum() or c in "_- ").replace(" ", "-")
        for heading in headings
    )
    links = set(re.findall(r"\]\(#([^)]*)\)", page()))
    assert len(links) > 80
    assert {link: anchors[link] for link in links} == dict.fromkeys(links, 1)
    assert anchor("network: vgg16_batch_norm") == "network-vgg16_batch_norm"


def test_every_row_has_its_four_cells() -> None:
    for line in page().splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) == 5, line


def test_every_key_of_the_users_file_is_described(described: dict[str, Block]) -> None:
    content = yaml.safe_load((CHECKOUT / "config.yaml").read_text())
    assert content["resources"]
    assert keys_of(described["the config"]).keys() >= content.keys()
    assert keys_of(described["resources"]).keys() == content["resources"].keys()


def test_blocks_stand_in_the_order_of_the_config(described: dict[str, Block]) -> None:
    sections = [block.heading for block in described.values() if block.level == 2]
    keys = [key.name for key in described["the config"].keys]
    assert sections[1:-1] == [key for key in keys if key in sections]
    assert sections[0] == "the config"
    assert sections[-1] == "files of statements"
    assert keys_of(described["claims of statements"]).keys() == ClaimSettings.model_fields.keys()


def test_what_is_said_of_some_keys(described: dict[str, Block]) -> None:
    training = keys_of(described["training of recipes"])
    assert training["epochs"] == Key(
        "epochs", "an integer, greater than 0", "required", "passes over the training set"
    )
    assert training["snapshots"].allowed == (
        "a list of integers, each at least 0, or [a block](#snapshots-of-training), or one of "
        "minima, all"
    )
    assert training["schedule"].allowed == "[a block](#schedule-of-training)"
    assert training["schedule"].default == "`{name: piecewise_linear}`"
    assert training["optimiser"].default == "its defaults"
    assert training["gradient_clipping"].default == "empty"
    points = keys_of(described["schedule: breakpoints"])["points"]
    assert points.allowed == "a list of [blocks](#points-of-schedule), not empty"
    regression = keys_of(described["datasets: regression"])
    assert regression["target_range"].allowed == "a list of numbers, 2 of them"
    assert regression["intervals"].allowed == "a list of lists of numbers, not empty"
    digits = keys_of(described["datasets: digits, mnist, cifar10, cifar100, image_folder"])
    assert digits["test_fraction"].allowed == "a number, greater than 0, less than 1"
    assert r"train}/\<class>" not in digits["source"].meaning
    assert r"{train,test}/\<class>/\<image>" in digits["source"].meaning
    third = keys_of(described["planes"])["third"].allowed
    assert third == (
        "a text that names one of [recipes](#recipes) or [simplexes](#simplexes) or "
        "[curves](#curves)"
    )
    modes = keys_of(described["gotmare2018_modes"])["modes"].allowed
    assert modes == "named texts (name: text) that name some of [recipes](#recipes)"
    artefacts = keys_of(described["artefacts"])
    assert artefacts["garipov2018_table1"].meaning == "Table 1: ensembles for a budget"


def test_every_option_of_every_network_is_described(described: dict[str, Block]) -> None:
    for name, network in available().items():
        assert keys_of(described[f"network: {name}"]).keys() == network.options.keys()
        assert f"[{name}](#" in described["network of recipes"].text
    depth = keys_of(described["network: preresnet"])["depth"]
    assert depth == Key(
        "depth",
        "an integer",
        "`164`",
        "the layers with weights, without those of shortcuts: 6n+2 with basic blocks, 9n+2 with "
        "bottleneck blocks, for n blocks a stage",
    )


def models_below(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Every model of the config, found in pydantic's own schema."""
    known = {each.__name__: each for each in every_subclass(BaseModel)}
    for name in TypeAdapter(model).json_schema()["$defs"]:
        yield known[name]
    yield model


def every_subclass(model: type) -> Iterator[type]:
    for each in model.__subclasses__():
        yield each
        yield from every_subclass(each)


LIMITS = {"greater than": (0, 1), "at least": (-1, 0), "less than": (0, -1), "at most": (1, 0)}
"""How far a value that is refused lies from a limit, and one that is allowed."""


def test_limits_are_those_of_the_check(described: dict[str, Block]) -> None:
    """What pydantic refuses and allows, next to each limit that the page tells."""
    checked = 0
    headings = {tuple(keys_of(block)): block for block in described.values()}
    for model in models_below(Config):
        for key in headings[tuple(model.model_fields)].keys:
            numbers = re.fullmatch(r"an? (integer|number)((?:, [a-z ]+ [\d.e+-]+)+)", key.allowed)
            if numbers is None:
                continue
            field = model.model_fields[key.name]
            metadata = field.metadata or [None]
            check = TypeAdapter(Annotated[field.annotation, *metadata])
            step = 1 if numbers[1] == "integer" else 1e-3
            for words, text in re.findall(r", ([a-z ]+) ([\d.e+-]+)", numbers[2]):
                limit = int(text) if numbers[1] == "integer" else float(text)
                refused, allowed = (limit + step * way for way in LIMITS[words])
                check.validate_python(allowed, strict=True)
                with pytest.raises(ValidationError):
                    check.validate_python(refused, strict=True)
                checked += 1
    assert checked > 80


def texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from texts_in(each)


def fields_of(settings: Any) -> Iterator[tuple[str, set[str], Any]]:
    """Each key of a block and of those in it: its path, the sections it names, and its value."""
    if isinstance(settings, BaseModel):
        for name, field in type(settings).model_fields.items():
            value = getattr(settings, name)
            metadata = [*field.metadata, *inner_metadata(field.annotation)]
            sections = {each.section for each in metadata if isinstance(each, Names)}
            yield f"{type(settings).__name__}.{name}", sections, value
            yield from fields_of(value)
    elif isinstance(settings, list | dict):
        for each in settings.values() if isinstance(settings, dict) else settings:
            yield from fields_of(each)


def inner_metadata(annotation: Any) -> Iterator[Any]:
    yield from metadata_of(annotation)
    for each in getattr(annotation, "__args__", ()):
        yield from inner_metadata(each)


@pytest.mark.parametrize("scale", ["demo", "paper"])
def test_what_is_said_to_name_other_blocks_does(scale: str) -> None:
    """And what names one, by recipe/seed or simplex/seed, is said to."""
    config = load_config({"scale": scale}, CHECKOUT)
    named = 0
    for path, sections, value in fields_of(config):
        for text in texts_in(value):
            first = re.split(r"[/:@]", text)[0]
            if sections == {"artefacts"}:
                continue
            if sections:
                assert any(first in getattr(config, section) for section in sections), path
                named += 1
            elif first != text and path.rpartition(".")[2] != "folder":
                assert first not in {*config.recipes, *config.simplexes}, path
    assert named > 100
