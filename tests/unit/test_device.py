import pytest
import torch

from mode_connectivity.device import describe_device, select_device
from mode_connectivity.settings import UserError


@pytest.mark.parametrize(
    ("name", "available", "expected"),
    [("auto", False, "cpu"), ("auto", True, "cuda"), ("cpu", True, "cpu"), ("cuda", True, "cuda")],
)
def test_selected_device(monkeypatch, name, available, expected) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert select_device(name) == torch.device(expected)


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


def test_description(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU of {device}")
    assert describe_device(torch.device("cpu")) == "cpu"
    assert describe_device(torch.device("cuda")) == "GPU of cuda"
