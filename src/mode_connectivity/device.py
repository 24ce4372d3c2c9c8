"""Which device a job runs on."""

import torch

from mode_connectivity.cuda import no_cuda
from mode_connectivity.gpu_slots import take_gpu_slot
from mode_connectivity.job_log import tell_device


def select_device(name: str, jobs_per_gpu: int | None = None) -> torch.device:
    """Return the device of a job, and say in its log which it is.

    Args:
        name: ``auto`` (CUDA if there is one), ``cpu`` or ``cuda``.
        jobs_per_gpu: how many jobs share a GPU; this one waits for a slot of one. Nothing: it uses
            what CUDA shows, beside whatever else runs there.

    Raises:
        UserError: ``cuda`` is asked for and there is none.
    """
    if jobs_per_gpu is not None and name != "cpu" and torch.version.cuda is not None:
        take_gpu_slot(jobs_per_gpu)
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        why = "is built without CUDA" if torch.version.cuda is None else "sees no CUDA device here"
        raise no_cuda(f"this PyTorch ({torch.__version__}) {why}")
    device = torch.device("cuda" if available and name != "cpu" else "cpu")
    tell_device(describe_device(device))
    return device


def describe_device(device: torch.device) -> str:
    """Return the device's name for a record of the run."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
