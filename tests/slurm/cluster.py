"""A real SLURM on this machine: daemons of several nodes, on loopback, gone with the test run.

Two nodes have CPUs only, two a pretended GPU each, which SLURM counts and hands out like a real
one. There is no database: what became of a job tell ``scontrol show job`` and a file of finished
jobs.
"""

import ctypes
import os
import re
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")
PACKAGES = "munge slurm-client slurmctld slurmd"
CPU_NODES, GPU_NODES = ("c1", "c2"), ("g1", "g2")
NODES = (*CPU_NODES, *GPU_NODES)
PARTITIONS = {"cpu": CPU_NODES, "gpu": GPU_NODES}
CPUS, MEMORY_MB, MINUTES = 16, 64000, 1440
"""Of each node, and the longest job of a partition; what is asked for beyond is refused."""

NODE_TIMEOUT = 20
"""Seconds after which a silent node is taken for dead."""

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
"""Of Linux's ``sys/prctl.h``."""

CONFIGURATION = """
ClusterName=rehearsal
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.socket
CryptoType=crypto/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
ReturnToService=2
EnforcePartLimits=ALL
SlurmdTimeout={node_timeout}
KillWait=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=5,bf_interval=5,batch_sched_delay=0,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
MinJobAge=86400
PropagateResourceLimits=NONE
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/log/finished.txt
AccountingStorageType=accounting_storage/none
"""


def missing_programs() -> list[str]:
    """Return the programs of SLURM that are not there."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


@dataclass(frozen=True)
class Record:
    """What SLURM knows of a job.

    Attributes:
        number: the job's.
        rule: the rule, or the group of rules, that Snakemake submitted.
        state: SLURM's word: COMPLETED, CANCELLED, TIMEOUT, NODE_FAIL, RUNNING, ...
        partition: where it ran.
        nodes: on what.
        cpus: how many it was given.
        memory_mb: what it may use.
        minutes: its time limit.
        gpus: how many it was given.
        submitted: when, in seconds since the epoch.
        started: when; nothing for a job that has not.
        ended: when; nothing for a job that runs.
        restarts: how often SLURM itself put it back into the queue.
    """

    number: int
    rule: str
    state: str
    partition: str
    nodes: str
    cpus: int
    memory_mb: int
    minutes: int
    gpus: int
    submitted: float
    started: float | None
    ended: float | None
    restarts: int

    @classmethod
    def read(cls, line: str) -> "Record":
        """Read a line of ``scontrol --oneliner --details show job``."""
        fields = dict(re.findall(r"(?:^| )([A-Za-z/:]+)=(\S*)", line))
        running = fields["JobState"] in ("RUNNING", "PENDING", "COMPLETING", "CONFIGURING")
        return cls(
            number=int(fields["JobId"]),
            rule=re.sub(r"_wildcards_.*", "", fields.get("Comment", "")).removeprefix("rule_"),
            state=fields["JobState"],
            partition=fields["Partition"],
            nodes=fields["NodeList"],
            cpus=int(fields["NumCPUs"]),
            memory_mb=_megabytes(fields["MinMemoryNode"]),
            minutes=_minutes(fields["TimeLimit"]),
            gpus=_gpus(fields.get("TresPerJob", fields.get("TresPerNode", ""))),
            submitted=_seconds(fields["SubmitTime"]) or 0.0,
            started=_seconds(fields["StartTime"]),
            ended=None if running else _seconds(fields["EndTime"]),
            restarts=int(fields["Restarts"]),
        )


def _megabytes(text: str) -> int:
    number, unit = re.fullmatch(r"([\d.]+)([MGT]?)", text).groups()
    return round(float(number) * {"": 1, "M": 1, "G": 1024, "T": 1024**2}[unit])


def _minutes(text: str) -> int:
    days, _, clock = text.rpartition("-")
    hours, minutes, _ = (int(part) for part in clock.split(":"))
    return 1440 * int(days or 0) + 60 * hours + minutes


def _gpus(text: str) -> int:
    return sum(int(count or 1) for count in re.findall(r"gres:gpu(?::\w*[a-z]\w*)?:?(\d*)", text))


def _seconds(text: str) -> float | None:
    return None if text in ("Unknown", "None") else datetime.fromisoformat(text).timestamp()


class Cluster:
    """A cluster that runs inside a ``with`` statement.

    Attributes:
        folder: what it writes; kept for a look where a test has failed, else deleted.
        environment: the variables by which SLURM's commands, and jobs, find this cluster.
    """

    def __init__(self) -> None:
        # Not pytest's folder: the path of a socket has room for 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        self._configuration = self.folder / "slurm.conf"
        programs = os.pathsep.join([str(self.folder / "bin"), os.environ["PATH"], "/usr/sbin"])
        self.environment = {"SLURM_CONF": str(self._configuration), "PATH": programs}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Cluster":
        with ExitStack() as failed:
            failed.callback(self.stop)
            self._configure()
            # Jobs whose parents die become children of this process, so that it can end them.
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
            self._start_munge()
            self._start("slurmctld", "slurmctld", "-D")
            self.wait("the controller", lambda: "UP" in self.command("scontrol", "ping"))
            for node in NODES:
                self.switch_on(node)
            self.wait("the nodes", lambda: set(self.node_states().values()) == {"IDLE"})
            failed.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _configure(self) -> None:
        for name in ("bin", "dev", "log", "run", "spool", "state"):
            (self.folder / name).mkdir()
        for node in NODES:
            (self.folder / "spool" / node).mkdir()
        host = socket.gethostname().partition(".")[0]
        controller_port, *ports = free_ports(1 + len(NODES))
        text = CONFIGURATION.format(
            folder=self.folder,
            host=host,
            controller_port=controller_port,
            user=psutil.Process().username(),
            node_timeout=NODE_TIMEOUT,
        )
        devices = []
        for node, port in zip(NODES, ports, strict=True):
            text += f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} "
            text += f"CPUs={CPUS} RealMemory={MEMORY_MB}"
            if node in GPU_NODES:
                # The digit at the end is what jobs find in CUDA_VISIBLE_DEVICES.
                device = self.folder / "dev" / node / "nvidia0"
                device.parent.mkdir()
                os.mknod(device, stat.S_IFCHR | 0o666, Path(os.devnull).stat().st_rdev)
                devices.append(f"NodeName={node} Name=gpu File={device}\n")
                text += " Gres=gpu:1"
            text += "\n"
        for partition, nodes in PARTITIONS.items():
            default = "YES" if partition == "cpu" else "NO"
            text += f"PartitionName={partition} Nodes={','.join(nodes)} "
            text += f"Default={default} MaxTime={MINUTES}\n"
        self._configuration.write_text(text)
        self._configuration.with_name("gres.conf").write_text("".join(devices))
        # The executor takes every variable of SLURM from the srun inside a job, this one, too.
        program = self.folder / "bin" / "srun"
        program.write_text(
            f'#!/bin/sh\nSLURM_CONF="{self._configuration}" exec {shutil.which("srun")} "$@"\n'
        )
        program.chmod(0o755)

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        files = {"key-file": key, "socket": self.folder / "run" / "munge.socket"}
        files |= {"pid-file": self.folder / "run" / "munged.pid"}
        files |= {"log-file": self.folder / "log" / "munged.log"}
        files |= {"seed-file": self.folder / "state" / "munge.seed"}
        options = [f"--{name}={path}" for name, path in files.items()]
        # Forced, as the temporary folder belongs to everybody.
        self._start("munged", "munged", "--foreground", "--force", *options)
        self.wait("munge", files["socket"].exists)

    def _start(self, name: str, *command: str) -> None:
        with (self.folder / "log" / f"{name}.out").open("ab") as output:
            self._daemons[name] = subprocess.Popen(
                command,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

    def stop(self) -> None:
        """End the jobs, then the daemons, then whatever is left of either."""
        if "slurmctld" in self._daemons:
            with suppress(subprocess.SubprocessError, TimeoutError):
                self.cancel_everything()
        for daemon in reversed(self._daemons.values()):
            daemon.terminate()
        for daemon in self._daemons.values():
            try:
                daemon.wait(timeout=15)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.clear()
        end([process for process in _descendants() if self._owns(process)])
        psutil.wait_procs([process for process in _descendants() if _is_dead(process)])

    def command(self, *words: str) -> str:
        """Run one of SLURM's commands and return what it says."""
        return subprocess.run(
            words,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout

    def records(self) -> list[Record]:
        """Return every job that was ever submitted, first to last."""
        text = self.command("scontrol", "--oneliner", "--details", "show", "job")
        lines = [line for line in text.splitlines() if line.startswith("JobId=")]
        return sorted((Record.read(line) for line in lines), key=lambda record: record.number)

    def finished(self) -> dict[int, dict[str, str]]:
        """Return the file of finished jobs: its last line of each, by the jobs' numbers."""
        lines = (self.folder / "log" / "finished.txt").read_text().splitlines()
        jobs = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines]
        return {int(job["JobId"]): job for job in jobs}

    def state(self, number: int) -> str:
        """Return the state of a job."""
        return next(record.state for record in self.records() if record.number == number)

    def script(self) -> psutil.Process:
        """Return the process of the script that a job runs; there must be one job."""
        (script,) = [
            process
            for process in _descendants()
            if any("/.snakemake/scripts/" in word for word in _words(process))
        ]
        return script

    def active(self) -> list[Record]:
        """Return the jobs that wait or run."""
        return [record for record in self.records() if record.ended is None]

    def cancel_everything(self) -> None:
        """Cancel all jobs and wait until they are gone."""
        for record in self.active():
            self.command("scancel", str(record.number))
        self.wait("the end of all jobs", lambda: not self.command("squeue", "--noheader"))

    def node_states(self) -> dict[str, str]:
        """Return the state of each node."""
        text = self.command("scontrol", "--oneliner", "show", "nodes")
        return dict(re.findall(r"NodeName=(\S+) .*? State=(\S+)", text))

    def switch_off(self, node: str) -> None:
        """End a node and all that runs there as if its power had failed."""
        daemon = self._daemons.pop(node)
        daemon.kill()
        daemon.wait()
        jobs = [process for process in _descendants() if self._owns(process, node)]
        # First those that would tell the controller.
        end([parent for parent in map(_parent, jobs) if parent and parent.name() == "slurmstepd"])
        end(jobs)

    def switch_on(self, node: str) -> None:
        """Start a node's daemon."""
        self._start(node, "slurmd", "-D", "-N", node)

    def _owns(self, process: psutil.Process, node: str | None = None) -> bool:
        """Whether a process runs under this cluster's daemons, or those of one node."""
        with suppress(psutil.Error):
            variables = process.environ()
            if node is None:
                return variables.get("SLURM_CONF") == str(self._configuration)
            return variables.get("SLURMD_NODENAME") == node
        return False

    def wait(self, what: str, condition: Callable[[], Any], seconds: float = 60) -> None:
        """Wait until a condition holds.

        Raises:
            TimeoutError: it does not, or a daemon has ended; with the last lines of the logs.
        """
        deadline = time.monotonic() + seconds
        while True:
            with suppress(subprocess.SubprocessError):
                if condition():
                    return
            gone = [name for name, daemon in self._daemons.items() if daemon.poll() is not None]
            if gone or time.monotonic() > deadline:
                raise TimeoutError(f"{what}: {', '.join(gone) or 'nothing'} ended\n{self.logs()}")
            time.sleep(0.1)

    def logs(self) -> str:
        """Return the last lines of each log, for the message of a failed test."""
        tails = []
        for path in sorted((self.folder / "log").glob("*")):
            lines = path.read_text(errors="replace").splitlines()[-15:]
            tails.append("\n".join([f"--- {path.name}", *lines]))
        return "\n".join(tails)


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _descendants() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def _parent(process: psutil.Process) -> psutil.Process | None:
    with suppress(psutil.Error):
        return process.parent()
    return None


def _words(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        if process.name().startswith("python"):
            return process.cmdline()
    return []


def _is_dead(process: psutil.Process) -> bool:
    """Whether a process only waits for its parent to take note."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end(processes: Sequence[psutil.Process]) -> None:
    """Kill processes and wait for them."""
    for process in processes:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


def free_ports(count: int) -> list[int]:
    """Return ports of this machine on which nobody listens."""
    with ExitStack() as stack:
        ports = []
        for _ in range(count):
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            ports.append(listener.getsockname()[1])
    return ports
