"""What every job does around its work: a log, a device, an error a user can read, a record."""

import ctypes
import logging
import os
import platform
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mode_connectivity import job_log
from mode_connectivity.files import digest, write_json
from mode_connectivity.settings import UserError
from mode_connectivity.signals import Stopped, stopping_on_signals

logger = logging.getLogger("mode_connectivity")

PR_SET_PDEATHSIG = 1
"""Of Linux's ``sys/prctl.h``."""

STOPPED = 75
"""The status of a job that a signal has stopped: ``EX_TEMPFAIL`` of ``sysexits.h``, try again."""

PACKAGES = ("mode-connectivity", "torch", "numpy", "pandas", "safetensors", "snakemake")


@dataclass
class Job:
    """A running job.

    Attributes:
        log: its log file, on which it holds a lock for as long as it lives.
        started: when its process started, in seconds of ``time.monotonic``, which no change of the
            clock moves.
        ready: when its own work began.
    """

    log: Path
    started: float
    ready: float = field(default_factory=time.monotonic)

    @staticmethod
    def identify(*files: Path) -> list[str]:
        """Return a digest of each input file, for the fingerprint of a checkpoint."""
        return [digest(path) for path in job_log.Steps("file", len(files)).over(files)]

    def record(self, path: Path, **facts: Any) -> None:
        """Write the record of the run: what was asked for, with what it ran, what it cost."""
        now = time.monotonic()
        write_json(
            path,
            {
                **facts,
                "versions": {name: _version(name) for name in PACKAGES},
                "python": platform.python_version(),
                "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
                "commit": _commit(),
                "start_seconds": round(self.ready - self.started, 3),
                "work_seconds": round(now - self.ready, 3),
                "peak_memory_mb": peak_memory_mb(),
            },
        )


@contextmanager
def running_job(
    log: Path,
    rule: str = "job",
    wildcards: Iterable[str] = (),
    *,
    threads: int | None = None,
    ends_with_parent: bool = True,
) -> Iterator[Job]:
    """Run the work of a job inside a log.

    Lines of the library's loggers, warnings and errors go to the log file and to standard error.
    The first line says who the job is and where it runs, the last one how it ended; see
    `mode_connectivity.job_log`. A mistake of the user ends the job with one line; a mistake of ours
    with a traceback and one line; a signal that asks it to stop with one line. Logging and signal
    handlers are afterwards as they were before.

    Args:
        log: the log file; its folder is made.
        rule: the job's rule.
        wildcards: their values.
        threads: CPU threads of PyTorch, or nothing for a job that does not use it.
        ends_with_parent: stop when the process that started this one is gone: a job that outlives
            a killed Snakemake would work on beside the same job of the next run.

    Raises:
        SystemExit: with status 1, in place of any error of the work; with status ``STOPPED``, to be
            started again, when a signal has stopped it.
    """
    if ends_with_parent:
        _end_with_parent()
    log.parent.mkdir(parents=True, exist_ok=True)
    with _logging_to(log) as locked, stopping_on_signals():
        try:
            logger.info("%s", job_log.Begin.here(rule, "/".join(wildcards), locked=locked))
            if threads is not None:
                import torch

                torch.set_num_threads(threads)
            job = Job(log, started=_process_start())
            yield job
            logger.info("%s", job_log.done_line(time.monotonic() - job.started))
        except Stopped as stopped:
            logger.warning("%s", job_log.stopped_line(stopped.name, stopped.after))
            raise SystemExit(STOPPED) from None
        except UserError as error:
            logger.error("%s", job_log.error_line(error))
            raise SystemExit(1) from None
        except Exception as error:
            logger.exception("failed")
            text = f"{type(error).__name__}: {' '.join(str(error).split())}"
            logger.error("%s", job_log.error_line(f"{text}{_memory_advice(error)}"))
            raise SystemExit(1) from None
        except BaseException as error:
            logger.error("%s", job_log.ended_line(error))
            raise


def _end_with_parent() -> None:
    """Let this process end when the one that started it does, however that happens.

    Only Linux can do this.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def _logging_to(log: Path) -> Iterator[bool]:
    """Write lines to a log and to standard error; yield whether the log is locked."""
    formatter = logging.Formatter(job_log.LINE_FORMAT, job_log.STAMP)
    file = logging.FileHandler(log, mode="w", encoding="utf-8")
    handlers: list[logging.Handler] = [file, logging.StreamHandler(sys.stderr)]
    loggers = [logger, logging.getLogger("py.warnings")]
    before = [(each, each.level, each.propagate) for each in loggers]
    for handler in handlers:
        handler.setFormatter(formatter)
        for each in loggers:
            each.addHandler(handler)
    for each in loggers:
        each.setLevel(logging.INFO)
        each.propagate = False
    logging.captureWarnings(True)
    try:
        yield file.stream is not None and job_log.hold(file.stream)
    finally:
        logging.captureWarnings(False)
        for each, level, propagate in before:
            each.setLevel(level)
            each.propagate = propagate
        for handler in handlers:
            for each in loggers:
                each.removeHandler(handler)
            handler.close()


def _memory_advice(error: Exception) -> str:
    # PyTorch has no class of its own for the CPU's memory, nor for that of CUDA's libraries.
    signs = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
    if isinstance(error, MemoryError) or any(sign in str(error) for sign in signs):
        return "; lower the batch_size in evaluation or in the training of the recipe or curve"
    return ""


def _process_start() -> float:
    """Return when this process started by ``time.monotonic``; where Linux does not tell, now."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return time.monotonic()
    return time.monotonic() - max(age, 0.0)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except ModuleNotFoundError:
        return None


def _commit() -> str | None:
    """Return the commit of the project's checkout, for information; it triggers nothing."""
    try:
        result = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()


def peak_memory_mb() -> dict[str, float]:
    """Return the most memory that this process has held, in MiB, on the CPU and the GPU.

    From /proc where there is one: what the resource module tells begins with the peak of the
    process that started this one.
    """
    try:
        status = Path("/proc/self/status").read_text()
        kib = int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, ValueError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        kib = peak if platform.system() == "Linux" else peak // 1024
    peaks = {"cpu": round(kib / 1024, 1)}
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        peaks["cuda"] = round(torch.cuda.max_memory_allocated() / 1024**2, 1)
    return peaks
