"""Curves between networks: their bends, trained.

Inputs: the weights of two networks, datasets/{dataset}.safetensors
Outputs: curves/{curve}/
"""


def curve_dataset(wildcards):
    return result(layout.dataset(CONFIG.recipe_of_curve(wildcards.curve).dataset))


def curve_settings(name):
    """What the shape of a curve depends on; how finely it is evaluated is not part of it."""
    exclude = {"points", "predictions"}
    return CONFIG.curves[name].model_dump(mode="json", exclude=exclude, exclude_unset=True)


def curve_end(key):
    """An input function: the weights at one end of a curve."""
    return lambda wildcards: weights_input(getattr(CONFIG.curves[wildcards.curve], key))


rule train_curve:
    """Train the bends of a curve between two fixed networks (Garipov et al. 2018, section 3)."""
    input:
        dataset=curve_dataset,
        start=curve_end("start"),
        end=curve_end("end"),
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
        mem_mb=8000,
        runtime=1440,
    params:
        recipe=lambda wildcards: workspace_settings(CONFIG.recipe_of_curve(wildcards.curve)),
        curve=lambda wildcards: curve_settings(wildcards.curve),
        code=lambda wildcards: script_code(
            "train_curve.py", CONFIG.recipe_of_curve(wildcards.curve)
        ),
    script:
        "../workflow/scripts/train_curve.py"
