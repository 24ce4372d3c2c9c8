"""Simplexes and complexes: their connectors, trained, and points drawn from them, measured.

Inputs: the weights of networks, datasets/{dataset}.safetensors
Outputs: simplexes/{simplex}/seed{seed}/, and of ensembles of such points ensembles/{ensemble}/
"""


rule train_simplex:
    """Train the connectors of a simplex or a complex one by one (Benton et al. 2021, section 3)."""
    input:
        dataset=planned(plan.simplex_dataset),
        modes=planned(plan.simplex_modes),
    output:
        vertices="<results>/simplexes/{simplex}/seed{seed}/vertices.safetensors",
        history="<results>/simplexes/{simplex}/seed{seed}/history.csv",
        volumes="<results>/simplexes/{simplex}/seed{seed}/volumes.csv",
        distances="<results>/simplexes/{simplex}/seed{seed}/distances.csv",
        run="<results>/simplexes/{simplex}/seed{seed}/run.json",
    log:
        "<logs>/simplexes/{simplex}/seed{seed}/train.log",
    conda:
        "../envs/mode_connectivity.yaml"
    threads: CONFIG.threads
    resources:
        mem_mb=memory_mb,
        runtime=minutes,
        gpu=GPUS,
    params:
        recipe=lambda wildcards: workspace_settings(CONFIG.recipe_of_simplex(wildcards.simplex)),
        simplex=lambda wildcards: simplex_settings(wildcards.simplex, evaluated=False),
        code=lambda wildcards: script_code(
            "train_simplex.py", CONFIG.recipe_of_simplex(wildcards.simplex)
        ),
    script:
        "../workflow/scripts/train_simplex.py"


rule evaluate_simplex:
    """Measure points drawn from a complex of the modes and the first connectors."""
    input:
        unpack(planned(plan.simplex_points_inputs)),
    output:
        grid="<results>/simplexes/{simplex}/seed{seed}/connectors{connectors}/grid.csv",
        correct="<results>/simplexes/{simplex}/seed{seed}/connectors{connectors}/correct.safetensors",
        predictions="<results>/simplexes/{simplex}/seed{seed}/connectors{connectors}/predictions.safetensors",
        run="<results>/simplexes/{simplex}/seed{seed}/connectors{connectors}/run.json",
    log:
        "<logs>/simplexes/{simplex}/seed{seed}/connectors{connectors}.log",
    conda:
        "../envs/mode_connectivity.yaml"
    threads: CONFIG.threads
    resources:
        mem_mb=memory_mb,
        runtime=minutes,
        gpu=GPUS,
    params:
        recipe=lambda wildcards: workspace_settings(CONFIG.recipe_of_simplex(wildcards.simplex)),
        simplex=lambda wildcards: simplex_settings(wildcards.simplex),
        evaluation=plain(CONFIG.evaluation),
        code=lambda wildcards: script_code(
            "evaluate_simplex.py", CONFIG.recipe_of_simplex(wildcards.simplex)
        ),
    script:
        "../workflow/scripts/evaluate_simplex.py"


rule evaluate_simplex_ensemble:
    """Measure the ensembles of points of the complexes of several seeds (ESPRO)."""
    input:
        grids=planned(plan.simplex_ensemble_grids),
        predictions=planned(plan.ensemble_predictions),
    output:
        members="<results>/ensembles/{ensemble}/members.csv",
        metrics="<results>/ensembles/{ensemble}/metrics.csv",
        ensembles="<results>/ensembles/{ensemble}/ensembles.safetensors",
    log:
        "<logs>/ensembles/{ensemble}.log",
    wildcard_constraints:
        ensemble=ensembles_of("evaluate_simplex_ensemble"),
    conda:
        "../envs/mode_connectivity.yaml"
    resources:
        mem_mb=memory_mb,
        runtime=minutes,
    params:
        ensemble=lambda wildcards: plain(CONFIG.ensembles[wildcards.ensemble]),
        code=script_code("evaluate_simplex_ensemble.py"),
    script:
        "../workflow/scripts/evaluate_simplex_ensemble.py"


rule collect_simplex_functions:
    """Measure points of the complexes of several seeds as members, and as functions."""
    input:
        unpack(planned(plan.simplex_ensemble_sources)),
    output:
        members="<results>/ensembles/{ensemble}/members.csv",
        correct="<results>/ensembles/{ensemble}/correct.safetensors",
        predictions="<results>/ensembles/{ensemble}/predictions.safetensors",
        functions="<results>/ensembles/{ensemble}/function_values.safetensors",
        run="<results>/ensembles/{ensemble}/run.json",
    log:
        "<logs>/ensembles/{ensemble}.log",
    wildcard_constraints:
        ensemble=ensembles_of("collect_simplex_functions"),
    conda:
        "../envs/mode_connectivity.yaml"
    threads: CONFIG.threads
    resources:
        mem_mb=memory_mb,
        runtime=minutes,
        gpu=GPUS,
    params:
        recipe=lambda wildcards: workspace_settings(CONFIG.recipe_of_ensemble(wildcards.ensemble)),
        simplex=lambda wildcards: simplex_settings(CONFIG.ensembles[wildcards.ensemble].simplex),
        ensemble=lambda wildcards: plain(CONFIG.ensembles[wildcards.ensemble]),
        evaluation=plain(CONFIG.evaluation),
        code=lambda wildcards: script_code(
            "collect_simplex_functions.py", CONFIG.recipe_of_ensemble(wildcards.ensemble)
        ),
    script:
        "../workflow/scripts/collect_simplex_functions.py"
