"""The Snakefile and what it includes, as text and as Snakemake's own checks see them."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pipeline import CHECKOUT, RULE_FILES, RULES, Project, rule_blocks

SCRIPTS = sorted((CHECKOUT / "workflow" / "scripts").glob("*.py"))
PROFILES = sorted((CHECKOUT / "profiles").glob("*/*.yaml"))
POLICY = {"rerun-triggers", "rerun-incomplete", "show-failed-logs"}


def test_snakemake_finds_nothing_to_criticise(tmp_path) -> None:
    """Among much else, that each rule has a log and an environment."""
    project = Project(tmp_path)
    assert "good condition" in project.make(options=["--lint"])


def test_rule_files_are_formatted() -> None:
    command = [sys.executable, "-m", "snakefmt", "--check", "Snakefile", "rules"]
    found = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


def test_what_a_run_begins_with_is_in_one_place() -> None:
    """Snakemake forgets all but the last, without a word."""
    texts = [path.read_text() for path in [CHECKOUT / "Snakefile", *RULE_FILES]]
    assert len(re.findall(r"^onstart:", "\n".join(texts), re.MULTILINE)) == 1


def test_each_rule_fingerprints_the_script_it_runs() -> None:
    text = "\n".join(path.read_text() for path in RULE_FILES)
    derived = re.findall(r"^use rule \w+ as (\w+) with:$", text, re.MULTILINE)
    assert {*rule_blocks(), *derived} == set(RULES)
    for rule, text in rule_blocks().items():
        (script,) = re.findall(r'script:\s+"\.\./workflow/scripts/(\w+\.py)"', text)
        assert re.findall(r'script_code\(\s*"(\w+\.py)"', text) == [script], rule
        assert (CHECKOUT / "workflow" / "scripts" / script).is_file()


def test_each_rule_has_a_log_an_environment_and_a_sentence() -> None:
    for rule, text in rule_blocks().items():
        assert re.match(r'\s+"""[A-Z].*\."""\n', text), rule
        for directive in ("log", "conda"):
            assert re.search(rf"^    {directive}:$", text, re.MULTILINE), rule
        (environment,) = re.findall(r'conda:\s+"(.+)"', text)
        assert (CHECKOUT / "rules" / environment).is_file()


@pytest.mark.parametrize("path", RULE_FILES, ids=lambda path: path.stem)
def test_results_can_be_redirected(path) -> None:
    assert not re.search(r"\bresults/", path.read_text())


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_can_be_imported(path) -> None:
    specification = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    assert module.__doc__


def test_every_script_belongs_to_a_rule() -> None:
    used = re.findall(r"workflow/scripts/(\w+\.py)", "\n".join(rule_blocks().values()))
    assert {path.name for path in SCRIPTS} == set(used)


def test_a_rule_asks_for_a_gpu_where_its_script_takes_a_slot_of_one() -> None:
    for rule, text in rule_blocks().items():
        (script,) = re.findall(r"workflow/scripts/(\w+\.py)", text)
        code = (CHECKOUT / "workflow" / "scripts" / script).read_text()
        selected = re.findall(r"\bselect_device\((.+)\)", code)
        slot = 'snakemake.config["device"], snakemake.config["jobs_per_gpu"]'
        assert selected == ([slot] if "gpu=" in text else []), rule


def test_profiles_share_one_policy() -> None:
    profiles = {path.parent.name: yaml.safe_load(path.read_text()) for path in PROFILES}
    default = profiles.pop("default")
    # The default profile is read on every machine, so it says nothing about machines.
    assert set(default) == POLICY
    # Editing code is noticed by the fingerprints in params; "code" would notice comments too.
    assert set(default["rerun-triggers"]) == {"mtime", "params", "input", "software-env"}
    assert profiles
    for name, profile in profiles.items():
        assert {key: profile.get(key) for key in POLICY} == default, name
        assert {"cores", "jobs"} & set(profile), name


def test_parsing_does_not_import_torch(tmp_path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "snakemake", "--dry-run", "--quiet", "all"]
    command += ["--snakefile", str(CHECKOUT / "Snakefile"), "--directory", str(tmp_path)]
    command += ["--cores", "1"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    modules = {line.rpartition("|")[2].strip() for line in found.stderr.splitlines()}
    assert "mode_connectivity.config" in modules
    assert not {"torch", "torchvision", "sklearn", "matplotlib"} & modules


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.parent.name)
def test_profiles_work_on_the_command_line(path, tmp_path) -> None:
    if "executor" in yaml.safe_load(path.read_text()):
        pytest.skip("needs the plugin of an executor")
    options = ["--dry-run", "--workflow-profile", str(path.parent)]
    Project(tmp_path).make("results/demo/datasets/digits8.safetensors", options=options)


def test_the_local_profile_limits_jobs_on_gpus_where_its_line_is_taken_in(tmp_path) -> None:
    text = (CHECKOUT / "profiles" / "local" / "profile.yaml").read_text()
    (tmp_path / "profile.yaml").write_text(text.replace("# resources: ", "resources: "))
    options = ["--workflow-profile", str(tmp_path)]
    output = Project(tmp_path).make("results/demo/datasets/digits8.safetensors", options=options)
    assert re.search(r"^Provided resources: .*\bgpu\b.*\b4\b", output, re.MULTILINE)


def test_paths_are_those_of_the_layout_module() -> None:
    """Rules write the paths of their outputs out; input functions take them from the layout."""
    from mode_connectivity import layout

    text = "\n".join(path.read_text() for path in RULE_FILES)
    for path in (
        layout.dataset("{dataset}"),
        f"{layout.network('{recipe}', '{seed}')}/weights.safetensors",
        f"{layout.curve('{curve}')}/vertices.safetensors",
        f"{layout.curve('{curve}')}/grid.csv",
        f"{layout.curve('{curve}')}/snapshots.csv",
        f"{layout.simplex('{simplex}', '{seed}')}/vertices.safetensors",
        f"{layout.simplex_evaluation('{simplex}', '{seed}', '{connectors}')}/grid.csv",
        f"{layout.simplex_evaluation('{simplex}', '{seed}', '{connectors}')}"
        "/predictions.safetensors",
        f"{layout.plane('{plane}')}/grid.csv",
        f"{layout.geometry('{geometry}')}/distances.csv",
        f"{layout.ensemble('{ensemble}')}/members.csv",
        f"{layout.ensemble('{ensemble}')}/metrics.csv",
    ):
        assert f'"<results>/{path}"' in text, Path(path)
