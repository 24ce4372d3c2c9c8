"""Ensembles of stored predictions, against hand calculations and SciPy."""

import json
import zlib

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from scipy.special import log_softmax, softmax

from mode_connectivity.ensembling.predictions import (
    StoredPredictions,
    ensemble_probabilities,
    error,
    mixture_probabilities,
    negative_log_likelihood,
    open_tensors,
)
from mode_connectivity.settings import UserError
from mode_connectivity.tensors import save_tensors


@pytest.fixture
def log_probabilities():
    logits = np.random.default_rng(3).normal(scale=4, size=(5, 40, 7))
    return log_softmax(logits, axis=-1).astype(np.float32)


@pytest.fixture
def labels():
    return np.random.default_rng(4).integers(0, 7, 40)


@pytest.fixture
def store(tmp_path, labels):
    def write(name, log_probabilities, labels=labels):
        path = tmp_path / name
        tensors = {"log_probabilities": log_probabilities, "labels": labels}
        save_tensors(path, {k: torch.from_numpy(v) for k, v in tensors.items()}, {"format": "x"})
        return StoredPredictions(path)

    return write


def test_ensembles_average_probabilities_not_logits():
    members = np.log([[[0.998, 0.002]], [[0.2, 0.8]], [[0.2, 0.8]]])
    # Probabilities average to 1.398 : 1.602; logits would follow the sure first network.
    probabilities = ensemble_probabilities(members)
    np.testing.assert_allclose(probabilities, [[0.466, 0.534]])
    assert error(probabilities, np.array([0])) == 100.0
    assert error(probabilities, np.array([1])) == 0.0
    nll = negative_log_likelihood(probabilities, np.array([0]))
    assert nll == pytest.approx(-np.log(0.466))


def test_ensembles_with_scales_match_scipy(log_probabilities):
    scales = [1.0, 0.7, 0.4, 0.7, 1.0]
    scaled = log_probabilities.astype(np.float64) * np.array(scales)[:, None, None]
    before = log_probabilities.copy()
    np.testing.assert_allclose(
        ensemble_probabilities(iter(log_probabilities), scales),
        softmax(scaled, axis=-1).mean(axis=0),
        rtol=1e-6,
    )
    np.testing.assert_array_equal(log_probabilities, before)


def test_ensembles_name_a_network_that_is_not_a_number(log_probabilities, labels):
    log_probabilities[2, 5, 1] = np.nan
    with pytest.raises(UserError, match=r"network 2 .* are not numbers"):
        ensemble_probabilities(log_probabilities)
    with pytest.raises(UserError, match="no members"):
        ensemble_probabilities([])
    with pytest.raises(UserError, match=r"\(40, 7\) with labels of shape \(39,\)"):
        error(log_probabilities[0], labels[:-1])


def test_stored_predictions_are_read_network_by_network(store, log_probabilities, labels):
    stored = store("predictions.safetensors", log_probabilities)
    assert (len(stored), stored.classes) == (5, 7)
    np.testing.assert_array_equal(stored.labels, labels)
    np.testing.assert_array_equal(stored[-1], log_probabilities[-1])
    np.testing.assert_array_equal(np.stack(list(stored)), log_probabilities)
    with pytest.raises(IndexError):
        stored[5]


def test_files_that_are_no_predictions_are_refused(tmp_path, log_probabilities, labels):
    path = tmp_path / "predictions.safetensors"
    with pytest.raises(UserError, match="no such file; evaluate first"):
        StoredPredictions(path)
    save_file({"log_probability": log_probabilities, "labels": labels}, path)
    with pytest.raises(UserError, match="did you mean 'log_probability'"):
        StoredPredictions(path)
    save_file({"log_probabilities": log_probabilities[0], "labels": labels}, path)
    with pytest.raises(UserError, match=r"\[40, 7\] with labels \[40\]"):
        StoredPredictions(path)
    save_file({"log_probabilities": log_probabilities, "labels": labels[1:].copy()}, path)
    with pytest.raises(UserError, match=r"with labels \[39\]"):
        StoredPredictions(path)


@pytest.mark.parametrize("place", [3, -3, -2000])
def test_an_altered_byte_is_noticed(store, log_probabilities, place):
    path = store("predictions.safetensors", log_probabilities).path
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"altered since|not a whole"):
        StoredPredictions(path)


def test_a_file_that_was_cut_short_is_noticed(store, log_probabilities):
    path = store("predictions.safetensors", log_probabilities).path
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(UserError, match="not a whole tensor file"):
        StoredPredictions(path)


def test_only_what_is_needed_is_checked(tmp_path):
    arrays = {"a": np.arange(3), "b": np.arange(4)}
    checksums = {"a": zlib.crc32(arrays["a"].tobytes()), "b": 0}
    path = tmp_path / "file.safetensors"
    save_file(arrays, path, metadata={"crc32": json.dumps(checksums)})
    np.testing.assert_array_equal(open_tensors(path, ["a"]).get_tensor("a"), arrays["a"])
    with pytest.raises(UserError, match="b altered"):
        open_tensors(path, ["a", "b"])


def test_mixtures_of_files_in_any_order(store, log_probabilities):
    first = store("first.safetensors", log_probabilities[:3])
    second = store("second.safetensors", log_probabilities[3:])
    mixed = mixture_probabilities([(second, [1]), (first, [2, 0])])
    expected = np.exp(log_probabilities[[4, 2, 0]].astype(np.float64)).mean(axis=0)
    np.testing.assert_allclose(mixed, expected, rtol=1e-12)
    reordered = mixture_probabilities([(first, [0, 2]), (second, [1])])
    np.testing.assert_allclose(mixed, reordered, rtol=1e-12)


def test_mixtures_are_of_one_test_set(store, log_probabilities, labels):
    first = store("first.safetensors", log_probabilities)
    fewer = store("fewer.safetensors", log_probabilities[:, 1:].copy(), labels[1:].copy())
    with pytest.raises(UserError, match=r"fewer.*39 examples, but 40 in .*first"):
        mixture_probabilities([(first, [0]), (fewer, [0])])
    classes = store("classes.safetensors", log_probabilities[..., 1:].copy())
    with pytest.raises(UserError, match="6 classes, but 7"):
        mixture_probabilities([(first, [0]), (classes, [0])])
    other = store("other.safetensors", log_probabilities, labels[::-1].copy())
    with pytest.raises(UserError, match="other labels than"):
        mixture_probabilities([(first, [0]), (other, [0])])
    with pytest.raises(UserError, match="no network 5; it holds 5"):
        mixture_probabilities([(first, [0, 5])])
    with pytest.raises(UserError, match="no members"):
        mixture_probabilities([])
