"""What goes wrong at run time ends in one clear line, and costs nothing that was made before."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pipeline import Project, comparable, contents, file_system
from safetensors.torch import load_file, save_file

from mode_connectivity.training.checkpoints import Checkpoint

SMALL = {"image_size": 12, "resize": 12}
FURTHER: dict[str, Any] = {
    "datasets": {
        "lost": {"title": "Lost", "source": "image_folder", "folder": "lost"},
        "uneven": {"title": "Uneven", "source": "image_folder", "folder": "uneven"},
        "cut": {"title": "Cut", "source": "image_folder", "folder": "shapes"},
        "cifar": {"title": "CIFAR-10", "source": "cifar10"},
        "blank": {"title": "Blank", "source": "text_files", "folder": "blank"},
        "strange": {"title": "Strange", "source": "text_files", "folder": "strange"},
        "files": {"title": "Files", "source": "image_files", "folder": "files", **SMALL},
        "torn": {"title": "Torn", "source": "image_files", "folder": "torn", **SMALL},
    },
    "recipes": {
        "lost": {"extends": "perceptron", "dataset": "lost"},
        "cut": {"extends": "perceptron", "dataset": "cut"},
        "diverging": {
            "extends": "perceptron",
            "training": {
                "learning_rate": 1e10,
                "schedule": {"name": "cyclic", "period": 4, "minimum": 1e-9, "per": "epoch"},
            },
        },
    },
    "curves": {
        "broken_end": {
            "kind": "segment",
            "start": "perceptron/1",
            "end": "perceptron/4",
            "points": 3,
        },
        **{
            name: {
                "kind": "segment",
                "recipe": "narrow",
                "start": "weights/mine.safetensors",
                "end": f"weights/{name}.safetensors",
                "points": 3,
            }
            for name in ("unfit", "surplus")
        },
    },
}


FORGETFUL = "ensembles/preresnet8_snapshot"
REMADE = ("networks/narrow/", f"{FORGETFUL}/metrics.csv", f"{FORGETFUL}/ensembles.safetensors")
"""What jobs of these tests make again, or fail to."""


@pytest.fixture(scope="module")
def project(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The finished project with everything that can be wrong, after one run that kept going."""
    project = finished.copy(tmp_path_factory.mktemp("broken") / "project")
    project.configure(FURTHER)
    data = project.folder / "data"
    shutil.copytree(data / "shapes", data / "uneven")
    shutil.rmtree(data / "uneven" / "test" / "cross")
    for name, part, text in (
        ("blank", "valid", "\n\n"),
        ("strange", "test", "the cat sees\nthe purple dog\n"),
    ):
        shutil.copytree(data / "words", data / name)
        (data / name / f"{part}.txt").write_text(text)
    for name in ("files", "torn"):
        shutil.copytree(data / "shapes", data / name)
        (data / name / "test").rename(data / name / "val")
    shutil.rmtree(data / "files" / "val" / "line")
    torn = data / "torn" / "val" / "line" / "3.png"
    torn.write_bytes(torn.read_bytes()[:-100])
    mine = load_file(project.folder / "weights" / "mine.safetensors")
    unfit = {**mine, "1.weight": mine["1.weight"][:, 1:].contiguous()}
    del unfit["3.bias"]
    save_file(unfit, project.folder / "weights" / "unfit.safetensors")
    surplus = {**mine, "5.weight": torch.ones(2), "optimiser.step": torch.ones(())}
    save_file(surplus, project.folder / "weights" / "surplus.safetensors")
    results = project.results
    forget_the_last_member(results / FORGETFUL / "predictions.safetensors")
    truncate(results / "datasets" / "shapes.safetensors", results / "datasets" / "cut.safetensors")
    truncate(
        results / "networks" / "perceptron" / "seed2" / "weights.safetensors",
        results / "networks" / "perceptron" / "seed4" / "weights.safetensors",
    )
    # Checkpoints that a job finds in its place: one of another job, one cut short.
    foreign = checkpoint(project, "narrow", 1)
    foreign.parent.mkdir(parents=True)
    Checkpoint(foreign, "another job").save({"vertex.0": torch.ones(3)}, {"history": []})
    truncate(foreign, checkpoint(project, "narrow", 2))
    for seed in (1, 2):
        (results / "networks" / "narrow" / f"seed{seed}" / "weights.safetensors").unlink()
    before = contents(results)
    output = project.run(
        "results/demo/datasets/lost.safetensors",
        "results/demo/datasets/uneven.safetensors",
        "results/demo/datasets/cifar.safetensors",
        *(f"results/demo/datasets/{name}.safetensors" for name in ("blank", "strange")),
        *(f"results/demo/datasets/{name}.safetensors" for name in ("files", "torn")),
        f"results/demo/{FORGETFUL}/metrics.csv",
        "results/demo/networks/cut/seed1/weights.safetensors",
        "results/demo/networks/diverging/seed1/weights.safetensors",
        "results/demo/networks/narrow/seed1/weights.safetensors",
        "results/demo/networks/narrow/seed2/weights.safetensors",
        *(f"results/demo/curves/{name}/grid.csv" for name in ("broken_end", "unfit", "surplus")),
        cores=2,
        options=["--keep-going"],
    )
    assert output.returncode != 0
    (project.folder / "output").write_text(output.stdout)
    for path, content in before.items():
        if not path.startswith(REMADE):
            assert (results / path).read_bytes() == content, path
    return project


def truncate(source: Path, target: Path) -> None:
    content = source.read_bytes()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content[: int(0.9 * len(content))])


def forget_the_last_member(path: Path) -> None:
    stored = load_file(path)
    stored["log_probabilities"] = stored["log_probabilities"][:-1].contiguous()
    save_file(stored, path)


def checkpoint(project: Project, recipe: str, seed: int) -> Path:
    folder = project.results / "networks" / recipe / f"seed{seed}" / ".progress"
    return folder / "checkpoint.safetensors"


def last_error(project: Project, log: str) -> str:
    """Return what a log ends with: one error, and no traceback before it."""
    text = project.log(log)
    assert "Traceback" not in text
    before, mark, error = text.rpartition("  error: ")
    assert mark and "error:" not in before, text
    # Snakemake shows it, too.
    assert error.splitlines()[0] in (project.folder / "output").read_text()
    return error


def test_missing_images(project) -> None:
    error = last_error(project, "datasets/lost.log")
    assert error.startswith("lost: no images found. Looked for data/lost/train/<class>/<image>")
    assert "Put the images there" in error
    assert not (project.results / "datasets" / "lost.safetensors").exists()


def test_a_missing_published_data_set(project) -> None:
    error = last_error(project, "datasets/cifar.log")
    assert "data/cifar-10-batches-py" in error
    assert "`download: true`" in error
    assert not (project.results / "datasets" / "cifar.safetensors").exists()


def test_a_missing_class(project) -> None:
    error = last_error(project, "datasets/uneven.log")
    assert "data/uneven/test lacks cross" in error
    assert not (project.results / "datasets" / "uneven.safetensors").exists()


def test_a_text_without_words(project) -> None:
    error = last_error(project, "datasets/blank.log")
    assert error.startswith("blank: data/blank/valid.txt has no words.")
    assert not (project.results / "datasets" / "blank.safetensors").exists()


def test_a_word_that_is_never_seen_in_training(project) -> None:
    error = last_error(project, "datasets/strange.log")
    assert "1 of the " in error and "'purple'" in error
    assert "data/strange/test.txt, line 2" in error
    assert "Set `unknown_words: replace`" in error
    assert not (project.results / "datasets" / "strange.safetensors").exists()


def test_a_missing_class_among_image_files(project) -> None:
    error = last_error(project, "datasets/files.log")
    assert "data/files/val lacks line" in error
    assert "Add the missing ones, or remove the others." in error
    assert not (project.results / "datasets" / "files.safetensors").exists()


def test_an_unreadable_image_file(project) -> None:
    error = last_error(project, "datasets/torn.log")
    assert error.startswith("torn: 1 of 60 images cannot be read:")
    assert "data/torn/val/line/3.png" in error
    assert not (project.results / "datasets" / "torn.safetensors").exists()


def test_predictions_that_lack_a_member(project) -> None:
    error = last_error(project, f"{FORGETFUL}_metrics.log")
    assert "predictions of 5 members, but" in error and "members.csv lists 6" in error
    assert "collect the members again" in error


def test_mistakes_of_branches_and_texts_are_told_before_anything_runs(finished, tmp_path) -> None:
    project = finished.copy(tmp_path / "project")
    before = contents(project.folder)
    project.configure(
        {
            "recipes": {
                "preresnet8_snapshot": {"training": {"schedule": {"cycles": 6}}},
                "preresnet8_fge1": {"continues": "preresnet8@4"},
                "preresnet8_fge2": {"training": {"schedule": {"period": 3}}},
                "lost": {"extends": "perceptron", "continues": "perceptron@3"},
                "narrow": {"continues": "narrow_finetuned"},
                "lstm": {"training": {"augmentation": {"transforms": ["crop"]}}},
            },
            "curves": {
                "lstm_segment": {"predictions": True},
                "narrow_elsewhere_polychain": {"end": "weights/lost.safetensors"},
                "preresnet8_polychain": {"training": {"snapshots": []}},
            },
            "planes": {"narrow_sgdr": {"iterates": "narrow/1"}},
            "ensembles": {
                "preresnet8_independent": {"recipes": ["preresnet8", "perceptron"]},
                "narrow_finetuned": {"budgets": [2]},
            },
            "artefacts": {
                "garipov2018_table3": {"rows": {"words": {"curves": ["narrow_bezier"]}}},
                "garipov2018_figure5": {"history": "perceptron/1"},
                "gotmare2018_figure4": {"perplexity": 4.0},
            },
        }
    )
    output = project.run("all")
    assert output.returncode == 1
    assert "Traceback" not in output.stdout
    for part in (
        "6 cycles do not fit into 5 epochs",
        "period is 3; it must be even",
        "epoch 4 lies beyond the 3 epochs of recipe 'preresnet8'",
        "recipe 'perceptron' keeps no checkpoint of epoch 3",
        "narrow continues narrow_finetuned continues narrow: one of them must begin by itself",
        "data set 'words' is a text, which is not augmented",
        "the predictions of a language model",
        "mixes different networks",
        "budgets [2] need as many seeds; there are 1: [1]",
        "curve 'narrow_bezier' is not of a language model",
        "the history of perceptron/1 has no test errors",
        "there is no file weights/lost.safetensors",
        "curve 'preresnet8_polychain' keeps no snapshots",
        "recipe 'narrow' keeps no snapshots",
        "it must be below the number of points of geometry 'preresnet8', 4",
    ):
        assert part in output.stdout, output.stdout
    after = contents(project.folder)
    assert {path: after[path] for path in before if path.startswith("results/")} == {
        path: content for path, content in before.items() if path.startswith("results/")
    }


def test_a_truncated_prepared_data_set(project) -> None:
    error = last_error(project, "networks/cut/seed1/train.log")
    assert "datasets/cut.safetensors: not a whole safetensors file" in error
    assert "Delete the file and run again" in error
    assert not list((project.results / "networks" / "cut").rglob("*.*"))


def test_truncated_weights(project) -> None:
    error = last_error(project, "curves/broken_end/evaluate.log")
    assert "networks/perceptron/seed4/weights.safetensors: not a whole safetensors file" in error
    assert not list((project.results / "curves" / "broken_end").rglob("*.*"))


@pytest.mark.parametrize(
    ("name", "problems"),
    [
        (
            "unfit",
            "1.weight has shape [8, 143], the network needs [8, 144]; 3.bias is missing",
        ),
        (
            "surplus",
            "5.weight is not part of the network; optimiser.step is not part of the network",
        ),
    ],
)
def test_weights_from_elsewhere_that_are_of_another_network(project, name, problems) -> None:
    error = last_error(project, f"curves/{name}/evaluate.log")
    assert error.startswith(
        f"weights/{name}.safetensors: these weights do not fit the network: {problems}"
    )
    assert not list((project.results / "curves" / name).rglob("*.*"))


def test_a_diverging_training(project) -> None:
    error = last_error(project, "networks/diverging/seed1/train.log")
    assert "not finite in epoch 1 at learning rate" in error
    assert "last good checkpoint: none" in error
    assert "lower the learning rate" in error
    assert not list((project.results / "networks" / "diverging").rglob("*.*"))


@pytest.mark.parametrize(("seed", "kind"), [(1, "foreign"), (2, "damaged")])
def test_a_checkpoint_that_cannot_be_trusted_is_set_aside(project, finished, seed, kind) -> None:
    """And the run goes on from the beginning, to the same bits."""
    folder = Path("networks") / "narrow" / f"seed{seed}"
    found = load_file(project.results / folder / "weights.safetensors")
    expected = load_file(finished.results / folder / "weights.safetensors")
    assert {name: torch.equal(found[name], expected[name]) for name in expected} == dict.fromkeys(
        expected, True
    )
    kept = [path.name for path in checkpoint(project, "narrow", seed).parent.iterdir()]
    assert kept == [f"checkpoint.{kind}-1.safetensors"]
    log = project.log(f"networks/narrow/seed{seed}/train.log")
    assert f"set aside as checkpoint.{kind}-1.safetensors, starting from the beginning" in log


def test_a_device_that_is_not_there(tmp_path) -> None:
    """It is told before the first job, and keeps nobody from what needs none."""
    if torch.cuda.is_available():
        pytest.skip("there is one")
    project = Project(tmp_path)
    options = ["--config", "device=cuda"]
    network = "results/demo/networks/digits_fully_connected/seed1/weights.safetensors"
    output = project.run(network, options=options)
    assert output.returncode != 0
    (line,) = (line for line in output.stdout.splitlines() if "device: cuda" in line)
    assert line.startswith("device: cuda is asked for, but this ")
    assert line.endswith("or run with a PyTorch for CUDA on a machine with a GPU")
    assert not project.results.exists()
    project.make("results/demo/datasets/digits8.safetensors", options=options)
    project.make(network, options=[*options, "--dry-run"])


def test_settings_left_empty_have_their_defaults(finished, tmp_path) -> None:
    project = finished.copy(tmp_path / "project")
    project.configure(dict.fromkeys(("data", "device", "download", "jobs_per_gpu", "threads")))
    (project.results / "datasets" / "shapes.safetensors").unlink()
    project.make("results/demo/datasets/shapes.safetensors")
    assert comparable(project.results) == comparable(finished.results)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with room for 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with file_system(disk, mebibytes=1):
        yield disk


def test_a_full_disk(finished, small_disk, tmp_path) -> None:
    project = Project.create(tmp_path / "project")
    project.configure({"results": str(small_disk)})
    results = small_disk / "demo"
    shutil.copytree(finished.results / "datasets", results / "datasets")
    datasets = {path.name for path in (results / "datasets").rglob("*.safetensors")}
    target = "networks/perceptron/seed1/weights.safetensors"
    filler = small_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - 48_000))
    output = project.run(f"{results}/{target}")
    assert output.returncode != 0
    assert "no space left on the device; nothing was overwritten: free some space" in output.stdout
    assert "Traceback" not in output.stdout
    left = {path for path in results.rglob("*") if path.is_file() and "logs" not in path.parts}
    kept = {path.name for path in left}
    assert kept <= datasets | {"checkpoint.safetensors", "epoch2.safetensors"}
    filler.unlink()
    output = project.make(f"{results}/{target}")
    assert ("resumed after epoch" in output) == ("checkpoint.safetensors" in kept)
    expected = comparable(finished.results)
    assert all(expected[path] == content for path, content in comparable(results).items())
