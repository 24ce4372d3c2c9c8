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

FIGURES = {f"garipov2018_figure{number}" for number in (1, 2, 3, 4, 7, 8)}
PLANE_FIGURES = {f"figures/garipov2018_figure{number}" for number in (1, 7, 8)}
PLANES = {f"planes/preresnet8_{name}" for name in ("independent", "bezier", "polychain")}
CURVES = {
    *(f"curves/perceptron_{name}" for name in ("bezier", "iterates", "trivial")),
    *(f"curves/preresnet8_{name}" for name in ("segment", "bezier", "polychain", "random")),
    "curves/narrow_bezier",
}
NETWORKS = {
    *(f"networks/{recipe}/seed{seed}" for recipe in ("perceptron", "narrow") for seed in (1, 2)),
    *(f"networks/preresnet8/seed{seed}" for seed in (1, 2, 3)),
}
EVALUATIONS = {f"networks/preresnet8/seed{seed}/evaluation" for seed in (1, 2, 3)}
TABLES = {
    f"tables/garipov2018_{name}" for name in ("table2_shapes", "curve_ensemble", "trivial_path")
}
REPORTS = TABLES | {f"figures/{name}" for name in FIGURES} | {"figures/garipov2018_trivial_path"}
ENSEMBLE = "ensembles/preresnet8_polychain"
DATASET = "datasets/shapes"


def jobs(files: Iterable[str]) -> set[str]:
    """Return what files belong to: a folder, two for a trained curve, or a name without suffix."""
    found = set()
    for file in files:
        path = Path(file)
        if path.parts[0] in ("datasets", "tables", "figures"):
            found.add(str(path.with_suffix("")))
        elif path.name in ("grid.csv", "grid.json", "correct.safetensors") and (
            path.parts[0] == "curves"
        ):
            found.add(f"{path.parent}/grid")
        else:
            found.add(str(path.parent))
    return found


def grids(curves: Iterable[str]) -> set[str]:
    return {f"{curve}/grid" for curve in curves}


def trained(recipe: str) -> set[str]:
    """Everything that a recipe's weights are part of, up to the grids."""
    networks = {name for name in NETWORKS if f"/{recipe}/" in name}
    curves = {name for name in CURVES if f"/{recipe}_" in name}
    bent = {name for name in curves if name.endswith(("bezier", "polychain", "iterates"))}
    return networks | bent | grids(curves)


RESIDUAL = trained("preresnet8") | EVALUATIONS | PLANES | {ENSEMBLE}


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    return finished.copy(tmp_path / "project")


@pytest.fixture
def edited(finished: Project, tmp_path: Path) -> Project:
    """The finished project, run by a copy of the checkout that can be edited."""
    return Project(finished.copy(tmp_path / "project").folder, copy_checkout(tmp_path / "checkout"))


def outdated(project: Project, *targets: str) -> set[str]:
    return jobs(project.outdated(*(targets or EVERYTHING)))


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_the_names_above_are_all_there_is(finished) -> None:
    everything = finished.outdated(*EVERYTHING, options=["--forceall"])
    assert jobs(everything) == (
        {DATASET} | trained("perceptron") | trained("narrow") | RESIDUAL | REPORTS
    )


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
            grids(CURVES) | EVALUATIONS | PLANES | {ENSEMBLE} | REPORTS,
            id="batch size of the evaluation",
        ),
        pytest.param({"datasets": {"shapes": {"title": "Forms"}}}, REPORTS, id="title of the data"),
        pytest.param(
            {"recipes": {"perceptron": {"title": "One layer"}}},
            {
                "tables/garipov2018_trivial_path",
                "figures/garipov2018_trivial_path",
                "figures/garipov2018_figure3",
            },
            id="title of a network",
        ),
        pytest.param(
            {"planes": {"preresnet8_bezier": {"margin": 0.3}}},
            {"planes/preresnet8_bezier"} | PLANE_FIGURES,
            id="margin of a plane",
        ),
        pytest.param(
            {"artefacts": {"garipov2018_figure7": {"test_error_clip": 90.0}}},
            {"figures/garipov2018_figure7"},
            id="colours of a figure",
        ),
        pytest.param(
            {
                "recipes": {"another": {"extends": "perceptron", "network": {"width": 2.0}}},
                "datasets": {"others": {"extends": "shapes", "folder": "others"}},
                "curves": {"another": {"extends": "perceptron_bezier", "start": "perceptron/3"}},
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
    assert outdated(project) == expected


def test_defaults_written_out_rerun_nothing(project) -> None:
    project.configure(
        {
            "device": "cpu",
            "data": "./data",
            "recipes": {"preresnet8": {"initialisation": {"scheme": "fan_out", "scale": 1.0}}},
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
            PLANES | PLANE_FIGURES,
            id="library, planes",
        ),
        pytest.param(
            "src/mode_connectivity/networks/preresnet.py",
            "def _basic(",
            "SOMETHING = 1\n\n\ndef _basic(",
            RESIDUAL | {name for name in REPORTS if not name.endswith(("figure3", "trivial_path"))},
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
            "seed=0",
            "seed=1",
            EVALUATIONS | {"tables/garipov2018_curve_ensemble"},
            id="a script",
        ),
    ],
)
def test_edited_code_reruns_what_uses_it(edited, source, old, new, expected) -> None:
    replace(edited.checkout / source, old, new)
    assert outdated(edited) == expected


def test_an_edited_network_of_the_users_own_reruns_what_uses_it(project) -> None:
    replace(project.folder / "networks.py", "16 * width", "17 * width")
    assert outdated(project) == trained("perceptron") | trained("narrow") | {
        "tables/garipov2018_trivial_path",
        "figures/garipov2018_trivial_path",
        "figures/garipov2018_figure3",
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
