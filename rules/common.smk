"""The config, checked, and the functions by which rules look things up in it. No rules here."""

import hashlib
import json
import os
import sys
from functools import cache

# Jobs run the library of this checkout, which is the one whose code is fingerprinted.
LIBRARY = str(Path(workflow.basedir) / "src")
sys.path.insert(0, LIBRARY)
os.environ.update(PYTHONPATH=os.pathsep.join(filter(None, [LIBRARY, os.environ.get("PYTHONPATH")])))

from snakemake.exceptions import WorkflowError

from mode_connectivity import layout, plan
from mode_connectivity.config import artefact_names, artefact_parts, load_config
from mode_connectivity.cuda import check_cuda
from mode_connectivity.ensembling.settings import SwagSettings
from mode_connectivity.data.corruption_settings import CORRUPTION_NAMES
from mode_connectivity.files import canonical_json, date_back, digest
from mode_connectivity.networks import registry
from mode_connectivity.own_functions import find_function
from mode_connectivity.provenance import code_fingerprint
from mode_connectivity.reporting.captions import YOURS, caption_of, captions_of, paper_name
from mode_connectivity.reporting.claim_settings import claim_files, load_claims
from mode_connectivity.reporting.page.shown import page_sources, shown_artefacts
from mode_connectivity.resources import estimate
from mode_connectivity.run_checks import check_profile, check_results, check_slurm
from mode_connectivity.settings import UserError
from mode_connectivity.training.recipes import NetworkReference
from mode_connectivity.training.simplex_settings import ComplexReference

try:
    CONFIG = load_config(
        config,
        Path(workflow.basedir),
        workflow.configfiles,
        targets=[*plan.RULES, *plan.TARGETS],
    )
    if workflow.is_main_process:
        check_results(Path(CONFIG.results, CONFIG.scale))
        if CONFIG.claims:
            load_claims(claim_files(CONFIG.claims))
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


def planned(inputs):
    """An input function of a rule: what one of the plan's says, where results lie."""

    def placed(files):
        match files:
            case plan.UserFile():
                return str(files)
            case str():
                return result(files)
            case list():
                return [placed(path) for path in files]
        return {name: placed(paths) for name, paths in files.items()}

    def of_rule(wildcards):
        try:
            return placed(inputs(CONFIG, dict(wildcards.items())))
        except UserError as error:
            raise WorkflowError(str(error))

    return of_rule


def script_code(script, recipe=None, figure=None):
    """The fingerprint of a rule's script, with the file of what it builds: network or figure."""
    sources = [Path(workflow.basedir) / "workflow" / "scripts" / script]
    if recipe is not None:
        sources.append(Path(registry.specification(recipe.network.name).path))
    if figure is not None:
        sources.append(find_function(figure.draw, "figure")[1])
    return code_fingerprint(*sources)


def contents(paths):
    """What stands in files that are no code: the name of each and a digest."""
    return {path.name: digest(path) for path in paths}


def digest_of_shown_settings():
    """A digest of the settings that the page tells of each artefact."""
    shown = {artefact.name: artefact.settings for artefact in shown_artefacts(CONFIG)}
    return hashlib.blake2b(canonical_json(shown).encode(), digest_size=8).hexdigest()


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


def test_batch_size(wildcards):
    """The batch size of the measurements during a training; nothing where it makes none."""
    recorded = CONFIG.recipes[wildcards.recipe].training.record_test
    return CONFIG.evaluation.batch_size if recorded else None


def curve_settings(name):
    """What the shape of a curve depends on; how finely it is evaluated is not part of it."""
    curve = CONFIG.curves[name]
    unused = [] if curve.trained else ["bends", "training"]
    unused += [key for key in ("alignment", "renormalise") if not getattr(curve, key)]
    return plain(curve, exclude=["points", "predictions", *unused])


def ensembles_of(rule):
    """A pattern of the names of the ensembles that a rule is for."""
    return "|".join(plan.ensembles_of(CONFIG, rule)) or "none"


def artefacts_of(rule):
    """A pattern of the names of the artefacts that a rule is for, and of their rows."""
    return "|".join(plan.artefacts_of(CONFIG, rule)) or "none"


def ensemble_curve(wildcards):
    return CONFIG.ensembles[wildcards.ensemble].curve


def swag_settings(ensemble):
    """How many networks are drawn from the Gaussians of an ensemble, and from which."""
    settings = CONFIG.ensembles[ensemble]
    return plain(SwagSettings(**{key: getattr(settings, key) for key in SwagSettings.model_fields}))


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


def simplex_settings(name, evaluated=True):
    """What a simplex depends on, and what is measured of it; a preset is what it stands for."""
    unused = [] if evaluated else ["points", "measure_train"]
    return plain(CONFIG.simplexes[name], exclude=["preset", *unused])


def artefact_files(artefacts):
    """The files of some artefacts."""
    return [result(path) for artefact in artefacts for path in plan.artefact_files(artefact)]


def artefact_content(artefact):
    """The settings of an artefact with the facts of its parts that it shows."""
    settings = plan.artefact_settings(CONFIG, artefact)
    content = {}
    for section, _, name in artefact_parts(settings):
        content.setdefault(section, {})[name] = part_content(section, name)
    # As written, not with sorted keys: rows and panels stand in the order of the config.
    return {"settings": settings.model_dump(mode="json"), "scale": CONFIG.scale, **content}


@cache
def captions():
    return captions_of(CONFIG)


def artefact_labels(wildcards):
    """How reports call an artefact."""
    return {"what": caption_of(wildcards.artefact, captions()).title}


def artefact_caption(wildcards):
    """What an artefact shows, for reports."""
    return caption_of(wildcards.artefact, captions()).caption


def artefact_paper(wildcards):
    """The paper that an artefact is of."""
    if wildcards.artefact in CONFIG.figures:
        return YOURS
    return paper_name(wildcards.artefact.split("_")[0])


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
            return plan.trainings_behind(CONFIG, name)
        case "predictions":
            points = getattr(CONFIG.ensembles[name], "points", None)
            facts = {"files": plan.predictions_of(CONFIG, name), "points": points}
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
