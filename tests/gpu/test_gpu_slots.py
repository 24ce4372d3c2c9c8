"""How processes share a real GPU."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import torch
from pipeline import Project

from mode_connectivity.cuda import check_cuda, count_devices
from mode_connectivity.gpu_slots import list_gpus

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

JOB = """
import logging, os, sys
import torch
from mode_connectivity.device import describe_device, select_device
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
device = select_device("cuda", int(sys.argv[1]))
total = torch.ones(1000, device=device).sum().item()
uuid = torch.cuda.get_device_properties(device).uuid
print(torch.cuda.device_count(), uuid, total, describe_device(device), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[[int], "subprocess.Popen[str]"]]:
    started = []
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    environment = os.environ | {"TMPDIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": first}
    environment.pop("SLURM_JOB_ID", None)

    def start(jobs_per_gpu: int) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", JOB, str(jobs_per_gpu)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_nvidia_smi_and_the_driver_know_what_torch_sees() -> None:
    check_cuda(this_torch=True, this_machine=True)
    assert count_devices() == torch.cuda.device_count()
    parts = {part.removeprefix("GPU-") for gpu in list_gpus() for part in gpu.parts}
    seen = range(torch.cuda.device_count())
    assert {str(torch.cuda.get_device_properties(n).uuid) for n in seen} <= parts


def test_one_job_at_a_time(start) -> None:
    first = start(1)
    has = said(first)
    assert has.startswith("1 ") and " 1000.0 " in has
    second = start(1)
    assert said(second).startswith("waiting for a GPU: the only slot is taken")
    first.kill()
    assert said(second) == has


def test_two_jobs_at_a_time(start) -> None:
    jobs = [start(2), start(2)]
    assert said(jobs[0]) == said(jobs[1])
    assert said(start(2)).startswith("waiting for a GPU: all slots are taken")


def test_jobs_of_a_run_take_turns(tmp_path) -> None:
    project = Project(tmp_path)
    folders = [f"networks/digits_fully_connected/seed{seed}" for seed in (1, 2, 3)]
    targets = [f"results/demo/{folder}/weights.safetensors" for folder in folders]
    project.make(*targets, cores=3, options=["--config", "device=cuda"])
    logs = [project.log(f"{folder}/train.log") for folder in folders]
    assert sum("waiting for a GPU" in log for log in logs) == len(logs) - 1
