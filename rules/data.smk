"""Data sets, prepared once.

Inputs: what the user has in the folder `data`, or what ships with the dependencies.
Outputs: datasets/{dataset}.safetensors
"""


rule prepare_dataset:
    """Read a data set in its own layout, check it and write it as arrays."""
    output:
        dataset="<results>/datasets/{dataset}.safetensors",
    log:
        "<logs>/datasets/{dataset}.log",
    conda:
        "../envs/mode_connectivity.yaml"
    resources:
        mem_mb=memory_mb,
        runtime=minutes,
    params:
        # The title is for tables: another one prepares nothing anew.
        settings=lambda wildcards: {
            **plain(CONFIG.datasets[wildcards.dataset], exclude=["corruptions"]),
            "title": wildcards.dataset,
        },
        code=script_code("prepare_dataset.py"),
    script:
        "../workflow/scripts/prepare_dataset.py"


rule corrupt_dataset:
    """Corrupt the test images at five severities, or read the published ones (CIFAR-10-C)."""
    input:
        dataset="<results>/datasets/{dataset}.safetensors",
    output:
        images="<results>/datasets/{dataset}/corruptions/{corruption}.safetensors",
    log:
        "<logs>/datasets/{dataset}/corruptions/{corruption}.log",
    conda:
        "../envs/mode_connectivity.yaml"
    resources:
        mem_mb=memory_mb,
        runtime=minutes,
    params:
        settings=lambda wildcards: plain(CONFIG.datasets[wildcards.dataset].corruptions),
        source=lambda wildcards: CONFIG.datasets[wildcards.dataset].source,
        code=script_code("corrupt_dataset.py"),
    script:
        "../workflow/scripts/corrupt_dataset.py"
