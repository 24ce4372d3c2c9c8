"""What a killed job needs to go on: written whole, checked before it is used."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mode_connectivity.files import delete_remains
from mode_connectivity.tensors import DamagedFileError, load_tensors, save_tensors

logger = logging.getLogger(__name__)


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
            tensors, metadata = load_tensors(self.path)
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
