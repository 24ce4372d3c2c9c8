"""A project that has each kind of job once, as small as can be, and what to ask of it."""

from dataclasses import dataclass
from pathlib import Path

import yaml
from cluster import Cluster
from pipeline import CHECKOUT, Project, draw_shapes

PROFILE = CHECKOUT / "profiles" / "slurm" / "profile.yaml"
EXECUTOR = CHECKOUT / "build" / "slurm_executor"
"""Where `make test-slurm` installs it: an environment that has it asks SLURM at every start."""

NETWORKS = '''"""Networks of a user's own."""

import time
from pathlib import Path

import torch
from torch import nn

PAUSE = Path(__file__).with_name("pause")
"""Seconds that a batch takes, to be slow without work; no number depends on it."""


class Patient(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        time.sleep(float(PAUSE.read_text()))
        return images


def perceptron(*, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    channels, height, width = input_shape
    return nn.Sequential(
        nn.Flatten(), nn.Linear(channels * height * width, 8), nn.ReLU(), nn.Linear(8, classes)
    )


def patient(*, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return nn.Sequential(Patient(), *perceptron(input_shape=input_shape, classes=classes))
'''

CONFIG = """
# Two, so that CPUs are asked for.
threads: 2
evaluation: {batch_size: 16}
select: [benton2021_figure10]

datasets:
  shapes: {title: Shapes, source: image_folder, folder: shapes}
  regression: {title: Regression, source: regression}

recipes:
  perceptron:
    dataset: shapes
    title: Perceptron
    network: {name: "networks.py:perceptron"}
    training: {epochs: 2, batch_size: 10, learning_rate: 0.01, snapshots: all}
  patient:
    extends: perceptron
    network: {name: "networks.py:patient"}
    training: {epochs: 40, snapshots: []}
  regression:
    dataset: regression
    network: {name: regression_mlp}
    training: {epochs: 1, batch_size: 100, learning_rate: 0.01}

curves:
  chain:
    kind: polychain
    start: perceptron/1
    end: perceptron/2
    points: 3
    predictions: true
    training: {epochs: 2, snapshots: [1, 2]}
  regression_bezier:
    kind: bezier
    start: regression/1
    end: regression/2
    training: {epochs: 1}

simplexes:
  espro: {modes: [perceptron], connectors: 1, points: 2, training: {epochs: 1}}
  regression_espro: {modes: [regression], connectors: 1, points: 2, training: {epochs: 1}}

planes:
  chain: {start: perceptron/1, end: perceptron/2, third: chain, points: 2}

geometries:
  all: {points: {G: perceptron/1, A: perceptron/2, GA: chain}}

ensembles:
  independent: {method: independent, recipes: [perceptron], seeds: [1, 2], budgets: [1, 2]}
  average: {method: weight_average, recipes: [perceptron], seeds: [1]}
  espro: {method: simplex, simplex: espro, connectors: 1, seeds: [1]}
  swag: {method: swag, recipes: [perceptron], seeds: [1], rank: 2, samples: 2}
  chain_swag: {method: curve_swag, curve: chain, rank: 2, samples: 2}
  chain_points: {method: curve_points, curve: chain, points: 2}
  chain_subspace: {method: subspace, curve: chain, samples: 2}
  regression: {method: independent, recipes: [regression], seeds: [1, 2]}
  regression_espro: {method: simplex, simplex: regression_espro, connectors: 1, seeds: [1]}
  regression_subspace: {method: subspace, curve: regression_bezier, samples: 2}

artefacts:
  benton2021_figure10:
    deep_ensemble: regression
    espro: regression_espro
    subspace: regression_subspace
    lines: 2
  benton2021_figure11:
    ensembles:
      ESPRO: espro
      Deep ensemble: independent
      MultiSWA: average
      MultiSWAG: swag
    corruptions: [gaussian_noise]
"""

ON_THE_CHAIN = ("chain_swag", "chain_points", "chain_subspace")
SHIFTED = ("independent", "average", "espro", "swag")
TARGETS = (
    "benton2021_figure10",
    "results/demo/networks/perceptron/seed1/evaluation/metrics.csv",
    "results/demo/curves/chain/grid.csv",
    "results/demo/curves/chain/snapshots.csv",
    "results/demo/planes/chain/grid.csv",
    "results/demo/geometries/all/points.csv",
    *(
        f"results/demo/ensembles/chain_{kind}/members.csv"
        for kind in ("swag", "points", "subspace")
    ),
    "results/demo/ensembles/independent/metrics.csv",
    *(
        f"results/demo/ensembles/{ensemble}/corruptions/gaussian_noise/members.csv"
        for ensemble in SHIFTED
    ),
    "results/demo/ensembles/independent/shift.csv",
    "results/demo/report.html",
)
TRAINING = "results/demo/networks/patient/seed1/weights.safetensors"


def create_project(folder: Path) -> Project:
    """Write the data, the networks and the config into a new folder."""
    draw_shapes(folder / "data" / "shapes")
    (folder / "networks.py").write_text(NETWORKS)
    (folder / "pause").write_text("0")
    (folder / "config.yaml").write_text(CONFIG)
    return Project(folder)


def filled_in_profile(folder: Path) -> Path:
    """Write profiles/slurm with this cluster's names, as a user fills them in."""
    profile = yaml.safe_load(PROFILE.read_text())
    defaults = profile["default-resources"]
    defaults["slurm_partition"] = "cpu"
    # Without a database there are no accounts.
    del defaults["slurm_account"]
    for rule in profile["set-resources"].values():
        rule["slurm_partition"] = "gpu"
    text = yaml.safe_dump(profile, sort_keys=False)
    assert "FILL_IN" not in text
    folder.mkdir(parents=True)
    (folder / "profile.yaml").write_text(text)
    return folder


@dataclass(frozen=True)
class ClusterProject(Project):
    """A project whose jobs run on a cluster.

    Attributes:
        cluster: the cluster.
        profile: the folder of the workflow profile.
        executor_folder: the folder with the Python packages of the executor.
    """

    cluster: Cluster | None = None
    profile: Path = PROFILE.parent
    executor_folder: Path = EXECUTOR

    def executor(self, cores: int) -> list[str]:
        """Return the options that send jobs to the cluster; cores are jobs at a time here."""
        # Asked oftener than on a cluster that others use, too.
        soon = ["--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "10"]
        return ["--workflow-profile", str(self.profile), "--jobs", str(cores), *soon]

    def environment(self) -> dict[str, str]:
        """Return the variables by which SLURM and its executor are found."""
        assert self.cluster is not None
        return {
            **super().environment(),
            **self.cluster.environment,
            "PYTHONPATH": str(self.executor_folder),
        }

    def pause(self, seconds: float) -> None:
        """Let the patient network take so long for each batch from now on."""
        path = self.folder / "pause.new"
        path.write_text(str(seconds))
        path.replace(self.folder / "pause")
