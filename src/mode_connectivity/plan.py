"""What is made of what: the jobs that a config needs, and the files that pass between them.

Snakemake's rules ask these functions for their inputs; whoever tells how far a run is, or shows
its results, asks them without Snakemake. Paths lie below ``results/{scale}``, but for files of the
user's own (`UserFile`). Nothing here imports torch: Snakemake asks while it parses.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pydantic import BaseModel

from mode_connectivity import layout
from mode_connectivity.config import POINTS, Config, artefact_names, artefact_parts
from mode_connectivity.data.corruption_settings import CORRUPTION_NAMES
from mode_connectivity.ensembling.settings import (
    CURVE_ENSEMBLES,
    SimplexEnsembleSettings,
    TrainedEnsembleSettings,
)
from mode_connectivity.reporting.settings import ArtefactSettings, artefact_base
from mode_connectivity.settings import UserError
from mode_connectivity.training.recipes import NetworkReference, is_weight_file
from mode_connectivity.training.simplex_settings import ComplexReference, VertexReference

TABLES = (
    *(f"garipov2018_table{number}" for number in (1, 2, 3)),
    "garipov2018_curve_ensemble",
    "garipov2018_imagenet",
    "garipov2018_trivial_path",
    "gotmare2018_modes",
    *(f"benton2021_figure{part}" for part in (8, 9, "_a7")),
    "benton2021_figure11",
    "benton2021_c1",
    "benton2021_figure10",
)
"""The artefacts that are tables; some are figures as well."""
FIGURES = (
    "garipov2018_trivial_path",
    *(f"garipov2018_figure{number}" for number in range(1, 9)),
    *(f"gotmare2018_figure{number}" for number in range(1, 11)),
    *(f"benton2021_figure{number}" for number in (7, 10)),
    "benton2021_figure2",
    *(f"benton2021_figure{part}" for part in (3, 4, 5, 6, "_a2", "_a4a")),
    *(f"benton2021_figure{part}" for part in (8, 9, "_a3", "_a4b", "_a5", "_a6", "_a7", "_a8")),
    "benton2021_figure11",
    "benton2021_c1",
)
"""The artefacts that are figures."""
TARGETS = ("all", "datasets")
"""What can be asked for besides artefacts, papers and rules."""
CLAIMS = ("claims.csv", "claims_details.csv", "claims.md")
"""The files of the judged statements."""
SNAPSHOTS = ("independent", "snapshot", "fast_geometric")
"""Methods whose members are networks as a training has left them."""
AVERAGES = ("weight_average",)


class UserFile(str):
    """The path of a file of the user's own, as the config has it."""


Wildcards = Mapping[str, str]
Inputs = str | list[str] | Mapping[str, str | list[str]]
"""A path, several, or either of them by name."""
InputFunction = Callable[[Config, Wildcards], Inputs]


# What rules take: each of these functions is an input of a rule, given the rule's wildcards.


def weights_of(text: str) -> str:
    """Return what holds a network's weights or a simplex's vertex, or a file of the user's own."""
    if is_weight_file(text):
        return UserFile(text)
    if (vertex := VertexReference.parse(text)) is not None:
        return f"{layout.simplex(vertex.simplex, vertex.seed)}/vertices.safetensors"
    return network_weights(NetworkReference.parse(text))


def network_weights(reference: NetworkReference) -> str:
    """Return the weights of a network or, for a snapshot, the folder of snapshots."""
    if reference.epoch is None:
        return layout.weights(reference)
    return f"{layout.network(reference.recipe, reference.seed)}/snapshots"


def recipe_dataset(config: Config, wildcards: Wildcards) -> str:
    """Return the data set of a recipe."""
    return layout.dataset(config.recipes[wildcards["recipe"]].dataset)


def training_inputs(config: Config, wildcards: Wildcards) -> dict[str, str]:
    """Return the data set and, where a training continues another, the weights it begins with."""
    start = config.recipes[wildcards["recipe"]].start(int(wildcards["seed"]))
    begins = {} if start is None else {"start": network_weights(start)}
    return {"dataset": recipe_dataset(config, wildcards), **begins}


def curve_dataset(config: Config, wildcards: Wildcards) -> str:
    """Return the data set of a curve's networks."""
    return layout.dataset(config.recipe_of_curve(wildcards["curve"]).dataset)


def curve_start(config: Config, wildcards: Wildcards) -> str:
    """Return the weights at the start of a curve."""
    return weights_of(config.curves[wildcards["curve"]].start)


def curve_end(config: Config, wildcards: Wildcards) -> str:
    """Return the weights at the end of a curve."""
    return weights_of(config.curves[wildcards["curve"]].end)


def _curve_vertices(config: Config, name: str) -> dict[str, str]:
    """Return where a curve comes from: its trained vertices, or the networks at its ends."""
    curve = config.curves[name]
    if curve.trained:
        return {"vertices": f"{layout.curve(name)}/vertices.safetensors"}
    return {"start": weights_of(curve.start), "end": weights_of(curve.end)}


def grid_inputs(config: Config, wildcards: Wildcards) -> dict[str, str]:
    """Return the data set of a curve, and where the curve comes from."""
    vertices = _curve_vertices(config, wildcards["curve"])
    return {"dataset": curve_dataset(config, wildcards), **vertices}


def curve_snapshots_inputs(config: Config, wildcards: Wildcards) -> dict[str, str]:
    """Return the data set of a curve, and its snapshots."""
    return {
        "dataset": curve_dataset(config, wildcards),
        "snapshots": f"{layout.curve(wildcards['curve'])}/snapshots",
    }


def plane_inputs(config: Config, wildcards: Wildcards) -> dict[str, str | list[str]]:
    """Return the data set of a plane, its corners, and what is projected onto it."""
    name = wildcards["plane"]
    plane = config.planes[name]
    if plane.third in config.curves:
        third = f"{layout.curve(plane.third)}/vertices.safetensors"
    else:
        third = weights_of(plane.third)
    return {
        "dataset": layout.dataset(config.recipe_of_plane(name).dataset),
        "start": weights_of(plane.start),
        "end": weights_of(plane.end),
        "third": third,
        "iterates": [network_weights(iterate) for iterate in config.iterates(name)],
        "samples": [] if plane.samples is None else f"{layout.curve(plane.third)}/snapshots",
    }


def geometry_inputs(config: Config, wildcards: Wildcards) -> dict[str, str | list[str]]:
    """Return the data set, and of each point the weights of a network or a curve's vertices."""
    name = wildcards["geometry"]
    points = [
        (
            f"{layout.curve(text)}/vertices.safetensors"
            if text in config.curves
            else weights_of(text)
        )
        for text in config.geometries[name].points.values()
    ]
    dataset = config.recipe_of_geometry(name).dataset
    return {"dataset": layout.dataset(dataset), "points": points}


def simplex_dataset(config: Config, wildcards: Wildcards) -> str:
    """Return the data set of a simplex's networks."""
    return layout.dataset(config.recipe_of_simplex(wildcards["simplex"]).dataset)


def simplex_modes(config: Config, wildcards: Wildcards) -> list[str]:
    """Return the weights of each mode of a simplex."""
    references = config.simplexes[wildcards["simplex"]].references(int(wildcards["seed"]))
    return [weights_of(text) for text in references]


def simplex_points_inputs(config: Config, wildcards: Wildcards) -> dict[str, str | list[str]]:
    """Return the data set and the trained vertices; without connectors, the modes.

    Raises:
        UserError: the simplex has fewer connectors.
    """
    name, count = wildcards["simplex"], int(wildcards["connectors"])
    there = config.simplexes[name].connectors
    if count > there:
        raise UserError(
            f"simplex {name!r} has {there} connectors, not {count}: raise its connectors, or ask "
            "for fewer"
        )
    points: dict[str, str | list[str]] = {"modes": simplex_modes(config, wildcards)}
    if count:
        points = {"vertices": f"{layout.simplex(name, wildcards['seed'])}/vertices.safetensors"}
    return {"dataset": simplex_dataset(config, wildcards), **points}


def simplex_evaluations(config: Config, ensemble: str) -> list[str]:
    """Return the folders of what was measured of the complex of each seed of an ensemble."""
    settings = config.ensembles[ensemble]
    assert isinstance(settings, SimplexEnsembleSettings)
    return [
        layout.simplex_evaluation(settings.simplex, seed, settings.connectors)
        for seed in settings.seeds
    ]


def simplex_ensemble_grids(config: Config, wildcards: Wildcards) -> list[str]:
    """Return what was measured of the complex of each seed of an ensemble."""
    return [f"{folder}/grid.csv" for folder in simplex_evaluations(config, wildcards["ensemble"])]


def simplex_ensemble_sources(config: Config, wildcards: Wildcards) -> dict[str, str | list[str]]:
    """Return the data set, and the vertices of each seed or, without connectors, its modes."""
    ensemble = config.ensembles[wildcards["ensemble"]]
    assert isinstance(ensemble, SimplexEnsembleSettings)
    if ensemble.connectors:
        folders = [layout.simplex(ensemble.simplex, seed) for seed in ensemble.seeds]
        sources = [f"{folder}/vertices.safetensors" for folder in folders]
    else:
        simplex = config.simplexes[ensemble.simplex]
        texts = [text for seed in ensemble.seeds for text in simplex.references(seed)]
        sources = [weights_of(text) for text in texts]
    return {"dataset": ensemble_dataset(config, wildcards), "sources": sources}


def ensemble_dataset(config: Config, wildcards: Wildcards) -> str:
    """Return the data set of an ensemble's members."""
    return layout.dataset(config.recipe_of_ensemble(wildcards["ensemble"]).dataset)


def ensemble_weights(config: Config, wildcards: Wildcards) -> list[str]:
    """Return the weights of each network that an ensemble is made of."""
    return [network_weights(member) for member in config.members(wildcards["ensemble"])]


def ensemble_curve_inputs(config: Config, wildcards: Wildcards) -> dict[str, str]:
    """Return the data set, and where the curve of an ensemble comes from."""
    vertices = _curve_vertices(config, _curve_of_ensemble(config, wildcards))
    return {"dataset": ensemble_dataset(config, wildcards), **vertices}


def bend_snapshots(config: Config, wildcards: Wildcards) -> dict[str, str]:
    """Return the data set, and the snapshots of a curve around whose bend networks are drawn."""
    folder = layout.curve(_curve_of_ensemble(config, wildcards))
    return {"dataset": ensemble_dataset(config, wildcards), "snapshots": f"{folder}/snapshots"}


def _curve_of_ensemble(config: Config, wildcards: Wildcards) -> str:
    ensemble = config.ensembles[wildcards["ensemble"]]
    assert isinstance(ensemble, CURVE_ENSEMBLES)
    return ensemble.curve


def corrupted_images(config: Config, wildcards: Wildcards) -> str:
    """Return the test images of an ensemble's data set under a corruption."""
    dataset = config.recipe_of_ensemble(wildcards["ensemble"]).dataset
    return layout.corrupted(dataset, wildcards["corruption"])


def predictions_of(config: Config, ensemble: str) -> list[str]:
    """Return the files with the predictions of an ensemble's members, one a seed for simplexes."""
    folders = [layout.ensemble(ensemble)]
    if config.ensembles[ensemble].method == "simplex":
        folders = simplex_evaluations(config, ensemble)
    return [f"{folder}/predictions.safetensors" for folder in folders]


def ensemble_predictions(config: Config, wildcards: Wildcards) -> list[str]:
    """Return what the members of an ensemble predict on clean images."""
    return predictions_of(config, wildcards["ensemble"])


def predictions_under_corruptions(config: Config, wildcards: Wildcards) -> list[str]:
    """Return what an ensemble predicts under each corruption under which artefacts show it."""
    name = wildcards["ensemble"]
    return [
        f"{layout.under_corruption(name, corruption)}/predictions.safetensors"
        for corruption in config.corruptions_of(name)
    ]


def artefact_inputs(config: Config, wildcards: Wildcards) -> list[str]:
    """Return the grids, predictions and points that an artefact is made of."""
    files = []
    for section, _, name in artefact_parts(artefact_settings(config, wildcards["artefact"])):
        files += _shown_files(config, section, name)
    return list(dict.fromkeys(files))


def _shown_files(config: Config, section: str, name: str) -> list[str]:
    """Return the files of a curve, a plane, an ensemble or a network that an artefact reads."""
    match section:
        case "curves":
            return [f"{layout.curve(name)}/grid.csv"]
        case "snapshots":
            return [f"{layout.curve(name)}/snapshots.csv"]
        case "planes":
            return [f"{layout.plane(name)}/grid.csv"]
        case "geometries":
            return [f"{layout.geometry(name)}/distances.csv"]
        case "complexes":
            return _files_in(_complex_folder(name), "distances.csv", "volumes.csv")
        case "samples":
            text, _, connectors = name.rpartition("/")
            return [f"{_complex_folder(text)}/connectors{connectors}/grid.csv"]
        case "ensembles" if config.ensembles[name].method in ("curve_points", "curve_swag"):
            return [f"{layout.ensemble(name)}/members.csv"]
        case "ensembles":
            return _files_in(layout.ensemble(name), "members.csv", "metrics.csv")
        case "functions":
            kinds = ("members.csv", "predictions.safetensors", "function_values.safetensors")
            return _files_in(layout.ensemble(name), *kinds)
        case "predictions":
            return predictions_of(config, name)
        case "shifts":
            return _files_in(layout.ensemble(name), "shift.csv", "shift.safetensors")
        case "trainings":
            facts = trainings_behind(config, name)
            trainings = [each for of_seed in facts["seeds"].values() for each in of_seed]
            folders = [each["folder"] for each in trainings if each["folder"] is not None]
            histories = [f"{folder}/history.csv" for folder in folders]
            return [*histories, *(f"{folder}/volumes.csv" for folder in facts["simplexes"])]
    reference = NetworkReference.parse(name)
    folder = layout.network(reference.recipe, reference.seed)
    return [f"{folder}/{'history.csv' if section == 'histories' else 'evaluation/metrics.csv'}"]


def _files_in(folder: str, *names: str) -> list[str]:
    return [f"{folder}/{name}" for name in names]


def _complex_folder(text: str) -> str:
    """Return the folder of a trained simplex, given as simplex/seed."""
    reference = ComplexReference.parse(text)
    assert reference is not None
    return layout.simplex(reference.simplex, reference.seed)


def trainings_behind(config: Config, ensemble: str) -> dict[str, Any]:
    """Return what an ensemble costs: the trainings of each seed, and how far each one counts.

    Returns:
        ``seeds``, by seed a list of trainings: ``folder`` (nothing for a file of weights),
        ``counted`` (epoch or connector) and ``last``, the last one that counts (nothing: all);
        ``simplexes``, the folders of those among them that are simplexes; ``connectors``; of an
        ensemble of simplexes their ``regularisation``.
    """
    settings = config.ensembles[ensemble]
    seeds: dict[str, list[dict[str, Any]]] = {}
    if not isinstance(settings, SimplexEnsembleSettings):
        assert isinstance(settings, TrainedEnsembleSettings)
        for seed in settings.seeds:
            texts = [f"{recipe}/{seed}" for recipe in settings.recipes]
            seeds[str(seed)] = [each for text in texts for each in _trainings_of(config, text)]
        return {"seeds": seeds, "simplexes": [], "connectors": 0}
    simplex, connectors = config.simplexes[settings.simplex], settings.connectors
    simplexes = []
    for seed in settings.seeds:
        trainings = [
            each for text in simplex.references(seed) for each in _trainings_of(config, text)
        ]
        if connectors:
            simplexes.append(layout.simplex(settings.simplex, seed))
            trainings.append({"folder": simplexes[-1], "counted": "connector", "last": connectors})
        seeds[str(seed)] = trainings
    return {
        "seeds": seeds,
        "simplexes": simplexes,
        "connectors": connectors,
        "regularisation": simplex.regularisation,
    }


def _trainings_of(config: Config, text: str) -> list[dict[str, Any]]:
    """Return the training of a network, and those that it continues."""
    if is_weight_file(text):
        # Nobody knows what a file of weights has cost.
        return [{"folder": None, "counted": "epoch", "last": None}]
    trainings = []
    reference: NetworkReference | None = NetworkReference.parse(text)
    while reference is not None:
        folder = layout.network(reference.recipe, reference.seed)
        trainings.append({"folder": folder, "counted": "epoch", "last": reference.epoch})
        reference = config.recipes[reference.recipe].start(reference.seed)
    return trainings


# The artefacts that can be asked for.


def papers(config: Config) -> dict[str, list[str]]:
    """Return the artefacts of the config by paper; a table's rows are parts of it."""
    names = [
        name
        for name in ArtefactSettings.model_fields
        if getattr(config.artefacts, name) is not None
    ]
    return {
        paper: [name for name in names if name.startswith(f"{paper}_")]
        for paper in sorted({name.split("_")[0] for name in names})
    }


def selected_artefacts(config: Config, selection: Iterable[str] = ()) -> list[str]:
    """Return the artefacts that are asked for, each once.

    Args:
        config: the config.
        selection: artefacts, rows of them, papers and figures of the user's own; if empty, those
            of the key ``select``, and all there are where that is empty, too.
    """
    of_paper = papers(config)
    entries = [*selection] or config.select or [*of_paper, *config.figures]
    return list(dict.fromkeys(name for entry in entries for name in of_paper.get(entry, [entry])))


def artefact_settings(config: Config, artefact: str) -> BaseModel:
    """Return the settings of an artefact, or of one row of it."""
    if artefact in config.figures:
        return config.figures[artefact]
    base = artefact_base(artefact)
    settings: Any = getattr(config.artefacts, base)
    only: dict[str, Any] = {}
    if artefact != base:
        row = artefact.removeprefix(f"{base}_")
        only["rows"] = {row: settings.rows[row]}
        if "modes" in type(settings).model_fields:
            curve = config.curves[settings.rows[row].segment]
            ends = (curve.start, curve.end)
            only["modes"] = {label: mode for label, mode in settings.modes.items() if mode in ends}
    chosen: BaseModel = settings.model_copy(update=only)
    return chosen


def artefact_kinds(artefact: str) -> list[str]:
    """Return the folders of an artefact's files; a figure of the user's own is a figure alone."""
    base = artefact_base(artefact)
    is_own = base not in ArtefactSettings.model_fields
    kinds = {"tables": base in TABLES, "figures": base in FIGURES or is_own}
    return [kind for kind, is_one in kinds.items() if is_one]


def artefact_files(artefact: str) -> list[str]:
    """Return the files of an artefact."""
    suffixes = {"tables": ("csv", "md", "tex"), "figures": ("png", "pdf", "csv", "json")}
    return [
        f"{folder}/{artefact}.{suffix}"
        for folder in artefact_kinds(artefact)
        for suffix in suffixes[folder]
    ]


def judged_files(config: Config, wildcards: Wildcards) -> list[str]:
    """Return the numbers of the artefacts that are asked for, by which statements are judged."""
    return [path for path in shown_files(config, wildcards) if path.endswith(".csv")]


def shown_files(config: Config, wildcards: Wildcards) -> list[str]:
    """Return the files of the artefacts that are asked for."""
    return [path for name in selected_artefacts(config) for path in artefact_files(name)]


def report_files() -> list[str]:
    """Return what is made of all artefacts together."""
    return [*CLAIMS, *RULES["make_report"].outputs]


def used_datasets(config: Config) -> list[str]:
    """Return the data sets that some recipe uses."""
    return sorted({recipe.dataset for recipe in config.recipes.values()})


# The rules, as data.


@dataclass(frozen=True)
class Rule:
    """How files of one kind are made; the wildcards in its paths stand in braces.

    Attributes:
        name: of Snakemake's rule.
        inputs: what it takes, in the order of Snakemake's rule: paths, or functions of the config
            and the wildcards.
        folder: of its outputs; empty for that of all results.
        outputs: files and folders in there.
        log: its path below the folder of logs.
        methods: of the ensembles that it is for; every one if empty.
        functions: whether it is for ensembles that are shown as functions of their inputs, for
            those that are not, or (nothing) for both.
    """

    name: str
    inputs: tuple[str | InputFunction, ...]
    folder: str
    outputs: tuple[str, ...]
    log: str
    methods: tuple[str, ...] = ()
    functions: bool | None = None

    @property
    def paths(self) -> list[str]:
        """The paths of its outputs."""
        return [f"{self.folder}/{output}".lstrip("/") for output in self.outputs]

    def is_for_ensemble(self, config: Config, name: str) -> bool:
        """Tell whether it is for an ensemble of the config."""
        of_method = not self.methods or config.ensembles[name].method in self.methods
        return of_method and self.functions in (None, shown_as_functions(config, name))

    def is_for(self, config: Config, wildcards: Wildcards) -> bool:
        """Tell whether it makes files of such names with this config."""
        return all(self._is_for(config, key, value) for key, value in wildcards.items())

    def _is_for(self, config: Config, wildcard: str, value: str) -> bool:
        match wildcard:
            case "dataset":
                return value in config.datasets
            case "recipe":
                return value in config.recipes
            case "curve":
                return value in config.curves
            case "plane":
                return value in config.planes
            case "geometry":
                return value in config.geometries
            case "simplex":
                return value in config.simplexes
            case "corruption":
                return value in CORRUPTION_NAMES
            case "ensemble":
                return value in config.ensembles and self.is_for_ensemble(config, value)
            case "artefact":
                return value in artefacts_of(config, self.name)
        return True


def shown_as_functions(config: Config, ensemble: str) -> bool:
    """Tell whether an ensemble's data set is small enough to show a network as a function."""
    return isinstance(config.datasets[config.recipe_of_ensemble(ensemble).dataset], POINTS)


_DATASET = layout.dataset("{dataset}")
_NETWORK = layout.network("{recipe}", "{seed}")
_CURVE = layout.curve("{curve}")
_SIMPLEX = layout.simplex("{simplex}", "{seed}")
_EVALUATED_SIMPLEX = layout.simplex_evaluation("{simplex}", "{seed}", "{connectors}")
_PLANE = layout.plane("{plane}")
_GEOMETRY = layout.geometry("{geometry}")
_ENSEMBLE = layout.ensemble("{ensemble}")
_UNDER_CORRUPTION = layout.under_corruption("{ensemble}", "{corruption}")
_TRAINED = ("history.csv", "run.json", "snapshots")
_MEASURED = ("correct.safetensors", "predictions.safetensors", "run.json")
_MEMBERS = ("members.csv", *_MEASURED)
_FUNCTIONS = (*_MEMBERS, "function_values.safetensors")
_CORRUPTED = ("predictions.safetensors", "members.csv", "run.json")

_collecting = partial(Rule, folder=_ENSEMBLE, log=f"{_ENSEMBLE}.log")
_corrupting = partial(
    Rule, folder=_UNDER_CORRUPTION, outputs=_CORRUPTED, log=f"{_UNDER_CORRUPTION}.log"
)
_NETWORKS = (ensemble_dataset, ensemble_weights)
_CLEAN_MEMBERS = f"{_ENSEMBLE}/members.csv"

RULES: Mapping[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule(
            "prepare_dataset",
            (),
            folder="datasets",
            outputs=("{dataset}.safetensors",),
            log="datasets/{dataset}.log",
        ),
        Rule(
            "corrupt_dataset",
            (_DATASET,),
            folder="datasets/{dataset}/corruptions",
            outputs=("{corruption}.safetensors",),
            log="datasets/{dataset}/corruptions/{corruption}.log",
        ),
        Rule(
            "train_network",
            (training_inputs,),
            folder=_NETWORK,
            outputs=("weights.safetensors", *_TRAINED),
            log=f"{_NETWORK}/train.log",
        ),
        Rule(
            "evaluate_network",
            (recipe_dataset, f"{_NETWORK}/weights.safetensors"),
            folder=f"{_NETWORK}/evaluation",
            outputs=("metrics.csv", *_MEASURED),
            log=f"{_NETWORK}/evaluate.log",
        ),
        Rule(
            "train_curve",
            (curve_dataset, curve_start, curve_end),
            folder=_CURVE,
            outputs=("vertices.safetensors", *_TRAINED),
            log=f"{_CURVE}/train.log",
        ),
        Rule(
            "evaluate_curve",
            (grid_inputs,),
            folder=_CURVE,
            outputs=("grid.csv", "correct.safetensors", "grid.json"),
            log=f"{_CURVE}/evaluate.log",
        ),
        Rule(
            "evaluate_curve_snapshots",
            (curve_snapshots_inputs,),
            folder=_CURVE,
            outputs=("snapshots.csv", "snapshots.json"),
            log=f"{_CURVE}/evaluate_snapshots.log",
        ),
        Rule(
            "evaluate_plane",
            (plane_inputs,),
            folder=_PLANE,
            outputs=("grid.csv", "points.csv", "run.json"),
            log=f"{_PLANE}.log",
        ),
        Rule(
            "measure_distances",
            (geometry_inputs,),
            folder=_GEOMETRY,
            outputs=("points.csv", "distances.csv", "run.json"),
            log=f"{_GEOMETRY}.log",
        ),
        Rule(
            "train_simplex",
            (simplex_dataset, simplex_modes),
            folder=_SIMPLEX,
            outputs=(
                *("vertices.safetensors", "history.csv", "volumes.csv", "distances.csv"),
                "run.json",
            ),
            log=f"{_SIMPLEX}/train.log",
        ),
        Rule(
            "evaluate_simplex",
            (simplex_points_inputs,),
            folder=_EVALUATED_SIMPLEX,
            outputs=("grid.csv", *_MEASURED),
            log=f"{_EVALUATED_SIMPLEX}.log",
        ),
        _collecting(
            "evaluate_simplex_ensemble",
            (simplex_ensemble_grids, ensemble_predictions),
            outputs=("members.csv", "metrics.csv", "ensembles.safetensors"),
            methods=("simplex",),
            functions=False,
        ),
        _collecting(
            "collect_simplex_functions",
            (simplex_ensemble_sources,),
            outputs=_FUNCTIONS,
            methods=("simplex",),
            functions=True,
        ),
        _collecting(
            "collect_curve_members",
            (ensemble_curve_inputs,),
            outputs=_MEMBERS,
            methods=("curve_points",),
        ),
        _collecting(
            "collect_members", _NETWORKS, outputs=_MEMBERS, methods=SNAPSHOTS, functions=False
        ),
        _collecting(
            "collect_functions", _NETWORKS, outputs=_FUNCTIONS, methods=SNAPSHOTS, functions=True
        ),
        _collecting("average_weights", _NETWORKS, outputs=(*_MEMBERS, "weights"), methods=AVERAGES),
        _collecting("collect_swag_members", _NETWORKS, outputs=_MEMBERS, methods=("swag",)),
        _collecting(
            "collect_bend_samples", (bend_snapshots,), outputs=_MEMBERS, methods=("curve_swag",)
        ),
        _collecting(
            "collect_subspace_members",
            (ensemble_curve_inputs,),
            outputs=_MEMBERS,
            methods=("subspace",),
            functions=False,
        ),
        _collecting(
            "collect_subspace_functions",
            (ensemble_curve_inputs,),
            outputs=_FUNCTIONS,
            methods=("subspace",),
            functions=True,
        ),
        Rule(
            "evaluate_ensemble",
            (_CLEAN_MEMBERS, f"{_ENSEMBLE}/predictions.safetensors"),
            folder=_ENSEMBLE,
            outputs=("metrics.csv", "ensembles.safetensors"),
            log=f"{_ENSEMBLE}_metrics.log",
            methods=(*SNAPSHOTS, *AVERAGES, "subspace", "swag"),
        ),
        _corrupting(
            "collect_members_under_corruption",
            (ensemble_dataset, corrupted_images, _CLEAN_MEMBERS, ensemble_weights),
            methods=SNAPSHOTS,
            functions=False,
        ),
        _corrupting(
            "collect_averages_under_corruption",
            (ensemble_dataset, corrupted_images, _CLEAN_MEMBERS, f"{_ENSEMBLE}/weights"),
            methods=AVERAGES,
        ),
        _corrupting(
            "collect_swag_members_under_corruption",
            (ensemble_dataset, corrupted_images, _CLEAN_MEMBERS, ensemble_weights),
            methods=("swag",),
        ),
        _corrupting(
            "collect_simplex_points_under_corruption",
            (simplex_ensemble_sources, corrupted_images, _CLEAN_MEMBERS),
            methods=("simplex",),
            functions=False,
        ),
        Rule(
            "evaluate_ensemble_under_shift",
            (_CLEAN_MEMBERS, ensemble_predictions, predictions_under_corruptions),
            folder=_ENSEMBLE,
            outputs=("shift.csv", "shift.safetensors"),
            log=f"{_ENSEMBLE}_shift.log",
        ),
        Rule(
            "make_table",
            (artefact_inputs,),
            folder="tables",
            outputs=("{artefact}.csv", "{artefact}.md", "{artefact}.tex"),
            log="tables/{artefact}.log",
        ),
        Rule(
            "make_figure",
            (artefact_inputs,),
            folder="figures",
            outputs=("{artefact}.png", "{artefact}.pdf", "{artefact}.csv", "{artefact}.json"),
            log="figures/{artefact}.log",
        ),
        Rule("judge_claims", (judged_files,), folder="", outputs=CLAIMS, log="claims.log"),
        Rule(
            "make_report",
            (*CLAIMS, shown_files),
            folder="",
            outputs=("report.html",),
            log="report.log",
        ),
    )
}
"""Every rule that makes files, in the words of the rules themselves."""


def ensembles_of(config: Config, rule: str) -> list[str]:
    """Return the ensembles that a rule is for."""
    return [name for name in config.ensembles if RULES[rule].is_for_ensemble(config, name)]


def artefacts_of(config: Config, rule: str) -> list[str]:
    """Return the artefacts that a rule is for, and their rows."""
    folder = RULES[rule].folder
    return [name for name in artefact_names(config) if folder in artefact_kinds(name)]


# The jobs.


@dataclass(frozen=True)
class Job:
    """One job: a rule and the values of its wildcards.

    Attributes:
        rule: its name.
        wildcards: in the order of its paths.
        inputs: outputs of other jobs, and files of the user's own (`UserFile`).
        outputs: files and folders.
        log: below the folder of logs.
    """

    rule: str
    wildcards: Wildcards = field(hash=False)
    inputs: tuple[str, ...] = field(hash=False)
    outputs: tuple[str, ...] = field(hash=False)
    log: str

    @property
    def name(self) -> str:
        """What it is about, such as ``vgg16/1``: the values of its wildcards."""
        return "/".join(self.wildcards.values())


def job_that_makes(config: Config, path: str) -> Job | None:
    """Return the job that makes a file or a folder, or nothing where no rule does.

    Args:
        config: the config.
        path: below ``results/{scale}``.
    """
    for pattern, rule in _MAKERS.get(_kind(path), ()):
        match = pattern.fullmatch(path)
        if match is not None and rule.is_for(config, match.groupdict()):
            return _job(config, rule, match.groupdict())
    return None


def jobs_behind(config: Config, files: Iterable[str]) -> list[Job]:
    """Return every job that some files need, in an order in which they can run.

    Args:
        config: the config.
        files: below ``results/{scale}``.

    Raises:
        UserError: no rule makes one of the files.
    """
    jobs: dict[str, Job] = {}
    ordered: dict[Job, None] = {}

    def add(path: str) -> None:
        if path in jobs or isinstance(path, UserFile):
            return
        job = job_that_makes(config, path)
        if job is None:
            raise UserError(f"no rule makes {path}")
        jobs.update(dict.fromkeys(job.outputs, job))
        for needed in job.inputs:
            add(needed)
        ordered[job] = None

    for path in files:
        add(path)
    return list(ordered)


def jobs_of_artefacts(config: Config, artefacts: Iterable[str]) -> list[Job]:
    """Return every job that some artefacts need, their own among them, as `jobs_behind` does."""
    return jobs_behind(config, (path for name in artefacts for path in artefact_files(name)))


def _job(config: Config, rule: Rule, wildcards: Wildcards) -> Job:
    inputs: list[str] = []
    for each in rule.inputs:
        given = each.format_map(wildcards) if isinstance(each, str) else each(config, wildcards)
        inputs += _paths_in(given)
    outputs = tuple(path.format_map(wildcards) for path in rule.paths)
    return Job(rule.name, wildcards, tuple(inputs), outputs, rule.log.format_map(wildcards))


def _paths_in(inputs: Inputs) -> Iterator[str]:
    match inputs:
        case str():
            yield inputs
        case Mapping():
            for each in inputs.values():
                yield from _paths_in(each)
        case _:
            yield from inputs


_VALUES = {"seed": r"\d+", "connectors": r"0|[1-9]\d*"}
"""Of wildcards that are no names."""


def _pattern(path: str) -> re.Pattern[str]:
    """Return what the files of an output look like: a group for each wildcard of its path."""
    # Every other part is a wildcard.
    parts = re.split(r"\{(\w+)\}", path)
    return re.compile(
        "".join(
            f"(?P<{part}>{_VALUES.get(part, r'[a-z][a-z0-9_]*')})" if place % 2 else re.escape(part)
            for place, part in enumerate(parts)
        )
    )


def _kind(path: str) -> tuple[str, int, str]:
    """Return what tells most outputs apart: the first folder, the depth and the suffix."""
    return path.partition("/")[0], path.count("/"), re.split(r"[./]", path)[-1]


_MAKERS: Mapping[tuple[str, int, str], list[tuple[re.Pattern[str], Rule]]] = {
    kind: [
        (_pattern(path), rule)
        for rule in RULES.values()
        for path in rule.paths
        if _kind(path) == kind
    ]
    for kind in {_kind(path) for rule in RULES.values() for path in rule.paths}
}
