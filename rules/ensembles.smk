"""Ensembles: members, each measured once, and every ensemble that can be made of them.

Inputs: curves/{curve}/vertices.safetensors or the weights of networks, datasets
Outputs: ensembles/{ensemble}/
"""


rule collect_curve_members:
    """Measure equally spaced points of a curve as members (Garipov et al. 2018, section 4.3)."""
    input:
        unpack(planned(plan.ensemble_curve_inputs)),
    output:
        grid="<results>/ensembles/{ensemble}/members.csv",
        correct="<results>/ensembles/{ensemble}/correct.safetensors",
        predictions="<results>/ensembles/{ensemble}/predictions.safetensors",
        run="<results>/ensembles/{ensemble}/run.json",
    log:
        "<logs>/ensembles/{ensemble}.log",
    wildcard_constraints:
        ensemble=ensembles_of("collect_curve_members"),
    conda:
        "../envs/mode_connectivity.yaml"
    threads: CONFIG.threads
    resources:
        mem_mb=memory_mb,
        runtime=minutes,
        gpu=GPUS,
    params:
        recipe=lambda wildcards: measured_as(ensemble_curve(wildcards)),
        curve=lambda wildcards: curve_settings(ensemble_curve(wildcards)),
        points=lambda wildcards: CONFIG.ensembles[wildcards.ensemble].points,
        predictions=True,
        evaluation=plain(CONFIG.evaluation),
        code=lambda wildcards: script_code(
            "evaluate_curve.py", CONFIG.recipe_of_curve(ensemble_curve(wildcards))
        ),
    script:
        "../workflow/scripts/evaluate_curve.py"


rule collect_members:
    """Measure trained networks as members (Garipov et al. 2018, section 5)."""
    input:
        dataset=planned(plan.ensemble_dataset),
        weights=planned(plan.ensemble_weights),
    output:
        members="<results>/ensembles/{ensemble}/members.csv",
        correct="<results>/ensembles/{ensemble}/correct.safetensors",
        predictions="<results>/ensembles/{ensemble}/predictions.safetensors",
        run="<results>/ensembles/{ensemble}/run.json",
    log:
        "<logs>/ensembles/{ensemble}.log",
    wildcard_constraints:
        ensemble=ensembles_of("collect_members"),
    conda:
        "../envs/mode_connectivity.yaml"
    threads: CONFIG.threads
    resources:
        mem_mb=memory_mb,
        runtime=minutes,
        gpu=GPUS,
    params:
        recipe=lambda wildcards: workspace_settings(CONFIG.recipe_of_ensemble(wildcards.ensemble)),
        members=ensemble_members,
        evaluation=plain(CONFIG.evaluation),
        code=lambda wildcards: script_code(
            "collect_members.py", CONFIG.recipe_of_ensemble(wildcards.ensemble)
        ),
    script:
        "../workflow/scripts/collect_members.py"


use rule collect_members as collect_functions with:
    # Keep the networks as functions of their inputs, too (Benton et al. 2021, figures 7 and 10).
    output:
        members="<results>/ensembles/{ensemble}/members.csv",
        correct="<results>/ensembles/{ensemble}/correct.safetensors",
        predictions="<results>/ensembles/{ensemble}/predictions.safetensors",
        functions="<results>/ensembles/{ensemble}/function_values.safetensors",
        run="<results>/ensembles/{ensemble}/run.json",
    wildcard_constraints:
        ensemble=ensembles_of("collect_functions"),


use rule collect_members as average_weights with:
    # Average the snapshots of each training into one member (SWA, Izmailov et al. 2018).
    output:
        members="<results>/ensembles/{ensemble}/members.csv",
        correct="<results>/ensembles/{ensemble}/correct.safetensors",
        predictions="<results>/ensembles/{ensemble}/predictions.safetensors",
        run="<results>/ensembles/{ensemble}/run.json",
        averages=directory("<results>/ensembles/{ensemble}/weights"),
    wildcard_constraints:
        ensemble=ensembles_of("average_weights"),


use rule collect_members as collect_swag_members with:
    # Fit a Gaussian to the snapshots of each training and measure draws (Maddox et al. 2019).
    wildcard_constraints:
        ensemble=ensembles_of("collect_swag_members"),
    params:
        swag=lambda wildcards: swag_settings(wildcards.ensemble),


rule collect_bend_samples:
    """Measure draws from a Gaussian around the bend of a curve (Benton et al. 2021, figure 2)."""
    input:
        unpack(planned(plan.bend_snapshots)),
    output:
        members="<results>/ensembles/{ensemble}/members.csv",
        correct="<results>/ensembles/{ensemble}/correct.safetensors",
        predictions="<results>/ensembles/{ensemble}/predictions.safetensors",
        run="<results>/ensembles/{ensemble}/run.json",
    log:
        "<logs>/ensembles/{ensemble}.log",
    wildcard_constraints:
        ensemble=ensembles_of("collect_bend_samples"),
    conda:
        "../envs/mode_connectivity.yaml"
    threads: CONFIG.threads
    resources:
        mem_mb=memory_mb,
        runtime=minutes,
        gpu=GPUS,
    params:
        recipe=lambda wildcards: measured_as(ensemble_curve(wildcards)),
        curve=lambda wildcards: curve_settings(ensemble_curve(wildcards)),
        swag=lambda wildcards: swag_settings(wildcards.ensemble),
        evaluation=plain(CONFIG.evaluation),
        code=lambda wildcards: script_code(
            "collect_bend_samples.py", CONFIG.recipe_of_ensemble(wildcards.ensemble)
        ),
    script:
        "../workflow/scripts/collect_bend_samples.py"


rule collect_subspace_members:
    """Sample weights in the plane of a curve (Izmailov et al. 2019) and measure them as members."""
    input:
        unpack(planned(plan.ensemble_curve_inputs)),
    output:
        members="<results>/ensembles/{ensemble}/members.csv",
        correct="<results>/ensembles/{ensemble}/correct.safetensors",
        predictions="<results>/ensembles/{ensemble}/predictions.safetensors",
        run="<results>/ensembles/{ensemble}/run.json",
    log:
        "<logs>/ensembles/{ensemble}.log",
    wildcard_constraints:
        ensemble=ensembles_of("collect_subspace_members"),
    conda:
        "../envs/mode_connectivity.yaml"
    threads: CONFIG.threads
    resources:
        mem_mb=memory_mb,
        runtime=minutes,
        gpu=GPUS,
    params:
        recipe=lambda wildcards: measured_as(ensemble_curve(wildcards)),
        curve=lambda wildcards: curve_settings(ensemble_curve(wildcards)),
        ensemble=lambda wildcards: plain(CONFIG.ensembles[wildcards.ensemble]),
        evaluation=plain(CONFIG.evaluation),
        code=lambda wildcards: script_code(
            "collect_subspace_members.py", CONFIG.recipe_of_curve(ensemble_curve(wildcards))
        ),
    script:
        "../workflow/scripts/collect_subspace_members.py"


use rule collect_subspace_members as collect_subspace_functions with:
    output:
        members="<results>/ensembles/{ensemble}/members.csv",
        correct="<results>/ensembles/{ensemble}/correct.safetensors",
        predictions="<results>/ensembles/{ensemble}/predictions.safetensors",
        functions="<results>/ensembles/{ensemble}/function_values.safetensors",
        run="<results>/ensembles/{ensemble}/run.json",
    wildcard_constraints:
        ensemble=ensembles_of("collect_subspace_functions"),


rule evaluate_ensemble:
    """Measure the ensembles of each budget from the stored predictions of their members."""
    input:
        members="<results>/ensembles/{ensemble}/members.csv",
        predictions="<results>/ensembles/{ensemble}/predictions.safetensors",
    output:
        metrics="<results>/ensembles/{ensemble}/metrics.csv",
        ensembles="<results>/ensembles/{ensemble}/ensembles.safetensors",
    log:
        "<logs>/ensembles/{ensemble}_metrics.log",
    wildcard_constraints:
        ensemble=ensembles_of("evaluate_ensemble"),
    conda:
        "../envs/mode_connectivity.yaml"
    resources:
        mem_mb=memory_mb,
        runtime=minutes,
    params:
        seeds=lambda wildcards: CONFIG.ensembles[wildcards.ensemble].seeds,
        budgets=lambda wildcards: CONFIG.ensembles[wildcards.ensemble].budgets,
        code=script_code("evaluate_ensemble.py"),
    script:
        "../workflow/scripts/evaluate_ensemble.py"
