"""What can be known of CUDA without importing torch, to tell before any job starts."""

import ast
import ctypes
import importlib.util
import os
import re
from pathlib import Path
from typing import Any

from mode_connectivity.settings import UserError


def check_cuda(*, this_torch: bool, this_machine: bool) -> None:
    """Check that jobs with ``device: cuda`` can have one.

    Args:
        this_torch: jobs run with this environment's PyTorch, not with one of conda or a container.
        this_machine: jobs run here, not on the nodes of a cluster, of which nothing is known.

    Raises:
        UserError: as far as can be known, they cannot.
    """
    build = torch_build() if this_torch else {}
    if build.get("hip") is not None:
        # AMD's GPUs answer to PyTorch's name of CUDA, but not to its driver.
        return
    if "cuda" in build and build["cuda"] is None:
        raise no_cuda(f"this PyTorch ({build['__version__']}) is built without CUDA")
    if this_machine and not count_devices():
        shown = os.environ.get("CUDA_VISIBLE_DEVICES")
        narrowed = "" if shown is None else f" with CUDA_VISIBLE_DEVICES={shown!r}"
        raise no_cuda(f"this machine shows no CUDA device{narrowed}")


def no_cuda(reason: str) -> UserError:
    """Return the error of a CUDA device that is asked for and cannot be had."""
    return UserError(
        f"device: cuda is asked for, but {reason}; set device: auto or cpu, or run with a PyTorch "
        f"for CUDA on a machine with a GPU"
    )


def torch_build() -> dict[str, Any]:
    """Return how PyTorch was built, from its version.py: versions of itself, of CUDA, of HIP.

    What cannot be found out is left out.
    """
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return {}
    try:
        text = Path(found.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return {}
    facts = re.findall(r"^(__version__|cuda|hip)\b[^=\n]*= *(None|'[^'\n]*')", text, re.M)
    return {name: ast.literal_eval(value) for name, value in facts}


def count_devices() -> int:
    """Return how many devices the CUDA driver shows to a process of this environment."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    # Both return 0 if all is well; driver API, sections "Initialization" and "Device Management".
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value
