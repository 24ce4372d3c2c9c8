"""What a killed job needs to go on: written whole, checked before it is used."""

import json
import logging
import shutil
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from mode_connectivity import layout
from mode_connectivity.files import canonical_json, delete_remains
from mode_connectivity.settings import UserError
from mode_connectivity.signals import Stopped, ignore_signals_from_now_on, signals_held
from mode_connectivity.tensors import DamagedFileError, load_tensors, save_tensors

logger = logging.getLogger(__name__)

PROGRESS = ".progress"

SECONDS_BETWEEN_WRITES = 5.0
"""Short epochs share a write: a state of VGG-16 takes a disk some 0.2 s, 4 % of this, and a job
that is killed loses no more than an epoch, this and the time of two writes."""


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
        """Replace the checkpoint by tensors and a JSON-serialisable state.

        Raises:
            UserError: it cannot be written; the one before is as it was.
        """
        metadata = {"fingerprint": self._fingerprint, "state": json.dumps(state)}
        try:
            save_tensors(self.path, tensors, metadata)
        except (OSError, SafetensorError) as error:
            raise UserError(
                f"{self.path}: the checkpoint cannot be written ({error}); the one before is as it "
                "was: mend this, then run the same command again"
            ) from error

    @contextmanager
    def writing(
        self,
        *,
        seconds: float = SECONDS_BETWEEN_WRITES,
        first: float = 0.0,
        after: str | None = None,
    ) -> Iterator["CheckpointWriter"]:
        """Write states beside the work of the block.

        However the block ends, the newest state is written before anything else goes on.

        Args:
            seconds: at least so long from one write to the next.
            first: at least so long to the first one.
            after: what is finished at the start; see :meth:`CheckpointWriter.save`.

        Raises:
            UserError: a state cannot be written.
        """
        writer = CheckpointWriter(self, seconds, first, after)
        try:
            try:
                yield writer
            except Exception:
                # Of two errors the user needs the first.
                with suppress(Exception):
                    writer.close()
                raise
            except BaseException:
                writer.close()
                raise
            writer.close()
        except Stopped as stopped:
            stopped.after = writer.after
            raise

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


class _HostCopy:
    """A copy of tensors in the memory of the host, used again and again."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._copied: torch.cuda.Event | None = None

    def take(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy tensors; those of a GPU while it works on."""
        buffers = {}
        for name, tensor in tensors.items():
            buffer = self.tensors.get(name)
            if buffer is None or buffer.shape != tensor.shape:
                # Pinned, which a copy from the GPU needs to run beside the host.
                buffer = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda)
            buffers[name] = buffer.copy_(tensor, non_blocking=True)
        self.tensors = buffers
        if any(tensor.is_cuda for tensor in tensors.values()):
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copied.record()

    def wait(self) -> None:
        """Return when the copies are there."""
        if self._copied is not None:
            self._copied.synchronize()


@dataclass(frozen=True)
class _State:
    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]
    copy: _HostCopy | None


class CheckpointWriter:
    """A thread that writes the newest of the states that a job gives it.

    Never two at a time; a state that still waits is replaced by a newer one.

    Attributes:
        after: what the newest state comes after, such as ``epoch 12``.

    Args:
        checkpoint: the file.
        seconds: at least so long from the end of one write to the start of the next.
        first: at least so long to the first write.
        after: what is finished already.
    """

    def __init__(
        self, checkpoint: Checkpoint, seconds: float, first: float, after: str | None
    ) -> None:
        self.after = after
        self._checkpoint = checkpoint
        self._seconds = seconds
        self._change = threading.Condition()
        self._waiting: _State | None = None
        self._idle: list[_HostCopy] = []
        self._copies = 0
        self._next = time.monotonic() + first
        self._ending = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="checkpoint", daemon=True)
        self._thread.start()

    def save(
        self,
        tensors: Mapping[str, Tensor],
        state: Mapping[str, Any],
        *,
        after: str,
        settled: bool = False,
    ) -> None:
        """Hand over a state; it is copied or written before this returns.

        A state on the CPU whose time has come is written here: a copy would share the memory, and
        the thread the cores, with the training. The thread writes those that have to wait.

        Args:
            tensors: by name.
            state: JSON-serialisable; nothing in it may change later on.
            after: what has been finished, for people.
            settled: the tensors will not change any more and are not copied.

        Raises:
            UserError: an earlier state could not be written.
        """
        with signals_held():
            copy = None
            if not settled:
                on_gpu = any(tensor.is_cuda for tensor in tensors.values())
                copy = self._copy_to_fill(2 if on_gpu else 1)
                if not on_gpu and time.monotonic() >= self._next:
                    self._write(_State(tensors, state, copy))
                    self._raise()
                    self.after = after
                    return
                copy.take(tensors)
                tensors = copy.tensors
            with self._change:
                self._raise()
                self._waiting = _State(tensors, state, copy)
                self._change.notify_all()
            self.after = after

    def close(self) -> None:
        """Write the state that waits, at once, and end the thread.

        Raises:
            UserError: a state could not be written.
        """
        with signals_held():
            with self._change:
                self._ending = True
                self._change.notify_all()
            self._thread.join()
            self._raise()

    def _copy_to_fill(self, most: int) -> _HostCopy:
        """Return the copy of a state that is not being written.

        Args:
            most: so many there may be: on a GPU's host a second one, so that training never waits
                for the disk; beside training on a CPU, whose memory they share, one.
        """
        with self._change:
            if self._waiting is not None and self._waiting.copy is not None:
                copy, self._waiting = self._waiting.copy, None
                return copy
            if not self._idle and self._copies < most:
                self._copies += 1
                return _HostCopy()
            self._change.wait_for(lambda: self._idle)
            return self._idle.pop()

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _work(self) -> None:
        while (saved := self._next_state()) is not None:
            self._write(saved)

    def _write(self, saved: _State) -> None:
        """Write a state and give its copy back; an error is kept for the job to raise."""
        try:
            if saved.copy is not None:
                saved.copy.wait()
            self._checkpoint.save(saved.tensors, saved.state)
        except BaseException as error:
            self._error = error
        with self._change:
            self._next = time.monotonic() + self._seconds
            if saved.copy is not None:
                self._idle.append(saved.copy)
            self._change.notify_all()

    def _next_state(self) -> _State | None:
        """Wait for a state whose time has come and return it, or nothing at the end."""
        with self._change:
            while True:
                pause = None
                if self._waiting is not None:
                    pause = 0.0 if self._ending else self._next - time.monotonic()
                    if pause <= 0.0:
                        saved, self._waiting = self._waiting, None
                        return saved
                elif self._ending:
                    return None
                self._change.wait(pause)


class Progress:
    """The folder beside a job's outputs in which it keeps what a resumed job needs.

    Args:
        folder: the folder of the outputs.
        fingerprint: identifies the job; see :class:`Checkpoint`.
        part: tells apart the parts of a job, and jobs that may run at once in one folder.
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
        ignore_signals_from_now_on()
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
