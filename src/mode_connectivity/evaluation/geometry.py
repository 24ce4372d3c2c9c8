"""Where networks lie in weight space: their norms, and the distances between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from torch import Tensor

from mode_connectivity.files import write_frame
from mode_connectivity.job_log import Steps
from mode_connectivity.settings import UserError
from mode_connectivity.training.curves import load_bend
from mode_connectivity.training.networks import Workspace, load_weights
from mode_connectivity.training.recipes import CurveSettings
from mode_connectivity.weight_space.family import norm

MEMORY = 2 << 30


@dataclass(frozen=True)
class GeometryPoint:
    """A point of weight space, in a file.

    Attributes:
        label: its name.
        path: weights of a network, or the vertices of ``curve``.
        curve: the curve whose first bend is the point, if one is.
    """

    label: str
    path: Path
    curve: CurveSettings | None = None

    @property
    def kind(self) -> Literal["mode", "bend"]:
        """Whether it is a trained network or the bend of a curve."""
        return "mode" if self.curve is None else "bend"

    def read(self, workspace: Workspace, out: Tensor) -> None:
        """Read its weights into ``out`` [P].

        Raises:
            UserError: the file is missing, damaged, or of another network.
        """
        if self.curve is None:
            load_weights(self.path, workspace.network, workspace.flat, out)
        else:
            load_bend(self.path, self.curve, workspace, out)


def measure_distances(
    points: Sequence[GeometryPoint],
    workspace: Workspace,
    *,
    points_table: Path,
    distances: Path,
    memory: int = MEMORY,
) -> None:
    """Measure the norms of points of weight space and the Euclidean distances between them.

    What a t-SNE of the points (Gotmare et al. 2018, figure 4) does not preserve. Where the points
    do not fit into the memory that is granted, they are read several times: a block of them is
    held, and all later ones pass by it one after the other. The numbers do not depend on it.

    Args:
        points: at least two, each with a label of its own.
        workspace: the network whose weights they are; its own are lost.
        points_table: takes a row a point: ``label, kind`` (mode or bend)``, norm``.
        distances: takes a row a point: ``label``, then a column a point, in the same order.
        memory: bytes for the points that are held at a time, beside one that passes by.

    Raises:
        UserError: fewer than two points, two of one label, or a file that ``read`` refuses.
    """
    labels = [point.label for point in points]
    repeated = sorted({label for label in labels if labels.count(label) > 1})
    if repeated:
        raise UserError(f"points: {', '.join(repeated)}: given twice; name each point once")
    if len(points) < 2:
        raise UserError(f"points: {len(points)} given; distances need at least two")
    passing = workspace.flat.vector
    held = min(len(points), max(1, memory // (passing.numel() * passing.element_size())))
    vectors = passing.new_empty(held, len(passing))
    norms = np.zeros(len(points))
    matrix = np.zeros((len(points), len(points)))
    blocks = range(0, len(points), held)
    readings = Steps("reading", sum(len(points) - first for first in blocks))
    for first in blocks:
        for index in readings.over(range(first, len(points))):
            place = index - first
            vector = vectors[place] if place < held else passing
            points[index].read(workspace, vector)
            if place < held:
                norms[index] = norm(vector)
            for other in range(min(place, held)):
                distance = norm(vectors[other] - vector)
                matrix[index, first + other] = matrix[first + other, index] = distance
    kinds = [point.kind for point in points]
    frame = pd.DataFrame(matrix, columns=labels)
    frame.insert(0, "label", labels, allow_duplicates=True)
    write_frame(points_table, pd.DataFrame({"label": labels, "kind": kinds, "norm": norms}))
    write_frame(distances, frame)
