"""Grids: every point of a curve or a plane, measured in one job.

Inputs: curves/{curve}/vertices.safetensors or the weights at its ends, datasets
Outputs: curves/{curve}/grid.csv, planes/{plane}/grid.csv, geometries/ and what lies beside them
"""


rule evaluate_curve:
    """Measure a curve at equally spaced points (Garipov et al. 2018, A.3)."""
    input:
        unpack(planned(plan.grid_inputs)),
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
        mem_mb=memory_mb,
        runtime=minutes,
        gpu=GPUS,
    params:
        recipe=lambda wildcards: measured_as(wildcards.curve),
        curve=lambda wildcards: curve_settings(wildcards.curve),
        points=lambda wildcards: CONFIG.curves[wildcards.curve].points,
        predictions=lambda wildcards: CONFIG.curves[wildcards.curve].predictions,
        evaluation=plain(CONFIG.evaluation),
        code=lambda wildcards: script_code(
            "evaluate_curve.py", CONFIG.recipe_of_curve(wildcards.curve)
        ),
    script:
        "../workflow/scripts/evaluate_curve.py"


rule evaluate_curve_snapshots:
    """Measure a curve as it was on the way of its training (Gotmare et al. 2018, figure 1)."""
    input:
        unpack(planned(plan.curve_snapshots_inputs)),
    output:
        grid="<results>/curves/{curve}/snapshots.csv",
        run="<results>/curves/{curve}/snapshots.json",
    log:
        "<logs>/curves/{curve}/evaluate_snapshots.log",
    conda:
        "../envs/mode_connectivity.yaml"
    threads: CONFIG.threads
    resources:
        mem_mb=memory_mb,
        runtime=minutes,
        gpu=GPUS,
    params:
        recipe=lambda wildcards: measured_as(wildcards.curve),
        curve=lambda wildcards: curve_settings(wildcards.curve),
        points=lambda wildcards: CONFIG.curves[wildcards.curve].points,
        evaluation=plain(CONFIG.evaluation),
        code=lambda wildcards: script_code(
            "evaluate_curve_snapshots.py", CONFIG.recipe_of_curve(wildcards.curve)
        ),
    script:
        "../workflow/scripts/evaluate_curve_snapshots.py"


rule evaluate_plane:
    """Measure a lattice of the plane through three points (Garipov et al. 2018, figure 1)."""
    input:
        unpack(planned(plan.plane_inputs)),
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
        mem_mb=memory_mb,
        runtime=minutes,
        gpu=GPUS,
    params:
        recipe=lambda wildcards: workspace_settings(CONFIG.recipe_of_plane(wildcards.plane)),
        plane=lambda wildcards: plain(CONFIG.planes[wildcards.plane]),
        curve=lambda wildcards: plane_curve(wildcards.plane),
        iterates=lambda wildcards: [str(each) for each in CONFIG.iterates(wildcards.plane)],
        swag=lambda wildcards: plane_swag(wildcards.plane),
        evaluation=plain(CONFIG.evaluation),
        code=lambda wildcards: script_code(
            "evaluate_plane.py", CONFIG.recipe_of_plane(wildcards.plane)
        ),
    script:
        "../workflow/scripts/evaluate_plane.py"


rule measure_distances:
    """Measure the distances of networks and bends from each other."""
    input:
        unpack(planned(plan.geometry_inputs)),
    output:
        points="<results>/geometries/{geometry}/points.csv",
        distances="<results>/geometries/{geometry}/distances.csv",
        run="<results>/geometries/{geometry}/run.json",
    log:
        "<logs>/geometries/{geometry}.log",
    conda:
        "../envs/mode_connectivity.yaml"
    threads: CONFIG.threads
    resources:
        mem_mb=memory_mb,
        runtime=minutes,
        gpu=GPUS,
    params:
        recipe=lambda wildcards: workspace_settings(CONFIG.recipe_of_geometry(wildcards.geometry)),
        points=geometry_points,
        code=lambda wildcards: script_code(
            "measure_distances.py", CONFIG.recipe_of_geometry(wildcards.geometry)
        ),
    script:
        "../workflow/scripts/measure_distances.py"
