"""Which device a job runs on."""

import torch

from mode_connectivity.settings import UserError


def select_device(name: str) -> torch.device:
    """Return the device of a job.

    Args:
        name: ``auto`` (CUDA if there is one), ``cpu`` or ``cuda``.

    Raises:
        UserError: ``cuda`` is asked for and there is none.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        why = "is built without CUDA" if torch.version.cuda is None else "sees no CUDA device here"
        raise UserError(
            f"device: cuda is asked for, but this PyTorch ({torch.__version__}) {why}; set "
            f"device: auto or cpu, or run with a PyTorch for CUDA on a machine with a GPU"
        )
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def describe_device(device: torch.device) -> str:
    """Return the device's name for a record of the run."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
