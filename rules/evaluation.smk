"""Grids: every point of a curve or a plane, measured in one job.

Inputs: curves/{curve}/vertices.safetensors or the weights at its ends, datasets
Outputs: curves/{curve}/grid.csv, planes/{plane}/grid.csv and what lies beside them
"""


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
    }


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


rule evaluate_curve:
    """Measure a curve at equally spaced points (Garipov et al. 2018, A.3)."""
    input:
        unpack(grid_inputs),
    output:
        grid="<results>/curves/{curve}/grid.csv",
        correct="<results>/curves/{curve}/correct.safetensors",
        run="<results>/curves/{curve}/grid.json",
    log:
        "<logs>/curves/{curve}/evaluate.log",
    conda:
        "../envs/mode_connectivity.yaml"
    threads: CONFIG.threads
    resources:
        mem_mb=8000,
        runtime=720,
    params:
        recipe=lambda wildcards: measured_as(wildcards.curve),
        curve=lambda wildcards: curve_settings(wildcards.curve),
        points=lambda wildcards: CONFIG.curves[wildcards.curve].points,
        predictions=lambda wildcards: CONFIG.curves[wildcards.curve].predictions,
        evaluation=CONFIG.evaluation.model_dump(mode="json"),
        code=lambda wildcards: script_code(
            "evaluate_curve.py", CONFIG.recipe_of_curve(wildcards.curve)
        ),
    script:
        "../workflow/scripts/evaluate_curve.py"


rule evaluate_plane:
    """Measure a lattice of the plane through three points (Garipov et al. 2018, figure 1)."""
    input:
        unpack(plane_inputs),
    output:
        grid="<results>/planes/{plane}/grid.csv",
        points="<results>/planes/{plane}/points.csv",
        run="<results>/planes/{plane}/run.json",
    log:
        "<logs>/planes/{plane}.log",
    conda:
        "../envs/mode_connectivity.yaml"
    threads: CONFIG.threads
    resources:
        mem_mb=8000,
        runtime=1440,
    params:
        recipe=lambda wildcards: workspace_settings(CONFIG.recipe_of_plane(wildcards.plane)),
        plane=lambda wildcards: CONFIG.planes[wildcards.plane].model_dump(mode="json"),
        curve=lambda wildcards: plane_curve(wildcards.plane),
        evaluation=CONFIG.evaluation.model_dump(mode="json"),
        code=lambda wildcards: script_code(
            "evaluate_plane.py", CONFIG.recipe_of_plane(wildcards.plane)
        ),
    script:
        "../workflow/scripts/evaluate_plane.py"
