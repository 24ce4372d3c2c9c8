"""Ensembles: members, each measured once, with their stored predictions.

Inputs: curves/{curve}/vertices.safetensors, datasets
Outputs: ensembles/{ensemble}/
"""


rule collect_curve_members:
    """Measure equally spaced points of a curve as members (Garipov et al. 2018, section 4.3)."""
    input:
        unpack(ensemble_inputs),
    output:
        grid="<results>/ensembles/{ensemble}/members.csv",
        correct="<results>/ensembles/{ensemble}/correct.safetensors",
        predictions="<results>/ensembles/{ensemble}/predictions.safetensors",
        run="<results>/ensembles/{ensemble}/run.json",
    log:
        "<logs>/ensembles/{ensemble}.log",
    conda:
        "../envs/mode_connectivity.yaml"
    threads: CONFIG.threads
    resources:
        mem_mb=8000,
        runtime=720,
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
