"""What a checkpoint after every epoch takes from a training on a GPU."""

import statistics
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.common import Row, build
from mode_connectivity.training.checkpoints import Checkpoint

TITLE = "VGG-16"
EPOCH = 4.0
"""Seconds of an epoch of CIFAR-10 on a GPU; there is at most one write in five."""
TURNS = 7


def measure() -> list[Row]:
    """Return what a training waits for its checkpoint, and for the interpreter during a write.

    On a machine without a GPU the state is copied from the host's own memory.
    """
    _, flat, _ = build(TITLE)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    vector = flat.vector.detach().to(device)
    state = {"vertex.0": vector, "optimiser.0.momentum_buffer": vector.clone()}
    on_host = {name: tensor.cpu() for name, tensor in state.items()}
    with TemporaryDirectory() as folder:
        checkpoint = Checkpoint(Path(folder) / "checkpoint.safetensors", TITLE)
        with checkpoint.writing(first=1000.0) as writer:
            handed_over = []
            for _ in range(TURNS):
                start = time.perf_counter()
                writer.save(state, {}, after="")
                if device.type == "cuda":
                    torch.cuda.synchronize()
                handed_over.append(time.perf_counter() - start)
        turns = [
            _work_beside(threading.Thread(target=checkpoint.save, args=(on_host, {})))
            for _ in range(TURNS)
        ]
    written, waited = (statistics.median(seconds) for seconds in zip(*turns, strict=True))
    return [
        {
            "measurement": f"a checkpoint / an epoch of {EPOCH:.0f} s, state on {device.type}",
            "network": TITLE,
            "value": (statistics.median(handed_over) + waited) / EPOCH,
            "bound": 0.02,
        },
        {
            "measurement": "writing a checkpoint beside the work, seconds",
            "network": TITLE,
            "value": written,
            "bound": 2.0,
        },
    ]


def _work_beside(thread: threading.Thread) -> tuple[float, float]:
    """Compute until a thread ends; return the seconds, and those without the interpreter.

    What other processes take from this thread is none of them; only Linux tells that apart.
    """
    start, had = time.perf_counter(), _had()
    thread.start()
    while thread.is_alive():
        pass
    seconds = time.perf_counter() - start
    return seconds, max(seconds - (_had() - had), 0.0)


def _had() -> float:
    """Return for how many seconds this thread has run or could have run."""
    try:
        on_a_core, in_the_queue, _ = Path("/proc/thread-self/schedstat").read_text().split()
    except OSError:
        return time.thread_time()
    return (int(on_a_core) + int(in_the_queue)) / 1e9
