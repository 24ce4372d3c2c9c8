"""The status of a folder of 2,000 runs, and the plan behind it."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from benchmarks.common import Row
from mode_connectivity import plan
from mode_connectivity.config import Config, load_config
from mode_connectivity.job_log import Begin, hold

CHECKOUT = Path(__file__).parents[1]
RECIPES, SEEDS = 20, 100
FINISHED, RUNNING, FAILED, HALF_WAY = 1200, 20, 60, 60
"""Of the trainings; the others have not begun."""
EPOCHS = 200
TURNS = 7
PROCESS = "status, whole process on one core, seconds"


def made_up_config() -> dict[str, Any]:
    """Return trainings of many seeds, each row of a table an ensemble of theirs.

    They stand beside everything else that the paper scale has.
    """
    training = {"epochs": EPOCHS, "batch_size": 128, "learning_rate": 0.05, "snapshots": [100]}
    names = range(RECIPES)
    return {
        "scale": "paper",
        "select": [*(f"garipov2018_table1_row{name}" for name in names), "garipov2018_figure3"],
        "datasets": {"images": {"title": "Images", "source": "cifar10"}},
        "recipes": {
            f"recipe{name}": {
                "dataset": "images",
                "network": {"name": "preresnet", "depth": 20, "width": name + 1},
                "training": training,
            }
            for name in names
        },
        "curves": {
            f"curve{name}": {
                "kind": "bezier",
                "start": f"recipe{name}/1",
                "end": f"recipe{name}/2",
                "training": {"epochs": 100, "snapshots": []},
            }
            for name in names
        },
        "ensembles": {
            f"ensemble{name}": {
                "method": "independent",
                "recipes": [f"recipe{name}"],
                "seeds": list(range(1, SEEDS + 1)),
            }
            for name in names
        },
        "artefacts": {
            "garipov2018_table1": {
                "rows": {f"row{name}": {"ensembles": [f"ensemble{name}"]} for name in names}
            },
            "garipov2018_figure3": {"curves": [f"curve{name}" for name in names]},
        },
    }


def write_results(root: Path, jobs: list[plan.Job], held: ExitStack) -> None:
    """Write what such trainings leave: results, logs and checkpoints; some run."""
    head = "epoch,iteration,learning_rate,train_nll,train_error,seconds,images_per_second\n"
    history = head + "".join(
        f"{epoch},{391 * epoch},0.05,0.1234567890123,1.2345678901234,20.123,2484.7\n"
        for epoch in range(1, EPOCHS + 1)
    )
    rows = [{"epoch": epoch, "train_nll": 0.1234567890123} for epoch in range(1, EPOCHS // 2)]
    checkpoint = tensor_file({"state": json.dumps({"epoch": EPOCHS // 2, "history": rows})})
    trainings = [job for job in jobs if job.rule == "train_network"]
    ends = [FINISHED, RUNNING, FAILED, HALF_WAY]
    for index, job in enumerate(trainings[: sum(ends)]):
        folder = (root / job.outputs[0]).parent
        folder.mkdir(parents=True)
        log = root / "logs" / job.log
        log.parent.mkdir(parents=True)
        begin = Begin.here(job.rule, job.name, locked=True)
        stamp = "2026-01-01 12:{:02d}:{:02d}  "
        lines = [f"{stamp.format(0, 0)}{begin}"]
        lines += [
            f"{stamp.format(epoch // 4, epoch % 4 * 15)}epoch {epoch}/{EPOCHS}  "
            "learning rate 0.05  train nll 0.1235  train error 1.235 %  15.12 s  3307 images/s"
            for epoch in range(1, EPOCHS // 2)
        ]
        if index < FINISHED:
            (folder / "weights.safetensors").touch()
            (folder / "run.json").touch()
            (folder / "snapshots").mkdir()
            (folder / "history.csv").write_text(history)
            lines.append(f"{stamp.format(59, 0)}done after 3540.0 s")
        elif FINISHED + RUNNING <= index < FINISHED + RUNNING + FAILED:
            lines.append(f"{stamp.format(59, 0)}error: the loss or the weights are not finite")
        else:
            (folder / ".progress").mkdir()
            (folder / ".progress" / "checkpoint.safetensors").write_bytes(checkpoint)
        log.write_text("\n".join([*lines, ""]))
        if FINISHED <= index < FINISHED + RUNNING:
            assert hold(held.enter_context(log.open("a")))


def tensor_file(metadata: dict[str, str]) -> bytes:
    """Return a file in the format of safetensors that holds no tensor."""
    header = json.dumps({"__metadata__": metadata}).encode()
    return len(header).to_bytes(8, "little") + header


def seconds_of(command: list[str], folder: Path) -> float:
    """Return the least time of a whole process on one core, which others share."""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / "src")}
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, [min(cores)])
    try:
        seconds = []
        for _ in range(TURNS):
            start = time.perf_counter()
            subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
            seconds.append(time.perf_counter() - start)
    finally:
        os.sched_setaffinity(0, cores)
    return min(seconds)


def seconds_to(work: Callable[[], object]) -> float:
    """Return the least time of a call."""
    seconds = []
    for _ in range(TURNS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def jobs_of(config: Config) -> list[plan.Job]:
    """Return the jobs of what a config selects."""
    return plan.jobs_of_artefacts(config, plan.selected_artefacts(config))


def measure() -> list[Row]:
    """Return the seconds of plans, and of whole processes that show a status."""
    rows: list[Row] = []

    def add(measurement: str, what: str, value: float, bound: float) -> None:
        rows.append({"measurement": measurement, "network": what, "value": value, "bound": bound})

    for scale in ("demo", "paper"):
        config = load_config({"scale": scale}, CHECKOUT)
        add("plan, seconds", f"{scale} scale", seconds_to(lambda c=config: jobs_of(c)), 0.2)
    config = load_config(made_up_config(), CHECKOUT)
    add("plan, seconds", "2,000 trainings", seconds_to(lambda: jobs_of(config)), 0.3)
    with tempfile.TemporaryDirectory() as name, ExitStack() as held:
        folder = Path(name)
        (folder / "config.yaml").write_text(yaml.safe_dump(made_up_config()))
        command = [sys.executable, "-m", "mode_connectivity", "status"]
        add(PROCESS, "2,000 runs, none begun", seconds_of(command, folder), 1)
        write_results(folder / "results" / "paper", jobs_of(config), held)
        add(PROCESS, "2,000 runs", seconds_of(command, folder), 1)
        add(PROCESS, "2,000 runs, --json", seconds_of([*command, "--json"], folder), 1)
    return rows
