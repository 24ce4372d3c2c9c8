"""Stored predictions, and ensembles of them.

The predictions of many networks take ``M * N * C`` floats (half a gigabyte for 121 networks on
CIFAR-100), so everything here holds one network at a time.
"""

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from mode_connectivity.evaluation.calibration import check_labels, rescale
from mode_connectivity.settings import UserError, nearest

Array = npt.NDArray[Any]

# Averaged probabilities of a class that underflowed in every member; its logarithm stays finite.
SMALLEST_PROBABILITY = float(np.finfo(np.float64).tiny)


class StoredPredictions:
    """The log-probabilities of networks in a file, read one network at a time.

    Indexing and iterating give arrays ``[N, C]``; ``labels`` is int64 ``[N]``, ``classes`` is C.
    """

    def __init__(self, path: Path) -> None:
        """Open ``predictions.safetensors`` of a network, a curve or an ensemble, and check it.

        Args:
            path: The file, with tensors ``log_probabilities`` ``[M, N, C]`` and ``labels`` ``[N]``.

        Raises:
            UserError: If it is missing, damaged or not such a file.
        """
        self.path = path
        file = open_tensors(path, ("log_probabilities", "labels"))
        self._slice = file.get_slice("log_probabilities")
        self.labels: Array = file.get_tensor("labels")
        shape = self._slice.get_shape()
        if len(shape) != 3 or self.labels.shape != (shape[1],):
            raise UserError(
                f"{path}: log_probabilities {list(shape)} with labels {list(self.labels.shape)}; "
                "[networks, examples, classes] and [examples] are expected: evaluate again"
            )
        self.classes = int(shape[2])

    def __len__(self) -> int:
        return int(self._slice.get_shape()[0])

    def __getitem__(self, index: int) -> Array:
        networks = len(self)
        if not -networks <= index < networks:
            raise IndexError(f"network {index} of {networks}")
        log_probabilities: Array = self._slice[index % networks]
        return log_probabilities

    def __iter__(self) -> Iterator[Array]:
        return (self[index] for index in range(len(self)))


class JoinedPredictions(StoredPredictions):
    """The predictions of networks in several files of one test set, as if they were in one."""

    def __init__(self, paths: Sequence[Path], counts: Sequence[int]) -> None:
        """Open the files.

        Args:
            paths: At least one file, each as for `StoredPredictions`.
            counts: How many of its networks are taken of each, the first ones.

        Raises:
            UserError: If one is missing, damaged, not such a file, too short, or of another test
                set than the first.
        """
        parts = [StoredPredictions(path) for path in paths]
        check_parts([(part, range(count)) for part, count in zip(parts, counts, strict=True)])
        self.path, self.labels, self.classes = parts[0].path, parts[0].labels, parts[0].classes
        self._places = [
            (part, index)
            for part, count in zip(parts, counts, strict=True)
            for index in range(count)
        ]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Array:
        part, place = self._places[index]
        return part[place]


def open_tensors(path: Path, names: Sequence[str]) -> Any:
    """Open a tensor file without PyTorch, and check tensors against the checksums in its header.

    Args:
        path: The file; one without checksums, which somebody else has written, passes.
        names: The tensors that are needed; only they are read, a row at a time.

    Returns:
        The open file, as ``safetensors.safe_open`` has it.

    Raises:
        UserError: If it is missing, cut short, altered, or lacks one of the tensors.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; evaluate first")
    try:
        file: Any = safe_open(path, framework="numpy")
        checksums = json.loads((file.metadata() or {}).get("crc32", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"{path}: not a whole tensor file ({error}); delete it and evaluate again"
        ) from error
    found = sorted(file.keys())
    for name in names:
        if name not in found:
            raise UserError(
                f"{path}: no tensor {name!r}; found {found}{nearest(name, found)}; evaluate again"
            )
        if name in checksums and _checksum(file, name) != checksums[name]:
            raise UserError(
                f"{path}: {name} altered since it was written; delete the file and evaluate again"
            )
    return file


def _checksum(file: Any, name: str) -> int:
    part = file.get_slice(name)
    shape = part.get_shape()
    rows = (part[row] for row in range(shape[0])) if len(shape) > 1 else [file.get_tensor(name)]
    checksum = 0
    for row in rows:
        checksum = zlib.crc32(row.data, checksum)
    return checksum


def member_probabilities(log_probabilities: Array, scale: float, index: int) -> Array:
    """Return the probabilities of one network, its logits multiplied by a scale.

    Args:
        log_probabilities: ``[N, C]``.
        scale: 1 leaves them as they are.
        index: The network's place, for the message.

    Returns:
        float64 ``[N, C]``.

    Raises:
        UserError: If a prediction is not a number.
    """
    if np.isnan(log_probabilities).any():
        raise UserError(
            f"ensemble: the predictions of network {index} (counted from 0) are not numbers; "
            "leave it out or train it again"
        )
    if scale == 1.0:
        probabilities: Array = log_probabilities.astype(np.float64)
    else:
        probabilities = rescale(log_probabilities, scale)
    return np.exp(probabilities, out=probabilities)


def ensemble_probabilities(
    log_probabilities: Iterable[Array], scales: Iterable[float] | None = None
) -> Array:
    """Average the predicted probabilities of the members of an ensemble.

    Args:
        log_probabilities: The members, each ``[N, C]``: a list, an array ``[M, N, C]``, or an
            iterator that reads them one by one.
        scales: The logit scale of each member; all 1 if omitted.

    Returns:
        float64 ``[N, C]``, rows summing to 1.

    Raises:
        UserError: If there is no member, or a member's predictions are not numbers.
    """
    total: Array | None = None
    count = 0
    factors = iter(scales) if scales is not None else None
    for member in log_probabilities:
        scale = 1.0 if factors is None else next(factors)
        probabilities = member_probabilities(member, scale, count)
        if total is None:
            total = probabilities
        else:
            total += probabilities
        count += 1
    if total is None:
        raise UserError("ensemble: it has no members; at least one network is needed")
    total /= count
    return total


def mixture_probabilities(parts: Sequence[tuple[StoredPredictions, Sequence[int]]]) -> Array:
    """Average the predicted probabilities of networks from any files, in any order.

    Each network counts the same, whichever file it is from; one that is named twice counts twice.

    Args:
        parts: Files, and which of their networks are members.

    Returns:
        float64 ``[N, C]``, rows summing to 1.

    Raises:
        UserError: If the files are not of one test set, a file lacks one of its members, or as in
            `ensemble_probabilities`.
    """
    check_parts(parts)
    return ensemble_probabilities(stored[index] for stored, indices in parts for index in indices)


def check_parts(parts: Sequence[tuple[StoredPredictions, Sequence[int]]]) -> None:
    """Refuse files that are not of one test set, or that lack one of the networks named.

    Raises:
        UserError: With the first file in which something is amiss.
    """
    for stored, indices in parts:
        reference = parts[0][0]
        for what, own, others in (
            ("examples", len(stored.labels), len(reference.labels)),
            ("classes", stored.classes, reference.classes),
        ):
            if own != others:
                raise UserError(
                    f"{stored.path}: {own} {what}, but {others} in {reference.path}; the members "
                    "of an ensemble are evaluated on one test set: choose them from one data set"
                )
        if not np.array_equal(stored.labels, reference.labels):
            raise UserError(
                f"{stored.path}: other labels than in {reference.path}; the members of an ensemble "
                "are evaluated on one test set in one order: choose them from one data set"
            )
        missing = [index for index in indices if not 0 <= index < len(stored)]
        if missing:
            raise UserError(
                f"{stored.path}: no network {missing[0]}; it holds {len(stored)}, counted from 0: "
                "choose members from them, or evaluate the missing ones"
            )


def error(probabilities: Array, labels: Array) -> float:
    """Return the percentage of examples whose most probable class is not their label.

    Args:
        probabilities: ``[N, C]``; anything that grows with the probability will do.
        labels: ``[N]``.
    """
    check_labels(probabilities, labels)
    return 100 * float(np.mean(probabilities.argmax(axis=-1) != labels))


def negative_log_likelihood(probabilities: Array, labels: Array) -> float:
    """Return the mean cross-entropy in nats of probabilities ``[N, C]`` for ``labels`` ``[N]``."""
    check_labels(probabilities, labels)
    with np.errstate(divide="ignore"):
        return -float(np.mean(np.log(probabilities[np.arange(len(labels)), labels])))
