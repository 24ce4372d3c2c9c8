"""What jobs ask of a scheduler, the profile for SLURM, and what is refused before a job starts."""

import re
import shutil

import pytest
import yaml
from pipeline import CHECKOUT, RULE_FILES, RULES, Project, rule_blocks, without_executor

PROFILE = CHECKOUT / "profiles" / "slurm" / "profile.yaml"
DATASET = "results/demo/datasets/digits8.safetensors"
CURVE = "results/demo/curves/digits_fully_connected_bezier/grid.csv"


def rules_with_a_gpu() -> set[str]:
    """Of those that ask for one, and of those that are derived of them."""
    text = "\n".join(path.read_text() for path in RULE_FILES)
    named = {rule for rule, text in rule_blocks().items() if "gpu=GPUS" in text}
    pairs = re.findall(r"^use rule (\w+) as (\w+) with:$", text, re.MULTILINE)
    return named | {derived for origin, derived in pairs if origin in named}


def asked(output: str) -> dict[str, dict[str, str]]:
    """What each rule asks for in a dry run."""
    found = re.findall(r"rule (\w+):\n(?:    .*\n)*?    resources: (.*)\n", output)
    return {
        rule: dict(pair.split("=", 1) for pair in text.split(", ") if "=" in pair)
        for rule, text in found
    }


def test_every_job_of_a_cluster_says_what_it_needs() -> None:
    for rule, text in rule_blocks().items():
        if "localrule: True" in text:
            assert "resources:" not in text, rule
            continue
        assert "mem_mb=memory_mb," in text and "runtime=minutes," in text, rule
        assert ("threads: CONFIG.threads" in text) == ("gpu=GPUS," in text), rule


@pytest.mark.parametrize(("device", "gpu"), [("auto", "1"), ("cpu", None)])
def test_what_jobs_ask_for(tmp_path, device, gpu) -> None:
    options = ["--dry-run", "--config", f"device={device}", "threads=3", "scale=demo"]
    output = Project(tmp_path).make(CURVE, cores=3, options=options)
    jobs = asked(output)
    assert {"prepare_dataset", "train_network", "train_curve", "evaluate_curve"} <= set(jobs)
    for rule in ("train_network", "train_curve", "evaluate_curve"):
        assert jobs[rule].get("gpu", "0") == (gpu or "0"), rule
        assert int(jobs[rule]["mem_mb"]) > (3000 if gpu else 500)
        assert int(jobs[rule]["runtime"]) > 5
    assert "gpu" not in jobs["prepare_dataset"]
    assert "threads: 3" in output


def test_more_memory_than_there_is_keeps_no_job_from_running_here(tmp_path) -> None:
    """Where nobody gives a total, memory and time are not counted."""
    (tmp_path / "config.yaml").write_text("resources: {start_mb: 100000000}")
    Project(tmp_path).make(DATASET)


def test_another_estimate_runs_nothing_again(tmp_path) -> None:
    project = Project(tmp_path)
    project.make(DATASET)
    changed = "resources: {start_mb: 5000, start_minutes: 9}\ncontainer: an.sif"
    (project.folder / "config.yaml").write_text(changed)
    assert not project.outdated(DATASET)


def test_the_slurm_profile_sends_every_job_with_a_gpu_to_gpus(tmp_path) -> None:
    profile = yaml.safe_load(PROFILE.read_text())
    assert set(profile["set-resources"]) == rules_with_a_gpu()
    assert set(profile["set-resources"]) < set(RULES)
    here = without_executor(PROFILE.parent, tmp_path / "profile")
    options = ["--workflow-profile", str(here), "--dry-run"]
    jobs = asked(Project(tmp_path).make(CURVE, options=options))
    assert jobs["train_curve"]["slurm_partition"] == "some"
    assert jobs["prepare_dataset"]["slurm_account"] == "some"


def test_commented_lines_of_the_slurm_profile_are_valid(tmp_path) -> None:
    """Each that is a setting, taken in with the others."""
    text = PROFILE.read_text()
    lines = re.sub(r"^( *)# ([a-z-]+: (?!.*[.,]$).*)$", r"\1\2", text, flags=re.MULTILINE)
    profile = yaml.safe_load(lines)
    assert profile["slurm-requeue"] is True
    assert profile["default-resources"]["qos"]
    gpu = profile["set-resources"]["train_network"]
    # Otherwise both forms would be sent.
    assert gpu["gres"] == "gpu:1" and gpu["gpu"] == 0 and gpu["constraint"]
    assert profile["software-deployment-method"] == ["apptainer"]
    assert profile["apptainer-args"] == "--nv"
    # Apptainer is looked for even in a dry run.
    del profile["software-deployment-method"], profile["apptainer-args"]
    written = tmp_path / "written"
    written.mkdir()
    (written / "profile.yaml").write_text(yaml.safe_dump(profile, sort_keys=False))
    here = without_executor(written, tmp_path / "profile")
    options = ["--workflow-profile", str(here), "--dry-run"]
    jobs = asked(Project(tmp_path).make(CURVE, options=options))
    assert jobs["train_curve"]["gres"] == "gpu:1"
    assert jobs["train_curve"].get("gpu", "0") == "0"
    assert jobs["prepare_dataset"]["qos"] == "normal"


@pytest.mark.parametrize("option", ["--set-threads", "--set-resources"])
def test_a_profile_that_names_an_unknown_rule(tmp_path, option) -> None:
    setting = "train_netwrk=2" if option == "--set-threads" else "train_netwrk:mem_mb=2"
    finished = Project(tmp_path).run(DATASET, options=["--dry-run", option, setting])
    assert finished.returncode != 0
    assert f"{option[2:]}: there is no rule 'train_netwrk'; did you mean" in finished.stdout
    assert "Traceback" not in finished.stdout


def test_results_below_a_file(tmp_path) -> None:
    (tmp_path / "taken").touch()
    options = ["--config", "results=taken/results"]
    finished = Project(tmp_path).run("datasets", options=options)
    assert finished.returncode != 0
    assert f"results: taken/results/demo cannot be written: {tmp_path}/taken is no folder" in (
        finished.stdout
    )
    assert "Traceback" not in finished.stdout


STAND_IN = '''
"""An executor of the name of SLURM's that starts no job."""
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.settings import CommonSettings

common_settings = CommonSettings(
    non_local_exec=True, implies_no_shared_fs=False, job_deploy_sources=False,
    pass_default_storage_provider_args=True, pass_default_resources_args=True,
    auto_deploy_default_storage_provider=False,
)


class Executor(RemoteExecutor):
    def __post_init__(self):
        pass

    def run_job(self, job):
        raise AssertionError("a job was started")

    def check_active_jobs(self, active_jobs):
        yield

    def cancel_jobs(self, active_jobs):
        pass
'''


@pytest.mark.parametrize(
    ("sbatch", "blank", "message"),
    [
        (False, False, "executor slurm: there is no sbatch on the path"),
        (True, True, "profiles/slurm: slurm_partition still is FILL_IN"),
    ],
)
def test_slurm_that_cannot_work(tmp_path, monkeypatch, sbatch, blank, message) -> None:
    plugin = tmp_path / "plugins" / "snakemake_executor_plugin_slurm"
    plugin.mkdir(parents=True)
    (plugin / "__init__.py").write_text(STAND_IN)
    commands = tmp_path / "commands"
    commands.mkdir()
    for name in ("bash", "sh", "git", "uname", *(["sbatch"] if sbatch else [])):
        (commands / name).symlink_to(shutil.which(name) or "/bin/true")
    monkeypatch.setenv("PATH", str(commands))
    partition = f"slurm_partition={'FILL_IN' if blank else 'cpu'}"
    options = ["--default-resources", partition]
    finished = OnStandIn(tmp_path).run(DATASET, options=options)
    assert finished.returncode != 0
    assert message in finished.stdout
    assert "a job was started" not in finished.stdout
    assert "Traceback" not in finished.stdout


class OnStandIn(Project):
    """A project whose jobs go to the executor that starts none."""

    def executor(self, cores: int) -> list[str]:
        return ["--executor", "slurm", "--jobs", str(cores)]

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "PYTHONPATH": str(self.folder / "plugins")}
