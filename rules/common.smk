"""The config, checked, and the functions by which rules look things up in it. No rules here."""

import json
import os
import sys
from functools import cache

# Jobs run the library of this checkout, which is the one whose code is fingerprinted.
LIBRARY = str(Path(workflow.basedir) / "src")
sys.path.insert(0, LIBRARY)
os.environ.update(PYTHONPATH=os.pathsep.join(filter(None, [LIBRARY, os.environ.get("PYTHONPATH")])))

from snakemake.exceptions import WorkflowError

from mode_connectivity import layout
from mode_connectivity.config import POINTS, artefact_names, artefact_parts, load_config
from mode_connectivity.cuda import check_cuda
from mode_connectivity.ensembling.settings import SwagSettings
from mode_connectivity.data.corruption_settings import CORRUPTION_NAMES
from mode_connectivity.files import canonical_json, date_back
from mode_connectivity.networks import registry
from mode_connectivity.provenance import code_fingerprint
from mode_connectivity.reporting.settings import ArtefactSettings, artefact_base
from mode_connectivity.resources import estimate
from mode_connectivity.run_checks import check_profile, check_results, check_slurm
from mode_connectivity.settings import UserError
from mode_connectivity.training.recipes import NetworkReference, is_weight_file
from mode_connectivity.training.simplex_settings import ComplexReference, VertexReference

try:
    CONFIG = load_config(config, Path(workflow.basedir), workflow.configfiles)
    if workflow.is_main_process:
        check_results(Path(CONFIG.results, CONFIG.scale))
except UserError as error:
    raise WorkflowError(str(error))

# Scripts read these; a key that was left empty has its default. Threads among them, because
# Snakemake gives a job fewer where there are fewer cores, and sums would end in other digits.
config.update(CONFIG.model_dump(include={"data", "device", "download", "jobs_per_gpu", "threads"}))


wildcard_constraints:
    dataset="|".join(CONFIG.datasets) or "none",
    recipe="|".join(CONFIG.recipes) or "none",
    seed=r"\d+",
    curve="|".join(CONFIG.curves) or "none",
    plane="|".join(CONFIG.planes) or "none",
    ensemble="|".join(CONFIG.ensembles) or "none",
    geometry="|".join(CONFIG.geometries) or "none",
    corruption="|".join(CORRUPTION_NAMES),
    simplex="|".join(CONFIG.simplexes) or "none",
    connectors=r"0|[1-9]\d*",


def check_devices():
    """Refuse a run with jobs for CUDA that, as far as is known, get none; others may go on."""
    planned = workflow.dag.needrun_jobs(exclude_finished=False)
    if (
        CONFIG.device == "cuda"
        and workflow.is_main_process
        and not workflow.touch
        and any(job.resources.get("gpu") or job.resources.get("gres") for job in planned)
    ):
        try:
            check_cuda(
                this_torch=not workflow.deployment_settings.deployment_method,
                this_machine=workflow.local_exec,
            )
        except UserError as error:
            raise WorkflowError(str(error))


def check_rules_of_profile():
    """Refuse settings for rules that there are not; Snakemake would leave them out in silence."""
    given = workflow.resource_settings
    asked = {"set-resources": given.overwrite_resources, "set-threads": given.overwrite_threads}
    try:
        check_profile(asked, [rule.name for rule in workflow.rules])
    except UserError as error:
        raise WorkflowError(str(error))


def check_cluster():
    """Refuse a run on SLURM that would fail job by job."""
    if workflow.is_main_process and workflow.executor_plugin.name == "slurm":
        given = workflow.resource_settings
        blocks = [given.default_resources or {}, *given.overwrite_resources.values()]
        try:
            check_slurm(
                (name, getattr(value, "raw", value))
                for block in blocks
                for name, value in block.items()
            )
        except UserError as error:
            raise WorkflowError(str(error))


# Of a job that works on networks; how many there are is for the profile to say.
GPUS = 0 if CONFIG.device == "cpu" else 1


def memory_mb(wildcards, attempt, rulename):
    """The memory that a job asks for; each attempt asks for more than the one before did."""
    return estimated(rulename, tuple(wildcards.items()), attempt).memory_mb


def minutes(wildcards, attempt, rulename):
    """The time that a job asks for, likewise."""
    return estimated(rulename, tuple(wildcards.items()), attempt).minutes


@cache
def estimated(rulename, wildcards, attempt):
    results = Path(CONFIG.results, CONFIG.scale)
    return estimate(CONFIG, rulename, dict(wildcards), results, attempt=attempt)


def result(path):
    return f"<results>/{path}"


def script_code(script, recipe=None):
    """The fingerprint of a rule's script, with the file of the network that it builds."""
    sources = [Path(workflow.basedir) / "workflow" / "scripts" / script]
    if recipe is not None:
        sources.append(Path(registry.specification(recipe.network.name).path))
    return code_fingerprint(*sources)


def plain(settings, exclude=()):
    """Settings as a param, equal for equal settings: Snakemake compares the order of keys, too."""
    return json.loads(canonical_json(settings.model_dump(mode="json", exclude=set(exclude))))


def recipe_settings(recipe):
    """What a training depends on: titles are for tables, data sets are inputs."""
    return plain(recipe, exclude=["title"])


def workspace_settings(recipe):
    """What a network and its measurements depend on, whatever it was trained with."""
    settings = plain(recipe, exclude=["title", "continues", "initialisation"])
    training = settings["training"]
    settings["training"] = {
        "augmentation": training["augmentation"],
        "optimiser": training["optimiser"],
        "epochs": 1,
        "learning_rate": 1.0,
    }
    return settings


def weights_input(text):
    """The output that holds a network's weights or a simplex's vertex, or a user's own file."""
    if is_weight_file(text):
        return text
    if (vertex := VertexReference.parse(text)) is not None:
        return result(f"{layout.simplex(vertex.simplex, vertex.seed)}/vertices.safetensors")
    reference = NetworkReference.parse(text)
    folder = layout.network(reference.recipe, reference.seed)
    if reference.epoch is None:
        return result(layout.weights(reference))
    return result(f"{folder}/snapshots")


def recipe_dataset(wildcards):
    return result(layout.dataset(CONFIG.recipes[wildcards.recipe].dataset))


def training_inputs(wildcards):
    """The data set and, where a training continues another one, the weights it begins with."""
    start = CONFIG.recipes[wildcards.recipe].start(int(wildcards.seed))
    begins = {} if start is None else {"start": weights_input(str(start))}
    return {"dataset": recipe_dataset(wildcards), **begins}


def test_batch_size(wildcards):
    """The batch size of the measurements during a training; nothing where it makes none."""
    recorded = CONFIG.recipes[wildcards.recipe].training.record_test
    return CONFIG.evaluation.batch_size if recorded else None


def curve_dataset(wildcards):
    return result(layout.dataset(CONFIG.recipe_of_curve(wildcards.curve).dataset))


def curve_settings(name):
    """What the shape of a curve depends on; how finely it is evaluated is not part of it."""
    curve = CONFIG.curves[name]
    unused = [] if curve.trained else ["bends", "training"]
    unused += [key for key in ("alignment", "renormalise") if not getattr(curve, key)]
    return plain(curve, exclude=["points", "predictions", *unused])


def curve_end(key):
    """An input function: the weights at one end of a curve."""
    return lambda wildcards: weights_input(getattr(CONFIG.curves[wildcards.curve], key))


def ensembles_by(*methods, functions=None):
    """A pattern of the names of the ensembles whose members are collected in some way.

    With functions: only those whose networks figures show (or do not show) as functions.
    """
    names = [name for name, ensemble in CONFIG.ensembles.items() if ensemble.method in methods]
    if functions is not None:
        names = [name for name in names if shown_as_functions(name) == functions]
    return "|".join(names) or "none"


def shown_as_functions(ensemble):
    """Whether an ensemble's data set is small enough to show a network as a function."""
    return isinstance(CONFIG.datasets[CONFIG.recipe_of_ensemble(ensemble).dataset], POINTS)


def ensemble_dataset(wildcards):
    return result(layout.dataset(CONFIG.recipe_of_ensemble(wildcards.ensemble).dataset))


def corrupted_images(wildcards):
    """The test images of an ensemble's data set under a corruption."""
    dataset = CONFIG.recipe_of_ensemble(wildcards.ensemble).dataset
    return result(layout.corrupted(dataset, wildcards.corruption))


def ensemble_predictions(wildcards):
    """What the members of an ensemble predict on clean images, in one file or one a seed."""
    return [result(path) for path in predictions_of(wildcards.ensemble)]


def predictions_under_corruptions(wildcards):
    """What an ensemble predicts under each corruption under which artefacts show it."""
    name = wildcards.ensemble
    return [
        result(f"{layout.under_corruption(name, corruption)}/predictions.safetensors")
        for corruption in CONFIG.corruptions_of(name)
    ]


def ensemble_curve(wildcards):
    return CONFIG.ensembles[wildcards.ensemble].curve


def ensemble_curve_inputs(wildcards):
    return {"dataset": ensemble_dataset(wildcards), **curve_vertices(ensemble_curve(wildcards))}


def bend_snapshots(wildcards):
    """The data set, and the snapshots of a curve around whose bend networks are drawn."""
    curve = ensemble_curve(wildcards)
    snapshots = result(f"{layout.curve(curve)}/snapshots")
    return {"dataset": ensemble_dataset(wildcards), "snapshots": snapshots}


def swag_settings(ensemble):
    """How many networks are drawn from the Gaussians of an ensemble, and from which."""
    settings = CONFIG.ensembles[ensemble]
    return plain(SwagSettings(**{key: getattr(settings, key) for key in SwagSettings.model_fields}))


def ensemble_weights(wildcards):
    return [weights_input(str(member)) for member in CONFIG.members(wildcards.ensemble)]


def ensemble_members(wildcards):
    """The networks of an ensemble and the epochs that each was trained for in all."""
    members = []
    for reference in CONFIG.members(wildcards.ensemble):
        own = reference.epoch
        if own is None:
            own = CONFIG.recipes[reference.recipe].training.epochs
        epoch = CONFIG.epochs_before(reference.recipe) + own
        members.append({"member": str(reference), "epoch": epoch})
    return members


def curve_vertices(name):
    """Where a curve comes from: its trained vertices, or the networks at its ends."""
    curve = CONFIG.curves[name]
    if curve.trained:
        return {"vertices": result(f"{layout.curve(name)}/vertices.safetensors")}
    return {"start": weights_input(curve.start), "end": weights_input(curve.end)}


def grid_inputs(wildcards):
    return {"dataset": curve_dataset(wildcards), **curve_vertices(wildcards.curve)}


def plane_dataset(wildcards):
    return result(layout.dataset(CONFIG.recipe_of_plane(wildcards.plane).dataset))


def plane_inputs(wildcards):
    plane = CONFIG.planes[wildcards.plane]
    if plane.third in CONFIG.curves:
        third = result(f"{layout.curve(plane.third)}/vertices.safetensors")
    else:
        third = weights_input(plane.third)
    return {
        "dataset": plane_dataset(wildcards),
        "start": weights_input(plane.start),
        "end": weights_input(plane.end),
        "third": third,
        "iterates": [weights_input(str(iterate)) for iterate in CONFIG.iterates(wildcards.plane)],
        "samples": (
            [] if plane.samples is None else result(f"{layout.curve(plane.third)}/snapshots")
        ),
    }


def curve_snapshots_inputs(wildcards):
    return {
        "dataset": curve_dataset(wildcards),
        "snapshots": result(f"{layout.curve(wildcards.curve)}/snapshots"),
    }


def geometry_inputs(wildcards):
    """The data set, and what holds each point: the weights of a network, or a curve's vertices."""
    dataset = CONFIG.recipe_of_geometry(wildcards.geometry).dataset
    points = [
        (
            result(f"{layout.curve(text)}/vertices.safetensors")
            if text in CONFIG.curves
            else weights_input(text)
        )
        for text in CONFIG.geometries[wildcards.geometry].points.values()
    ]
    return {"dataset": result(layout.dataset(dataset)), "points": points}


def geometry_points(wildcards):
    """The points of a geometry: label, network or curve, and the settings of the curve."""
    return [
        {
            "label": label,
            "point": text,
            "curve": curve_settings(text) if text in CONFIG.curves else None,
        }
        for label, text in CONFIG.geometries[wildcards.geometry].points.items()
    ]


def plane_curve(name):
    """The settings of the curve whose bend spans a plane, if one does."""
    third = CONFIG.planes[name].third
    return curve_settings(third) if third in CONFIG.curves else None


def plane_swag(name):
    """How the bend that spans a plane is sampled, if its samples are projected onto the plane."""
    samples = CONFIG.planes[name].samples
    return None if samples is None else swag_settings(samples)


def measured_as(name):
    """Whose weight decay and augmentation hold on a curve: its own training's, or its start's."""
    curve = CONFIG.curves[name]
    recipe = CONFIG.recipe_of_curve(name)
    training = curve.training or recipe.training
    return workspace_settings(recipe.model_copy(update={"training": training}))


def simplex_dataset(wildcards):
    return result(layout.dataset(CONFIG.recipe_of_simplex(wildcards.simplex).dataset))


def simplex_modes(wildcards):
    references = CONFIG.simplexes[wildcards.simplex].references(int(wildcards.seed))
    return [weights_input(text) for text in references]


def simplex_settings(name, evaluated=True):
    """What a simplex depends on, and what is measured of it; a preset is what it stands for."""
    unused = [] if evaluated else ["points", "measure_train"]
    return plain(CONFIG.simplexes[name], exclude=["preset", *unused])


def simplex_points_inputs(wildcards):
    """The data set and the trained vertices; without connectors, the modes."""
    count, there = int(wildcards.connectors), CONFIG.simplexes[wildcards.simplex].connectors
    if count > there:
        raise WorkflowError(
            f"simplex {wildcards.simplex!r} has {there} connectors, not {count}: raise its "
            "connectors, or ask for fewer"
        )
    folder = layout.simplex(wildcards.simplex, wildcards.seed)
    points = (
        {"vertices": result(f"{folder}/vertices.safetensors")}
        if count
        else {"modes": simplex_modes(wildcards)}
    )
    return {"dataset": simplex_dataset(wildcards), **points}


def simplex_ensemble_files(name):
    """An input function: a file of what was measured of the complex of each seed."""
    return lambda wildcards: [
        result(f"{folder}/{name}") for folder in simplex_evaluations(wildcards.ensemble)
    ]


def simplex_evaluations(name):
    """The folders of what was measured of the complex of each seed of an ensemble."""
    ensemble = CONFIG.ensembles[name]
    return [
        layout.simplex_evaluation(ensemble.simplex, seed, ensemble.connectors)
        for seed in ensemble.seeds
    ]


def simplex_ensemble_sources(wildcards):
    """The data set, and the trained vertices of each seed or, without connectors, its modes."""
    ensemble = CONFIG.ensembles[wildcards.ensemble]
    if ensemble.connectors:
        folders = [layout.simplex(ensemble.simplex, seed) for seed in ensemble.seeds]
        sources = [result(f"{folder}/vertices.safetensors") for folder in folders]
    else:
        simplex = CONFIG.simplexes[ensemble.simplex]
        texts = [text for seed in ensemble.seeds for text in simplex.references(seed)]
        sources = [weights_input(text) for text in texts]
    return {"dataset": ensemble_dataset(wildcards), "sources": sources}


def papers():
    """The artefacts of the config by paper; a table's rows are parts of it."""
    names = [
        name
        for name in ArtefactSettings.model_fields
        if getattr(CONFIG.artefacts, name) is not None
    ]
    return {
        paper: [name for name in names if name.startswith(f"{paper}_")]
        for paper in sorted({name.split("_")[0] for name in names})
    }


def artefacts_of(bases):
    """A pattern of the names of some artefacts and of their rows."""
    names = [name for name in artefact_names(CONFIG) if artefact_base(name) in bases]
    return "|".join(names) or "none"


def artefact_settings(artefact):
    """The settings of an artefact, or of one row of it."""
    base = artefact_base(artefact)
    settings = getattr(CONFIG.artefacts, base)
    if artefact == base:
        return settings
    row = artefact.removeprefix(f"{base}_")
    only = {"rows": {row: settings.rows[row]}}
    if "modes" in type(settings).model_fields:
        curve = CONFIG.curves[settings.rows[row].segment]
        ends = (curve.start, curve.end)
        only["modes"] = {label: mode for label, mode in settings.modes.items() if mode in ends}
    return settings.model_copy(update=only)


def artefact_files(artefact):
    """The files of an artefact."""
    files = []
    base = artefact_base(artefact)
    if base in TABLES:
        files += [result(f"tables/{artefact}.{kind}") for kind in ("csv", "md", "tex")]
    if base in FIGURES:
        files += [result(f"figures/{artefact}.{kind}") for kind in ("png", "pdf", "csv")]
    return files


def selected_artefacts():
    """The files of all artefacts that config.yaml selects."""
    chosen = []
    for entry in CONFIG.select or papers():
        chosen += papers().get(entry, [entry])
    return [path for artefact in dict.fromkeys(chosen) for path in artefact_files(artefact)]


def used_datasets():
    """The data sets that some recipe uses."""
    return sorted({recipe.dataset for recipe in CONFIG.recipes.values()})


def artefact_inputs(wildcards):
    """The grids, predictions and points that an artefact is made of."""
    files = []
    settings = artefact_settings(wildcards.artefact)
    for section, _, name in artefact_parts(settings):
        match section:
            case "curves":
                files.append(f"{layout.curve(name)}/grid.csv")
            case "snapshots":
                files.append(f"{layout.curve(name)}/snapshots.csv")
            case "geometries":
                files.append(f"{layout.geometry(name)}/distances.csv")
            case "complexes":
                folder = complex_folder(name)
                files += [f"{folder}/{kind}" for kind in ("distances.csv", "volumes.csv")]
            case "samples":
                text, _, connectors = name.rpartition("/")
                files.append(f"{complex_folder(text)}/connectors{connectors}/grid.csv")
            case "functions":
                kinds = ("members.csv", "predictions.safetensors", "function_values.safetensors")
                files += [f"{layout.ensemble(name)}/{kind}" for kind in kinds]
            case "planes":
                files.append(f"{layout.plane(name)}/grid.csv")
            case "ensembles":
                files.append(f"{layout.ensemble(name)}/members.csv")
                if CONFIG.ensembles[name].method not in ("curve_points", "curve_swag"):
                    files.append(f"{layout.ensemble(name)}/metrics.csv")
            case "trainings":
                facts = trainings_behind(name)
                for trainings in facts["seeds"].values():
                    folders = [each["folder"] for each in trainings if each["folder"] is not None]
                    files += [f"{folder}/history.csv" for folder in folders]
                files += [f"{folder}/volumes.csv" for folder in facts["simplexes"]]
            case "predictions":
                files += predictions_of(name)
            case "shifts":
                kinds = ("shift.csv", "shift.safetensors")
                files += [f"{layout.ensemble(name)}/{kind}" for kind in kinds]
            case "networks":
                reference = NetworkReference.parse(name)
                folder = layout.network(reference.recipe, reference.seed)
                files.append(f"{folder}/evaluation/metrics.csv")
            case "histories":
                reference = NetworkReference.parse(name)
                files.append(f"{layout.network(reference.recipe, reference.seed)}/history.csv")
    return [result(path) for path in dict.fromkeys(files)]


def complex_folder(text):
    """The folder of a trained simplex, given as simplex/seed."""
    reference = ComplexReference.parse(text)
    return layout.simplex(reference.simplex, reference.seed)


def artefact_content(artefact):
    """The settings of an artefact with the facts of its parts that it shows."""
    settings = artefact_settings(artefact)
    content = {}
    for section, _, name in artefact_parts(settings):
        content.setdefault(section, {})[name] = part_content(section, name)
    # As written, not with sorted keys: rows and panels stand in the order of the config.
    return {"settings": settings.model_dump(mode="json"), "scale": CONFIG.scale, **content}


def trainings_behind(ensemble):
    """What an ensemble costs: the trainings of each seed, and how far each one counts."""
    settings = CONFIG.ensembles[ensemble]
    seeds, simplexes = {}, []
    is_simplex = settings.method == "simplex"
    connectors = settings.connectors if is_simplex else 0
    for seed in settings.seeds:
        if is_simplex:
            texts = CONFIG.simplexes[settings.simplex].references(seed)
        else:
            texts = [f"{recipe}/{seed}" for recipe in settings.recipes]
        trainings = []
        for text in texts:
            # Nobody knows what a file of weights has cost.
            unknown = {"folder": None, "counted": "epoch", "last": None}
            trainings += [unknown] if is_weight_file(text) else trainings_of_network(text)
        if connectors:
            simplexes.append(layout.simplex(settings.simplex, seed))
            trainings.append({"folder": simplexes[-1], "counted": "connector", "last": connectors})
        seeds[str(seed)] = trainings
    facts = {"seeds": seeds, "simplexes": simplexes, "connectors": connectors}
    if is_simplex:
        facts["regularisation"] = CONFIG.simplexes[settings.simplex].regularisation
    return facts


def trainings_of_network(text):
    """The training of a network, and those that it continues."""
    trainings = []
    reference = NetworkReference.parse(text)
    while reference is not None:
        folder = layout.network(reference.recipe, reference.seed)
        trainings.append({"folder": folder, "counted": "epoch", "last": reference.epoch})
        reference = CONFIG.recipes[reference.recipe].start(reference.seed)
    return trainings


def predictions_of(ensemble):
    """The files with the predictions of an ensemble's members, one a seed for simplexes."""
    folders = [layout.ensemble(ensemble)]
    if CONFIG.ensembles[ensemble].method == "simplex":
        folders = simplex_evaluations(ensemble)
    return [f"{folder}/predictions.safetensors" for folder in folders]


def part_content(section, name):
    """How a curve, a plane, an ensemble or a network is named, and what else tells of it."""
    match section:
        case "curves" | "snapshots":
            curve = CONFIG.curves[name]
            epochs = curve.training.epochs if curve.trained else 0
            facts = {"kind": curve.kind, "start": curve.start, "end": curve.end, "epochs": epochs}
            if curve.variant:
                matching = None if curve.alignment is None else curve.alignment.matching
                facts |= {"matching": matching, "renormalise": curve.renormalise}
            return {**facts, **titles(CONFIG.recipe_of_curve(name))}
        case "planes":
            return titles(CONFIG.recipe_of_plane(name))
        case "complexes" | "samples":
            simplex = ComplexReference.parse("{}/{}".format(*name.split("/"))).simplex
            settings = CONFIG.simplexes[simplex]
            facts = {"labels": settings.labels, "simplexes": settings.simplexes}
            return {**facts, **titles(CONFIG.recipe_of_simplex(simplex))}
        case "geometries":
            return titles(CONFIG.recipe_of_geometry(name))
        case "trainings":
            return trainings_behind(name)
        case "predictions":
            points = getattr(CONFIG.ensembles[name], "points", None)
            facts = {"files": predictions_of(name), "points": points}
            return {**facts, **titles(CONFIG.recipe_of_ensemble(name))}
        case "ensembles" | "shifts":
            return {**plain(CONFIG.ensembles[name]), **titles(CONFIG.recipe_of_ensemble(name))}
        case "functions":
            recipe = CONFIG.recipe_of_ensemble(name)
            data = plain(CONFIG.datasets[recipe.dataset], exclude=["title"])
            return {**titles(recipe), "data": data}
    recipe = CONFIG.recipes[NetworkReference.parse(name).recipe]
    training = recipe.training
    return {
        **titles(recipe),
        "epochs": training.epochs,
        "learning_rate": training.learning_rate,
        "schedule": plain(training.schedule),
        "snapshots": training.snapshot_epochs,
    }


def titles(recipe):
    """How tables and figures name a recipe's data set and network, and the network's options."""
    specification = registry.specification(recipe.network.name)
    options = {name: option.default for name, option in specification.options.items()}
    return {
        "dataset": CONFIG.datasets[recipe.dataset].title,
        "network": recipe.title or specification.title,
        "options": {**options, **recipe.network.options},
    }
