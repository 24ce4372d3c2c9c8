"""Evaluating an ensemble of stored predictions of the size of FGE on CIFAR-100."""

import json
import statistics
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from benchmarks.common import Row

MEMBERS, EXAMPLES, CLASSES = 22, 10_000, 100
TURNS = 3

# Imports count for neither: SciPy's optimiser is loaded by the first evaluation only.
_MEASUREMENT = """
import sys, time
from pathlib import Path
import scipy.optimize
from mode_connectivity.ensembling.evaluation import evaluate_ensemble
from mode_connectivity.job import peak_memory_mb
folder = Path(sys.argv[1])
imports = peak_memory_mb()["cpu"]
start = time.perf_counter()
evaluate_ensemble(
    folder / "members.csv", folder / "predictions.safetensors", seeds=[1], budgets=[1],
    metrics=folder / "metrics.csv", ensembles=folder / "ensembles.safetensors",
)
print(time.perf_counter() - start, peak_memory_mb()["cpu"] - imports)
"""


def measure() -> list[Row]:
    """Return the seconds and the memory it takes to evaluate one ensemble, calibration included.

    In processes of their own, as jobs are: this one has more in memory than the evaluation needs.
    """
    with tempfile.TemporaryDirectory() as name:
        _write_members(Path(name))
        results = [
            subprocess.run(
                [sys.executable, "-c", _MEASUREMENT, name],
                capture_output=True,
                text=True,
                check=True,
            ).stdout.split()
            for _ in range(TURNS)
        ]
    seconds, megabytes = (
        statistics.median(map(float, column)) for column in zip(*results, strict=True)
    )
    of_size = f"{MEMBERS} members, {EXAMPLES} examples, {CLASSES} classes"
    return [
        {
            "measurement": "evaluating an ensemble, seconds",
            "network": of_size,
            "value": seconds,
            "bound": 2.0,
        },
        {
            "measurement": "evaluating an ensemble, MiB beyond the imports",
            "network": of_size,
            "value": megabytes,
            "bound": 500.0,
        },
    ]


def _write_members(folder: Path) -> None:
    """Write made-up members that share most of their errors."""
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, EXAMPLES)
    examples = np.arange(EXAMPLES)
    shared = random.normal(size=(EXAMPLES, CLASSES))
    shared[examples, labels] += 3
    log_probabilities = np.empty((MEMBERS, EXAMPLES, CLASSES), dtype=np.float32)
    for member in log_probabilities:
        logits = 3 * (shared + 0.5 * random.normal(size=shared.shape))
        member[:] = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    arrays = {"log_probabilities": log_probabilities, "labels": labels}
    checksums = {name: zlib.crc32(array.data) for name, array in arrays.items()}
    save_file(
        arrays,
        folder / "predictions.safetensors",
        metadata={"crc32": json.dumps(checksums)},
    )
    nll = -log_probabilities[:, examples, labels].mean(axis=1)
    table = pd.DataFrame({"member": [f"made_up/1@{i}" for i in range(MEMBERS)], "seed": 1})
    table.assign(test_nll=nll).to_csv(folder / "members.csv", index=False)
