"""Ensembles on corrupted test images.

Inputs: ensembles/{ensemble}/, what their members come from, datasets/{dataset}/corruptions/
Outputs: ensembles/{ensemble}/corruptions/{corruption}/, ensembles/{ensemble}/shift.csv
"""


rule collect_members_under_corruption:
    """Measure the members on corrupted test images (Benton et al. 2021, figure 11 and C.1)."""
    input:
        dataset=planned(plan.ensemble_dataset),
        images=planned(plan.corrupted_images),
        members="<results>/ensembles/{ensemble}/members.csv",
        weights=planned(plan.ensemble_weights),
    output:
        predictions="<results>/ensembles/{ensemble}/corruptions/{corruption}/predictions.safetensors",
        members="<results>/ensembles/{ensemble}/corruptions/{corruption}/members.csv",
        run="<results>/ensembles/{ensemble}/corruptions/{corruption}/run.json",
    log:
        "<logs>/ensembles/{ensemble}/corruptions/{corruption}.log",
    wildcard_constraints:
        ensemble=ensembles_of("collect_members_under_corruption"),
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
            "collect_members_under_corruption.py", CONFIG.recipe_of_ensemble(wildcards.ensemble)
        ),
    script:
        "../workflow/scripts/collect_members_under_corruption.py"


use rule collect_members_under_corruption as collect_averages_under_corruption with:
    # The averages are what collect_members has written.
    input:
        dataset=planned(plan.ensemble_dataset),
        images=planned(plan.corrupted_images),
        members="<results>/ensembles/{ensemble}/members.csv",
        averages="<results>/ensembles/{ensemble}/weights",
    wildcard_constraints:
        ensemble=ensembles_of("collect_averages_under_corruption"),


use rule collect_members_under_corruption as collect_swag_members_under_corruption with:
    # The same draws as on clean images.
    wildcard_constraints:
        ensemble=ensembles_of("collect_swag_members_under_corruption"),
    params:
        swag=lambda wildcards: swag_settings(wildcards.ensemble),


rule collect_simplex_points_under_corruption:
    """Measure points of the complexes of several seeds (ESPRO) on corrupted test images."""
    input:
        unpack(planned(plan.simplex_ensemble_sources)),
        images=planned(plan.corrupted_images),
        members="<results>/ensembles/{ensemble}/members.csv",
    output:
        predictions="<results>/ensembles/{ensemble}/corruptions/{corruption}/predictions.safetensors",
        members="<results>/ensembles/{ensemble}/corruptions/{corruption}/members.csv",
        run="<results>/ensembles/{ensemble}/corruptions/{corruption}/run.json",
    log:
        "<logs>/ensembles/{ensemble}/corruptions/{corruption}.log",
    wildcard_constraints:
        ensemble=ensembles_of("collect_simplex_points_under_corruption"),
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
        ensemble=lambda wildcards: plain(CONFIG.ensembles[wildcards.ensemble], exclude=["budgets"]),
        evaluation=plain(CONFIG.evaluation),
        code=lambda wildcards: script_code(
            "collect_simplex_points_under_corruption.py",
            CONFIG.recipe_of_ensemble(wildcards.ensemble),
        ),
    script:
        "../workflow/scripts/collect_simplex_points_under_corruption.py"


rule evaluate_ensemble_under_shift:
    """Measure the ensembles of each budget on corrupted images, after temperature scaling."""
    input:
        members="<results>/ensembles/{ensemble}/members.csv",
        predictions=planned(plan.ensemble_predictions),
        corrupted=planned(plan.predictions_under_corruptions),
    output:
        metrics="<results>/ensembles/{ensemble}/shift.csv",
        ensembles="<results>/ensembles/{ensemble}/shift.safetensors",
    log:
        "<logs>/ensembles/{ensemble}_shift.log",
    conda:
        "../envs/mode_connectivity.yaml"
    resources:
        mem_mb=memory_mb,
        runtime=minutes,
    params:
        corruptions=lambda wildcards: CONFIG.corruptions_of(wildcards.ensemble),
        seeds=lambda wildcards: CONFIG.ensembles[wildcards.ensemble].seeds,
        budgets=lambda wildcards: CONFIG.ensembles[wildcards.ensemble].budgets,
        code=script_code("evaluate_ensemble_under_shift.py"),
    script:
        "../workflow/scripts/evaluate_ensemble_under_shift.py"
