"""Imports torchvision where its compiled operators do not load."""

import importlib
import sys
from types import ModuleType

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

# A library that is collected takes its operators with it.
_libraries: list[torch.library.Library] = []


def import_torchvision() -> ModuleType:
    """Return the module ``torchvision``.

    Beside a torch of another build (a CPU torch and a CUDA torchvision, say) torchvision's
    compiled operators do not load, and its import stops at "operator torchvision::nms does not
    exist", although data sets, models and transforms need none of them. There, and only there,
    the two operators are declared without an implementation and torchvision is imported again.

    Raises:
        ImportError: torchvision is not installed.
        RuntimeError: torchvision fails to import for another reason.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    _libraries.append(library)
    return importlib.import_module("torchvision")
