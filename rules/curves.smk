"""Curves between networks: their bends, trained.

Inputs: the weights of two networks, datasets/{dataset}.safetensors
Outputs: curves/{curve}/
"""


rule train_curve:
    """Train the bends of a curve between two fixed networks (Garipov et al. 2018, section 3)."""
    input:
        dataset=planned(plan.curve_dataset),
        start=planned(plan.curve_start),
        end=planned(plan.curve_end),
    output:
        vertices="<results>/curves/{curve}/vertices.safetensors",
        history="<results>/curves/{curve}/history.csv",
        run="<results>/curves/{curve}/run.json",
        snapshots=directory("<results>/curves/{curve}/snapshots"),
    log:
        "<logs>/curves/{curve}/train.log",
    conda:
        "../envs/mode_connectivity.yaml"
    threads: CONFIG.threads
    resources:
        mem_mb=memory_mb,
        runtime=minutes,
        gpu=GPUS,
    params:
        recipe=lambda wildcards: workspace_settings(CONFIG.recipe_of_curve(wildcards.curve)),
        curve=lambda wildcards: curve_settings(wildcards.curve),
        code=lambda wildcards: script_code(
            "train_curve.py", CONFIG.recipe_of_curve(wildcards.curve)
        ),
    script:
        "../workflow/scripts/train_curve.py"
