import os
from pathlib import Path

import pytest

from mode_connectivity import run_checks
from mode_connectivity.run_checks import check_profile, check_results, check_slurm
from mode_connectivity.settings import UserError


def told(check, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        check(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_folder_need_not_exist(tmp_path) -> None:
    check_results(tmp_path)
    check_results(tmp_path / "new" / "demo")
    assert not (tmp_path / "new").exists()


def test_a_folder_from_the_working_directory(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    check_results(Path("results"))
    assert "file is no folder" in told(check_results, Path("file/demo"))


def test_a_folder_below_a_file(tmp_path) -> None:
    (tmp_path / "file").touch()
    text = told(check_results, tmp_path / "file" / "results" / "demo")
    assert f"{tmp_path / 'file'} is no folder" in text
    assert "--config results=" in text


def test_a_folder_behind_a_broken_link(tmp_path) -> None:
    (tmp_path / "results").symlink_to(tmp_path / "unmounted")
    assert "is a link to nothing" in told(check_results, tmp_path / "results" / "demo")


def test_a_folder_behind_a_link(tmp_path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "results").symlink_to(tmp_path / "scratch")
    check_results(tmp_path / "results" / "demo")


def test_a_folder_of_somebody_else(tmp_path, monkeypatch) -> None:
    """Asked of the system, as a superuser may write in every folder."""
    asked = []

    def refuse(path: Path, mode: int) -> bool:
        asked.append((path, mode))
        return False

    monkeypatch.setattr(os, "access", refuse)
    text = told(check_results, tmp_path / "results")
    assert f"you may not write in {tmp_path}" in text
    assert asked == [(tmp_path, os.W_OK | os.X_OK)]


def test_rules_of_a_profile() -> None:
    rules = ["train_network", "train_curve"]
    check_profile({"set-resources": {"train_curve": {"gpu": 2}}, "set-threads": {}}, rules)
    text = told(check_profile, {"set-resources": {}, "set-threads": {"train_curves": 2}}, rules)
    assert text.startswith("set-threads: there is no rule 'train_curves'")
    assert "did you mean 'train_curve'?" in text


@pytest.fixture
def commands(tmp_path, monkeypatch) -> Path:
    """The only folder in which commands are looked for."""
    folder = tmp_path / "commands"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def write_command(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def test_no_slurm(commands) -> None:
    assert "there is no sbatch on the path" in told(check_slurm, [])


def test_blanks_of_the_profile(commands) -> None:
    write_command(commands, "sbatch", "")
    check_slurm([("slurm_partition", "gpu"), ("mem_mb", None)])
    text = told(
        check_slurm,
        [("slurm_partition", run_checks.BLANK), ("slurm_account", "FILL_IN"), ("runtime", 5)],
    )
    assert "slurm_account and slurm_partition still are FILL_IN" in text
    assert "slurm_account still is" in told(check_slurm, [("slurm_account", "FILL_IN")])


@pytest.fixture
def cluster(commands) -> Path:
    """A cluster of two partitions, as sinfo lists them: once for each kind of node."""
    write_command(commands, "sbatch", "")
    write_command(
        commands, "sinfo", '[ "$*" = "--all --noheader --format %R" ] && echo cpu gpu gpu'
    )
    return commands


def test_a_partition_that_does_not_exist(cluster) -> None:
    text = told(check_slurm, [("slurm_partition", "cpus"), ("slurm_partition", "gpu")])
    assert text.startswith("slurm_partition: this cluster has no partition 'cpus'")
    assert "did you mean 'cpu'?" in text and text.endswith("it has cpu, gpu")
    assert "'night'" in told(check_slurm, [("slurm_partition", "gpu,night")])


@pytest.mark.parametrize("value", ["gpu", "cpu,gpu", "'gpu' if attempt > 1 else 'cpu'", None])
def test_partitions_that_may_exist(cluster, value) -> None:
    check_slurm([("slurm_partition", value)] if value else [])


def test_a_cluster_that_does_not_answer(cluster) -> None:
    write_command(cluster, "sinfo", "echo unable to contact the controller >&2; exit 1")
    check_slurm([("slurm_partition", "cpus")])
    (cluster / "sinfo").unlink()
    check_slurm([("slurm_partition", "cpus")])
