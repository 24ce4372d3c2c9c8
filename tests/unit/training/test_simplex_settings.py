import pytest
from pydantic import ValidationError

from mode_connectivity.training.simplex_settings import (
    PRESETS,
    SimplexSettings,
    VertexReference,
    recipe_of_mode,
)

TRAINING = {"epochs": 2, "learning_rate": 0.1}


def make(**changes) -> SimplexSettings:
    return SimplexSettings.model_validate(
        {"modes": ["a"], "connectors": 2, "training": TRAINING, **changes}
    )


def test_every_mode_has_a_simplex_with_all_connectors() -> None:
    settings = make(modes=["a", "b/2"], connectors=3)
    assert settings.labels == ["w0", "w1", "t1", "t2", "t3"]
    assert settings.simplexes == [(0, 2, 3, 4), (1, 2, 3, 4)]
    assert settings.references(5) == ["a/5", "b/2"]
    assert make(modes=["a/1@3", "x/y.safetensors"]).references(5) == ["a/1@3", "x/y.safetensors"]


def test_simplexes_may_be_listed() -> None:
    settings = make(modes=["a", "b"], complex=[["t1", "w0"], ["w1", "t2", "t1"]])
    assert settings.simplexes == [(0, 2), (1, 2, 3)]


def test_presets_set_what_is_not_given() -> None:
    fields = PRESETS["released"]
    assert {name: getattr(make(), name) for name in fields} == fields
    written = make(preset="as_written")
    assert {name: getattr(written, name) for name in fields} == PRESETS["as_written"]
    assert all(
        PRESETS["as_written"][name] != fields[name] for name in fields if "scale" not in name
    )
    mixed = make(preset="as_written", volume="squared")
    assert (mixed.volume, mixed.reduction) == ("squared", "mean")


def test_settings_survive_the_way_to_a_job() -> None:
    written = make(preset="as_written", complex=[["w0", "t1"], ["w0", "t2"]])
    again = SimplexSettings(**written.model_dump(mode="json", exclude={"preset"}))
    assert again.model_dump(exclude={"preset"}) == written.model_dump(exclude={"preset"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": 0}, "greater than 0"),
        ({"points": 0}, "greater than 0"),
        ({"connectors": 0}, "greater than 0"),
        ({"modes": []}, "at least 1"),
        ({"modes": ["a", "b", "a"]}, "a is given twice: the volume is zero"),
        ({"modes": ["w.safetensors", "a/1"]}, "say with recipe"),
        ({"regularisation": -1.0}, "greater than or equal to 0"),
        ({"preset": "realised"}, "'released' or 'as_written'"),
        ({"complex": []}, "no simplex is given"),
        ({"complex": [["w0", "t1", "t2"], ["t2"]]}, r"complex\[1\]: .* has 1 vertices"),
        ({"complex": [["w0", "t1", "t2", "t1"]]}, "names a vertex twice"),
        ({"complex": [["w0", "t1", "t3"]]}, "t3, which is no vertex; vertices: w0, t1, t2"),
        ({"complex": [["w0", "t1"]]}, "t2 is a vertex of no simplex"),
        ({"complex": [["w0", "t2"], ["t1", "t2"]]}, "no simplex of t1 has a vertex that is there"),
        ({"training": {**TRAINING, "snapshots": [1]}}, "training.snapshots"),
        ({"training": {**TRAINING, "checkpoints": [1]}}, "training.checkpoints"),
        ({"training": {**TRAINING, "record_test": True}}, "training.record_test"),
    ],
)
def test_what_makes_no_simplex_is_refused(changes, message) -> None:
    with pytest.raises(ValidationError, match=message):
        make(**changes)


def test_vertices_are_named() -> None:
    parsed = VertexReference.parse("espro_10/3:t12")
    assert parsed == VertexReference(simplex="espro_10", seed=3, label="t12")
    for text in ("espro/3", "espro/3@4", "espro/03:t1", "espro/3:t0", "espro/3:x1", "espro:t1"):
        assert VertexReference.parse(text) is None
    assert recipe_of_mode("a") == recipe_of_mode("a/1") == recipe_of_mode("a/1@2") == "a"
    assert recipe_of_mode("a/b.safetensors") is None
