"""Nothing stale, and nothing in vain: what a change makes run again."""

import os
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pipeline import EVERYTHING, Project, copy_checkout

FIGURES = {
    *(f"garipov2018_figure{number}" for number in range(1, 9)),
    *(f"gotmare2018_figure{number}" for number in (1, 2, 3, 4, 7)),
    *(f"benton2021_figure{number}" for number in (2, 10, 11)),
}
PLANE_FIGURES = {f"figures/garipov2018_figure{number}" for number in (1, 7, 8)}
ITERATES_FIGURES = {f"figures/gotmare2018_figure{number}" for number in (2, 3, 7)}
PLANES = {
    *(f"planes/preresnet8_{name}" for name in ("independent", "bezier", "polychain")),
    "planes/preresnet8_swag",
    "planes/narrow_sgdr",
}
ALIGNED_ROW = [f"preresnet8_{name}" for name in ("segment", "bezier", "polychain", "aligned")]
SNAPSHOTS = {"curves/preresnet8_polychain/snapshots"}
GEOMETRIES = {"geometries/preresnet8"}
CURVES = {
    *(f"curves/perceptron_{name}" for name in ("bezier", "iterates", "trivial")),
    *(f"curves/preresnet8_{name}" for name in ("segment", "bezier", "polychain", "random")),
    *(f"curves/lstm_{name}" for name in ("segment", "bezier", "polychain")),
    *(f"curves/narrow_{name}" for name in ("bezier", "sgdr_segment", "sgdr_polychain")),
    "curves/narrow_elsewhere_polychain",
}
NETWORKS = {
    *(f"networks/{recipe}/seed{seed}" for recipe in ("perceptron", "narrow") for seed in (1, 2)),
    *(f"networks/preresnet8{way}/seed{seed}" for way in ("", "_snapshot") for seed in (1, 2, 3)),
    *(f"networks/preresnet8_fge{epoch}/seed{seed}" for epoch in (1, 2) for seed in (1, 2, 3)),
    *(f"networks/lstm/seed{seed}" for seed in (1, 2)),
    *(f"networks/narrow_{name}/seed1" for name in ("finetuned", "sgdr")),
}
EVALUATIONS = {f"networks/preresnet8/seed{seed}/evaluation" for seed in (1, 2, 3)}
ENSEMBLES = {
    *(f"ensembles/preresnet8_{name}" for name in ("independent", "snapshot")),
    *(f"ensembles/preresnet8_{name}" for name in ("fast_geometric", "weight_average")),
    "ensembles/narrow_finetuned",
}
SIMPLEXES = {
    *(
        f"simplexes/{recipe}_espro/seed1{part}"
        for recipe in ("narrow", "preresnet8")
        for part in ("", "/connectors1")
    ),
    *(f"ensembles/{recipe}_espro" for recipe in ("narrow", "preresnet8")),
}
SAMPLES = {"ensembles/preresnet8_swag", "ensembles/preresnet8_curve_swag"}
SUBSPACES = {"ensembles/narrow_subspace"}
SHIFTED = {
    f"ensembles/preresnet8_{name}/{part}"
    for name in ("espro", "independent", "weight_average", "swag")
    for part in ("corruptions/gaussian_noise", "shift")
}
SHIFT_REPORTS = {"tables/benton2021_figure11", "figures/benton2021_figure11"}
FUNCTIONS = {f"ensembles/regression{way}" for way in ("", "_espro", "_subspace")}
FUNCTION_REPORTS = {"tables/benton2021_figure10", "figures/benton2021_figure10"}
REGRESSION = FUNCTIONS | {
    *(f"networks/regression/seed{seed}" for seed in (1, 2)),
    "curves/regression_bezier",
    "simplexes/regression_espro/seed1",
}
POINTS = "ensembles/preresnet8_polychain"
TABLES = {
    *(f"tables/garipov2018_{name}" for name in ("table1_shapes", "table2_shapes", "table3_words")),
    *(f"tables/garipov2018_{name}" for name in ("imagenet", "curve_ensemble", "trivial_path")),
    "tables/gotmare2018_modes_shapes",
    *(f"tables/benton2021_figure{number}" for number in (10, 11)),
}
SUMMARY = {"claims", "report"}
"""Made of all tables and figures together."""
REPORTS = TABLES | {f"figures/{name}" for name in FIGURES} | {"figures/garipov2018_trivial_path"}
DATASETS = {
    *(f"datasets/{name}" for name in ("shapes", "words", "regression")),
    "datasets/shapes/corruptions/gaussian_noise",
}


def jobs(files: Iterable[str]) -> set[str]:
    """Return what files belong to: a folder, two where two jobs write there, or a bare name."""
    found = set()
    for file in files:
        path = Path(file)
        if path.parent == Path():
            found.add(path.stem.removesuffix("_details"))
        elif path.parts[0] in ("datasets", "tables", "figures"):
            found.add(str(path.with_suffix("")))
        elif path.name in ("grid.csv", "grid.json", "correct.safetensors") and (
            path.parts[0] == "curves"
        ):
            found.add(f"{path.parent}/grid")
        elif path.name in ("snapshots.csv", "snapshots.json"):
            found.add(f"{path.parent}/snapshots")
        elif path.name in ("metrics.csv", "ensembles.safetensors") and (
            path.parts[0] == "ensembles"
        ):
            found.add(f"{path.parent}/metrics")
        elif path.stem == "shift":
            found.add(f"{path.parent}/shift")
        else:
            found.add(str(path.parent))
    return found


def grids(curves: Iterable[str]) -> set[str]:
    return {f"{curve}/grid" for curve in curves}


def metrics(ensembles: Iterable[str]) -> set[str]:
    return {f"{ensemble}/metrics" for ensemble in ensembles}


def trained(recipe: str) -> set[str]:
    """Everything that the weights of a recipe and of its branches are part of, up to the grids."""
    networks = {name for name in NETWORKS if name.startswith(f"networks/{recipe}")}
    curves = {name for name in CURVES if f"/{recipe}_" in name}
    bent = {name for name in curves if name.endswith(("bezier", "polychain", "iterates"))}
    ensembles = {name for name in ENSEMBLES if f"/{recipe}_" in name}
    planes = {name for name in PLANES if f"/{recipe}_" in name}
    simplexes = {name for name in SIMPLEXES | SUBSPACES if f"/{recipe}_" in name}
    if simplexes & SIMPLEXES:
        simplexes |= metrics({f"ensembles/{recipe}_espro"})
    return networks | bent | grids(curves) | planes | ensembles | metrics(ensembles) | simplexes


RESIDUAL = (
    trained("preresnet8") | EVALUATIONS | {POINTS} | SNAPSHOTS | GEOMETRIES | SAMPLES | SHIFTED
)
RESIDUAL_REPORTS = {
    name
    for name in REPORTS
    if not name.endswith(("figure3", "trivial_path", "table3_words", "imagenet", "figure10"))
}


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    return finished.copy(tmp_path / "project")


@pytest.fixture
def edited(finished: Project, tmp_path: Path) -> Project:
    """The finished project, run by a copy of the checkout that can be edited."""
    return Project(finished.copy(tmp_path / "project").folder, copy_checkout(tmp_path / "checkout"))


def outdated(project: Project, *targets: str) -> set[str]:
    return jobs(project.outdated(*(targets or EVERYTHING)))


def with_summary(expected: set[str]) -> set[str]:
    """Add what is made of tables and figures, where one of them is made again."""
    return expected | SUMMARY if expected & REPORTS else expected


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_the_names_above_are_all_there_is(finished) -> None:
    everything = finished.outdated(*EVERYTHING, options=["--forceall"])
    kinds = trained("perceptron") | trained("narrow") | trained("lstm") | RESIDUAL
    assert jobs(everything) == DATASETS | kinds | REGRESSION | REPORTS | SUMMARY


def test_nothing_is_to_be_done_twice(finished) -> None:
    assert "Nothing to be done" in finished.make(*EVERYTHING, options=["--dry-run"])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param(
            {"curves": {"narrow_bezier": {"training": {"learning_rate": 0.02}}}},
            {
                "curves/narrow_bezier",
                "curves/narrow_bezier/grid",
                *SUBSPACES,
                "figures/garipov2018_figure3",
            },
            id="learning rate of a curve",
        ),
        pytest.param(
            {"curves": {"preresnet8_random": {"points": 7}}},
            {"curves/preresnet8_random/grid", "figures/garipov2018_figure4"},
            id="points of a grid",
        ),
        pytest.param(
            {"evaluation": {"batch_size": 20}},
            # Networks only where they are measured while they are trained.
            {f"networks/preresnet8_fge2/seed{seed}" for seed in (1, 2, 3)}
            | {"networks/narrow_sgdr/seed1", "curves/narrow_sgdr_polychain"}
            | grids(CURVES)
            | SNAPSHOTS
            | EVALUATIONS
            | PLANES
            | {POINTS}
            | ENSEMBLES
            | metrics(ENSEMBLES)
            | SIMPLEXES - {f"simplexes/{recipe}_espro/seed1" for recipe in ("narrow", "preresnet8")}
            | metrics(f"ensembles/{recipe}_espro" for recipe in ("narrow", "preresnet8"))
            | SAMPLES
            | SUBSPACES
            | SHIFTED
            | FUNCTIONS
            # Distances are none of it.
            | REPORTS - {"figures/gotmare2018_figure4"},
            id="batch size of the evaluation",
        ),
        pytest.param(
            {"datasets": {"shapes": {"title": "Forms"}}},
            REPORTS - {"tables/garipov2018_table3_words"} - FUNCTION_REPORTS,
            id="title of the data",
        ),
        pytest.param(
            {"recipes": {"perceptron": {"title": "One layer"}}},
            {
                "tables/garipov2018_trivial_path",
                "figures/garipov2018_trivial_path",
                "figures/garipov2018_figure3",
                "tables/garipov2018_imagenet",
            }
            | ITERATES_FIGURES,
            id="title of a network",
        ),
        pytest.param(
            {
                "curves": {
                    "preresnet8_aligned": {"extends": "preresnet8_segment", "alignment": {}}
                },
                "artefacts": {"garipov2018_table2": {"rows": {"shapes": {"curves": ALIGNED_ROW}}}},
            },
            {"curves/preresnet8_aligned/grid", "tables/garipov2018_table2_shapes"},
            id="an aligned segment",
        ),
        pytest.param(
            {"planes": {"preresnet8_bezier": {"margin": 0.3}}},
            {"planes/preresnet8_bezier"} | PLANE_FIGURES,
            id="margin of a plane",
        ),
        pytest.param(
            {"planes": {"narrow_sgdr": {"iterates": None}}},
            {"planes/narrow_sgdr", "figures/gotmare2018_figure3"},
            id="iterates of a plane",
        ),
        pytest.param(
            {"geometries": {"preresnet8": {"points": {"B": "preresnet8_bezier"}}}},
            GEOMETRIES | {"figures/gotmare2018_figure4"},
            id="a point of a geometry",
        ),
        pytest.param(
            {"artefacts": {"gotmare2018_modes": {"margin": 2.0}}},
            {"tables/gotmare2018_modes_shapes"},
            id="what counts as almost as well",
        ),
        pytest.param(
            {"artefacts": {"garipov2018_figure7": {"test_error_clip": 90.0}}},
            {"figures/garipov2018_figure7"},
            id="colours of a figure",
        ),
        pytest.param(
            {"ensembles": {"preresnet8_weight_average": {"budgets": [1, 3]}}},
            {
                "ensembles/preresnet8_weight_average/metrics",
                "ensembles/preresnet8_weight_average/shift",
                "tables/garipov2018_table1_shapes",
                *SHIFT_REPORTS,
            },
            id="budgets of an ensemble",
        ),
        pytest.param(
            {"recipes": {"preresnet8_fge2": {"training": {"learning_rate": 0.02}}}},
            {
                *(f"networks/preresnet8_fge2/seed{seed}" for seed in (1, 2, 3)),
                *(f"ensembles/preresnet8_{name}" for name in ("fast_geometric", "weight_average")),
                "ensembles/preresnet8_fast_geometric/metrics",
                "ensembles/preresnet8_weight_average/metrics",
                "ensembles/preresnet8_weight_average/corruptions/gaussian_noise",
                "ensembles/preresnet8_weight_average/shift",
                *SHIFT_REPORTS,
                "tables/garipov2018_table1_shapes",
                "figures/garipov2018_figure5",
                "figures/garipov2018_figure6",
                "figures/gotmare2018_figure2",
            },
            id="learning rate of a branch",
        ),
        pytest.param(
            {"datasets": {"words": {"unknown_words": "replace"}}},
            {"datasets/words", "tables/garipov2018_table3_words"} | trained("lstm"),
            id="words of a text",
        ),
        pytest.param(
            {
                "recipes": {
                    "another": {"extends": "perceptron", "network": {"width": 2.0}},
                    "branch": {"extends": "perceptron", "continues": "perceptron"},
                    "late": {"extends": "preresnet8_fge1", "training": {"snapshots": []}},
                },
                "datasets": {"others": {"extends": "shapes", "folder": "others"}},
                "curves": {"another": {"extends": "perceptron_bezier", "start": "perceptron/3"}},
                "ensembles": {
                    "another": {
                        "extends": "preresnet8_weight_average",
                        "seeds": [1, 2, 3, 4],
                        "recipes": ["preresnet8_fge1"],
                    }
                },
                "artefacts": {
                    "garipov2018_table2": {"rows": {"another": {"curves": ["preresnet8_segment"]}}}
                },
            },
            set(),
            id="further experiments",
        ),
    ],
)
def test_a_setting_reruns_its_part(project, changes, expected) -> None:
    project.configure(changes)
    assert outdated(project) == with_summary(expected)


def test_defaults_written_out_rerun_nothing(project) -> None:
    project.configure(
        {
            "device": "cpu",
            "data": "./data",
            "jobs_per_gpu": 3,
            "recipes": {
                "preresnet8": {"initialisation": {"scheme": "fan_out", "scale": 1.0}},
                "narrow": {"continues": None, "training": {"records_per_epoch": 1}},
            },
            "ensembles": {"narrow_finetuned": {"budgets": [1]}},
            "curves": {"perceptron_bezier": {"bends": 1, "seed": 1, "predictions": False}},
            "planes": {"preresnet8_bezier": {"margin": 0.2}},
        }
    )
    assert outdated(project) == set()


def test_the_order_of_keys_is_of_no_matter(project) -> None:
    path = project.folder / "config.yaml"
    content = yaml.safe_load(path.read_text())
    for section in ("datasets", "recipes", "curves", "planes", "ensembles"):
        content[section] = backwards(content[section])
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    assert outdated(project) == set()


def backwards(content: Any) -> Any:
    """Return nested dicts with their keys in the opposite order."""
    if not isinstance(content, dict):
        return content
    return {key: backwards(content[key]) for key in reversed(content)}


def test_touched_files_and_edited_words_rerun_nothing(edited) -> None:
    later = time.time() + 60
    sources = [path for path in edited.checkout.rglob("*") if path.suffix in (".py", ".smk")]
    assert len(sources) > 50
    for path in (*sources, edited.folder / "networks.py"):
        if path.suffix == ".py":
            text = re.sub(r'\A"""', '"""In other words: ', path.read_text())
            path.write_text(f"# A comment.\n{text}\n\n# Another.\n")
    for path in edited.checkout.rglob("*"):
        os.utime(path, (later, later))
    assert outdated(edited) == set()


@pytest.mark.parametrize(
    ("source", "old", "new", "expected"),
    [
        pytest.param(
            "src/mode_connectivity/evaluation/planes.py",
            "CURVE_POINTS = 61",
            "CURVE_POINTS = 62",
            PLANES | PLANE_FIGURES | {"figures/gotmare2018_figure3", "figures/benton2021_figure2"},
            id="library, planes",
        ),
        pytest.param(
            "src/mode_connectivity/networks/preresnet.py",
            "def _basic(",
            "SOMETHING = 1\n\n\ndef _basic(",
            RESIDUAL | RESIDUAL_REPORTS,
            id="library, a network",
        ),
        pytest.param(
            "src/mode_connectivity/reporting/style.py",
            "\n\n\ndef ",
            "\n\n\nSOMETHING = 1\n\n\ndef ",
            REPORTS,
            id="library, tables and figures",
        ),
        pytest.param(
            "workflow/scripts/evaluate_network.py",
            "fingerprint=[",
            "fingerprint=[0,",
            EVALUATIONS | {"tables/garipov2018_curve_ensemble", "tables/gotmare2018_modes_shapes"},
            id="a script",
        ),
        pytest.param(
            "workflow/scripts/evaluate_curve_snapshots.py",
            "fingerprint=[",
            "fingerprint=[0,",
            SNAPSHOTS | {"tables/gotmare2018_modes_shapes", "figures/gotmare2018_figure1"},
            id="a script, snapshots",
        ),
        pytest.param(
            "resources/claims/garipov2018.yaml",
            "at_most: 2",
            "at_most: 3",
            SUMMARY,
            id="a statement",
        ),
        pytest.param(
            "src/mode_connectivity/reporting/page/page.css",
            "{",
            "{ ",
            {"report"},
            id="the style of the page",
        ),
    ],
)
def test_edited_code_reruns_what_uses_it(edited, source, old, new, expected) -> None:
    replace(edited.checkout / source, old, new)
    assert outdated(edited) == with_summary(expected)


def test_an_edited_network_of_the_users_own_reruns_what_uses_it(project) -> None:
    replace(project.folder / "networks.py", "16 * width", "17 * width")
    assert outdated(project) == trained("perceptron") | trained("narrow") | SUMMARY | {
        "tables/garipov2018_imagenet",
        "tables/garipov2018_trivial_path",
        "figures/garipov2018_trivial_path",
        "figures/garipov2018_figure3",
        *ITERATES_FIGURES,
    }


def test_a_figure_of_the_users_own_is_drawn_again_where_its_file_is_edited(project) -> None:
    drawings = project.folder / "drawings.py"
    drawings.write_text(DRAWINGS)
    shown = {
        "draw": "drawings.py:draw",
        "title": "Mine",
        "caption": "What.",
        "curves": ["lstm_bezier"],
    }
    project.configure({"figures": {"mine": shown}})
    assert outdated(project, "mine") == {"figures/mine"}
    project.make("mine")
    assert outdated(project, "mine") == set()
    replace(drawings, "# Black.", "# Red.")
    assert outdated(project, "mine") == set()
    replace(drawings, '"k"', '"r"')
    assert outdated(project, "mine") == {"figures/mine"}
    drawings.write_text(f"import no_such_module\n{DRAWINGS}")
    failed = project.run("mine")
    assert failed.returncode
    told = f"error: figure 'drawings.py:draw' cannot be imported: {drawings}, line 1: "
    assert f"{told}ModuleNotFoundError: No module named 'no_such_module'" in failed.stdout
    assert "Traceback" not in project.log("figures/mine.log")


DRAWINGS = """
from mode_connectivity.reporting.style import COLUMN_WIDTH, new_figure


def draw(results):
    figure = new_figure(COLUMN_WIDTH, 2.0)
    grid = results.curve_grid("lstm_bezier")
    # Black.
    figure.subplots().plot(grid["t"], grid["test_nll"], color="k")
    return figure, grid[["t", "test_nll"]]
"""


def test_other_weights_of_the_users_own_rerun_what_uses_them(project) -> None:
    folder = project.folder / "weights"
    (folder / "mine.safetensors").write_bytes((folder / "yours.safetensors").read_bytes())
    assert outdated(project) == {
        "curves/narrow_elsewhere_polychain",
        "curves/narrow_elsewhere_polychain/grid",
    }


def test_jobs_run_the_library_of_their_own_checkout(edited) -> None:
    """Not that of another checkout which happens to be installed."""
    replace(
        edited.checkout / "src/mode_connectivity/evaluation/curves.py",
        "write_frame(metrics, ",
        'print("the edited library"); write_frame(metrics, ',
    )
    path = "results/demo/networks/preresnet8/seed1/evaluation/metrics.csv"
    assert "the edited library" in edited.make(path)
