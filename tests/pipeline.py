"""A small project of a user's own, run through Snakemake as a user would run it."""

import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from filelock import FileLock
from PIL import Image
from safetensors.torch import save_file
from torch import nn

CHECKOUT = Path(__file__).parents[1]
RULE_FILES = sorted((CHECKOUT / "rules").glob("*.smk"))
SHAPES = ("circle", "cross", "line")
WORDS = ("a", "black", "cat", "sees", "the", "white", "dog")
LINES = {"train": 60, "valid": 12, "test": 12}
SIDE = 12
TRAIN, TEST = 36, 24

NETWORKS = '''"""Networks of a user's own."""

from torch import nn


def perceptron(*, input_shape: tuple[int, int, int], classes: int, width: float = 1.0) -> nn.Module:
    channels, height, sideways = input_shape
    hidden = round(16 * width)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * height * sideways, hidden),
        nn.ReLU(),
        nn.Linear(hidden, classes),
    )
'''

CONFIG = """
select:
  - garipov2018_table1_shapes
  - garipov2018_table2_shapes
  - garipov2018_table3_words
  - garipov2018_curve_ensemble
  - garipov2018_imagenet
  - garipov2018_trivial_path
  - garipov2018_figure1
  - garipov2018_figure2
  - garipov2018_figure3
  - garipov2018_figure4
  - garipov2018_figure5
  - garipov2018_figure6
  - garipov2018_figure7
  - garipov2018_figure8
  - gotmare2018_modes_shapes
  - gotmare2018_figure1
  - gotmare2018_figure2
  - gotmare2018_figure3
  - gotmare2018_figure4
  - gotmare2018_figure7
  - benton2021_figure2
  - benton2021_figure10
  - benton2021_figure11

evaluation: {batch_size: 16}

datasets:
  shapes: {title: Shapes, source: image_folder, folder: shapes}
  words: {title: Words, source: text_files, folder: words}
  regression: {title: Regression, source: regression}

recipes:
  # As many epochs as it takes to be killed in the midst of them.
  perceptron:
    dataset: shapes
    title: Perceptron
    network: {name: "networks.py:perceptron"}
    training:
      epochs: 150
      batch_size: 10
      learning_rate: 0.005
      optimiser: {name: sgd, momentum: 0.9, weight_decay: 0.001}
      snapshots: [2, 20]
  narrow:
    extends: perceptron
    network: {width: 0.5}
    training: {epochs: 5, snapshots: []}
  narrow_finetuned:
    extends: narrow
    continues: narrow
    training:
      epochs: 3
      schedule: {name: cyclic, period: 2, minimum: 0.0001}
      snapshots: [0, 1, 3]
  narrow_sgdr:
    extends: narrow
    training:
      epochs: 3
      schedule: {name: cosine_restarts, period: 1, multiplier: 2, minimum: 0.00001}
      snapshots: all
      record_test: true
  preresnet8:
    extends: perceptron
    title: PreResNet-8
    network: {name: preresnet, depth: 8, width: 4}
    training:
      epochs: 3
      learning_rate: 0.05
      snapshots: []
      checkpoints: [1, 2]
      augmentation: {transforms: [flip, crop], crop_padding: 1}
  preresnet8_snapshot:
    extends: preresnet8
    training:
      epochs: 5
      schedule: {name: cosine_cycles, cycles: 2}
      snapshots: minima
      checkpoints: []
  preresnet8_fge1:
    extends: preresnet8
    continues: preresnet8@1
    training:
      schedule: {name: cyclic, period: 2, minimum: 0.0005}
      snapshots: minima
      checkpoints: []
  preresnet8_fge2:
    extends: preresnet8_fge1
    continues: preresnet8@2
    training: {records_per_epoch: 2, record_test: true}
  lstm:
    dataset: words
    network: {name: lstm, hidden: 8}
    training:
      epochs: 2
      batch_size: 5
      window: 10
      learning_rate: 1.0
      gradient_clipping: 5.0
      optimiser: {name: sgd, momentum: 0.0}
      schedule: {name: exponential, hold: 1, factor: 0.5}
  regression:
    dataset: regression
    network: {name: regression_mlp}
    training: {epochs: 2, batch_size: 100, learning_rate: 0.01}

curves:
  perceptron_bezier:
    kind: bezier
    start: perceptron/1
    end: perceptron/2
    points: 5
    training: {epochs: 150, snapshots: [2, 30]}
  perceptron_iterates:
    extends: perceptron_bezier
    start: perceptron/1@2
    end: perceptron/1@20
    training: {epochs: 2, snapshots: []}
  perceptron_trivial: {kind: trivial_path, start: perceptron/1, end: perceptron/2, points: 9}
  narrow_bezier:
    kind: bezier
    start: narrow/1
    end: narrow/2
    points: 5
    training: {epochs: 2}
  preresnet8_segment:
    kind: segment
    start: preresnet8/1
    end: preresnet8/2
    points: 5
    predictions: true
  preresnet8_bezier: {extends: preresnet8_segment, kind: bezier, training: {epochs: 2}}
  preresnet8_polychain: {extends: preresnet8_bezier, kind: polychain, training: {snapshots: [1, 2]}}
  preresnet8_random: {extends: preresnet8_segment, kind: random_segment}
  narrow_sgdr_segment: {kind: segment, start: narrow_sgdr/1@1, end: narrow_sgdr/1@3, points: 3}
  narrow_sgdr_polychain: {extends: narrow_sgdr_segment, kind: polychain, training: {epochs: 1}}
  narrow_elsewhere_polychain:
    kind: polychain
    recipe: narrow
    start: weights/mine.safetensors
    end: weights/yours.safetensors
    points: 3
    training: {epochs: 2}
  regression_bezier:
    kind: bezier
    start: regression/1
    end: regression/2
    training: {epochs: 1}
  lstm_segment: {kind: segment, start: lstm/1, end: lstm/2, points: 3}
  lstm_bezier: {extends: lstm_segment, kind: bezier, training: {epochs: 1}}
  lstm_polychain: {extends: lstm_bezier, kind: polychain}

simplexes:
  narrow_espro: {modes: [narrow], connectors: 1, points: 3, training: {epochs: 2}}
  preresnet8_espro: {modes: [preresnet8], connectors: 1, points: 2, training: {epochs: 1}}
  regression_espro: {modes: [regression], connectors: 1, points: 2, training: {epochs: 1}}

planes:
  preresnet8_independent:
    start: preresnet8/1
    end: preresnet8/2
    third: preresnet8/3
    points: 4
  preresnet8_bezier: {extends: preresnet8_independent, third: preresnet8_bezier}
  preresnet8_polychain: {extends: preresnet8_independent, third: preresnet8_polychain}
  preresnet8_swag: {extends: preresnet8_polychain, samples: preresnet8_curve_swag}
  narrow_sgdr:
    start: narrow_sgdr/1@1
    end: narrow_sgdr/1@3
    third: narrow_sgdr_polychain
    iterates: narrow_sgdr/1
    points: 3

geometries:
  preresnet8:
    points:
      G: preresnet8/1
      A: preresnet8/2
      B: preresnet8/3
      GA: preresnet8_polychain

ensembles:
  preresnet8_polychain: {method: curve_points, curve: preresnet8_polychain, points: 4}
  preresnet8_independent:
    method: independent
    recipes: [preresnet8]
    seeds: [1, 2, 3]
    budgets: [1, 2]
  preresnet8_snapshot:
    extends: preresnet8_independent
    method: snapshot
    recipes: [preresnet8_snapshot]
  preresnet8_fast_geometric:
    extends: preresnet8_independent
    method: fast_geometric
    recipes: [preresnet8_fge1, preresnet8_fge2]
  preresnet8_weight_average:
    extends: preresnet8_independent
    method: weight_average
    recipes: [preresnet8_fge2]
  narrow_finetuned: {method: fast_geometric, recipes: [narrow_finetuned], seeds: [1]}
  narrow_espro: {method: simplex, simplex: narrow_espro, connectors: 1, seeds: [1]}
  preresnet8_espro: {method: simplex, simplex: preresnet8_espro, connectors: 1, seeds: [1]}
  preresnet8_swag: {method: swag, recipes: [preresnet8_snapshot], seeds: [1], rank: 2, samples: 2}
  preresnet8_curve_swag: {method: curve_swag, curve: preresnet8_polychain, rank: 2, samples: 2}
  regression: {method: independent, recipes: [regression], seeds: [1, 2]}
  regression_espro: {method: simplex, simplex: regression_espro, connectors: 1, seeds: [1]}
  regression_subspace: {method: subspace, curve: regression_bezier, samples: 5}
  narrow_subspace: {method: subspace, curve: narrow_bezier, samples: 3}

artefacts:
  garipov2018_table1:
    rows:
      shapes:
        ensembles:
          - preresnet8_independent
          - preresnet8_snapshot
          - preresnet8_fast_geometric
          - preresnet8_weight_average
  garipov2018_table2:
    rows:
      shapes: {curves: [preresnet8_segment, preresnet8_bezier, preresnet8_polychain]}
  garipov2018_table3: {rows: {words: {curves: [lstm_segment, lstm_bezier, lstm_polychain]}}}
  garipov2018_imagenet: {fast_geometric: narrow_finetuned, weight_average: null}
  garipov2018_curve_ensemble:
    curve_points: preresnet8_polychain
    networks: [preresnet8/1, preresnet8/2, preresnet8/3]
  garipov2018_trivial_path: {curves: [perceptron_trivial]}
  garipov2018_figure1: &planes
    independent: preresnet8_independent
    bezier: preresnet8_bezier
    polychain: preresnet8_polychain
  garipov2018_figure2:
    segment: preresnet8_segment
    bezier: preresnet8_bezier
    polychain: preresnet8_polychain
    curve_points: preresnet8_polychain
  garipov2018_figure3: {curves: [narrow_bezier, perceptron_bezier]}
  garipov2018_figure4:
    segment: preresnet8_segment
    polychain: preresnet8_polychain
    random_segment: preresnet8_random
  garipov2018_figure5: {history: preresnet8_fge2/1}
  garipov2018_figure6:
    fast_geometric: preresnet8_fast_geometric
    snapshot: preresnet8_snapshot
    budget_epochs: 5
  garipov2018_figure7: *planes
  garipov2018_figure8: *planes
  gotmare2018_modes:
    modes: {G: preresnet8/1, A: preresnet8/2}
    differences: {A: another seed}
    rows:
      shapes: {title: GA, segment: preresnet8_segment, polychain: preresnet8_polychain}
  # All those of the demo.
  gotmare2018_figure1:
    connections:
      GA: preresnet8_polychain
      GB: preresnet8_polychain
      GC: preresnet8_polychain
      GD: preresnet8_polychain
      GE: preresnet8_polychain
      GF: preresnet8_polychain
  gotmare2018_figure2:
    sgdr_history: narrow_sgdr/1
    sgd_history: preresnet8_fge2/1
    sgdr: &sgdr
      - {start: w1, end: w3, segment: narrow_sgdr_segment, polychain: narrow_sgdr_polychain}
    sgd: &sgd
      - {start: w1, end: w2, segment: preresnet8_segment, polychain: preresnet8_polychain}
  gotmare2018_figure3: {plane: narrow_sgdr}
  gotmare2018_figure4: {geometry: preresnet8, perplexity: 2.0}
  gotmare2018_figure7: {sgdr: *sgdr, sgd: *sgd}
  benton2021_figure2: {plane: preresnet8_swag, curve_swag: preresnet8_curve_swag}
  benton2021_figure10:
    deep_ensemble: regression
    espro: regression_espro
    subspace: regression_subspace
    lines: 2
  benton2021_figure11:
    ensembles:
      ESPRO: preresnet8_espro
      Deep ensemble: preresnet8_independent
      MultiSWA: preresnet8_weight_average
      MultiSWAG: preresnet8_swag
    corruptions: [gaussian_noise]
"""

ITERATES = "results/demo/curves/perceptron_iterates/grid.csv"
ELSEWHERE = "results/demo/curves/narrow_elsewhere_polychain/grid.csv"
"""No artefact shows these curves."""
ESPRO = "results/demo/ensembles/narrow_espro/metrics.csv"
SUBSPACE = "results/demo/ensembles/narrow_subspace/members.csv"
EVERYTHING = ("all", ITERATES, ELSEWHERE, ESPRO, SUBSPACE)

SOURCES = (
    *("Snakefile", "config.yaml", "config", "envs", "profiles"),
    *("resources", "rules", "src", "workflow"),
)
"""What of the checkout a run reads."""


@dataclass(frozen=True)
class Project:
    """A working folder with data, a config and results of its own.

    Attributes:
        folder: the working folder.
        checkout: the folder of the Snakefile that is run.
    """

    folder: Path
    checkout: Path = CHECKOUT

    @classmethod
    def create(cls, folder: Path) -> "Project":
        """Write data, a network and a config into a new folder."""
        draw_shapes(folder / "data" / "shapes")
        write_words(folder / "data" / "words")
        write_weights(folder / "weights")
        (folder / "networks.py").write_text(NETWORKS)
        (folder / "config.yaml").write_text(CONFIG)
        return cls(folder)

    def copy(self, folder: Path) -> "Project":
        """Copy the project with its results and what Snakemake knows of them."""
        shutil.copytree(self.folder, folder)
        return Project(folder, self.checkout)

    @property
    def results(self) -> Path:
        return self.folder / "results" / "demo"

    def configure(self, changes: Mapping[str, Any]) -> None:
        """Merge changes into the config."""
        path = self.folder / "config.yaml"
        content = _merge(yaml.safe_load(path.read_text()), changes)
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    def start(
        self, *targets: str, cores: int = 1, options: Sequence[str] = ()
    ) -> "subprocess.Popen[str]":
        """Start Snakemake in a process group of its own."""
        command = [sys.executable, "-m", "snakemake"]
        command += ["--snakefile", str(self.checkout / "Snakefile")]
        command += ["--directory", str(self.folder), *self.executor(cores)]
        if (self.folder / "config.yaml").exists():
            command += ["--configfile", str(self.folder / "config.yaml")]
        return subprocess.Popen(
            [*command, *options, "--", *targets],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=self.environment(),
        )

    def executor(self, cores: int) -> list[str]:
        """Return the options that say where jobs run."""
        return ["--cores", str(cores)]

    def environment(self) -> dict[str, str]:
        """Return the variables that Snakemake is started with."""
        return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(
        self, *targets: str, cores: int = 1, options: Sequence[str] = ()
    ) -> "subprocess.CompletedProcess[str]":
        """Run Snakemake to its end; its standard output has both streams."""
        process = self.start(*targets, cores=cores, options=options)
        output, _ = process.communicate(timeout=1000)
        return subprocess.CompletedProcess(process.args, process.returncode, output)

    def make(self, *targets: str, cores: int = 1, options: Sequence[str] = ()) -> str:
        """Run Snakemake, which must succeed, and return what it says."""
        finished = self.run(*targets, cores=cores, options=options)
        assert finished.returncode == 0, finished.stdout
        return finished.stdout

    def counts(self, *targets: str, options: Sequence[str] = ()) -> dict[str, int]:
        """Return how many jobs of each rule a run would start, targets left out."""
        output = self.make(*targets, options=["--dry-run", "--quiet", "rules", *options])
        table = output.rpartition("Job stats:\n")[2].partition("\n\n")[0]
        counts = {
            name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)
        }
        return {name: count for name, count in counts.items() if name in RULES}

    def outdated(self, *targets: str, options: Sequence[str] = ()) -> set[str]:
        """Return the files below ``results/{scale}`` that a run would make."""
        lines = self.make(*targets, options=["--summary", *options]).splitlines()
        rows = [line.split("\t") for line in lines if line.count("\t") == 5]
        header, *rows = rows
        path, plan = header.index("output_file"), header.index("plan")
        assert rows, lines
        return {row[path].split("/", 2)[2] for row in rows if row[plan].strip() == "update pending"}

    def log(self, path: str) -> str:
        """Return the log of a job."""
        return (self.results / "logs" / path).read_text()


RULES = (
    "prepare_dataset",
    "train_network",
    "evaluate_network",
    "train_curve",
    "evaluate_curve",
    "evaluate_curve_snapshots",
    "train_simplex",
    "evaluate_simplex",
    "evaluate_simplex_ensemble",
    "collect_simplex_functions",
    "collect_functions",
    "collect_swag_members",
    "collect_bend_samples",
    "collect_subspace_members",
    "collect_subspace_functions",
    "corrupt_dataset",
    "collect_members_under_corruption",
    "collect_averages_under_corruption",
    "collect_swag_members_under_corruption",
    "collect_simplex_points_under_corruption",
    "evaluate_ensemble_under_shift",
    "evaluate_plane",
    "measure_distances",
    "collect_curve_members",
    "collect_members",
    "average_weights",
    "evaluate_ensemble",
    "make_table",
    "make_figure",
    "judge_claims",
    "make_report",
)


def _merge(base: Any, over: Any) -> Any:
    if not (isinstance(base, Mapping) and isinstance(over, Mapping)):
        return over
    return {**base, **{key: _merge(base.get(key), value) for key, value in over.items()}}


def draw_shapes(folder: Path) -> None:
    """Draw a tree of images whose classes have patterns of their own under noise."""
    random = np.random.default_rng(0)
    patterns = random.uniform(0, 255, (len(SHAPES), SIDE, SIDE))
    for split, count in (("train", TRAIN), ("test", TEST)):
        for shape, pattern in zip(SHAPES, patterns, strict=True):
            (folder / split / shape).mkdir(parents=True)
            for index in range(count // len(SHAPES)):
                pixels = 0.6 * pattern + 0.4 * random.uniform(0, 255, pattern.shape)
                image = Image.fromarray(pixels.astype(np.uint8))
                image.save(folder / split / shape / f"{index}.png")


def write_words(folder: Path) -> None:
    """Write a text of sentences of five words in the order of ``WORDS``, round about."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for part, count in LINES.items():
        starts = random.integers(len(WORDS), size=count)
        lines = [" ".join(WORDS[(start + k) % len(WORDS)] for k in range(5)) for start in starts]
        (folder / f"{part}.txt").write_text("\n".join(lines) + "\n")


def write_weights(folder: Path) -> None:
    """Write the weights of two networks like those of the recipe narrow."""
    folder.mkdir(parents=True)
    for seed, name in enumerate(("mine", "yours")):
        torch.manual_seed(seed)
        layers = nn.Linear(SIDE * SIDE, 8), nn.ReLU(), nn.Linear(8, len(SHAPES))
        network = nn.Sequential(nn.Flatten(), *layers)
        save_file(network.state_dict(), folder / f"{name}.safetensors")


def finished_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return the small project with all its results, made once for all workers of a test run."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, log = shared / "finished", shared / "finished.log"
    with FileLock(shared / "finished.lock"):
        if not log.exists():
            finished = Project.create(folder).run(*EVERYTHING, cores=2)
            log.write_text(f"{finished.returncode}\n{finished.stdout}")
    text = log.read_text()
    assert text.startswith("0\n"), text
    return Project(folder)


def rule_blocks() -> dict[str, str]:
    """The text of every rule that runs a job; what is derived of one belongs to it."""
    text = "\n".join(path.read_text() for path in RULE_FILES)
    parts = re.split(r"^rule (\w+):$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def copy_checkout(folder: Path) -> Path:
    """Copy what of the checkout a run reads, to edit it."""
    folder.mkdir(parents=True)
    for name in SOURCES:
        source = CHECKOUT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy2(source, folder / name)
    return folder


def without_executor(profile: Path, folder: Path, name: str = "some") -> Path:
    """Write a cluster's profile less what belongs to the plugin of its executor, filled in.

    Args:
        profile: the folder of the profile.
        folder: takes the new one.
        name: what stands in place of every ``FILL_IN``.
    """
    content = yaml.safe_load((profile / "profile.yaml").read_text())
    plugin = content.pop("executor")
    kept = {key: value for key, value in content.items() if not key.startswith(f"{plugin}-")}
    folder.mkdir(exist_ok=True)
    text = yaml.safe_dump(kept, sort_keys=False).replace("FILL_IN", name)
    (folder / "profile.yaml").write_text(text)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder by its path, but for logs."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] != "logs"
    }


def comparable(folder: Path) -> dict[str, bytes]:
    """Return the files of a project's results without what is measured with a clock."""
    files = contents(folder)
    for path in list(files):
        is_record = path.endswith(".json") and not path.startswith("figures/")
        if is_record or path == "report.html" or path.endswith(".snakemake_timestamp"):
            del files[path]
        elif path.endswith("history.csv"):
            # As text, so that every digit counts.
            history = pd.read_csv(io.BytesIO(files[path]), dtype=str)
            kept = history.drop(columns=["seconds", "images_per_second"])
            files[path] = kept.to_csv(index=False).encode()
    return files


@contextmanager
def file_system(folder: Path, *, mebibytes: int) -> Iterator[None]:
    """Put a small file system of its own on a folder, or skip the test where nobody may."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)]
    try:
        mounted = os.geteuid() == 0 and not subprocess.run(command, capture_output=True).returncode
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("no file system can be mounted here")
    yield
    subprocess.run(["umount", str(folder)], check=True)
