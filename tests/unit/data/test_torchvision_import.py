import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mode_connectivity.data.torchvision_import import import_torchvision

# Fails to import as torchvision does when its compiled operators did not load.
INCOMPATIBLE_TORCHVISION = """
import torch
from . import extension
torch.library.register_fake("torchvision::nms")(lambda boxes, scores, threshold: boxes)
torch.library.register_fake("torchvision::qnms")(lambda boxes, scores, threshold: boxes)
"""


def test_torchvision_is_imported() -> None:
    assert hasattr(import_torchvision().datasets, "CIFAR10")


def test_missing_operators_are_declared(tmp_path: Path) -> None:
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(INCOMPATIBLE_TORCHVISION)
    (package / "extension.py").write_text("")
    code = """
import gc
try:
    import torchvision
    raise SystemExit("the stand-in imports by itself")
except RuntimeError as error:
    assert "operator torchvision::nms does not exist" in str(error), error
import torch
from mode_connectivity.data.torchvision_import import import_torchvision
torchvision = import_torchvision()
gc.collect()
assert torchvision is import_torchvision()
assert torchvision.extension and torch.ops.torchvision.nms and torch.ops.torchvision.qnms
"""
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr


def test_other_failures_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> ModuleType:
        raise RuntimeError("compiled with different CUDA major versions")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(RuntimeError, match="different CUDA"):
        import_torchvision()
