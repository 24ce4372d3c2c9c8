"""Slots of this machine's GPUs, by which jobs share them without a scheduler.

A slot is a file lock, so the kernel frees it when its process ends, however that happens. Nothing
here imports torch: a waiting job shall not have started CUDA.
"""

import logging
import os
import re
import stat
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from mode_connectivity.settings import UserError

logger = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"
POLL_SECONDS = 0.5
"""Between two looks for a free slot: little beside the seconds in which CUDA starts."""
NVIDIA_SMI_SECONDS = 60
"""That nvidia-smi may take: some seconds where a driver without persistence wakes many GPUs."""

_held: list[FileLock] = []


@dataclass(frozen=True)
class Gpu:
    """A GPU of this machine.

    Attributes:
        uuid: its identifier.
        parts: the identifiers of what a job can have of it: its MIG devices, or else itself.
    """

    uuid: str
    parts: tuple[str, ...]


def take_gpu_slot(jobs_per_gpu: int) -> None:
    """Take a slot of one GPU, waiting for it, and let CUDA see that GPU alone.

    GPUs fill up evenly. ``CUDA_VISIBLE_DEVICES`` as it was before narrows the choice. Nothing
    happens where it names one GPU inside a SLURM job, which has that one to itself, nor where
    nvidia-smi or that variable shows none.

    The process keeps its slot until it ends: CUDA reads the variable only once, and the GPU's
    memory is freed with the process.

    Args:
        jobs_per_gpu: slots of a GPU.

    Raises:
        UserError: the folder of the locks belongs to somebody else or cannot be made.
    """
    if _held:
        return
    named = os.environ.get(VISIBLE)
    if named is not None and "," not in named and "SLURM_JOB_ID" in os.environ:
        return
    names = visible_devices(list_gpus(), named)
    if not names:
        return
    folder = _slots_folder()
    taken = _free_slot(folder, names, jobs_per_gpu)
    if taken is None:
        logger.info(
            "waiting for a GPU: %s taken (GPUs: %d, jobs_per_gpu: %d)",
            "the only slot is" if len(names) * jobs_per_gpu == 1 else "all slots are",
            len(names),
            jobs_per_gpu,
        )
    while taken is None:
        time.sleep(POLL_SECONDS)
        taken = _free_slot(folder, names, jobs_per_gpu)
    device, slot = taken
    _held.append(slot)
    os.environ[VISIBLE] = names[device]


def list_gpus() -> list[Gpu]:
    """Return the GPUs in the order of ``nvidia-smi -L``; none where it is absent or fails."""
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"],
            capture_output=True,
            text=True,
            check=True,
            timeout=NVIDIA_SMI_SECONDS,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    gpus: list[tuple[str, list[str]]] = []
    for kind, uuid in re.findall(r"^\s*(GPU|MIG) .*\(UUID: ([^)\s]+)\)", listed.stdout, re.M):
        if kind == "GPU":
            gpus.append((uuid, []))
        elif gpus:
            gpus[-1][1].append(uuid)
    return [Gpu(uuid, tuple(parts) or (uuid,)) for uuid, parts in gpus]


def visible_devices(gpus: Sequence[Gpu], named: str | None) -> dict[str, str]:
    """Return the identifier of each device that CUDA may use, and by which name it is told so.

    A name stays as it was given: CUDA may count GPUs of several kinds in another order than
    nvidia-smi does.

    Args:
        gpus: of this machine.
        named: the value of ``CUDA_VISIBLE_DEVICES``: indices or the beginnings of UUIDs, of which
            CUDA ignores the first that it does not know and all after it. Nothing: every device.
    """
    if named is None:
        return {part: part for gpu in gpus for part in gpu.parts}
    visible: dict[str, str] = {}
    for name in named.split(","):
        found = _devices_by(name.strip(), gpus)
        if not found:
            break
        visible |= found
    return visible


def _devices_by(name: str, gpus: Sequence[Gpu]) -> dict[str, str]:
    is_uuid = name.startswith(("GPU-", "MIG-"))
    for index, gpu in enumerate(gpus):
        if name == str(index) or (is_uuid and gpu.uuid.startswith(name)):
            split = gpu.parts != (gpu.uuid,)
            return {part: part if split else name for part in gpu.parts}
        for part in gpu.parts:
            if is_uuid and part.startswith(name):
                return {part: name}
    return {}


def _slots_folder() -> Path:
    """Return this user's folder of locks, the same for all checkouts."""
    folder = Path(tempfile.gettempdir()) / f"mode_connectivity_gpu_slots_{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        facts = folder.lstat()
    except OSError as error:
        raise UserError(
            f"{folder}: the locks by which jobs share GPUs cannot be kept there "
            f"({error.strerror}); set TMPDIR to a folder that you can write to"
        ) from error
    # Everybody may write below /tmp: a link or a folder of somebody else's is not to be trusted.
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        raise UserError(
            f"{folder}: jobs share GPUs by locks in this folder, but it is not a folder of yours; "
            f"delete it, or set TMPDIR to a folder of your own"
        )
    return folder


def _free_slot(
    folder: Path, devices: Mapping[str, str], jobs_per_gpu: int
) -> tuple[str, FileLock] | None:
    """Take a slot of the device with the most free ones, the first of them; or return nothing."""
    # One job looks at a time: whoever tries a slot holds it for that moment.
    with FileLock(folder / "looking.lock"):
        free = {
            device: [
                slot
                for number in range(jobs_per_gpu)
                if _acquired(slot := _slot(folder, device, number))
            ]
            for device in devices
        }
        device = max(free, key=lambda each: len(free[each]))
        chosen = free[device].pop(0) if free[device] else None
        for slot in (slot for slots in free.values() for slot in slots):
            slot.release()
    return None if chosen is None else (device, chosen)


def _slot(folder: Path, device: str, number: int) -> FileLock:
    # The UUIDs of MIG devices in older drivers have slashes.
    return FileLock(folder / f"{device.replace('/', '_')}.{number}.lock")


def _acquired(slot: FileLock) -> bool:
    try:
        slot.acquire(blocking=False)
    except Timeout:
        return False
    return True
