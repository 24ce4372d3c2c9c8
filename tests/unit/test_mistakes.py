import copy
import datetime
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from mode_connectivity.config import SECTIONS, Config
from mode_connectivity.data.settings import DatasetSettings
from mode_connectivity.evaluation.settings import EvaluationSettings
from mode_connectivity.mistakes import LONGEST, explain, shown, without_empty
from mode_connectivity.reporting.settings import ArtefactSettings
from mode_connectivity.training.recipes import CurveSettings, RecipeSettings
from mode_connectivity.training.settings import TrainingSettings

TRAINING = {
    "epochs": 10,
    "batch_size": 4,
    "learning_rate": 0.1,
    "optimiser": {"name": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    "augmentation": {"transforms": ["flip", "crop"], "crop_padding": 2},
    "snapshots": [1, 2],
    "precision": "float32",
}
SCHEDULES = [
    {"name": "constant", "per": "epoch"},
    {"name": "piecewise_linear", "hold": 0.2, "decay_until": 0.7, "final": 0.1},
    {"name": "step", "milestones": [3, 5], "factor": 0.2},
    {"name": "linear", "final": 0.1},
    {"name": "cosine", "minimum": 0.1},
    {"name": "cosine_restarts", "period": 2, "multiplier": 2, "minimum": 0.1},
    {"name": "cosine_cycles", "cycles": 3, "minimum": 0.1},
    {"name": "cyclic", "period": 2, "minimum": 0.1},
    {"name": "exponential", "hold": 2, "factor": 0.5},
]
DIGITS = {
    "title": "Digits",
    "source": "digits",
    "folder": "digits",
    "image_size": 16,
    "normalisation": {"mean": [0.5], "std": [0.5]},
    "test_fraction": 0.5,
    "split_seed": 1,
    "validation": 3,
}
IMAGE_FILES = {
    "title": "ImageNet",
    "source": "imagenet",
    "folder": "imagenet",
    "image_size": 64,
    "resize": 72,
    "normalisation": "vgg",
    "verify": False,
}
TEXT = {
    "title": "Text",
    "source": "text_files",
    "folder": "text",
    "minimum_count": 2,
    "unknown_words": "replace",
    "validation_fraction": 0.1,
    "test_fraction": 0.2,
    "split_seed": 3,
}
METHODS = ("independent", "snapshot", "fast_geometric", "weight_average")
ENSEMBLE = {
    "method": "fast_geometric",
    "recipes": ["a", "b"],
    "seeds": [1, 2, 3],
    "budgets": [1, 3],
}
CURVE = {
    "kind": "bezier",
    "start": "plain/1",
    "end": "plain/2@3",
    "bends": 2,
    "training": TRAINING,
    "seed": 3,
    "points": 5,
    "predictions": True,
}
PLANES = {"independent": "a", "bezier": "b", "polychain": "c", "train_loss_clip": 2.0}
ARTEFACTS = {
    "garipov2018_table2": {
        "rows": {"row": {"curves": ["a"], "published_as": {"dataset": "b", "network": "c"}}}
    },
    "garipov2018_curve_ensemble": {"curve_points": "a", "networks": ["b/1", "b/2"]},
    "garipov2018_trivial_path": {"curves": ["a"]},
    "garipov2018_figure1": PLANES,
    "garipov2018_figure2": {"segment": "a", "bezier": "b", "polychain": "c", "curve_points": "d"},
    "garipov2018_figure3": {"curves": ["a"], "option": "width"},
    "garipov2018_figure4": {"segment": "a", "polychain": "b", "random_segment": "c"},
}
MACHINE = {
    "scale": "demo",
    "select": ["a"],
    "results": "results",
    "data": "data",
    "download": False,
    "device": "auto",
    "threads": 1,
    "jobs_per_gpu": 2,
    "evaluation": {"batch_size": 5, "augment_statistics": True, "augment_metrics": False},
}
NETWORK = {"name": "fully_connected", "hidden": [3]}
VALID: list[tuple[Any, dict[str, Any]]] = [
    (DatasetSettings, DIGITS),
    (DatasetSettings, {**DIGITS, "normalisation": "unit"}),
    *((SECTIONS["datasets"], dataset) for dataset in (DIGITS, IMAGE_FILES, TEXT)),
    (SECTIONS["datasets"], {**TEXT, "source": "python_documentation"}),
    (
        RecipeSettings,
        {
            "dataset": "digits",
            "network": NETWORK,
            "title": "Plain",
            "initialisation": {"scheme": "torch", "scale": 1.0},
            "training": TRAINING,
        },
    ),
    (
        RecipeSettings,
        {
            "dataset": "digits",
            "network": NETWORK,
            "continues": "plain@3",
            "initialisation": {"scheme": "torchvision", "weights": "a"},
            "training": TRAINING,
        },
    ),
    *((TrainingSettings, {**TRAINING, "schedule": schedule}) for schedule in SCHEDULES),
    (
        TrainingSettings,
        {
            **TRAINING,
            "gradient_clipping": 0.5,
            "window": 5,
            "snapshots": "minima",
            "schedule": {"name": "cosine"},
            "checkpoints": [3, 5],
            "records_per_epoch": 2,
            "record_test": True,
        },
    ),
    (CurveSettings, CURVE),
    (
        SECTIONS["planes"],
        {"start": "a/1", "end": "a/2", "third": "b", "points": 4, "margin": 0.1},
    ),
    (SECTIONS["ensembles"], {"method": "curve_points", "curve": "a", "points": 5}),
    *((SECTIONS["ensembles"], {**ENSEMBLE, "method": name}) for name in METHODS),
    (ArtefactSettings, ARTEFACTS),
    (Config, MACHINE),
]
ODD_VALUES = [
    None,
    True,
    -1,
    0,
    3,
    2.5,
    10**30,
    float("nan"),
    float("inf"),
    "",
    "text",
    "5e-2",
    "7",
    [],
    [None],
    ["text", 3],
    ["5e-2"],
    {},
    {"name": "unknown"},
    {"name": 3},
    {"name": None},
    {"unknown": 1},
    {3: 4},
    {"mean": ["5e-2"], "std": [1.0]},
    {"row": None},
    {"row": {"curves": [3]}},
    datetime.date(2018, 2, 27),
]
INTERNAL = (
    "input should",
    "pydantic",
    "http",
    "settings",
    "function-",
    "literal",
    "union",
    "tag",
    "discriminator",
    "dictionary",
    "instance",
    "valid ",
    "extra",
    "nonetype",
    "[key]",
    "value error",
    "another value",
)

Keys = tuple[int | str, ...]


def mistakes(model: Any, value: Any) -> list[tuple[Keys, str]]:
    try:
        TypeAdapter(model).validate_python(without_empty(value, model))
    except ValidationError as error:
        return list(explain(error, model, without_empty(value, model)))
    return []


def nodes(value: Any, path: Keys = ()) -> Iterator[Keys]:
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from nodes(inner, (*path, key))


def replaced(value: Any, path: Keys, inner: Any) -> Any:
    if not path:
        return inner
    changed = copy.copy(value)
    changed[path[0]] = replaced(value[path[0]], path[1:], inner)
    return changed


def at(value: Any, path: Keys) -> Any:
    for key in path:
        value = value[key]
    return value


def ids(parameter: Any) -> str | None:
    if isinstance(parameter, type):
        return parameter.__name__
    return None if isinstance(parameter, dict) else "union"


@pytest.mark.parametrize(("model", "valid"), VALID, ids=ids)
def test_samples_are_valid(model: Any, valid: dict[str, Any]) -> None:
    assert mistakes(model, valid) == []


@pytest.mark.parametrize(("model", "valid"), VALID, ids=ids)
def test_odd_values_are_explained_at_their_place(model: Any, valid: dict[str, Any]) -> None:
    told = 0
    for path in nodes(valid):
        for odd in ODD_VALUES:
            for keys, text in mistakes(model, replaced(valid, path, odd)):
                # A block says for itself what its values together are not.
                common = keys[: len(path)]
                assert common == path[: len(common)], (path, odd, keys, text)
                assert not [word for word in INTERNAL if word in text.lower()], (keys, text)
                assert not any("[" in key for key in keys if isinstance(key, str)), keys
                assert "\n" not in text
                told += 1
    assert told > 20


@pytest.mark.parametrize(("model", "valid"), VALID, ids=ids)
def test_unknown_key_is_told_in_every_block(model: Any, valid: dict[str, Any]) -> None:
    blocks = [path for path in nodes(valid) if isinstance(at(valid, path), Mapping)]
    for path in blocks:
        if path[-1:] in [("network",), ("rows",)]:
            continue
        block = at(valid, path)
        first = next(iter(block))
        misspelt = f"{first}x"
        found = mistakes(model, replaced(valid, path, {**block, misspelt: 1}))
        assert [keys for keys, _ in found] == [(*path, misspelt)]
        text = found[0][1]
        assert text.startswith("unknown key; allowed: ")
        assert text.endswith(f"; did you mean {first!r}?")
        allowed = text.removeprefix("unknown key; allowed: ").split("; ")[0].split(", ")
        assert set(block) <= set(allowed)


def texts(model: Any, valid: Mapping[str, Any], **changes: Any) -> list[str]:
    found = mistakes(model, {**valid, **changes})
    return [f"{'.'.join(map(str, keys))}: {text}" for keys, text in found]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"learning_rate": "5e-2"},
            "learning_rate: found '5e-2'; it must be a number, without quotes and with a point: "
            "0.05",
        ),
        ({"learning_rate": "fast"}, "learning_rate: found 'fast'; it must be a number"),
        ({"learning_rate": True}, "learning_rate: found true; it must be a number"),
        ({"learning_rate": float("nan")}, "learning_rate: found .nan; it must be a finite number"),
        ({"learning_rate": 0.0}, "learning_rate: found 0.0; it must be greater than 0"),
        ({"epochs": "20"}, "epochs: found '20'; it must be an integer, without quotes: 20"),
        ({"epochs": "2.5"}, "epochs: found '2.5'; it must be an integer"),
        ({"epochs": 20.0}, "epochs: found 20.0; it must be an integer"),
        ({"epochs": -5}, "epochs: found -5; it must be greater than 0"),
        (
            {"epochs": None},
            "epochs: is missing; give an integer (passes over the training set)",
        ),
        ({"checkpoints": 3}, "checkpoints: found 3; it must be a list of integers; write [3]"),
        (
            {"checkpoints": ["3"]},
            "checkpoints.0: found '3'; it must be an integer, without quotes: 3",
        ),
        ({"checkpoints": [0]}, "checkpoints.0: found 0; it must be greater than 0"),
        ({"checkpoints": [11]}, ": checkpoints [11] lie beyond the 10 epochs of training"),
        ({"snapshots": 3}, "snapshots: found 3; it must be a list of integers, or ..."),
        (
            {"snapshots": "minimum"},
            "snapshots: found 'minimum'; it must be a list of integers, or a block (key: value) "
            "with the keys first, every, or one of minima, all; did you mean 'minima'?",
        ),
        (
            {"snapshots": "minima"},
            ": schedule 'piecewise_linear' has no minima; list the epochs, or choose ...",
        ),
        (
            {"schedule": {"name": "cyclic", "period": 3, "minimum": 0.1}},
            "schedule: period is 3; it must be even, so that the minimum of a cycle falls on the "
            "end of an epoch, such as 4",
        ),
        (
            {"schedule": {"name": "cyclic", "period": 6, "minimum": 0.1}},
            ": cycles of 6 epochs do not fit into 10 epochs: the epochs must be a multiple of "
            "half a cycle, such as 9 or 12",
        ),
        (
            {"schedule": {"name": "cosine_cycles", "cycles": 11}},
            ": 11 cycles do not fit into 10 epochs",
        ),
        (
            {"precision": "float23"},
            "precision: found 'float23'; it must be one of auto, float32, bfloat16; "
            "did you mean 'float32'?",
        ),
        (
            {"optimiser": {"nesterov": "yes"}},
            "optimiser.nesterov: found 'yes'; it must be true or false",
        ),
        (
            {"optimiser": "adam"},
            "optimiser: found 'adam'; it must be a block (key: value) with the keys name, "
            "momentum, nesterov, weight_decay, weight_decay_on; write {name: adam}",
        ),
        (
            {"optimiser": {"momentum": -0.1}},
            "optimiser.momentum: found -0.1; it must be at least 0",
        ),
        (
            {"optimiser": {"momentum": float("inf")}},
            "optimiser.momentum: found .inf; it must be a finite number",
        ),
        (
            {"optimiser": {"nesterov": True, "momentum": 0.0}},
            "optimiser: nesterov needs a momentum above 0",
        ),
        (
            {"augmentation": {"transforms": ["crap"]}},
            "augmentation.transforms.0: found 'crap'; it must be one of flip, crop; "
            "did you mean 'crop'?",
        ),
        (
            {"augmentation": {"transforms": "crop"}},
            "augmentation.transforms: found 'crop'; it must be a list of flip, crop; write [crop]",
        ),
        (
            {"schedule": "cosine"},
            "schedule: found 'cosine'; it must be a block with the key name, one of constant, "
            "piecewise_linear, step, linear, cosine, cosine_restarts, cosine_cycles, cyclic, "
            "exponential, breakpoints; write {name: cosine}",
        ),
        (
            {"schedule": {"name": "cosin"}},
            "schedule.name: found 'cosin'; it must be one of constant, piecewise_linear, step, "
            "linear, cosine, cosine_restarts, cosine_cycles, cyclic, exponential, breakpoints; "
            "did you mean 'cosine'?",
        ),
        ({"schedule": {"hold": 0.5}}, "schedule.name: is missing; give one of constant, ..."),
        (
            {"schedule": {"name": "step", "factor": 0.1}},
            "schedule.milestones: is missing; give a list of integers (finished epochs)",
        ),
        (
            {"schedule": {"name": "step", "factor": 0.1, "milestones": []}},
            "schedule.milestones: is empty; give a list of integers",
        ),
        (
            {"schedule": {"name": "step", "milestones": [1]}},
            "schedule.factor: is missing; give a number (of the learning rate, each time it falls)",
        ),
        (
            {"schedule": {"name": "step", "factor": 0.1, "milestones": [60, "5e1"]}},
            "schedule.milestones.1: found '5e1'; it must be an integer, without quotes: 50",
        ),
        ({"schedule": {"name": "cyclic", "minimum": 0.1}}, "schedule.period: is missing; ..."),
        (
            {"schedule": {"name": "piecewise_linear", "hold": 0.9, "decay_until": 0.5}},
            "schedule: decay_until (0.5) must exceed hold (0.9)",
        ),
        ({"snapshots": [3, 11]}, ": snapshots [11] lie beyond the 10 epochs of training"),
        (
            {"schedul": {}},
            "schedul: unknown key; allowed: augmentation, average_snapshots, batch_size, ...",
        ),
        ({"weight_decay": 0.1}, "weight_decay: unknown key; allowed: ..."),
        ({4: 1}, "4: unknown key; allowed: ..."),
    ],
)
def test_one_mistake_of_a_training(changes: dict[str, Any], expected: str) -> None:
    found = mistakes(TrainingSettings, {**TRAINING, **changes})
    assert len(found) == 1, found
    keys, text = found[0]
    told = f"{'.'.join(map(str, keys))}: {text}"
    assert told == expected or (expected.endswith("...") and told.startswith(expected[:-3]))


def test_key_of_an_inner_block_is_sent_there() -> None:
    (text,) = texts(TrainingSettings, TRAINING, weight_decay=0.1)
    assert text.endswith("; did you mean 'optimiser.weight_decay'?")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            "dat",
            [
                "normalisation: found 'dat'; it must be one of vgg, resnet, mnist, data, unit, or "
                "a block (key: value) with the keys mean, std; did you mean 'data'?"
            ],
        ),
        (
            [0.5],
            [
                "normalisation: found [0.5]; it must be one of vgg, resnet, mnist, data, unit, or "
                "a block (key: value) with the keys mean, std"
            ],
        ),
        (
            {"mean": ["5e-2"], "std": [1.0]},
            [
                "normalisation.mean.0: found '5e-2'; it must be a number, without quotes and with "
                "a point: 0.05"
            ],
        ),
        (
            {"mean": [0.5], "sdt": [1.0]},
            [
                "normalisation.std: is missing; give a list of numbers (what is divided by)",
                "normalisation.sdt: unknown key; allowed: mean, std; did you mean 'std'?",
            ],
        ),
    ],
)
def test_value_that_may_be_a_name_or_a_block(found: Any, expected: list[str]) -> None:
    assert texts(DatasetSettings, DIGITS, normalisation=found) == expected


DATASETS, ENSEMBLES = SECTIONS["datasets"], SECTIONS["ensembles"]
SOURCES = (
    "digits, mnist, cifar10, cifar100, image_folder, imagenet, image_files, ptb, text_files, "
    "python_documentation, two_spirals, regression"
)


@pytest.mark.parametrize(
    ("model", "value", "expected"),
    [
        (
            DATASETS,
            {**TEXT, "source": "pbt"},
            f"source: found 'pbt'; it must be one of {SOURCES}; did you mean 'ptb'?",
        ),
        (DATASETS, {**DIGITS, "source": 3}, f"source: found 3; it must be one of {SOURCES}"),
        (DATASETS, {"title": "a"}, f"source: is missing; give one of {SOURCES}"),
        (DATASETS, {"title": "a", "source": None}, f"source: is missing; give one of {SOURCES}"),
        (
            DATASETS,
            "digits",
            f": found 'digits'; it must be a block with the key source, one of {SOURCES}",
        ),
        (
            DATASETS,
            {"source": "ptb"},
            "title: is missing; give a text (the name printed in tables)",
        ),
        (
            DATASETS,
            {"title": "a", "source": "regression", "intervals": 3},
            "intervals: found 3; it must be a list of lists of numbers; write [3]",
        ),
        # Each source has keys of its own.
        (
            DATASETS,
            {**IMAGE_FILES, "minimum_count": 2},
            "minimum_count: unknown key; allowed: folder, image_size, normalisation, resize, "
            "source, title, verify",
        ),
        (
            DATASETS,
            {**TEXT, "minimum_cuont": 2},
            "minimum_cuont: unknown key; allowed: folder, minimum_count, source, split_seed, "
            "test_fraction, title, unknown_words, validation_fraction; did you mean "
            "'minimum_count'?",
        ),
        (
            DATASETS,
            {**TEXT, "source": "ptb", "unknown_words": "replaced"},
            "unknown_words: found 'replaced'; it must be one of error, replace; did you mean "
            "'replace'?",
        ),
        (
            DATASETS,
            {**IMAGE_FILES, "resize": 32},
            ": resize (32) must be at least image_size (64)",
        ),
        (
            DATASETS,
            {**IMAGE_FILES, "normalisation": {"mean": ["5e-1"], "std": [1.0]}},
            "normalisation.mean.0: found '5e-1'; it must be a number, without quotes and with a "
            "point: 0.5",
        ),
        (
            ENSEMBLES,
            {**ENSEMBLE, "method": "fast_geometrik"},
            "method: found 'fast_geometrik'; it must be one of curve_points, independent, "
            "snapshot, fast_geometric, weight_average, swag, curve_swag, subspace, simplex; "
            "did you mean 'fast_geometric'?",
        ),
        (
            ENSEMBLES,
            {"recipes": ["a"], "seeds": [1]},
            "method: is missing; give one of curve_points, independent, snapshot, "
            "fast_geometric, weight_average, swag, curve_swag, subspace, simplex",
        ),
        (
            ENSEMBLES,
            {**ENSEMBLE, "points": 5},
            "points: unknown key; allowed: budgets, method, recipes, seeds",
        ),
        (
            ENSEMBLES,
            {"method": "curve_points", "curve": "a", "recipes": ["a"]},
            "recipes: unknown key; allowed: curve, method, points",
        ),
        (
            ENSEMBLES,
            {**ENSEMBLE, "method": "snapshot", "seeds": [1, -1, 2]},
            "seeds.1: found -1; it must be at least 0",
        ),
        (ENSEMBLES, {**ENSEMBLE, "seeds": []}, "seeds: is empty; give a list of integers"),
        (
            ENSEMBLES,
            {**ENSEMBLE, "method": "weight_average", "budgets": [1, 4]},
            ": budgets [4] need as many seeds; there are 3: [1, 2, 3]",
        ),
        (
            ENSEMBLES,
            {**ENSEMBLE, "method": "independent", "recipes": ["a", "a"]},
            ": recipes ['a', 'a'] names one twice; each may come once",
        ),
    ],
)
def test_one_mistake_where_a_key_tells_which_block_it_is(
    model: Any, value: Any, expected: str
) -> None:
    found = mistakes(model, value)
    assert [f"{'.'.join(map(str, keys))}: {text}" for keys, text in found] == [expected]


def test_every_mistake_of_such_a_block_is_told() -> None:
    assert texts(ENSEMBLES, ENSEMBLE, recipes=["a", 3], seeds=2, budgets=[0]) == [
        'recipes.1: found 3; it must be a text; write "3"',
        "seeds: found 2; it must be a list of integers; write [2]",
        "budgets.0: found 0; it must be greater than 0",
    ]
    # Without the key nothing else can be said.
    assert len(mistakes(ENSEMBLES, {"recipes": 3, "seeds": "a"})) == 1


def test_such_a_block_below_a_name() -> None:
    value = {**MACHINE, "datasets": {"text": {**TEXT, "source": "pbt"}, "other": {"title": 3}}}
    assert [keys for keys, _ in mistakes(Config, value)] == [
        ("datasets", "text", "source"),
        ("datasets", "other", "source"),
    ]
    value = {**MACHINE, "datasets": {"text": {**TEXT, "title": 3}, "digits": {**DIGITS, "a": 1}}}
    assert [keys for keys, _ in mistakes(Config, value)] == [
        ("datasets", "text", "title"),
        ("datasets", "digits", "a"),
    ]
    value = {**MACHINE, "ensembles": {"fge": {**ENSEMBLE, "method": None}}}
    assert [keys for keys, _ in mistakes(Config, value)] == [("ensembles", "fge", "method")]


def test_numbers_where_texts_are_needed() -> None:
    assert texts(DatasetSettings, DIGITS, title=5) == [
        'title: found 5; it must be a text; write "5"'
    ]
    assert texts(DatasetSettings, DIGITS, title="") == ["title: is empty; give a text"]


def test_limits_are_written_out() -> None:
    assert texts(DatasetSettings, DIGITS, split_seed=2**32) == [
        "split_seed: found 4294967296; it must be less than 4294967296"
    ]


def test_every_mistake_of_a_network_is_one() -> None:
    recipe = {"dataset": "a", "network": {**NETWORK, "hiden": 3, "hidden": "5e-2"}}
    found = texts(RecipeSettings, {**recipe, "training": TRAINING})
    assert len(found) == 2
    assert found[0].startswith("network: network 'fully_connected': option 'hidden' is '5e-2'")
    assert found[1].startswith("network: network 'fully_connected': option 'hiden' is unknown")


def test_names_below_rows_are_texts() -> None:
    rows = {3: {"curves": ["a"]}}
    assert texts(ArtefactSettings, {}, garipov2018_table2={"rows": rows}) == [
        "garipov2018_table2.rows.3: the key 3 is no text; put it in quotes"
    ]
    assert texts(ArtefactSettings, {}, garipov2018_table2={"rows": {}}) == [
        "garipov2018_table2.rows: is empty; give named blocks (name: block)"
    ]
    assert texts(ArtefactSettings, {}, gotmare2018_figure1={"connections": ["a"]}) == [
        "gotmare2018_figure1.connections: found ['a']; it must be named texts (name: text)"
    ]


def test_further_keys_are_allowed_at_the_top_only() -> None:
    value = {**CURVE, "extend": "a", "training": {**TRAINING, "extend": "b"}}
    with pytest.raises(ValidationError) as caught:
        CurveSettings.model_validate(value)
    found = dict(explain(caught.value, CurveSettings, value, further_keys=("extends",)))
    assert found[("extend",)].endswith("did you mean 'extends'?")
    assert "extends" not in found[("training", "extend")]


def test_empty_keys_are_as_good_as_absent() -> None:
    value = {
        "epochs": 3,
        "learning_rate": 0.1,
        "schedule": None,
        "snapshots": None,
        "optimiser": {"momentum": None, "name": "adam"},
        "unknown": None,
    }
    kept = {"epochs": 3, "learning_rate": 0.1, "optimiser": {"name": "adam"}, "unknown": None}
    assert without_empty(value, TrainingSettings) == kept
    curve = {"kind": "segment", "training": None, "start": "a/1", "end": "a/2", "bends": None}
    assert CurveSettings.model_validate(without_empty(curve, CurveSettings)).training is None


def test_options_of_a_network_may_be_empty() -> None:
    recipe = {"network": {"name": "own", "option": None}, "title": None}
    assert without_empty(recipe, RecipeSettings) == {"network": {"name": "own", "option": None}}


def test_names_of_rows_are_no_keys() -> None:
    rows = {"rows": {"curves": None, "b": {"curves": ["c"], "published_as": None}}}
    kept = {"rows": {"curves": None, "b": {"curves": ["c"]}}}
    artefact = {"garipov2018_table2": rows, "garipov2018_figure1": None}
    assert without_empty(artefact, ArtefactSettings) == {"garipov2018_table2": kept}


def test_evaluation_left_empty_is_the_default() -> None:
    assert without_empty({"evaluation": {"batch_size": None}}, Config) == {"evaluation": {}}
    assert EvaluationSettings.model_validate({}) == EvaluationSettings()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "nothing"),
        (True, "true"),
        (0.5, "0.5"),
        (float("-inf"), "-.inf"),
        (float("nan"), ".nan"),
        ("a", "'a'"),
        ([None, "a"], "[nothing, 'a']"),
        ({"a": False}, "{a: false}"),
    ],
)
def test_values_are_shown_as_in_yaml(value: Any, text: str) -> None:
    assert shown(value) == text


def test_long_values_are_cut() -> None:
    assert len(shown("a" * 1000)) == LONGEST
    assert shown(["a"] * 1000).endswith("...")
