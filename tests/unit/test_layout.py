from pathlib import Path

import pytest

from mode_connectivity import layout
from mode_connectivity.training.recipes import NetworkReference


def test_paths_of_the_contract() -> None:
    assert layout.dataset("digits") == "datasets/digits.safetensors"
    assert layout.network("plain", 3) == "networks/plain/seed3"
    assert layout.network("plain", "{seed}") == "networks/plain/seed{seed}"
    assert layout.curve("bezier") == "curves/bezier"
    assert layout.simplex("espro", 4) == "simplexes/espro/seed4"
    assert layout.simplex_evaluation("espro", 4, 2) == "simplexes/espro/seed4/connectors2"
    assert layout.plane("three") == "planes/three"
    assert layout.geometry("modes") == "geometries/modes"
    assert layout.ensemble("points") == "ensembles/points"


@pytest.mark.parametrize(
    ("reference", "path"),
    [
        ("plain/3", "networks/plain/seed3/weights.safetensors"),
        ("plain/3@40", "networks/plain/seed3/snapshots/epoch40.safetensors"),
        ("plain/0", "networks/plain/seed0/weights.safetensors"),
    ],
)
def test_weights_of_a_reference(reference: str, path: str) -> None:
    parsed = NetworkReference.parse(reference)
    assert layout.weights(parsed) == path
    # A job is given the weights themselves or the folder of all snapshots.
    given = path if parsed.epoch is None else f"{layout.network('plain', 3)}/snapshots"
    assert layout.weights_in(given, reference) == Path(path)


def test_a_file_of_weights_is_where_the_user_has_it() -> None:
    path = "weights/mine.safetensors"
    assert layout.weights_in(path, path) == Path(path)


def test_a_vertex_lies_in_the_file_of_all() -> None:
    path = "simplexes/espro/seed4/vertices.safetensors"
    assert layout.weights_in(path, "espro/4:t1") == Path(path)


def test_a_checkpoint_has_its_optimisers_state_beside_it() -> None:
    folder = "networks/plain/seed3/snapshots"
    assert layout.optimiser_in(folder, "plain/3@40") == Path(
        f"{folder}/epoch40.optimiser.safetensors"
    )
    assert layout.optimiser_in("networks/plain/seed3/weights.safetensors", "plain/3") is None
