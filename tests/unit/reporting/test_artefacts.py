"""What tables call a curve, and what they say of it."""

import numpy as np
import pandas as pd
import pytest
import torch

from mode_connectivity.reporting.artefacts import Results
from mode_connectivity.tensors import save_tensors

ALIGNED = (
    "not in the paper: the units of its end are permuted to match those of its start by their {} "
    "(Ainsworth et al. 2022)"
)
RENORMALISED = (
    "at every point the outputs of layers without batch norm are given the mean statistics of both "
    "ends (REPAIR, Jordan et al. 2022)"
)


@pytest.mark.parametrize(
    ("facts", "title", "note"),
    [
        ({"kind": "segment"}, "Segment", ""),
        ({"kind": "bezier"}, "Bezier", ""),
        (
            {"kind": "segment", "matching": "weights", "renormalise": False},
            "Aligned segment",
            ALIGNED.format("weights"),
        ),
        (
            {"kind": "segment", "matching": "activations", "renormalise": True},
            "Aligned segment",
            f"{ALIGNED.format('activations')}, and {RENORMALISED}",
        ),
        (
            {"kind": "segment", "matching": None, "renormalise": True},
            "Renormalised segment",
            f"not in the paper: {RENORMALISED}",
        ),
        (
            {"kind": "polychain", "matching": "weights", "renormalise": False},
            "Aligned polychain",
            ALIGNED.format("weights"),
        ),
        (
            {"kind": "bezier", "matching": "weights", "renormalise": False},
            "Aligned Bezier",
            ALIGNED.format("weights"),
        ),
    ],
)
def test_titles_and_notes_of_curves(tmp_path, facts, title, note) -> None:
    folder = tmp_path / "curves" / "mine"
    folder.mkdir(parents=True)
    pd.DataFrame({"t": [0.0, 1.0], "distance": [0.0, 2.0]}).to_csv(folder / "grid.csv")
    bits = torch.from_numpy(np.packbits([[True, False], [True, True]], axis=1))
    save_tensors(
        folder / "correct.safetensors", {"correct": bits, "examples": torch.tensor([2])}, {}
    )
    content = {"curves": {"mine": {"dataset": "Digits", "network": "FC", **facts}}}
    curve = Results(tmp_path, content).curve("mine")
    assert (curve.curve, curve.note) == (title, note)
    assert curve.endpoint_distance == 2.0
