import ctypes
import importlib.machinery
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mode_connectivity import cuda
from mode_connectivity.cuda import check_cuda, count_devices, torch_build
from mode_connectivity.settings import UserError

CPU = {"__version__": "2.13.0+cpu", "cuda": None, "hip": None}
CUDA = {"__version__": "2.13.0+cu130", "cuda": "13.0", "hip": None}
HIP = {"__version__": "2.13.0+rocm7.1", "cuda": None, "hip": "7.1"}
ADVICE = "; set device: auto or cpu, or run with a PyTorch for CUDA on a machine with a GPU"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def driver(count: int, *, initialised: int = 0) -> Any:
    def get_count(place: Any) -> int:
        place._obj.value = count
        return 0

    return SimpleNamespace(cuInit=lambda flags: initialised, cuDeviceGetCount=get_count)


def test_the_build_of_this_environment() -> None:
    assert torch_build() == {
        "__version__": str(torch.__version__),
        "cuda": torch.version.cuda,
        "hip": torch.version.hip,
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cuda: Optional[str] = '13.0'\nhip: Optional[str] = None\nxpu = None\n", CUDA),
        ("debug = False\ncuda = None\nhip = '7.1'\ngit_version = 'abc'\n", HIP),
        ("from torch._build import *\n", {"__version__": "unknown"}),
        (None, {}),
    ],
)
def test_builds(monkeypatch, tmp_path, text, expected) -> None:
    if text is not None:
        version = expected.get("__version__", "unknown")
        (tmp_path / "version.py").write_text(f"__version__ = {version!r}\n{text}")
    spec = importlib.machinery.ModuleSpec("torch", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", {"torch": spec}.__getitem__)
    assert torch_build() == expected


def test_no_torch_at_all(monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert torch_build() == {}


@pytest.mark.parametrize(
    ("loaded", "expected"), [(driver(3), 3), (driver(0), 0), (driver(3, initialised=100), 0)]
)
def test_the_driver_counts(monkeypatch, loaded, expected) -> None:
    monkeypatch.setattr(ctypes, "CDLL", {"libcuda.so.1": loaded}.__getitem__)
    assert count_devices() == expected


def test_no_driver(monkeypatch) -> None:
    def load(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", load)
    assert count_devices() == 0


@pytest.mark.parametrize(
    ("build", "devices", "this_torch", "this_machine", "reason"),
    [
        (CPU, 1, True, True, "this PyTorch (2.13.0+cpu) is built without CUDA"),
        (CPU, 0, True, False, "this PyTorch (2.13.0+cpu) is built without CUDA"),
        (CUDA, 0, True, True, "this machine shows no CUDA device"),
        (CPU, 0, False, True, "this machine shows no CUDA device"),
        (CUDA, 1, True, True, None),
        # Of the nodes of a cluster, and of an environment that is not this one, nothing is known.
        (CUDA, 0, True, False, None),
        (CPU, 0, False, False, None),
        (CPU, 1, False, True, None),
        (HIP, 0, True, True, None),
        ({}, 1, True, True, None),
    ],
)
def test_what_is_known(monkeypatch, build, devices, this_torch, this_machine, reason) -> None:
    monkeypatch.setattr(cuda, "torch_build", lambda: build)
    monkeypatch.setattr(cuda, "count_devices", lambda: devices)
    if reason is None:
        check_cuda(this_torch=this_torch, this_machine=this_machine)
        return
    with pytest.raises(UserError) as caught:
        check_cuda(this_torch=this_torch, this_machine=this_machine)
    assert str(caught.value) == f"device: cuda is asked for, but {reason}{ADVICE}"


def test_a_choice_that_leaves_none_is_told(monkeypatch) -> None:
    monkeypatch.setattr(cuda, "torch_build", lambda: CUDA)
    monkeypatch.setattr(cuda, "count_devices", lambda: 0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with pytest.raises(UserError, match="shows no CUDA device with CUDA_VISIBLE_DEVICES='7'; set"):
        check_cuda(this_torch=True, this_machine=True)


def test_torch_is_not_imported() -> None:
    code = (
        "import sys; from mode_connectivity.cuda import count_devices, torch_build\n"
        "torch_build(), count_devices(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)
