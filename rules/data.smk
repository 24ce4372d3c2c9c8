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
        mem_mb=4000,
        runtime=30,
    params:
        # The title is for tables: another one prepares nothing anew.
        settings=lambda wildcards: {
            **plain(CONFIG.datasets[wildcards.dataset]),
            "title": wildcards.dataset,
        },
        code=script_code("prepare_dataset.py"),
    script:
        "../workflow/scripts/prepare_dataset.py"
