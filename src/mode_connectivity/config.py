"""The config: the scale's experiments and the user's own, read, merged and checked.

Everything that can be known before a job starts is checked here, and all mistakes are told at
once. Nothing here imports torch: Snakemake reads the config while it parses.
"""

import copy
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, Field, PositiveInt, TypeAdapter, ValidationError

from mode_connectivity.data.corruption_settings import CORRUPTION_NAMES
from mode_connectivity.data.settings import (
    AnyDataset,
    DatasetSettings,
    RegressionSettings,
    TextSettings,
    TwoSpiralsSettings,
)
from mode_connectivity.ensembling.settings import (
    CURVE_ENSEMBLES,
    AnyEnsemble,
    CurveEnsembleSettings,
    CurveSwagEnsembleSettings,
    NetworkEnsembleSettings,
    SimplexEnsembleSettings,
    SubspaceEnsembleSettings,
    SwagEnsembleSettings,
    SwagSettings,
    TrainedEnsembleSettings,
)
from mode_connectivity.evaluation.settings import (
    EvaluationSettings,
    GeometrySettings,
    PlaneSettings,
)
from mode_connectivity.mistakes import MISSING, explain, shown, without_empty
from mode_connectivity.networks import registry
from mode_connectivity.reporting.settings import (
    FIGURE_PARTS,
    ArtefactSettings,
    ComponentsSettings,
    ConnectionSettings,
    ConnectionsFigureSettings,
    CurveEnsembleTableSettings,
    CurvesFigureSettings,
    CurveTableSettings,
    EnsemblesOverTimeFigureSettings,
    EnsembleTableSettings,
    FacesFigureSettings,
    FigureSettings,
    GeometryFigureSettings,
    IteratesFigureSettings,
    IteratesPlaneFigureSettings,
    LanguageModelTableSettings,
    ModesTableSettings,
    PlanesFigureSettings,
    RegularisationFigureSettings,
    RowSettings,
    SampledBendFigureSettings,
    SamplesFigureSettings,
    SchedulesFigureSettings,
    ShiftSettings,
    SimplexPlaneFigureSettings,
    TraceFigureSettings,
    TrivialPathSettings,
    TwoNetworkEnsemblesFigureSettings,
    VolumesByWidthFigureSettings,
    VolumesFigureSettings,
    WidthsFigureSettings,
)
from mode_connectivity.settings import (
    Names,
    NonNegative,
    PositiveFloat,
    Settings,
    UserError,
    nearest,
)
from mode_connectivity.training.recipes import (
    CONTINUED,
    REFERENCE,
    CurveKind,
    CurveSettings,
    NetworkReference,
    RecipeSettings,
    is_weight_file,
)
from mode_connectivity.training.simplex_settings import (
    WEIGHT_DECAY_ON,
    ComplexReference,
    SimplexSettings,
    VertexReference,
    recipe_of_mode,
)
from mode_connectivity.yaml_files import read_yaml

NAME = re.compile(r"[a-z][a-z0-9_]*")
SCALES = ("demo", "paper")
USER_FILE = "config.yaml"
ENDPOINT_ONLY = (
    *("snapshots", "average_snapshots", "checkpoints"),
    *("records_per_epoch", "record_test"),
)
"""Keys of a recipe's training that a curve does not inherit."""
LISTED = 15
"""Names that a message lists of those that are known."""

Raw = dict[str, Any]
Keys = tuple[Any, ...]


class ConfigError(UserError):
    """All mistakes of a config, one a line."""

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = list(dict.fromkeys(mistakes))
        count = len(self.mistakes)
        heading = "1 mistake" if count == 1 else f"{count} mistakes"
        lines = "\n".join(f"  {mistake}" for mistake in self.mistakes)
        super().__init__(f"the config has {heading}:\n{lines}")


class ResourceSettings(Settings):
    """How a job's memory and minutes are estimated; no result depends on them.

    The assumed speeds are those of an old GPU and of a slow core, as a grant that is not used up
    costs a little waiting, and one that does not suffice a second attempt. Once a network has been
    trained, the speed in its history takes their place.
    """

    start_minutes: NonNegative = Field(
        5.0, description="to start Python, PyTorch and CUDA from a busy file system"
    )
    start_mb: NonNegative = Field(
        700.0, description="of a job before its data: Python, PyTorch, and Snakemake beside them"
    )
    cuda_mb: NonNegative = Field(
        3000.0, description="host memory that CUDA and its libraries take besides"
    )
    safety_factor: float = Field(
        2.0,
        ge=1.0,
        allow_inf_nan=False,
        description="on estimated seconds: machines differ, and nodes are shared",
    )
    cpu_teraflops: PositiveFloat = Field(
        0.02, description="assumed speed of a CPU thread, in 10^12 operations a second"
    )
    gpu_teraflops: PositiveFloat = Field(
        4.0, description="likewise of a GPU: half of what GPUs of 2016 can do"
    )
    batch_milliseconds: NonNegative = Field(
        20.0, description="forward pass of a batch, at least: a deep network launches many kernels"
    )
    unknown_minutes: PositiveFloat = Field(
        240.0, description="of a job of which no estimate can be made, such as a network of yours"
    )
    unknown_mb: PositiveFloat = Field(4000.0, description="likewise")
    most_minutes: PositiveFloat = Field(
        1440.0,
        description="that are ever asked for, such as a partition's limit; a training that is "
        "stopped there resumes in its next attempt",
    )
    most_mb: PositiveFloat | None = Field(
        None, description="that are ever asked for, such as a node's memory; empty: no limit"
    )


class MachineSettings(Settings):
    """The user's choices that change no number: where things lie and what runs."""

    scale: Literal["demo", "paper"] = Field("demo", description="which experiments")
    select: list[Annotated[str, Names("artefacts"), Names("figures")]] = Field(
        [],
        description="artefacts, papers or figures of your own that the target all builds; empty: "
        "every one",
    )
    claims: list[str] = Field(
        [],
        description="files of your own statements, which are judged beside those of the papers",
    )
    results: str = Field(
        "results", min_length=1, description="folder of everything the pipeline makes"
    )
    data: str = Field("data", min_length=1, description="folder in which data sets are looked for")
    download: bool = Field(False, description="let torchvision download missing data sets")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA if there is one")
    threads: PositiveInt = Field(
        1, description="CPU threads of a job; part of the result, as sums are split among them"
    )
    jobs_per_gpu: PositiveInt = Field(
        1, description="jobs that share one GPU at a time, on a machine without a scheduler"
    )
    container: str | None = Field(
        None,
        min_length=1,
        description="image in which jobs run under --software-deployment-method apptainer",
    )
    resources: ResourceSettings = Field(
        ResourceSettings(), description="how much of a cluster a job asks for"
    )


class Config(MachineSettings):
    """Where things lie and what runs, then the experiments."""

    evaluation: EvaluationSettings = EvaluationSettings()
    datasets: dict[str, AnyDataset] = Field({}, description="what networks are trained on")
    recipes: dict[str, RecipeSettings] = Field({})
    curves: dict[str, CurveSettings] = Field({})
    planes: dict[str, PlaneSettings] = Field({})
    simplexes: dict[str, SimplexSettings] = Field({})
    geometries: dict[str, GeometrySettings] = Field({})
    ensembles: dict[str, AnyEnsemble] = Field({}, description="networks that predict together")
    artefacts: ArtefactSettings = ArtefactSettings()
    figures: dict[str, FigureSettings] = Field({})

    def recipe_of_curve(self, name: str) -> RecipeSettings:
        """Return the recipe of the network at the curve's start."""
        curve = self.curves[name]
        return self.recipes[curve.recipe or NetworkReference.parse(curve.start).recipe]

    def recipe_of_plane(self, name: str) -> RecipeSettings:
        """Return the recipe of the network at the plane's origin."""
        plane = self.planes[name]
        vertex = VertexReference.parse(plane.start)
        if vertex is not None:
            return self.recipe_of_simplex(vertex.simplex)
        return self.recipes[plane.recipe or NetworkReference.parse(plane.start).recipe]

    def recipe_of_simplex(self, name: str) -> RecipeSettings:
        """Return the recipe of the simplex's first mode."""
        simplex = self.simplexes[name]
        recipe = simplex.recipe or recipe_of_mode(simplex.modes[0])
        assert recipe is not None
        return self.recipes[recipe]

    def recipe_of_geometry(self, name: str) -> RecipeSettings:
        """Return the recipe of the first network among the points."""
        first = next(iter(self.geometries[name].points.values()))
        if first in self.curves:
            return self.recipe_of_curve(first)
        return self.recipes[NetworkReference.parse(first).recipe]

    def iterates(self, plane: str) -> list[NetworkReference]:
        """Return the snapshots that are projected onto a plane."""
        text = self.planes[plane].iterates
        if text is None:
            return []
        training = NetworkReference.parse(text)
        return [
            training.model_copy(update={"epoch": epoch})
            for epoch in self.recipes[training.recipe].training.snapshot_epochs
        ]

    def recipe_of_ensemble(self, name: str) -> RecipeSettings:
        """Return the recipe of the members, or of the first of them."""
        ensemble = self.ensembles[name]
        if isinstance(ensemble, CURVE_ENSEMBLES):
            return self.recipe_of_curve(ensemble.curve)
        if isinstance(ensemble, SimplexEnsembleSettings):
            return self.recipe_of_simplex(ensemble.simplex)
        return self.recipes[ensemble.recipes[0]]

    def epochs_before(self, recipe: str) -> int:
        """Return the epochs that a recipe's network was trained for before it begins."""
        start = self.recipes[recipe].start(seed=0)
        if start is None:
            return 0
        epoch = start.epoch
        finished = self.recipes[start.recipe].training.epochs if epoch is None else epoch
        return self.epochs_before(start.recipe) + finished

    def members(self, name: str) -> list[NetworkReference]:
        """Return the networks of an ensemble, in the order of its predictions.

        Those of a weight average are what it averages, those of SWAG what it is fitted to.
        """
        ensemble = self.ensembles[name]
        assert isinstance(ensemble, TrainedEnsembleSettings)
        references = []
        for recipe, seed in ensemble.trainings:
            epochs: list[int | None] = [None]
            if ensemble.method != "independent":
                epochs = [*self.recipes[recipe].training.snapshot_epochs]
            references += [
                NetworkReference(recipe=recipe, seed=seed, epoch=epoch) for epoch in epochs
            ]
        return references

    def corruptions_of(self, ensemble: str) -> list[str]:
        """Return the corruptions under which artefacts show an ensemble.

        In the order of ``CORRUPTION_NAMES``: that of the artefacts changes no result.
        """
        shown: set[str] = set()
        for name in ArtefactSettings.model_fields:
            settings = getattr(self.artefacts, name)
            if isinstance(settings, ShiftSettings) and ensemble in settings.ensembles.values():
                shown.update(settings.corruptions)
        return [name for name in CORRUPTION_NAMES if name in shown]


NO_TEXT_PREDICTIONS = (
    "the predictions of a language model, a probability of each word at each place, are not kept: "
    "they would take gigabytes a network"
)
SCHEDULES = {
    "snapshot": ("cosine_cycles", "cosine_restarts"),
    "fast_geometric": ("cyclic", "constant"),
}
"""Those that a way of collecting members goes with; the reference code of Garipov et al. also runs
FGE at a constant learning rate."""
MEASURED = ("independent", "snapshot", "fast_geometric", "weight_average", "swag", "simplex")
"""Ways of collecting members that have seeds, each of which is one run."""
WITH_ATTENTION = ("vision_transformer", "vit_b_16")
"""The project's networks with layers whose channels cannot be renormalised."""
METHODS = {
    "curve_points": ("curve_points",),
    "ensembles": ("independent", "snapshot", "fast_geometric", "weight_average"),
    "deep_ensemble": ("independent",),
    "espro": ("simplex",),
    "members": ("independent", "simplex"),
    "shifts": MEASURED,
    "components": MEASURED,
    "sampled": MEASURED,
    "regularised": ("simplex",),
}
"""Ways of collecting members that go with a key of an artefact, where it is not the way itself."""
SECTIONS: dict[str, Any] = {
    "datasets": AnyDataset,
    "recipes": RecipeSettings,
    "curves": CurveSettings,
    "simplexes": SimplexSettings,
    "planes": PlaneSettings,
    "geometries": GeometrySettings,
    "ensembles": AnyEnsemble,
    "figures": FigureSettings,
}
POINTS = (RegressionSettings, TwoSpiralsSettings)
"""Data sets small enough to show a network as a function of its inputs."""
NAMED = (*SECTIONS, "artefacts")
"""The keys of a config below which everything has a name of its own."""


def artefact_names(config: Config) -> list[str]:
    """Return the artefacts of the config, the figures of the user's own among them.

    Each row of a table with rows is one of its own.
    """
    of_papers = _artefact_names(
        {
            name: settings and {"rows": getattr(settings, "rows", None)}
            for name, settings in config.artefacts
        }
    )
    return [*of_papers, *config.figures]


def _artefact_names(artefacts: Mapping[str, Any]) -> list[str]:
    names = []
    for name in ArtefactSettings.model_fields:
        settings = artefacts.get(name)
        if settings is not None:
            names.append(name)
            rows = settings.get("rows") if isinstance(settings, Mapping) else None
            names.extend(f"{name}_{row}" for row in (rows if isinstance(rows, Mapping) else ()))
    return names


def load_config(
    user: Mapping[str, Any],
    root: Path,
    user_files: Iterable[str | Path] = (),
    *,
    targets: Collection[str] = (),
) -> Config:
    """Read and check the config.

    Args:
        user: the user's config, as Snakemake has read it.
        root: the project's folder, with ``config/{scale}/*.yaml``.
        user_files: the YAML files that it was read from, to find what reading them hides: keys
            that are given twice.
        targets: what can be asked for besides artefacts; no figure is called so.

    Raises:
        ConfigError: with all mistakes that could be found.
    """
    for path in map(Path, user_files):
        if path.suffix in (".yaml", ".yml"):
            try:
                read_yaml(path)
            except UserError as error:
                raise ConfigError([f"{path}: {error}"]) from error
    scale = "demo" if user.get("scale") is None else user["scale"]
    if scale not in SCALES:
        raise ConfigError(
            [
                f"{USER_FILE}: scale: found {shown(scale)}; it must be one of {', '.join(SCALES)}"
                f"{nearest(scale, SCALES) if isinstance(scale, str) else ''}"
            ]
        )
    loader = _Loader(user, sorted((root / "config" / scale).glob("*.yaml")), root)
    return loader.load(targets)


class _Loader:
    """Collects the mistakes of one config while it is read."""

    def __init__(self, user: Mapping[str, Any], files: list[Path], root: Path) -> None:
        self.mistakes: list[tuple[str, Keys, str]] = []
        self.places: dict[tuple[str, str], str] = {}
        self.bases: dict[Keys, list[Keys]] = {}
        self.baseless: set[Keys] = set()
        self.raw: Raw = {section: {} for section in NAMED}
        unreadable = []
        for path in files:
            place = str(path.relative_to(root))
            try:
                self._add(read_yaml(path), place)
            except UserError as error:
                unreadable.append(f"{place}: {error}")
        if unreadable:
            # What such a file defines would be told to be unknown wherever it is named.
            raise ConfigError(unreadable)
        self._add({key: value for key, value in user.items() if key != "pathvars"}, USER_FILE)
        self.written = copy.deepcopy(self.raw)

    def _add(self, content: Mapping[str, Any], place: str) -> None:
        given = {}
        for key, value in content.items():
            self.places[(key, "")] = place
            for name in value if isinstance(value, Mapping) else ():
                other = self.places.get((key, str(name)))
                self.places[(key, str(name))] = place
                if other is not None and key in SECTIONS and place != USER_FILE:
                    self._say([key, name], f"is given in {other} as well")
            if value is None and key in Config.model_fields:
                continue
            if key in NAMED and not isinstance(value, Mapping):
                self._say([key], f"found {shown(value)}; it must be named blocks (name: block)")
                continue
            given[key] = value
        self.raw = merge(self.raw, given)

    def _say(self, path: Iterable[Any], text: str) -> None:
        keys = tuple(path)
        section, name = (*map(str, keys), "", "")[:2]
        place = self.places.get((section, name)) or self.places.get((section, ""), USER_FILE)
        self.mistakes.append((place, keys, text))

    def load(self, targets: Collection[str]) -> Config:
        self.raw["artefacts"] = {
            name: _without_empty(record) for name, record in self.raw["artefacts"].items()
        }
        for section in SECTIONS:
            records = self.raw[section]
            for name in [name for name in records if not _is_name(name)]:
                self._say([section, name], NO_NAME)
                del records[name]
            self._extend(section, records)
        for name, record in self.raw["curves"].items():
            self._inherit_training("curves", name, record, record_start(record))
        for name, record in self.raw["simplexes"].items():
            self._inherit_training("simplexes", name, record, first_mode(record))
        checked: dict[str, dict[str, Any]] = {}
        for section, model in SECTIONS.items():
            checked[section] = {}
            for name, record in self.raw[section].items():
                settings = self._validate(model, record, [section, name])
                if settings is not None:
                    checked[section][name] = settings
        top = {key: value for key, value in self.raw.items() if key not in NAMED}
        rest = self._validate(Config, top, [])
        artefacts = self._artefacts()
        checks = _CrossChecks(self.raw, checked, self._say)
        checks.run(artefacts)
        checks.figure_names(targets)
        checks.selected(_artefact_names(self.raw["artefacts"]))
        if self.mistakes or rest is None:
            raise ConfigError(
                f"{place}: {_dotted(keys)}: {text}"
                for place, keys, text in self.mistakes
                if not self._is_inherited(keys, text)
            )
        config: Config = rest.model_copy(update={**checked, "artefacts": artefacts})
        return config

    def _artefacts(self) -> ArtefactSettings:
        """Check each artefact on its own, so that a mistake in one hides none in another."""
        checked = {}
        for name, record in self.raw["artefacts"].items():
            settings = self._validate(ArtefactSettings, {name: record}, ["artefacts"])
            if settings is not None:
                checked[name] = getattr(settings, name)
        return ArtefactSettings(**checked)

    def _extend(self, section: str, records: Raw) -> None:
        """Resolve ``extends`` in place: dicts merge, everything else is replaced."""
        resolved: dict[str, Any] = {}

        def resolve(name: str, path: tuple[str, ...]) -> Any:
            if name in resolved:
                return resolved[name]
            record = records[name]
            if isinstance(record, dict) and "extends" in record:
                base = record["extends"]
                own = {key: value for key, value in record.items() if key != "extends"}
                problem = _base_problem(section, base, records, (*path, name))
                if problem:
                    self._say([section, name, "extends"], problem)
                    self.baseless.add((section, name))
                elif base is not None:
                    own = merge(resolve(base, (*path, name)), own)
                    self.bases[(section, name)] = [(section, base)]
                    if (section, base) in self.baseless:
                        self.baseless.add((section, name))
                record = own
            resolved[name] = record
            return record

        for name in records:
            resolve(name, ())
        records.update(resolved)

    def _inherit_training(self, section: str, name: str, record: Any, origin: str) -> None:
        """Let a curve's training start from that of its start's recipe, and a simplex's likewise.

        The reference code trains curves with the batch size, augmentation, momentum and weight
        decay of the endpoints; what is kept and recorded on the way is the endpoint's own affair.
        The weight decay of a simplex acts where its preset says.
        """
        if not isinstance(record, dict) or not isinstance(record.get("training"), dict):
            return
        recipe = self.raw["recipes"].get(origin)
        if isinstance(recipe, dict) and isinstance(recipe.get("training"), dict):
            inherited = {k: v for k, v in recipe["training"].items() if k not in ENDPOINT_ONLY}
            if section == "simplexes":
                on = WEIGHT_DECAY_ON.get(str(record.get("preset") or "released"))
                inherited = merge(inherited, {"optimiser": {"weight_decay_on": on}} if on else {})
            record["training"] = merge(inherited, record["training"])
            self.bases.setdefault((section, name), []).append(("recipes", origin))
        else:
            self.baseless.add((section, name, "training"))

    def _validate(self, model: Any, value: Any, path: list[str]) -> Any:
        given = without_empty(value, model)
        try:
            return _adapter(model).validate_python(given)
        except ValidationError as error:
            further = ("extends",) if path and path[0] in SECTIONS else ()
            for keys, text in explain(error, model, given, further_keys=further):
                # What is missing may well stand in the record that cannot be found.
                place = (*path, *keys)
                baseless = any(place[: len(start)] == start for start in self.baseless)
                if not (baseless and text.startswith(MISSING)):
                    self._say(place, text)
            return None

    def _is_inherited(self, keys: Keys, text: str) -> bool:
        """Tell whether a mistake is already told where it was made, in a record of origin."""
        bases = self.bases.get(keys[:2], [])
        told = {(mistake, words) for _, mistake, words in self.mistakes}
        if not any(((*base, *keys[2:]), text) in told for base in bases):
            return False
        written: Any = self.written
        for key in keys:
            if not isinstance(written, Mapping):
                return False
            if key not in written:
                return True
            written = written[key]
        return isinstance(written, Mapping)


@cache
def _adapter(model: Any) -> TypeAdapter[Any]:
    return TypeAdapter(model)


NO_NAME = "is no name: use lower-case letters, digits and underscores, a letter first"


def record_start(record: Any) -> str:
    """Return the recipe at the start of a curve, as it was written."""
    if not isinstance(record, Mapping):
        return ""
    return str(record.get("recipe") or str(record.get("start", "")).split("/")[0])


def first_mode(record: Any) -> str:
    """Return the recipe of a simplex's first mode, as it was written."""
    modes = record.get("modes") if isinstance(record, Mapping) else None
    named = str(modes[0]).split("/")[0] if isinstance(modes, list) and modes else ""
    return str(record.get("recipe") or named) if isinstance(record, Mapping) else ""


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and NAME.fullmatch(name) is not None


def _dotted(keys: Keys) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")


def _base_problem(section: str, base: Any, names: Iterable[str], path: Keys) -> str:
    """Return what is wrong with the record that the last one of a path extends, or nothing."""
    if base is None:
        return ""
    if not isinstance(base, str):
        return f"found {shown(base)}; it must be the name of one record"
    if base in path:
        return f"{' extends '.join((*path, base))}: a record cannot extend itself"
    return "" if base in names else _unknown(base, section, names)


def _unknown(name: str, section: str, names: Iterable[str]) -> str:
    known = sorted(names)
    more = f" and {len(known) - LISTED} more" if len(known) > LISTED else ""
    listed = ", ".join(known[:LISTED]) or "none"
    return f"{name!r} is unknown; {section}: {listed}{more}{nearest(name, known)}"


class _CrossChecks:
    """What one record says of another."""

    def __init__(
        self,
        raw: Raw,
        checked: dict[str, dict[str, Any]],
        say: Callable[[Iterable[Any], str], None],
    ) -> None:
        self.recipes: dict[str, RecipeSettings] = checked["recipes"]
        self.curves: dict[str, CurveSettings] = checked["curves"]
        self.planes: dict[str, PlaneSettings] = checked["planes"]
        self.simplexes: dict[str, SimplexSettings] = checked["simplexes"]
        self.ensembles: dict[str, Any] = checked["ensembles"]
        self.geometries: dict[str, GeometrySettings] = checked["geometries"]
        self.figures: dict[str, FigureSettings] = checked["figures"]
        self.datasets: dict[str, Any] = checked["datasets"]
        self.raw = raw
        self.faulty: set[Keys] = set()
        self._say = say

    def say(self, path: list[str], text: str) -> None:
        self.faulty.add(tuple(path[:2]))
        self._say(path, text)

    def run(self, artefacts: ArtefactSettings) -> None:
        for name, dataset in self._named("recipes", "dataset"):
            self._exists("datasets", dataset, ["recipes", name, "dataset"])
        for section in ("curves", "planes"):
            for key in ("start", "end"):
                for name, text in self._named(section, key):
                    if is_weight_file(text):
                        self._weight_file(text, [section, name, key])
                    elif section == "planes" and ":" in text:
                        self._vertex(text, [section, name, key])
                    else:
                        self._reference(text, [section, name, key])
        for section in ("curves", "planes", "simplexes"):
            for name, recipe_name in self._named(section, "recipe"):
                self._exists("recipes", recipe_name, [section, name, "recipe"])
        for name, record in self.raw["simplexes"].items():
            modes = record.get("modes") if isinstance(record, Mapping) else None
            self._modes(modes if isinstance(modes, list) else [], ["simplexes", name, "modes"])
        for name, simplex in self._named("ensembles", "simplex"):
            self._exists("simplexes", simplex, ["ensembles", name, "simplex"])
        for name, text in self._named("planes", "third"):
            self._third(text, ["planes", name, "third"])
        for name, text in self._named("planes", "iterates"):
            self._iterates(text, ["planes", name, "iterates"])
        for name, geometry in self.geometries.items():
            for label, text in geometry.points.items():
                self._third(text, ["geometries", name, "points", label])
        for name, curve in self._named("ensembles", "curve"):
            self._exists("curves", curve, ["ensembles", name, "curve"])
        for name, text in self._named("recipes", "continues"):
            self._continued(name, text)
        self._texts()
        self._points()
        self._renormalised()
        for name, settings in self.curves.items():
            path = ["curves", name]
            if settings.start == settings.end:
                self.say(
                    path,
                    f"start and end are the same network, {settings.start}: give two different "
                    f"seeds, recipes, epochs or files",
                )
            self._same_space(self._ends(settings), path)
        for name, settings_of in self.simplexes.items():
            self._same_space(self._mode_texts(settings_of), ["simplexes", name])
        for name, plane in self.planes.items():
            path = ["planes", name]
            if len({plane.start, plane.end, plane.third}) < 3:
                self.say(path, "start, end and third must be three different points")
            curve_of_third = self.curves.get(plane.third)
            third = [plane.third] if curve_of_third is None else self._ends(curve_of_third)
            self._same_space([*self._ends(plane), *third], path)
            if plane.iterates is not None:
                self._same_space([*self._ends(plane), plane.iterates], path, "projects")
        for name, geometry in self.geometries.items():
            networks = []
            for text in geometry.points.values():
                networks += self._ends(self.curves[text]) if text in self.curves else [text]
            self._same_space(networks, ["geometries", name], "measures")
        for name, ensemble in self.ensembles.items():
            if isinstance(ensemble, TrainedEnsembleSettings):
                self._members(ensemble, ["ensembles", name])
            elif isinstance(ensemble, CurveSwagEnsembleSettings):
                self._curve_swag(ensemble, ["ensembles", name])
            elif isinstance(ensemble, SimplexEnsembleSettings):
                self._components(ensemble, ["ensembles", name])
        for name, text in self._named("planes", "samples"):
            self._samples(name, text)
        # A curve that is wrong in itself is wrong in every figure that shows it.
        for section in ("curves", "simplexes", "planes", "ensembles", "geometries"):
            records = getattr(self, section)
            for name in [name for name in records if (section, name) in self.faulty]:
                del records[name]
        for name in ArtefactSettings.model_fields:
            settings = getattr(artefacts, name)
            if settings is not None:
                self._artefact(settings, ["artefacts", name])
        for name, figure in self.figures.items():
            self._figure(figure, ["figures", name])

    def figure_names(self, targets: Collection[str]) -> None:
        """Check that no figure of the user's own is called like something else."""
        papers = {name.split("_", 1)[0] for name in ArtefactSettings.model_fields}
        for name in self.raw["figures"]:
            if (paper := name.split("_", 1)[0]) in papers:
                self.say(
                    ["figures", name],
                    f"begins with {paper}, as the artefacts of that paper do: call it otherwise",
                )
            elif name in targets:
                self.say(["figures", name], "is a rule of the pipeline: call it otherwise")

    def selected(self, names: list[str]) -> None:
        """Check that everything in ``select`` can be asked for: an artefact, a row, a paper."""
        papers = sorted({name.split("_", 1)[0] for name in names})
        allowed = [*papers, *names, *self.raw["figures"]]
        entries = self.raw.get("select")
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, str) and entry not in allowed:
                self.say(
                    ["select"],
                    f"{entry!r} is no artefact of this scale; allowed: "
                    f"{', '.join(allowed) or 'none'}{nearest(entry, allowed)}",
                )

    def _named(self, section: str, key: str) -> Iterator[tuple[str, str]]:
        """Yield what each record names under a key, whatever else is wrong with the record."""
        for name, record in self.raw[section].items():
            if isinstance(record, Mapping) and isinstance(record.get(key), str):
                yield name, record[key]

    def _exists(self, section: str, name: str, path: list[str]) -> bool:
        names = self.raw[section]
        if name not in names:
            self.say(path, _unknown(name, section, names))
        return name in names

    def _reference(self, text: str, path: list[str]) -> NetworkReference | None:
        try:
            reference = NetworkReference.parse(text)
        except ValueError as error:
            self.say(path, str(error))
            return None
        if not self._exists("recipes", reference.recipe, path):
            return None
        recipe = self.recipes.get(reference.recipe)
        if recipe is None:
            return None
        saved = sorted({*recipe.training.snapshot_epochs, *recipe.training.checkpoints})
        if reference.epoch is not None and reference.epoch not in saved:
            listed = ", ".join(map(str, saved)) or "none"
            last = reference.epoch == recipe.training.epochs
            advice = (
                f"; write {reference.recipe}/{reference.seed} for the last epoch" if last else ""
            )
            self.say(
                path,
                f"recipe {reference.recipe!r} keeps no snapshot of epoch {reference.epoch}; "
                f"its training.snapshots and checkpoints: {listed}{advice}",
            )
            return None
        return reference

    def _modes(self, modes: list[Any], path: list[str]) -> None:
        for number, mode in enumerate(modes):
            place: list[Any] = [*path, number]
            if not isinstance(mode, str):
                continue
            if is_weight_file(mode):
                self._weight_file(mode, place)
            elif "/" in mode:
                self._reference(mode, place)
            else:
                self._exists("recipes", mode, place)

    def _mode_texts(self, simplex: SimplexSettings) -> list[str]:
        """Return the networks of a simplex, and one of the recipe that its files are of."""
        texts = [text for text in simplex.references(0) if not is_weight_file(text)]
        return texts if simplex.recipe is None else [*texts, f"{simplex.recipe}/0"]

    def _vertex(self, text: str, path: list[str]) -> None:
        """Check that a vertex of a simplex is there."""
        vertex = VertexReference.parse(text)
        if vertex is None:
            self.say(
                path,
                f"{text!r} is no vertex of a simplex; write simplex/seed:w0 for its first mode, "
                "simplex/seed:t1 for its first connector",
            )
        elif self._exists("simplexes", vertex.simplex, path):
            simplex = self.simplexes.get(vertex.simplex)
            if simplex is not None and vertex.label not in simplex.labels:
                self.say(
                    path,
                    f"simplex {vertex.simplex!r} has no vertex {vertex.label}; vertices: "
                    f"{', '.join(simplex.labels)}",
                )

    def _components(self, ensemble: SimplexEnsembleSettings, path: list[str]) -> None:
        """Check that the simplexes of an ensemble have what is asked of them."""
        simplex = self.simplexes.get(ensemble.simplex)
        if simplex is None:
            return
        for key, wanted, there in (
            ("connectors", ensemble.connectors, simplex.connectors),
            ("points", ensemble.points or 0, simplex.points),
        ):
            if wanted > there and (key == "connectors" or ensemble.connectors):
                self.say(
                    [*path, key],
                    f"found {wanted}; simplex {ensemble.simplex!r} has {there} {key}: lower it, or "
                    "raise that of the simplex",
                )
        if ensemble.points and not ensemble.connectors and ensemble.points > len(simplex.modes):
            self.say(
                [*path, "points"],
                f"found {ensemble.points}; without connectors the members are the "
                f"{len(simplex.modes)} modes of simplex {ensemble.simplex!r}: leave it out",
            )
        for seed in ensemble.seeds:
            self._distinct_modes(ensemble.simplex, simplex, seed, [*path, "seeds"])
        if len(ensemble.seeds) > 1 and simplex.references(0) == simplex.references(1):
            self.say(
                [*path, "simplex"],
                f"the modes of simplex {ensemble.simplex!r} are the same networks for every seed; "
                "name one by its recipe alone, which then has the seed of the simplex",
            )

    def _distinct_modes(
        self, name: str, simplex: SimplexSettings, seed: int, path: list[str]
    ) -> None:
        """Check that a simplex with a seed has no mode twice."""
        texts = simplex.references(seed)
        for text in sorted({text for text in texts if texts.count(text) > 1}):
            self.say(
                path,
                f"with seed {seed} two modes of simplex {name!r} are the same network, {text}: "
                "the volume is zero; leave the seed out",
            )

    def _continued(self, name: str, text: str) -> None:
        """Check that what a recipe continues is there, and is the same network."""
        path = ["recipes", name, "continues"]
        match = CONTINUED.fullmatch(text)
        if match is None or not self._exists("recipes", match["recipe"], path):
            return
        recipe, origin = self.recipes.get(name), self.recipes.get(match["recipe"])
        if recipe is None or origin is None:
            return
        chain = [name]
        while (last := self.recipes.get(chain[-1])) is not None and last.continues is not None:
            following = last.continues.partition("@")[0]
            if following in chain:
                chain.append(following)
                self.say(
                    path,
                    f"{' continues '.join(chain)}: one of them must begin by itself, take its "
                    "continues out",
                )
                return
            chain.append(following)
        self._same_space([f"{name}/1", f"{match['recipe']}/1"], path, "continues")
        if match["epoch"] is None:
            return
        mine, theirs = recipe.training.optimiser, origin.training.optimiser
        if (mine.name, mine.momentum > 0) != (theirs.name, theirs.momentum > 0):
            self.say(
                path,
                f"a checkpoint's optimiser goes on, and that of recipe {match['recipe']!r} is "
                f"another one ({theirs.name}, momentum {theirs.momentum:g}); for its weights alone "
                f"write {match['recipe']}, without an epoch",
            )
        epoch, kept = int(match["epoch"]), sorted(origin.training.checkpoints)
        if epoch > origin.training.epochs:
            self.say(
                path,
                f"epoch {epoch} lies beyond the {origin.training.epochs} epochs of recipe "
                f"{match['recipe']!r}",
            )
        elif epoch not in kept:
            self.say(
                path,
                f"recipe {match['recipe']!r} keeps no checkpoint of epoch {epoch}; its "
                f"training.checkpoints: {', '.join(map(str, kept)) or 'none'}; add {epoch} there",
            )

    def _recipe_of_curve(self, name: str) -> RecipeSettings | None:
        """Return the recipe of a curve's networks, if curve and recipe are without mistakes."""
        curve = self.curves.get(name)
        if curve is None:
            return None
        match = REFERENCE.fullmatch(curve.start)
        return self.recipes.get(curve.recipe or (match["recipe"] if match is not None else ""))

    def _not_augmented(self, datasets: Collection[str], which: str) -> None:
        """Check that no recipe asks for transforms of examples that have none."""
        for name, recipe in self.recipes.items():
            if recipe.dataset in datasets and recipe.training.augmentation.transforms:
                self.say(
                    ["recipes", name, "training", "augmentation"],
                    f"data set {recipe.dataset!r} {which} not augmented: leave the transforms out",
                )

    def _texts(self) -> None:
        """Check what cannot be asked of a text."""
        texts = {name for name, data in self.datasets.items() if isinstance(data, TextSettings)}
        self._not_augmented(texts, "is a text, which is")
        for name, curve in self.curves.items():
            of_curve = self._recipe_of_curve(name)
            if of_curve is None or of_curve.dataset not in texts:
                continue
            if curve.predictions:
                self.say(["curves", name, "predictions"], NO_TEXT_PREDICTIONS)
            for key in ("alignment", "renormalise"):
                if getattr(curve, key):
                    self.say(
                        ["curves", name, key],
                        "a language model is recurrent, and only feed-forward networks are traced: "
                        f"leave {key} out",
                    )
        for name, ensemble in self.ensembles.items():
            recipes = self._recipes_of_ensemble(ensemble)
            if any(recipe.dataset in texts for recipe in recipes):
                self.say(["ensembles", name], NO_TEXT_PREDICTIONS)

    def _renormalised(self) -> None:
        """Check that no network is renormalised of which it is known that it cannot be."""
        for name, curve in self.curves.items():
            recipe = self._recipe_of_curve(name)
            if curve.renormalise and recipe is not None and recipe.network.name in WITH_ATTENTION:
                self.say(
                    ["curves", name, "renormalise"],
                    f"network {recipe.network.name!r} has attention, whose queries, keys and "
                    "values have no statistics that could be set: leave renormalise out",
                )

    def _recipes_of_ensemble(self, ensemble: Any) -> list[RecipeSettings]:
        """Return the recipes of an ensemble's networks that are without mistakes."""
        if isinstance(ensemble, CURVE_ENSEMBLES):
            found = [self._recipe_of_curve(ensemble.curve)]
        elif isinstance(ensemble, SimplexEnsembleSettings):
            simplex = self.simplexes.get(ensemble.simplex)
            modes = [] if simplex is None else [simplex.recipe or recipe_of_mode(simplex.modes[0])]
            found = [self.recipes.get(mode) for mode in modes if mode is not None]
        else:
            found = [self.recipes.get(recipe) for recipe in ensemble.recipes]
        return [recipe for recipe in found if recipe is not None]

    def _points(self) -> None:
        """Check what cannot be asked of points: transforms; and of a subspace without a bend."""
        points = {name for name, data in self.datasets.items() if isinstance(data, POINTS)}
        self._not_augmented(points, "has points, which are")
        for name, ensemble in self.ensembles.items():
            if isinstance(ensemble, SubspaceEnsembleSettings):
                curve = self.curves.get(ensemble.curve)
                if curve is not None and not curve.trained:
                    self.say(
                        ["ensembles", name, "curve"],
                        f"curve {ensemble.curve!r} is a {curve.kind} and has no bend, so that it "
                        "spans no plane; name a polychain or a bezier",
                    )

    def _functions(self, key: str, name: str, path: list[str]) -> None:
        """Check that the members of an ensemble can be drawn as functions in a figure."""
        ensemble = self.ensembles.get(name)
        if ensemble is None:
            return
        self._collected_by(key, name, path)
        for recipe in self._recipes_of_ensemble(ensemble):
            data = self.datasets.get(recipe.dataset)
            wanted = TwoSpiralsSettings if key == "members" else RegressionSettings
            if data is not None and not isinstance(data, wanted):
                source = "two_spirals" if key == "members" else "regression"
                self.say(
                    path,
                    f"ensemble {name!r} is of data set {recipe.dataset!r}, of source "
                    f"{data.source}; it must be of source {source}",
                )

    def _members(self, ensemble: TrainedEnsembleSettings, path: list[str]) -> None:
        """Check that the members of an ensemble exist and speak of the same classes."""
        known = [
            recipe
            for recipe in ensemble.recipes
            if self._exists("recipes", recipe, [*path, "recipes"]) and recipe in self.recipes
        ]
        self._same_space([f"{recipe}/1" for recipe in known], path, "mixes")
        for name in known:
            training = self.recipes[name].training
            schedule = training.schedule.name
            if isinstance(ensemble, SwagEnsembleSettings):
                snapshots = training.snapshot_epochs
                self._swag(ensemble, len(snapshots), f"recipe {name!r}", path, "recipes")
                continue
            assert isinstance(ensemble, NetworkEnsembleSettings)
            if ensemble.method != "independent" and not training.snapshot_epochs:
                self.say(
                    [*path, "recipes"],
                    f"recipe {name!r} keeps no snapshots, which are the members of the method "
                    f"{ensemble.method}; set its training.snapshots, such as to minima",
                )
            elif ensemble.method in SCHEDULES and schedule not in SCHEDULES[ensemble.method]:
                self.say(
                    [*path, "recipes"],
                    f"the schedule of recipe {name!r} is {schedule}; for the method "
                    f"{ensemble.method} it must be {' or '.join(SCHEDULES[ensemble.method])}",
                )

    def _swag(
        self, swag: SwagSettings, snapshots: int, origin: str, path: list[str], key: str
    ) -> None:
        """Check that a Gaussian can be fitted to the snapshots of a training."""
        if snapshots < 2:
            self.say(
                [*path, key],
                f"{origin} keeps {snapshots or 'no'} snapshot{'s' if snapshots != 1 else ''}; "
                "SWAG is fitted to at least 2: set its training.snapshots, such as to {first: 20}",
            )
        elif swag.rank > snapshots:
            self.say(
                [*path, "rank"],
                f"found {swag.rank}, more than the {snapshots} snapshots that {origin} keeps: set "
                f"rank to at most {snapshots}, or keep more (its training.snapshots)",
            )

    def _curve_swag(self, ensemble: CurveSwagEnsembleSettings, path: list[str]) -> None:
        curve = self.curves.get(ensemble.curve)
        if curve is None:
            return
        if curve.training is None or curve.bends != 1:
            has = f"{curve.bends} bends" if curve.trained else "no bend"
            self.say(
                [*path, "curve"],
                f"curve {ensemble.curve!r}, a {curve.kind}, has {has}; SWAG is fitted to the one "
                "of a polychain or a bezier with bends: 1",
            )
            return
        snapshots = len(curve.training.snapshot_epochs)
        self._swag(ensemble, snapshots, f"curve {ensemble.curve!r}", path, "curve")

    def _samples(self, name: str, text: str) -> None:
        """Check that the samples that are projected onto a plane are of the bend that spans it."""
        path = ["planes", name, "samples"]
        if not self._exists("ensembles", text, path) or text not in self.ensembles:
            return
        ensemble, plane = self.ensembles[text], self.planes.get(name)
        if not isinstance(ensemble, CurveSwagEnsembleSettings):
            self.say(
                path, f"the method of ensemble {text!r} is {ensemble.method}; it must be curve_swag"
            )
        elif plane is not None and plane.third != ensemble.curve:
            self.say(
                path,
                f"ensemble {text!r} has samples of the bend of curve {ensemble.curve!r}, but the "
                f"third point of the plane is {plane.third}; name that curve there",
            )

    @staticmethod
    def _ends(settings: CurveSettings | PlaneSettings) -> list[str]:
        """Return the networks at the ends, and one of the recipe that files of weights are of."""
        ends = [text for text in (settings.start, settings.end) if not is_weight_file(text)]
        return ends if settings.recipe is None else [*ends, f"{settings.recipe}/0"]

    def _weight_file(self, text: str, path: list[str]) -> None:
        if not Path(text).is_file():
            self.say(
                path,
                f"there is no file {text}; a relative path starts from the working directory, "
                f"{Path.cwd()}",
            )

    def _iterates(self, text: str, path: list[str]) -> None:
        reference = self._reference(text, path)
        if reference is None:
            return
        if reference.epoch is not None:
            self.say(path, f"{text} is one snapshot; name the training, recipe/seed")
        elif not self.recipes[reference.recipe].training.snapshot_epochs:
            self.say(
                path,
                f"recipe {reference.recipe!r} keeps no snapshots; set its training.snapshots, "
                "such as to all",
            )

    def _third(self, text: str, path: list[str]) -> None:
        if ":" in text and path[0] == "planes":
            self._vertex(text, path)
        elif "/" in text:
            self._reference(text, path)
        elif self._exists("curves", text, path):
            curve = self.curves.get(text)
            if curve is not None and not curve.trained:
                self.say(
                    path,
                    f"curve {text!r} is a {curve.kind} and has no bend; name a polychain, a "
                    f"bezier or a third network",
                )
            elif curve is not None and curve.alignment is not None and path[0] == "planes":
                self.say(
                    path,
                    f"curve {text!r} is aligned, so that its end is not the plane's: name one "
                    "without alignment",
                )

    def _same_space(self, texts: list[str], path: list[str], verb: str = "connects") -> None:
        of_vertices = [
            mode
            for vertex in map(VertexReference.parse, texts)
            if vertex is not None and vertex.simplex in self.simplexes
            for mode in self._mode_texts(self.simplexes[vertex.simplex])
        ]
        texts = [*texts, *of_vertices]
        recipes = [
            self.recipes[match["recipe"]]
            for match in map(REFERENCE.fullmatch, texts)
            if match is not None and match["recipe"] in self.recipes
        ]
        for what, values in (
            ("networks", {_describe_network(recipe) for recipe in recipes}),
            ("data sets", {recipe.dataset for recipe in recipes}),
        ):
            if len(values) > 1:
                self.say(
                    path,
                    f"{verb} different {what}: {' and '.join(sorted(values))}; all must be equal",
                )

    def _artefact(self, settings: BaseModel, path: list[str]) -> None:
        self._parts(settings, path)
        match settings:
            case EnsembleTableSettings(rows=rows):
                for name, of_row in rows.items():
                    self._ensemble_row(name, of_row.ensembles, [*path, "rows", name])
            case TraceFigureSettings(history=history):
                self._trace(history, [*path, "history"])
            case EnsemblesOverTimeFigureSettings(fast_geometric=fast, snapshot=snapshot):
                self._over_time([fast, snapshot], settings, path)
            case LanguageModelTableSettings(rows=rows):
                for name, row in rows.items():
                    self._row(name, row.curves, [*path, "rows", name])
                    self._of_texts(row.curves, [*path, "rows", name])
            case CurveTableSettings(rows=rows):
                for name, row in rows.items():
                    self._row(name, row.curves, [*path, "rows", name])
            case TrivialPathSettings(curves=curves):
                for name in curves:
                    self._kind("trivial_path", name, [*path, "curves"])
            case CurveEnsembleTableSettings():
                self._endpoints_first(settings, path)
            case PlanesFigureSettings():
                self._planes(settings, path)
            case CurvesFigureSettings(segment=segment, bezier=bezier, polychain=polychain):
                self._same_ends([segment, bezier, polychain], path)
                ensemble = self.ensembles.get(settings.curve_points)
                if isinstance(ensemble, CurveEnsembleSettings) and ensemble.curve != polychain:
                    self.say(
                        [*path, "curve_points"],
                        f"ensemble {settings.curve_points!r} has points of {ensemble.curve!r}; "
                        f"they must be those of the polychain, {polychain!r}",
                    )
            case TwoNetworkEnsemblesFigureSettings():
                names = [settings.segment, settings.polychain, settings.random_segment]
                self._same_ends(names, path)
                for name in names:
                    if name in self.curves and not self.curves[name].predictions:
                        self.say(path, f"needs the predictions: true of curve {name!r}")
            case ConnectionsFigureSettings(connections=connections):
                for label, name in connections.items():
                    self._keeps_snapshots(name, [*path, "connections", label])
                    if not label.startswith("G"):
                        self.say(
                            [*path, "connections", label],
                            "begins with another letter than G, the mode at t = 0 of every panel",
                        )
            case IteratesFigureSettings():
                self._iterate_pairs(settings, path)
            case GeometryFigureSettings(geometry=geometry, perplexity=perplexity):
                known = self.geometries.get(geometry)
                if known is not None and perplexity >= len(known.points):
                    self.say(
                        [*path, "perplexity"],
                        f"found {perplexity:g}; it must be below the number of points of geometry "
                        f"{geometry!r}, {len(known.points)}",
                    )
            case IteratesPlaneFigureSettings(plane=plane):
                of_plane = self.planes.get(plane)
                if of_plane is not None and "/" in of_plane.third:
                    self.say(
                        [*path, "plane"],
                        f"the third point of plane {plane!r} is the network {of_plane.third}; it "
                        "must be a polychain, whose bend is drawn",
                    )
                elif of_plane is not None:
                    self._kind("polychain", of_plane.third, [*path, "plane"])
            case SampledBendFigureSettings(plane=plane, curve_swag=samples):
                of_plane = self.planes.get(plane)
                if of_plane is not None and of_plane.samples != samples:
                    self.say(
                        [*path, "curve_swag"],
                        f"plane {plane!r} shows the samples of {of_plane.samples or 'no ensemble'};"
                        f" set its samples to {samples}",
                    )
                elif of_plane is not None:
                    self._kind("polychain", of_plane.third, [*path, "plane"])
            case ModesTableSettings(modes=modes, differences=differences, rows=connections):
                for label, pair in connections.items():
                    if not _is_name(label):
                        self.say([*path, "rows", label], NO_NAME)
                    self._same_ends([pair.segment, pair.polychain], [*path, "rows", label])
                    self._keeps_snapshots(pair.polychain, [*path, "rows", label, "polychain"])
                for label in sorted(set(differences) - set(modes)):
                    self.say(
                        [*path, "differences", label],
                        f"{label!r} is no mode; modes: {', '.join(modes) or 'none'}",
                    )
            case ShiftSettings():
                self._shift(settings, path)
            case ComponentsSettings(rows=rows):
                for name, components in rows.items():
                    shown = [*components.components.values()]
                    self._one_network(name, shown, [*path, "rows", name])
            case SamplesFigureSettings(rows=rows):
                for name, samples_row in rows.items():
                    shown = [*samples_row.sampled.values()]
                    self._one_network(name, shown, [*path, "rows", name])
            case RegularisationFigureSettings(regularised=regularised):
                self._regularised(regularised, [*path, "regularised"])
            case SimplexPlaneFigureSettings(plane=plane):
                self._faces([plane], [*path, "plane"])
            case FacesFigureSettings():
                self._faces(settings.faces, [*path, "faces"])
            case VolumesFigureSettings():
                self._volumes(settings, path)
            case VolumesByWidthFigureSettings():
                self._volumes_by_width(settings, path)
            case WidthsFigureSettings(curves=curves, option=option):
                for name in curves:
                    self._has_option(name, option, [*path, "option"])

    def _shift(self, settings: ShiftSettings, path: list[str]) -> None:
        """Check that ensembles can be compared on the corrupted images of one data set."""
        datasets = set()
        for label, name in settings.ensembles.items():
            place = [*path, "ensembles", label]
            ensemble = self.ensembles.get(name)
            if ensemble is None:
                continue
            for recipe in self._recipes_of_ensemble(ensemble):
                datasets.add(recipe.dataset)
                data = self.datasets.get(recipe.dataset)
                if data is not None and not isinstance(data, DatasetSettings):
                    kind = "a text" if isinstance(data, TextSettings) else f"source {data.source}"
                    self.say(
                        place,
                        f"ensemble {name!r} is of data set {recipe.dataset!r}, {kind}; only test "
                        "sets of images in memory are corrupted: "
                        f"{', '.join(get_args(DatasetSettings.model_fields['source'].annotation))}",
                    )
            budgets = getattr(ensemble, "budgets", [])
            if settings.budget is not None and settings.budget not in budgets:
                self.say(
                    [*path, "budget"],
                    f"found {settings.budget}; the budgets of ensemble {name!r} are "
                    f"{', '.join(map(str, budgets)) or 'none'}",
                )
        if len(datasets) > 1:
            self.say(
                [*path, "ensembles"],
                f"shows different data sets: {' and '.join(sorted(datasets))}; all must be equal",
            )

    def _measures(self, name: str, path: list[str]) -> None:
        """Check that the ensembles of an ensemble's members are measured."""
        ensemble = self.ensembles.get(name)
        if not isinstance(ensemble, SimplexEnsembleSettings):
            return
        for recipe in self._recipes_of_ensemble(ensemble):
            if isinstance(self.datasets.get(recipe.dataset), POINTS):
                self.say(
                    path,
                    f"{name!r} is of data set {recipe.dataset!r}, whose networks are shown as "
                    "functions; of a simplex on it no ensembles are measured",
                )

    def _one_network(self, name: str, ensembles: list[str], path: list[str]) -> None:
        """Check that the ensembles of a row are of one network and one data set."""
        if not _is_name(name):
            self.say(path, NO_NAME)
        recipes = [
            recipe
            for known in map(self.ensembles.get, ensembles)
            if known is not None
            for recipe in self._recipes_of_ensemble(known)
        ]
        for what, values in (
            ("networks", {_describe_network(recipe) for recipe in recipes}),
            ("data sets", {recipe.dataset for recipe in recipes}),
        ):
            if len(values) > 1:
                self.say(
                    path,
                    f"shows different {what}: {' and '.join(sorted(values))}; all must be equal",
                )

    def _regularised(self, names: list[str], path: list[str]) -> None:
        """Check that a figure can tell its simplexes apart by the weight of the volume term."""
        self._one_network("regularised", names, path)
        known = [self.ensembles[name] for name in names if name in self.ensembles]
        known = [each for each in known if isinstance(each, SimplexEnsembleSettings)]
        simplexes = [self.simplexes[e.simplex] for e in known if e.simplex in self.simplexes]
        values = [simplex.regularisation for simplex in simplexes]
        for value in sorted({value for value in values if values.count(value) > 1}):
            self.say(
                path,
                f"names two ensembles of simplexes with regularisation {value:g}; one a value is "
                "shown",
            )
        for name, ensemble in zip(names, known, strict=False):
            if not ensemble.connectors or 1 not in ensemble.budgets:
                self.say(
                    path,
                    f"ensemble {name!r} has connectors: {ensemble.connectors} and budgets: "
                    f"{ensemble.budgets}; a simplex with connectors and the budget 1 are shown",
                )

    def _parts(self, settings: BaseModel, path: list[str]) -> None:
        """Check that what an artefact is made of exists, and is what its key says."""
        for name, row in getattr(settings, "rows", {}).items():
            self._parts(row, [*path, "rows", name])
        for section, key, value in artefact_parts(settings):
            if key == "rows":
                continue
            if section == "snapshots":
                if self._exists("curves", value, [*path, key]):
                    self._as_in_the_papers(value, [*path, key])
                continue
            if section == "shifts":
                if self._exists("ensembles", value, [*path, key]):
                    self._collected_by("shifts", value, [*path, key])
                continue
            if section == "functions":
                if self._exists("ensembles", value, [*path, key]):
                    self._functions(key, value, [*path, key])
                continue
            if section in ("trainings", "predictions"):
                if section == "trainings":
                    self._measures(value, [*path, key])
                elif self._exists("ensembles", value, [*path, key]):
                    self._collected_by(key, value, [*path, key])
                    self._shows_errors("ensembles", value, [*path, key])
                continue
            if section == "complexes":
                self._complex(value, [*path, key])
                continue
            if section == "samples":
                continue
            if section in ("networks", "histories"):
                self._trained(value, [*path, key])
            elif self._exists(section, value, [*path, key]):
                if section == "curves":
                    self._kind(key, value, [*path, key])
                    if not isinstance(settings, RowSettings):
                        self._as_in_the_papers(value, [*path, key])
                elif section == "ensembles":
                    self._collected_by(key, value, [*path, key])
                self._shows_errors(section, value, [*path, key])

    def _trained(self, text: str, path: list[str]) -> None:
        """Check that a network is there, at the end of its training."""
        reference = self._reference(text, path)
        if reference is not None and reference.epoch is not None:
            self.say(
                path,
                f"{text} is a snapshot; only networks at the end of their training, "
                f"recipe/seed, are measured on their own",
            )

    def _figure(self, figure: FigureSettings, path: list[str]) -> None:
        """Check that what a figure of the user's own shows is there."""
        for section, key, name in artefact_parts(figure):
            place = [*path, key]
            match section:
                case "networks" | "histories":
                    self._trained(name, place)
                case "complexes":
                    self._complex(name, place)
                case "samples":
                    self._sampled(name, place)
                case _:
                    if self._exists(section, name, place) and section == "ensembles":
                        self._measures(name, place)

    def _sampled(self, text: str, path: list[str]) -> None:
        """Check that points are drawn from a complex with so many connectors."""
        name, _, count = text.rpartition("/")
        if not count.isdecimal() or ComplexReference.parse(name) is None:
            self.say(path, f"{text!r} names no points; write simplex/seed/connectors, as espro/1/2")
            return
        simplex = self._complex(name, path)
        if simplex is not None and int(count) > simplex.connectors:
            self.say(
                path,
                f"found {text}; simplex {name!r} has {simplex.connectors} connectors: lower it, or "
                "raise that of the simplex",
            )

    def _complex(self, text: str, path: list[str]) -> SimplexSettings | None:
        """Check that a simplex is there; return it if it is without mistakes."""
        reference = ComplexReference.parse(text)
        if reference is None:
            self.say(path, f"{text!r} is no trained simplex; write simplex/seed, such as espro/1")
            return None
        if not self._exists("simplexes", reference.simplex, path):
            return None
        simplex = self.simplexes.get(reference.simplex)
        if simplex is not None:
            self._distinct_modes(reference.simplex, simplex, reference.seed, path)
        return simplex

    def _faces(self, planes: list[str], path: list[str]) -> None:
        """Check that the planes of a figure go through the vertices of one complex."""
        complexes = set()
        for name in planes:
            plane = self.planes.get(name)
            if plane is None:
                continue
            corners = [plane.start, plane.end, plane.third]
            for text, vertex in zip(corners, map(VertexReference.parse, corners), strict=True):
                if vertex is None:
                    self.say(
                        path,
                        f"plane {name!r} goes through {text}; a face has three vertices of a "
                        "complex, such as espro/1:w0, espro/1:t1 and espro/1:t2",
                    )
                else:
                    complexes.add(f"{vertex.simplex}/{vertex.seed}")
        if len(complexes) > 1:
            self.say(
                path,
                f"shows planes of different complexes: {', '.join(sorted(complexes))}; all must "
                "be of one",
            )

    def _volumes(self, settings: VolumesFigureSettings, path: list[str]) -> None:
        """Check that a complex has the connectors that a figure adds, and its train accuracy."""
        reference = ComplexReference.parse(settings.complex)
        simplex = None if reference is None else self.simplexes.get(reference.simplex)
        if simplex is None:
            return
        if settings.connectors > simplex.connectors:
            self.say(
                [*path, "connectors"],
                f"found {settings.connectors}; simplex {settings.complex!r} has "
                f"{simplex.connectors} connectors: lower it, or raise that of the simplex",
            )
        recipe = self.recipes.get(simplex.recipe or recipe_of_mode(simplex.modes[0]) or "")
        if recipe is not None:
            self._has_errors([recipe], settings.complex, [*path, "complex"])
        if not simplex.measure_train:
            self.say(
                [*path, "complex"],
                f"the train accuracy of {settings.complex!r} is shown: set its measure_train: true",
            )

    def _volumes_by_width(self, settings: VolumesByWidthFigureSettings, path: list[str]) -> None:
        """Check that the networks of complexes have the option by which they are told apart."""
        for text in settings.complexes:
            reference = ComplexReference.parse(text)
            simplex = None if reference is None else self.simplexes.get(reference.simplex)
            if simplex is None:
                continue
            recipe = self.recipes.get(simplex.recipe or recipe_of_mode(simplex.modes[0]) or "")
            if recipe is not None:
                self._network_has(recipe, settings.option, f"simplex {text!r}", [*path, "option"])

    def _shows_errors(self, section: str, name: str, path: list[str]) -> None:
        """Check that what a table or figure shows errors of is no regression, which has none."""
        recipes = []
        if section == "curves" and (of_curve := self._recipe_of_curve(name)) is not None:
            recipes = [of_curve]
        elif section == "ensembles" and (ensemble := self.ensembles.get(name)) is not None:
            recipes = self._recipes_of_ensemble(ensemble)
        self._has_errors(recipes, name, path)

    def _has_errors(self, recipes: Iterable[RecipeSettings], name: str, path: list[str]) -> None:
        for recipe in recipes:
            if isinstance(self.datasets.get(recipe.dataset), RegressionSettings):
                self.say(
                    path,
                    f"{name!r} is of data set {recipe.dataset!r}, a regression, which has no test "
                    "errors; only benton2021_figure10 shows one",
                )

    def _kind(self, key: str, name: str, path: list[str]) -> None:
        """Check that a figure's segment is a segment, and so on."""
        curve = self.curves.get(name)
        if key in get_args(CurveKind) and curve is not None and curve.kind != key:
            self.say(path, f"curve {name!r} is a {curve.kind}; it must be a {key}")

    def _as_in_the_papers(self, name: str, path: list[str]) -> None:
        """Check that a curve is shown only where its place tells what sets it apart."""
        curve = self.curves.get(name)
        if curve is not None and curve.variant:
            self.say(
                path,
                f"curve {name!r} is {curve.variant}; only garipov2018_table2 shows such a curve: "
                "name one as the papers have it",
            )

    def _collected_by(self, key: str, name: str, path: list[str]) -> None:
        """Check that an ensemble's members are collected in the way its place asks for."""
        ensemble = self.ensembles.get(name)
        if ensemble is None:
            return
        wanted = METHODS.get(key, (key,))
        if ensemble.method not in wanted:
            self.say(
                path,
                f"the method of ensemble {name!r} is {ensemble.method}; it must be "
                f"{' or '.join(wanted)}",
            )

    def _ensemble_row(self, name: str, ensembles: list[str], path: list[str]) -> None:
        if not _is_name(name):
            self.say(path, NO_NAME)
        known = [self.ensembles[each] for each in ensembles if each in self.ensembles]
        members = [each for each in known if isinstance(each, NetworkEnsembleSettings)]
        self._same_space([f"{each.recipes[0]}/1" for each in members], path, "shows")
        methods = [each.method for each in members]
        for method in sorted({method for method in methods if methods.count(method) > 1}):
            self.say(path, f"names two ensembles of the method {method}; one a row is shown")

    def _over_time(
        self, names: list[str], settings: EnsemblesOverTimeFigureSettings, path: list[str]
    ) -> None:
        known = {
            name: ensemble
            for name in names
            if isinstance(ensemble := self.ensembles.get(name), NetworkEnsembleSettings)
        }
        self._same_space([f"{each.recipes[0]}/1" for each in known.values()], path, "shows")
        for name, ensemble in known.items():
            if len(ensemble.seeds) < settings.budgets:
                self.say(
                    [*path, "budgets"],
                    f"{settings.budgets} budgets need as many seeds of ensemble {name!r}, which "
                    f"has {len(ensemble.seeds)}",
                )

    def _of_texts(self, curves: list[str], path: list[str]) -> None:
        for name in curves:
            recipe = self._recipe_of_curve(name)
            data = self.datasets.get(recipe.dataset) if recipe is not None else None
            if data is not None and not isinstance(data, TextSettings):
                self.say(path, f"curve {name!r} is not of a language model: its data are images")

    def _iterate_pairs(self, settings: IteratesFigureSettings, path: list[str]) -> None:
        for key in ("sgdr", "sgd"):
            for number, pair in enumerate(getattr(settings, key)):
                self._same_ends([pair.segment, pair.polychain], [*path, key, str(number)])
        if isinstance(settings, SchedulesFigureSettings):
            for key in ("sgdr_history", "sgd_history"):
                self._trace(getattr(settings, key), [*path, key], snapshots=False)

    def _keeps_snapshots(self, name: str, path: list[str]) -> None:
        curve = self.curves.get(name)
        if curve is None:
            return
        if curve.training is None or not curve.training.snapshot_epochs:
            self.say(
                path,
                f"curve {name!r} keeps no snapshots; set its "
                "training.snapshots, such as to [5, 10]",
            )

    def _trace(self, text: str, path: list[str], *, snapshots: bool = True) -> None:
        match = REFERENCE.fullmatch(text)
        recipe = self.recipes.get(match["recipe"]) if match is not None else None
        if recipe is None:
            return
        if not recipe.training.record_test:
            self.say(path, f"the history of {text} has no test errors: set record_test: true there")
        if snapshots and not recipe.training.snapshot_epochs:
            self.say(path, f"{text} keeps no snapshots, which the figure marks")

    def _row(self, name: str, curves: list[str], path: list[str]) -> None:
        if not _is_name(name):
            self.say(path, NO_NAME)
        known = [self.curves[curve] for curve in curves if curve in self.curves]
        if len(known) < len(curves):
            return
        segments = sum(curve.kind == "segment" and not curve.variant for curve in known)
        if segments != 1:
            self.say(
                path,
                f"names {segments} segments; it must be exactly one, as its ends are the single "
                f"networks of the row",
            )
        variants = [f"{curve.variant} {curve.kind}" for curve in known if curve.variant]
        for variant in sorted({each for each in variants if variants.count(each) > 1}):
            self.say(path, f"names two curves of the kind {variant}; one a row is shown")
        self._same_space([curve.start for curve in known], path, "shows")

    def _same_ends(self, names: list[str], path: list[str]) -> None:
        ends = {(c.start, c.end) for c in map(self.curves.get, names) if c is not None}
        self._one_pair(ends, path, "curves between")

    def _one_pair(self, ends: set[tuple[str, str]], path: list[str], what: str) -> None:
        if len(ends) > 1:
            listed = "; ".join(f"{start} and {end}" for start, end in sorted(ends))
            self.say(path, f"shows {what} different networks: {listed}; all must be equal")

    def _endpoints_first(self, settings: CurveEnsembleTableSettings, path: list[str]) -> None:
        ensemble = self.ensembles.get(settings.curve_points)
        if not isinstance(ensemble, CurveEnsembleSettings):
            return
        curve = self.curves.get(ensemble.curve)
        if curve is not None and {*settings.networks[:2]} != {curve.start, curve.end}:
            self.say(
                [*path, "networks"],
                f"begins with {' and '.join(settings.networks[:2])}; the first two must be the "
                f"ends of the ensemble's curve, {curve.start} and {curve.end}",
            )

    def _planes(self, settings: PlanesFigureSettings, path: list[str]) -> None:
        ends = set()
        for key in ("independent", "bezier", "polychain"):
            name = getattr(settings, key)
            plane = self.planes.get(name)
            if plane is None:
                continue
            ends.add((plane.start, plane.end))
            if key == "independent":
                if "/" not in plane.third:
                    self.say([*path, key], f"the third point of plane {name!r} must be a network")
            elif plane.third not in self.curves:
                if "/" in plane.third:
                    self.say([*path, key], f"the third point of plane {name!r} must be a {key}")
            else:
                self._kind(key, plane.third, [*path, key])
        self._one_pair(ends, path, "planes through")

    def _has_option(self, curve: str, option: str, path: list[str]) -> None:
        recipe = self._recipe_of_curve(curve)
        if recipe is not None:
            self._network_has(recipe, option, f"curve {curve!r}", path)

    def _network_has(
        self, recipe: RecipeSettings, option: str, whose: str, path: list[str]
    ) -> None:
        options = registry.specification(recipe.network.name).options
        if option not in options:
            self.say(
                path,
                f"network {recipe.network.name!r} of {whose} has no option {option!r}; "
                f"options: {', '.join(options) or 'none'}{nearest(option, options)}",
            )


def _describe_network(recipe: RecipeSettings) -> str:
    """Return a network with all its options: a default is the same, given or not."""
    known = registry.specification(recipe.network.name).options
    options = {name: option.default for name, option in known.items()} | recipe.network.options
    return f"{recipe.network.name}({', '.join(f'{k}={v}' for k, v in options.items())})"


def artefact_parts(settings: BaseModel) -> Iterator[tuple[str, str, str]]:
    """Yield what an artefact is made of: the section, the key that names it, and its name."""
    if isinstance(settings, FigureSettings):
        for key, section in FIGURE_PARTS.items():
            yield from ((section, key, name) for name in getattr(settings, key))
        return
    for key in type(settings).model_fields:
        value = getattr(settings, key)
        match key:
            case "rows":
                for row in value.values():
                    yield from ((part, key, name) for part, _, name in artefact_parts(row))
                    if isinstance(row, ConnectionSettings):
                        yield "snapshots", key, row.polychain
            case "ensembles" if isinstance(value, Mapping):
                yield from (("shifts", key, name) for name in value.values())
            case "ensembles":
                yield from (("ensembles", key, name) for name in value)
            case "history":
                yield "histories", key, value
            case "fast_geometric" | "snapshot" | "weight_average":
                if value is not None:
                    yield "ensembles", key, value
            case "deep_ensemble" | "espro" | "subspace" | "members":
                if value is not None:
                    yield "functions", key, value
            case "modes":
                yield from (("networks", key, name) for name in value.values())
            case "connections":
                yield from (("snapshots", key, curve) for curve in value.values())
            case "sgdr" | "sgd":
                for part in value:
                    yield from artefact_parts(part)
            case "sgdr_history" | "sgd_history":
                yield "histories", key, value
            case "plane":
                yield "planes", key, value
            case "geometry":
                yield "geometries", key, value
            case "components" | "regularised":
                for name in value.values() if isinstance(value, Mapping) else value:
                    yield "ensembles", key, name
                    yield "trainings", key, name
            case "sampled":
                yield from (("predictions", key, name) for name in value.values())
            case "faces":
                yield from (("planes", key, plane) for plane in value)
            case "complexes":
                yield from (("complexes", key, name) for name in value)
            case "complex":
                yield "complexes", key, value
            case "connectors" if isinstance(settings, VolumesFigureSettings):
                for count in range(1, settings.connectors + 1):
                    yield "samples", key, f"{settings.complex}/{count}"
            case "curves":
                yield from (("curves", key, curve) for curve in value)
            case "networks":
                yield from (("networks", key, network) for network in value)
            case "curve_points" | "curve_swag":
                yield "ensembles", key, value
            case "independent":
                yield "planes", key, value
            case "segment" | "random_segment":
                yield "curves", key, value
            case "bezier" | "polychain":
                is_plane_figure = "independent" in type(settings).model_fields
                yield ("planes" if is_plane_figure else "curves"), key, value


def merge(base: Any, over: Any) -> Any:
    """Merge two configs: dicts merge key by key, everything else is replaced.

    A network or a schedule of another name shares no options with the one it replaces.
    """
    if not (isinstance(base, Mapping) and isinstance(over, Mapping)):
        return copy.deepcopy(over)
    merged = copy.deepcopy(dict(base))
    for key, value in over.items():
        old = merged.get(key)
        renamed = (
            key in ("network", "schedule")
            and isinstance(old, Mapping)
            and isinstance(value, Mapping)
            and value.get("name", old.get("name")) != old.get("name")
        )
        merged[key] = copy.deepcopy(value) if old is None or renamed else merge(old, value)
    return merged


def _without_empty(record: Any) -> Any:
    """Take out what is left empty: an entry of the scale's that is not wanted."""
    if not isinstance(record, Mapping):
        return record
    return {key: _without_empty(value) for key, value in record.items() if value is not None}
