"""How far a run is, read from the folder of its results.

What is done, what runs, what has failed or stopped, what is missing and what that costs. Snakemake
is not asked. Nothing here imports torch, pandas or matplotlib: the answer takes less than a second.
"""

import json
import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from mode_connectivity import plan
from mode_connectivity.config import SCALES, Config, artefact_names
from mode_connectivity.cost import Cost, Costs, Total, safetensors_header, total
from mode_connectivity.job_state import JobLog, JobState, may_run, read_log
from mode_connectivity.plan import Job
from mode_connectivity.settings import UserError, nearest

CHECKPOINT = "checkpoint.safetensors"
PROGRESS = ".progress"
"""As `mode_connectivity.training.checkpoints` has them, which imports torch."""
PARTS: Mapping[str, str | None] = {
    "train_network": None,
    "train_curve": None,
    "train_simplex": "connector",
    "evaluate_network": None,
    "evaluate_curve": None,
    "evaluate_curve_snapshots": "epoch",
    "evaluate_plane": None,
    "evaluate_simplex": None,
    "average_weights": None,
    **{
        rule: "seed" if rule.endswith("_under_corruption") else None
        for rule in plan.RULES
        if rule.startswith("collect_")
    },
}
"""Rules whose jobs keep a checkpoint, and the parts of their work that have one each."""

State = JobState | Literal["half-way", "missing"]


@dataclass(frozen=True)
class JobStatus:
    """What has become of a job.

    Attributes:
        rule: its rule.
        name: what it is about.
        log: the path of its log below the folder of results.
        state: half-way is a job that has left a checkpoint and no word of its end.
        said: its log, where that was read.
        resumes_after: what its checkpoint has finished, such as ``epoch 12``.
        planned: whether an artefact that is asked for needs it.
    """

    rule: str
    name: str
    log: str
    state: State
    said: JobLog | None = None
    resumes_after: str | None = None
    planned: bool = True

    @property
    def runs(self) -> bool:
        """Whether it runs, as far as can be told."""
        return self.state in ("running", "probably running")


@dataclass(frozen=True)
class Work:
    """Missing jobs.

    Attributes:
        jobs: how many they are.
        cost: of those that run networks; nothing else takes long.
    """

    jobs: int
    cost: Total

    @classmethod
    def of(cls, costs: Collection[Cost]) -> "Work":
        """Add up the costs of jobs."""
        return cls(len(costs), total(cost for cost in costs if cost.evaluations != 0))


@dataclass(frozen=True)
class ArtefactStatus:
    """What an artefact still needs.

    Attributes:
        name: its name.
        needs: the jobs that are missing, by rule, its own among them.
        work: all of these jobs.
    """

    name: str
    needs: Mapping[str, int]
    work: Work

    @property
    def done(self) -> bool:
        """Whether all of its files are there."""
        return not self.needs


@dataclass(frozen=True)
class Status:
    """How far a run is.

    Attributes:
        scale: which experiments.
        results: the folder of the scale's results.
        jobs: how many jobs there are of each state.
        running: the jobs that run, those that are not planned among them.
        failed: jobs that an error has ended.
        stopped: jobs that a signal has stopped or that were killed, and those that are half-way.
        artefacts: those that were asked for.
        missing: the missing jobs by rule, each of them once.
        work: all of them.
        strangers: folders and data sets of names that the config does not have.
        other_scales: that have results beside this one.
    """

    scale: str
    results: str
    jobs: Mapping[State, int]
    running: Sequence[JobStatus]
    failed: Sequence[JobStatus]
    stopped: Sequence[JobStatus]
    artefacts: Sequence[ArtefactStatus]
    missing: Mapping[str, Work]
    work: Work
    strangers: Sequence[str]
    other_scales: Sequence[str]

    @property
    def all_done(self) -> bool:
        """Whether nothing is missing and nothing runs."""
        return not self.running and all(artefact.done for artefact in self.artefacts)


def survey(config: Config, selection: Sequence[str] = ()) -> Status:
    """Look how far the run of a config is.

    Args:
        config: the config; its folder of results need not exist yet.
        selection: artefacts, rows and papers; those that the config selects if empty.

    Raises:
        UserError: one of the selection is unknown, or the folder of the results cannot be read.
    """
    _check_selection(config, selection)
    root = Path(config.results, config.scale)
    _check_folder(root)
    artefacts = plan.selected_artefacts(config, selection)
    jobs = plan.jobs_of_artefacts(config, artefacts)
    listing = _Listing(root)
    done = {job for job in jobs if all(map(listing.has, job.outputs))}
    makers = {path: job for job in jobs if job not in done for path in job.outputs}
    needs = {name: _needed(plan.artefact_files(name), makers) for name in artefacts}
    missing = set().union(*needs.values())
    logs = set(_files_below(root / "logs"))
    found = {job: _state(root, listing, logs, job) for job in jobs if job not in done}
    # What is done may be made of files that are gone; nobody needs them any more. Not so a job that
    # was to make them anew.
    states = [each for job, each in found.items() if job in missing or each.state != "missing"]
    running = [state for state in states if state.runs]
    if not selection:
        running += _others_running(root, sorted(logs - {job.log for job in jobs}))
    costs = Costs(config, root)
    work = {job: costs.of_job(job.rule, job.wildcards) for job in jobs if job in missing}
    by_rule = defaultdict(list)
    for job, cost in work.items():
        by_rule[job.rule].append(cost)
    counts: Counter[State] = Counter(state.state for state in states)
    counts["done"] = len(done)
    stopped = ("stopped", "killed", "probably killed", "half-way")
    return Status(
        scale=config.scale,
        results=str(root),
        jobs=counts,
        running=running,
        failed=[state for state in states if state.state == "failed"],
        stopped=[state for state in states if state.state in stopped],
        artefacts=[
            ArtefactStatus(
                name,
                Counter(job.rule for job in needed),
                Work.of([work[job] for job in needed]),
            )
            for name, needed in needs.items()
        ],
        missing={rule: Work.of(each) for rule, each in by_rule.items()},
        work=Work.of(work.values()),
        strangers=_strangers(config, listing),
        other_scales=[
            scale
            for scale in SCALES
            if scale != config.scale and Path(config.results, scale).is_dir()
        ],
    )


def _check_selection(config: Config, selection: Iterable[str]) -> None:
    allowed = [*plan.papers(config), *artefact_names(config)]
    for name in selection:
        if name not in allowed:
            raise UserError(
                f"{name!r} is no artefact of the scale {config.scale}{nearest(name, allowed)}; "
                f"artefacts, their rows and papers are: {', '.join(allowed) or 'none'}"
            )


def _check_folder(root: Path) -> None:
    for folder in (*reversed(root.parents), root):
        try:
            wrong = "is no folder" if folder.exists() and not folder.is_dir() else None
        except OSError as error:
            wrong = f"cannot be read ({error.strerror})"
        if wrong is not None:
            raise UserError(
                f"results: {folder} {wrong}; give the folder of the results, as in "
                f"--config results=/path/to/results"
            )


class _Listing:
    """What is there below a folder; each folder is read once, and only where it is asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: dict[str, frozenset[str]] = {}

    def has(self, path: str) -> bool:
        """Tell whether there is a file or folder."""
        folder, _, name = path.rpartition("/")
        return name in self.names(folder)

    def names(self, folder: str) -> frozenset[str]:
        """Return what is in a folder; nothing where there is none."""
        if folder not in self._names:
            there = not folder or self.has(folder)
            self._names[folder] = _names_in(self._root / folder) if there else frozenset()
        return self._names[folder]


def _names_in(folder: Path) -> frozenset[str]:
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror})") from error


def _files_below(root: Path) -> Iterator[str]:
    """Yield the paths of all files below a folder, relative to it."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    path = f"{folder}{entry.name}"
                    if entry.is_dir():
                        waiting.append(f"{path}/")
                    else:
                        yield path
        except OSError:
            # What is not there, or not ours, has nothing to say.
            continue


def _state(root: Path, listing: _Listing, logs: set[str], job: Job) -> JobStatus:
    """Return what has become of a job that is not done."""
    said = read_log(root / "logs" / job.log) if job.log in logs else None
    state: State = "missing"
    # A job that says to be done has lost its files since.
    if said is not None and said.state not in ("done", "unknown"):
        state = said.state
    resumes = None
    if state not in ("running", "probably running"):
        resumes = _resumes_after(root, listing, job)
    if state == "missing" and resumes is not None:
        state = "half-way"
    return JobStatus(job.rule, job.name, f"logs/{job.log}", state, said, resumes)


def _others_running(root: Path, logs: Iterable[str]) -> Iterator[JobStatus]:
    """Yield the jobs that run although no artefact that is asked for needs them."""
    for log in logs:
        path = root / "logs" / log
        if not may_run(path) or (said := read_log(path)) is None:
            continue
        state = said.state
        if state in ("running", "probably running"):
            begin = said.begin
            rule, name = (begin.rule, begin.name) if begin else ("", log.removesuffix(".log"))
            yield JobStatus(rule, name, f"logs/{log}", state, said, planned=False)


def _resumes_after(root: Path, listing: _Listing, job: Job) -> str | None:
    """Return what the checkpoint of a job has finished, if it has left one."""
    if job.rule not in PARTS:
        return None
    folder = f"{job.outputs[0].rpartition('/')[0]}/{PROGRESS}"
    unit, key = ("epoch", "epoch") if job.rule.startswith("train_") else ("point", "done")
    parts: list[tuple[int, str]] = [(0, "")]
    if (part := PARTS[job.rule]) is not None:
        numbers = (re.fullmatch(rf"{part}(\d+)", name) for name in listing.names(folder))
        parts = [(int(match[1]), f"/{match[0]}") for match in numbers if match is not None]
    for number, below in sorted(parts, reverse=True):
        if listing.has(f"{folder}{below}/{CHECKPOINT}"):
            finished = _finished(root / f"{folder}{below}" / CHECKPOINT, key)
            if finished is not None:
                return f"{part} {number}, {unit} {finished}" if part else f"{unit} {finished}"
    return None


def _finished(checkpoint: Path, key: str) -> int | None:
    """Return how much a checkpoint has finished; nothing of a damaged one, or another job's."""
    try:
        state = json.loads(safetensors_header(checkpoint)["__metadata__"]["state"])
        return int(state[key])
    except (KeyError, TypeError, ValueError):
        return None


def _needed(files: Iterable[str], makers: Mapping[str, Job]) -> dict[Job, None]:
    """Return the missing jobs that some files need, those first that can run first.

    Args:
        files: those that are asked for.
        makers: of each file that is not there the job that makes it.
    """
    needed: dict[Job, None] = {}

    def add(path: str) -> None:
        job = makers.get(path)
        if job is not None and job not in needed:
            for needed_file in job.inputs:
                add(needed_file)
            needed[job] = None

    for path in files:
        add(path)
    return needed


def _strangers(config: Config, listing: _Listing) -> list[str]:
    """Return what lies beside the results of the config and has a name that it does not have."""
    known: Mapping[str, Collection[str]] = {
        "networks": config.recipes,
        "curves": config.curves,
        "simplexes": config.simplexes,
        "planes": config.planes,
        "geometries": config.geometries,
        "ensembles": config.ensembles,
        "datasets": config.datasets,
    }
    return [
        f"{section}/{name}"
        for section, names in known.items()
        for name in sorted(listing.names(section))
        if name.removesuffix(".safetensors") not in names and not name.startswith(".")
    ]


def as_data(status: Status) -> dict[str, Any]:
    """Return a status as data for scripts; docs/status.md says what its fields mean."""
    counts = {_as_word(state): count for state, count in status.jobs.items()}
    return {
        "scale": status.scale,
        "results": status.results,
        "done": status.all_done,
        "jobs": {"total": sum(counts.values()), **counts},
        "running": [_running_as_data(job) for job in status.running],
        "failed": [_ended_as_data(job) for job in status.failed],
        "stopped": [_ended_as_data(job) for job in status.stopped],
        "artefacts": [
            {
                "name": artefact.name,
                "done": artefact.done,
                "needs": dict(artefact.needs),
                **_work_as_data(artefact.work),
            }
            for artefact in status.artefacts
        ],
        "missing": {rule: _work_as_data(work) for rule, work in status.missing.items()},
        "work": _work_as_data(status.work),
        "strangers": list(status.strangers),
        "other_scales": list(status.other_scales),
    }


def _as_word(state: State) -> str:
    return state.replace(" ", "_").replace("-", "_")


def _work_as_data(work: Work) -> dict[str, Any]:
    cost = work.cost
    return {
        "jobs": work.jobs,
        "network_jobs": cost.jobs,
        "evaluations": cost.evaluations,
        "evaluations_known_of": cost.counted,
        "seconds": round(cost.seconds, 1),
        "seconds_known_of": cost.timed,
    }


def _job_as_data(job: JobStatus) -> dict[str, Any]:
    state = _as_word(job.state)
    return {"rule": job.rule, "name": job.name, "log": job.log, "state": state}


def _running_as_data(job: JobStatus) -> dict[str, Any]:
    said = job.said
    assert said is not None
    begin, progress = said.begin, said.progress
    left = said.seconds_left
    return {
        **_job_as_data(job),
        "planned": job.planned,
        "host": None if begin is None else begin.host,
        "process": None if begin is None else begin.process,
        "slurm_job": None if begin is None else begin.slurm_job,
        "device": said.device,
        "at": [] if progress is None else [asdict(count) for count in progress.counts],
        "share": None if progress is None else round(progress.share, 4),
        # There is no NaN in JSON.
        "measured": {
            name: value if math.isfinite(value) else None for name, value in said.measured.items()
        },
        "images_per_second": said.images_per_second,
        "seconds_left": None if left is None else round(left, 1),
        "seconds_since_last_line": round(said.age, 1),
    }


def _ended_as_data(job: JobStatus) -> dict[str, Any]:
    end = None if job.said is None else job.said.end
    said = None if end is None else end[1]
    return {**_job_as_data(job), "said": said, "resumes_after": job.resumes_after}
