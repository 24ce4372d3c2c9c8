import pytest
import torch

from mode_connectivity import device as device_module
from mode_connectivity.device import describe_device, select_device
from mode_connectivity.settings import UserError


@pytest.mark.parametrize(
    ("name", "available", "expected"),
    [("auto", False, "cpu"), ("auto", True, "cuda"), ("cpu", True, "cpu"), ("cuda", True, "cuda")],
)
def test_selected_device(monkeypatch, caplog, name, available, expected) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU of {device}")
    with caplog.at_level("INFO", "mode_connectivity"):
        assert select_device(name) == torch.device(expected)
    assert caplog.messages == [f"device {'cpu' if expected == 'cpu' else 'GPU of cuda'}"]


@pytest.mark.parametrize(
    ("built_with", "reason"),
    [("12.6", "sees no CUDA device here"), (None, "is built without CUDA")],
)
def test_cuda_where_there_is_none(monkeypatch, built_with, reason) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built_with)
    with pytest.raises(UserError) as caught:
        select_device("cuda")
    text = str(caught.value)
    assert text.startswith(f"device: cuda is asked for, but this PyTorch ({torch.__version__}) ")
    assert reason in text
    assert "set device: auto or cpu" in text


@pytest.mark.parametrize(
    ("name", "built_with", "jobs_per_gpu", "taken"),
    [
        ("auto", "13.0", 2, [2]),
        ("cuda", "13.0", 1, [1]),
        ("cpu", "13.0", 1, []),
        ("auto", None, 1, []),
        ("auto", "13.0", None, []),
    ],
)
def test_a_slot_is_taken_before_cuda_starts(
    monkeypatch, name, built_with, jobs_per_gpu, taken
) -> None:
    steps: list[object] = []
    monkeypatch.setattr(torch.version, "cuda", built_with)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: not steps.append("CUDA"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "GPU")
    monkeypatch.setattr(device_module, "take_gpu_slot", steps.append)
    select_device(name, jobs_per_gpu)
    assert steps == [*taken, "CUDA"]


def test_description(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU of {device}")
    assert describe_device(torch.device("cpu")) == "cpu"
    assert describe_device(torch.device("cuda")) == "GPU of cuda"
