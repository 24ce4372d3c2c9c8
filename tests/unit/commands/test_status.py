import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from small_configs import write_scale

from mode_connectivity.__main__ import COMMANDS, main
from mode_connectivity.commands import status as command
from mode_connectivity.commands.status_view import LIMITS, StatusView
from mode_connectivity.cost import Cost, total
from mode_connectivity.job_state import JobLog
from mode_connectivity.status import ArtefactStatus, JobStatus, Status, Work

SOURCE = str(Path(__file__).parents[3] / "src")
STAMP = "2026-03-01 12:00:{:02d}"


def log(*texts: str, age: float = 0.0) -> JobLog:
    return JobLog([(STAMP.format(n), text) for n, text in enumerate(texts)], held=True, age=age)


def job(rule: str, name: str, state: str = "running", **facts: Any) -> JobStatus:
    return JobStatus(rule, name, f"logs/{rule}/{name}.log", state, **facts)


def epoch(number: int, facts: str = "train nll 0.1895  train error 6.69 %") -> str:
    return f"epoch {number}/200  learning rate 0.05  {facts}  1.00 s  2517 images/s"


TRAINING = job(
    "train_network", "digits_vgg16/1", said=log("begins", epoch(10), epoch(20), epoch(30))
)
MEASURING = job(
    "evaluate_plane",
    "digits_vgg16_bezier",
    "probably running",
    said=log("begins", "point 7/441  test nll 0.5112  test error 12.5 %  31.00 s  912 images/s"),
)
CONNECTOR = job(
    "train_simplex",
    "espro/1",
    said=log("begins", f"connector 2/4  {epoch(3, 'train nll -0.5544  train rmse 0.04955')}"),
)
BEGINNING = job("make_table", "garipov2018_table2", said=log("begins"))
FAILED = job(
    "train_network",
    "digits_vgg16/2",
    "failed",
    said=log("begins", "error: the loss or the weights are not finite in epoch 3\nand a line more"),
)
STOPPED = job(
    "train_curve",
    "digits_vgg16_bezier",
    "stopped",
    said=log("begins", "stopped by SIGTERM after epoch 12; run again to resume"),
    resumes_after="epoch 12",
)
KILLED = job("evaluate_curve", "digits_vgg16_segment", "killed", said=log("begins"))
COSTS = [Cost(3_000_000, 4000.0), Cost(1_200_000, None)]


def artefact(name: str, **needs: int) -> ArtefactStatus:
    costs = COSTS if "train_network" in needs else []
    return ArtefactStatus(name, needs, Work(sum(needs.values()), total(costs)))


STATUS = Status(
    scale="demo",
    results="results/demo",
    jobs={"done": 340, "running": 3, "probably running": 1, "failed": 1, "missing": 1_655},
    running=[TRAINING, MEASURING, CONNECTOR, BEGINNING],
    failed=[FAILED],
    stopped=[STOPPED, KILLED],
    artefacts=[
        artefact("garipov2018_table1"),
        artefact(
            "garipov2018_table2", train_network=12, train_curve=3, evaluate_curve=9, make_table=1
        ),
        artefact("garipov2018_figure1", make_figure=1),
    ],
    missing={
        "train_network": Work.of(COSTS),
        "make_table": Work.of([Cost(0, 0.0)]),
    },
    work=Work.of([*COSTS, Cost(0, 0.0)]),
    strangers=["networks/old"],
    other_scales=["paper"],
)


def printed(capsys, status: Status = STATUS, *, everything: bool = False) -> list[str]:
    StatusView(everything=everything).print(status)
    return capsys.readouterr().out.splitlines()


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


def rows(lines: list[str], first: str) -> list[list[str]]:
    """Return the cells of a table by its heading, and of the lines below it."""
    start = next(n for n, line in enumerate(lines) if line.startswith(first))
    end = lines.index("", start)
    return [re.split("  +", line) for line in lines[start:end]]


def test_the_heading(capsys) -> None:
    lines = printed(capsys)
    assert lines[:3] == [
        "results/demo  1 of 3 artefacts, 340 of 2,000 jobs done, 4 running, 1 failed, "
        "2 stopped half-way",
        "",
        "Running                                        at                             loss"
        "  error         images/s   left",
    ]


def test_results_of_another_scale_are_told_where_there_are_none_of_this_one(capsys) -> None:
    lines = printed(capsys, replace(STATUS, jobs={"missing": 2_000}))
    assert lines[1] == "There are results of scale paper, too: --config scale=paper"


def test_running_jobs(capsys) -> None:
    assert rows(printed(capsys), "Running") == [
        ["Running", "at", "loss", "error", "images/s", "left"],
        # 20 epochs in 2 s; 170 are left.
        [
            *("train_network digits_vgg16/1", "epoch 30/200", "0.1895", "6.69 % train"),
            *("2,517", "17 s"),
        ],
        [
            *("evaluate_plane digits_vgg16_bezier (probably)", "point 7/441", "0.5112"),
            *("12.50 % test", "912", "2 min"),
        ],
        [
            "train_simplex espro/1",
            "connector 2/4",
            "epoch 3/200",
            "-0.5544",
            "0.0495 train",
            "2,517",
            "3 s",
        ],
        ["make_table garipov2018_table2", "at work"],
    ]


def test_failed_and_stopped_jobs(capsys) -> None:
    lines = printed(capsys)
    assert rows(lines, "Failed") == [
        ["Failed", "its log, below results/demo/logs, ends with"],
        [
            "train_network digits_vgg16/2",
            "error: the loss or the weights are not finite in epoch 3",
        ],
    ]
    assert rows(lines, "Stopped") == [
        ["Stopped half-way", "how", "goes on"],
        ["train_curve digits_vgg16_bezier", "stopped by SIGTERM", "after epoch 12"],
        ["evaluate_curve digits_vgg16_segment", "killed", "from the beginning"],
    ]


def test_artefacts_and_what_they_cost(capsys) -> None:
    lines = printed(capsys)
    assert rows(lines, "Missing") == [
        ["Missing", "jobs", "evaluations", "time", "needs"],
        [
            *("garipov2018_table2", "25", "4.20e6", "1 h 7 min for 1 of 2"),
            "12 train_network, 3 train_curve, 9 evaluate_curve and 1 more",
        ],
        # It runs no network.
        ["garipov2018_figure1", "1", "1 make_figure"],
    ]
    assert rows(lines, "Still to do") == [
        ["Still to do", "jobs", "evaluations", "time"],
        ["train_network", "2", "4.20e6", "1 h 7 min for 1 of 2"],
        ["make_table", "1"],
        ["together, one at a time", "3", "4.20e6", "1 h 7 min for 1 of 2"],
    ]
    assert "Done  garipov2018_table1" in lines
    assert "Not in the config  networks/old" in lines


def test_nothing_that_is_not_there_has_a_heading(capsys) -> None:
    done = replace(
        STATUS,
        **{"running": [], "failed": [], "stopped": [], "strangers": [], "other_scales": []},
        artefacts=STATUS.artefacts[:1],
    )
    assert [line for line in printed(capsys, done) if line] == [
        "results/demo  1 of 1 artefacts, 340 of 2,000 jobs done",
        "Done  garipov2018_table1",
    ]


def many(count: int) -> Status:
    return replace(
        STATUS,
        running=[replace(TRAINING, name=f"network/{n}") for n in range(count)],
        failed=[replace(FAILED, name=f"network/{n}") for n in range(count)],
        stopped=[replace(KILLED, name=f"network/{n}") for n in range(count)],
        artefacts=[
            *(artefact(f"missing_{n}", make_table=1) for n in range(count)),
            *(artefact(f"done_{n}") for n in range(count)),
        ],
        missing={f"rule_{n}": Work.of(COSTS) for n in range(count)},
        strangers=[f"networks/{n}" for n in range(count)],
    )


def test_long_lists_are_summed_up(capsys) -> None:
    lines = printed(capsys, many(50))
    text = "\n".join(lines)
    for heading in ("Running", "Failed", "Stopped", "Missing"):
        table = rows(lines, heading)
        assert len(table) == 1 + LIMITS[0] + 1
        assert table[-1] == ["and 30 more"]
    assert rows(lines, "Still to do")[-2] == ["and 30 more"]
    assert f"done_{LIMITS[0] - 1} and 30 more" in text
    assert f"networks/{LIMITS[0] - 1} and 30 more" in text
    # A row for one more takes no more room than to say that there is one.
    last = rows(printed(capsys, many(LIMITS[0] + 1)), "Running")[-1]
    assert last[0] == f"train_network network/{LIMITS[0]}"


def test_everything_where_it_is_asked_for(capsys) -> None:
    lines = printed(capsys, many(50), everything=True)
    text = "\n".join(lines)
    assert "more" not in text
    for heading in ("Running", "Failed", "Stopped", "Missing"):
        assert len(rows(lines, heading)) == 51
    assert "networks/49" in text and "done_49" in text
    needs = rows(printed(capsys, everything=True), "Missing")[1][-1]
    assert needs == "12 train_network, 3 train_curve, 9 evaluate_curve, 1 make_table"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_lines_fit(capsys, monkeypatch, width) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = printed(capsys)
    assert max(map(len, lines)) <= width
    if width >= 80:
        text = "\n".join(lines)
        for name in ("garipov2018_table2", "digits_vgg16_segment", "garipov2018_figure1"):
            assert name in text


@pytest.mark.parametrize("height", [15, 24, 50, 200])
def test_a_view_is_no_higher_than_its_terminal(height) -> None:
    view = StatusView(everything=False)
    view._console = Console(width=100, height=height, force_terminal=True)
    lines = view._console.render_lines(view._fitting(many(50)))
    # Of the lowest, the headings alone take more.
    assert len(lines) < max(height, 33)
    shown = "".join(segment.text for line in lines for segment in line)
    assert "network/0" in shown
    if height == 200:
        assert len(lines) > 100


def test_what_is_plain_has_no_colour(capsys) -> None:
    assert "\x1b" not in "".join(printed(capsys))


# The command.


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one table of nothing that has been made."""
    scale = """
        datasets: {digits: {title: Digits, source: digits}}
        recipes:
          plain:
            dataset: digits
            network: {name: fully_connected}
            training: {epochs: 5, batch_size: 32, learning_rate: 0.05}
        ensembles: {ends: {method: independent, recipes: [plain], seeds: [1, 2]}}
        artefacts: {garipov2018_table1: {rows: {ends: {ensembles: [ends]}}}}
    """
    folder = write_scale(tmp_path, scale)
    (folder / "Snakefile").touch()
    (folder / "config.yaml").touch()
    monkeypatch.chdir(folder)
    return folder


FILES = [f"results/demo/tables/garipov2018_table1.{kind}" for kind in ("csv", "md", "tex")]


def make(folder: Path) -> None:
    (folder / "results/demo/tables").mkdir(parents=True)
    for path in FILES:
        (folder / path).touch()


def test_the_status_of_a_project(project, capsys) -> None:
    assert main(["status"]) == 0
    plain = capsys.readouterr().out
    assert "0 of 1 artefacts, 0 of 6 jobs done" in plain
    assert main(["status", "--once", "garipov2018_table1_ends"]) == 0
    assert "Missing" in (row := capsys.readouterr().out) and "garipov2018_table1_ends" in row
    make(project)
    assert main(["status", "--config", "threads=2"]) == 0
    assert "1 of 1 artefacts, 1 of 1 jobs done" in capsys.readouterr().out


def test_data_for_scripts(project, capsys) -> None:
    assert main(["status", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    data = json.loads(line)
    assert data["jobs"] == {"total": 6, "missing": 6, "done": 0}
    assert data["artefacts"][0]["needs"]["train_network"] == 2
    assert data["work"]["jobs"] == 6


@pytest.mark.parametrize("options", [["--json"], []])
def test_watching_without_a_terminal_ends_when_all_is_done(
    project, capsys, monkeypatch, options
) -> None:
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            make(project)

    monkeypatch.setattr(command.time, "sleep", sleep)
    assert main(["status", "--watch", "7", *options]) == 0
    assert waited == [7, 7]
    output = capsys.readouterr().out
    if options:
        done = [json.loads(line)["done"] for line in output.splitlines()]
        assert done == [False, False, True]
    else:
        assert output.count("results/demo  ") == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["status", "garipov2018_tabel1"], "did you mean 'garipov2018_table1'?"),
        (["status", "--config", "scale=demmo"], "did you mean 'demo'?"),
        (["status", "--config", "results=Snakefile"], "results: Snakefile is no folder"),
        (["status", "--configfile", "none.yaml"], "none.yaml: No such file or directory"),
    ],
)
def test_mistakes_are_told(project, capsys, arguments, message) -> None:
    assert main(arguments) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ") and message in told.err
    assert "Traceback" not in told.err


@pytest.mark.parametrize(
    "arguments",
    [
        *([], ["stauts"], ["status", "--none"], ["status", "--watch", "0"]),
        *(["status", "--watch", "soon"], ["status", "--watch", "nan"], ["status", "--watch"]),
    ],
)
def test_wrong_use(project, capsys, arguments) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: python -m mode_connectivity" in capsys.readouterr().err


def test_help_is_written_for_users(capsys) -> None:
    for arguments, words in (
        (["--help"], [*COMMANDS, *COMMANDS.values()]),
        (["status", "--help"], ["ARTEFACT", "--watch SECONDS", "--json", "KEY=VALUE", "--once"]),
    ):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 0
        told = " ".join(capsys.readouterr().out.split())
        for word in words:
            assert word in told


def run(*arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "mode_connectivity", *arguments]
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    return subprocess.run(command, capture_output=True, text=True, env=environment, **options)


def test_a_command_is_imported_only_when_it_is_called() -> None:
    found = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "mode_connectivity", "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": SOURCE},
    )
    assert found.returncode == 0
    assert "mode_connectivity.commands.status" not in found.stderr


def test_data_need_no_tables(project) -> None:
    found = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "mode_connectivity", "status", "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": SOURCE},
    )
    modules = {line.rpartition("|")[2].strip() for line in found.stderr.splitlines()}
    assert "mode_connectivity.status" in modules
    assert not {"rich", "torch", "numpy", "pandas", "matplotlib", "snakemake"} & modules


def test_who_has_read_enough_is_told_nothing(project) -> None:
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    found = subprocess.run(
        f"{sys.executable} -m mode_connectivity status --watch 0.2 | head -1",
        shell=True,
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
    )
    assert found.stdout.startswith("results/demo")
    assert found.stderr == ""
