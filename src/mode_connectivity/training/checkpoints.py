"""What a killed job needs to go on: written whole, checked before it is used."""

import json
import logging
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mode_connectivity import layout
from mode_connectivity.files import canonical_json, delete_remains
from mode_connectivity.tensors import DamagedFileError, load_tensors, save_tensors

logger = logging.getLogger(__name__)

PROGRESS = ".progress"


class Checkpoint:
    """One file with the state of a running job.

    Args:
        path: the file; it is no output of the job, so nobody deletes it when the job fails.
        fingerprint: identifies the job (settings, inputs, code); a checkpoint with another
            fingerprint is not resumed from.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path = path
        self._fingerprint = fingerprint

    def save(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Replace the checkpoint by tensors and a JSON-serialisable state."""
        metadata = {"fingerprint": self._fingerprint, "state": json.dumps(state)}
        save_tensors(self.path, tensors, metadata)

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return what was saved, or nothing where there is no checkpoint of this very job.

        A damaged checkpoint and one of other settings are set aside under another name, with a
        warning, and the job starts from the beginning.
        """
        if not self.path.exists():
            return None
        try:
            tensors, metadata = load_tensors(self.path, foreign=False)
        except DamagedFileError as error:
            self._set_aside("damaged", str(error))
            return None
        if metadata.get("fingerprint") != self._fingerprint:
            self._set_aside("foreign", f"{self.path}: of other settings, inputs or code")
            return None
        return tensors, json.loads(metadata["state"])

    def remove(self) -> None:
        """Delete the checkpoint of a finished job."""
        self.path.unlink(missing_ok=True)
        delete_remains(self.path)

    def _set_aside(self, kind: str, reason: str) -> None:
        number = 1
        while (aside := self.path.with_suffix(f".{kind}-{number}{self.path.suffix}")).exists():
            number += 1
        self.path.rename(aside)
        logger.warning("%s; set aside as %s, starting from the beginning", reason, aside.name)


class Progress:
    """The folder beside a job's outputs in which it keeps what a resumed job needs.

    Args:
        folder: the folder of the outputs.
        fingerprint: identifies the job; see :class:`Checkpoint`.
        part: tells jobs apart that may run at once in one folder.
    """

    def __init__(self, folder: Path, fingerprint: object, part: str = "") -> None:
        self._folder = folder / PROGRESS / part
        self._snapshots = self._folder / "snapshots"
        self.checkpoint = Checkpoint(
            self._folder / "checkpoint.safetensors", canonical_json(fingerprint)
        )

    def snapshot(self, epoch: int) -> Path:
        """Return where the snapshot of an epoch waits until the job is done."""
        return self._snapshots / layout.snapshot(epoch)

    def optimiser(self, epoch: int) -> Path:
        """Return where the optimiser's state after an epoch waits until the job is done."""
        return self._snapshots / layout.optimiser(epoch)

    def finish(
        self,
        snapshots: Path | None = None,
        epochs: Collection[int] = (),
        checkpoints: Collection[int] = (),
    ) -> None:
        """Hand over the snapshots and delete the checkpoint of a finished job.

        Args:
            snapshots: the folder that takes the snapshots' place; made also if there are none.
            epochs: of the snapshots; those of an earlier job with other settings are dropped.
            checkpoints: epochs of the snapshots with an optimiser's state.
        """
        # First of all: a job killed while it hands over has to make its snapshots again.
        self.checkpoint.remove()
        if snapshots is not None:
            snapshots.mkdir(parents=True, exist_ok=True)
            waiting = [self.snapshot(epoch) for epoch in {*epochs, *checkpoints}]
            waiting += [self.optimiser(epoch) for epoch in checkpoints]
            for path in waiting:
                path.replace(snapshots / path.name)
        # What was set aside stays for the user to look at.
        shutil.rmtree(self._snapshots, ignore_errors=True)
        folder = self._folder
        while PROGRESS in folder.parts and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent
