"""Networks, trained: the endpoints of everything else.

Inputs: datasets/{dataset}.safetensors
Outputs: networks/{recipe}/seed{seed}/
"""


rule train_network:
    """Train the network of a recipe from one seed, from scratch or from another network."""
    input:
        unpack(planned(plan.training_inputs)),
    output:
        weights="<results>/networks/{recipe}/seed{seed}/weights.safetensors",
        history="<results>/networks/{recipe}/seed{seed}/history.csv",
        run="<results>/networks/{recipe}/seed{seed}/run.json",
        snapshots=directory("<results>/networks/{recipe}/seed{seed}/snapshots"),
    log:
        "<logs>/networks/{recipe}/seed{seed}/train.log",
    conda:
        "../envs/mode_connectivity.yaml"
    threads: CONFIG.threads
    resources:
        mem_mb=memory_mb,
        runtime=minutes,
        gpu=GPUS,
    params:
        recipe=lambda wildcards: recipe_settings(CONFIG.recipes[wildcards.recipe]),
        test_batch_size=test_batch_size,
        code=lambda wildcards: script_code("train_network.py", CONFIG.recipes[wildcards.recipe]),
    script:
        "../workflow/scripts/train_network.py"


rule evaluate_network:
    """Measure a network and keep its test predictions."""
    input:
        dataset=planned(plan.recipe_dataset),
        weights="<results>/networks/{recipe}/seed{seed}/weights.safetensors",
    output:
        metrics="<results>/networks/{recipe}/seed{seed}/evaluation/metrics.csv",
        correct="<results>/networks/{recipe}/seed{seed}/evaluation/correct.safetensors",
        predictions="<results>/networks/{recipe}/seed{seed}/evaluation/predictions.safetensors",
        run="<results>/networks/{recipe}/seed{seed}/evaluation/run.json",
    log:
        "<logs>/networks/{recipe}/seed{seed}/evaluate.log",
    conda:
        "../envs/mode_connectivity.yaml"
    threads: CONFIG.threads
    resources:
        mem_mb=memory_mb,
        runtime=minutes,
        gpu=GPUS,
    params:
        recipe=lambda wildcards: workspace_settings(CONFIG.recipes[wildcards.recipe]),
        evaluation=plain(CONFIG.evaluation),
        code=lambda wildcards: script_code("evaluate_network.py", CONFIG.recipes[wildcards.recipe]),
    script:
        "../workflow/scripts/evaluate_network.py"
