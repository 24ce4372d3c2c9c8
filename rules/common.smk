"""The config, checked, and the functions by which rules look things up in it. No rules here."""

import json
import os
import sys

# Jobs run the library of this checkout, which is the one whose code is fingerprinted.
LIBRARY = str(Path(workflow.basedir) / "src")
sys.path.insert(0, LIBRARY)
os.environ.update(PYTHONPATH=os.pathsep.join(filter(None, [LIBRARY, os.environ.get("PYTHONPATH")])))

from snakemake.exceptions import WorkflowError

from mode_connectivity import layout
from mode_connectivity.config import artefact_names, artefact_parts, load_config
from mode_connectivity.files import canonical_json
from mode_connectivity.networks import registry
from mode_connectivity.provenance import code_fingerprint
from mode_connectivity.reporting.settings import ArtefactSettings, artefact_base
from mode_connectivity.settings import UserError
from mode_connectivity.training.recipes import NetworkReference, is_weight_file

try:
    CONFIG = load_config(config, Path(workflow.basedir), workflow.configfiles)
except UserError as error:
    raise WorkflowError(str(error))

# Scripts read these; a key that was left empty has its default. Threads among them, because
# Snakemake gives a job fewer where there are fewer cores, and sums would end in other digits.
config.update(CONFIG.model_dump(include={"data", "device", "download", "threads"}))


wildcard_constraints:
    dataset="|".join(CONFIG.datasets) or "none",
    recipe="|".join(CONFIG.recipes) or "none",
    seed=r"\d+",
    curve="|".join(CONFIG.curves) or "none",
    plane="|".join(CONFIG.planes) or "none",
    ensemble="|".join(CONFIG.ensembles) or "none",
    geometry="|".join(CONFIG.geometries) or "none",


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
    """The output of train_network that holds a network's weights, or a user's own file."""
    if is_weight_file(text):
        return text
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
    untrained = [] if curve.trained else ["bends", "training"]
    return plain(curve, exclude=["points", "predictions", *untrained])


def curve_end(key):
    """An input function: the weights at one end of a curve."""
    return lambda wildcards: weights_input(getattr(CONFIG.curves[wildcards.curve], key))


def ensembles_by(*methods):
    """A pattern of the names of the ensembles whose members are collected in some way."""
    names = [name for name, ensemble in CONFIG.ensembles.items() if ensemble.method in methods]
    return "|".join(names) or "none"


def ensemble_dataset(wildcards):
    return result(layout.dataset(CONFIG.recipe_of_ensemble(wildcards.ensemble).dataset))


def ensemble_curve(wildcards):
    return CONFIG.ensembles[wildcards.ensemble].curve


def ensemble_curve_inputs(wildcards):
    return {"dataset": ensemble_dataset(wildcards), **curve_vertices(ensemble_curve(wildcards))}


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


def measured_as(name):
    """Whose weight decay and augmentation hold on a curve: its own training's, or its start's."""
    curve = CONFIG.curves[name]
    recipe = CONFIG.recipe_of_curve(name)
    training = curve.training or recipe.training
    return workspace_settings(recipe.model_copy(update={"training": training}))


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
            case "planes":
                files.append(f"{layout.plane(name)}/grid.csv")
            case "ensembles":
                files.append(f"{layout.ensemble(name)}/members.csv")
                if CONFIG.ensembles[name].method != "curve_points":
                    files.append(f"{layout.ensemble(name)}/metrics.csv")
            case "networks":
                reference = NetworkReference.parse(name)
                folder = layout.network(reference.recipe, reference.seed)
                files.append(f"{folder}/evaluation/metrics.csv")
            case "histories":
                reference = NetworkReference.parse(name)
                files.append(f"{layout.network(reference.recipe, reference.seed)}/history.csv")
    return [result(path) for path in dict.fromkeys(files)]


def artefact_content(artefact):
    """The settings of an artefact with the facts of its parts that it shows."""
    settings = artefact_settings(artefact)
    content = {}
    for section, _, name in artefact_parts(settings):
        content.setdefault(section, {})[name] = part_content(section, name)
    # As written, not with sorted keys: rows and panels stand in the order of the config.
    return {"settings": settings.model_dump(mode="json"), "scale": CONFIG.scale, **content}


def part_content(section, name):
    """How a curve, a plane, an ensemble or a network is named, and what else tells of it."""
    match section:
        case "curves" | "snapshots":
            curve = CONFIG.curves[name]
            epochs = curve.training.epochs if curve.trained else 0
            facts = {"kind": curve.kind, "start": curve.start, "end": curve.end, "epochs": epochs}
            return {**facts, **titles(CONFIG.recipe_of_curve(name))}
        case "planes":
            return titles(CONFIG.recipe_of_plane(name))
        case "geometries":
            return titles(CONFIG.recipe_of_geometry(name))
        case "ensembles":
            return {**plain(CONFIG.ensembles[name]), **titles(CONFIG.recipe_of_ensemble(name))}
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
