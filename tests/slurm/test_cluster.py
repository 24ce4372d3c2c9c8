"""The cluster itself leaves this machine as it was."""

import shutil

import psutil
import pytest
from cluster import GPU_NODES, NODES, Cluster

pytestmark = pytest.mark.slurm


def processes_of(folder: str) -> list[psutil.Process]:
    """Return the processes whose command or SLURM_CONF lies below a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), process.environ().get("SLURM_CONF", "")]
        except psutil.Error:
            continue
        if any(folder in word for word in words):
            found.append(process)
    return found


def test_it_leaves_nothing_behind_even_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), Cluster() as cluster:
        assert set(cluster.node_states()) == set(NODES)
        for partition in ("cpu", "gpu"):
            script = "trap '' TERM; while :; do sleep 1; done"
            cluster.command("sbatch", "-p", partition, "-o", "/dev/null", "--wrap", script)
        cluster.wait("both jobs", lambda: {job.state for job in cluster.records()} == {"RUNNING"})
        assert processes_of(str(cluster.folder))
        raise ZeroDivisionError
    assert processes_of(str(cluster.folder)) == []
    assert not cluster.folder.exists()


def test_it_listens_on_loopback_only(cluster: Cluster) -> None:
    listening = [
        connection.laddr.ip
        for process in processes_of(str(cluster.folder))
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) == 1 + len(NODES)
    assert set(listening) == {"127.0.0.1"}


def test_a_job_is_given_the_gpu_that_it_asks_for(cluster: Cluster) -> None:
    output = cluster.command("srun", "-p", "gpu", "--gpus=1", "env")
    assert "CUDA_VISIBLE_DEVICES=0" in output.splitlines()
    (record,) = [job for job in cluster.records() if job.gpus][-1:]
    assert record.nodes in GPU_NODES and record.gpus == 1


def test_slurm_is_found_by_its_configuration_alone(cluster: Cluster) -> None:
    """What is below /etc/slurm, of somebody's own cluster, is neither read nor changed."""
    assert shutil.which("srun", path=cluster.environment["PATH"]).startswith(str(cluster.folder))
    assert "rehearsal" in cluster.command("scontrol", "show", "config")
