"""Figures, each as PNG, PDF and the numbers that are drawn.

Inputs: grids and predictions
Outputs: figures/{artefact}.png .pdf .csv
"""

FIGURES = (
    "garipov2018_trivial_path",
    *(f"garipov2018_figure{number}" for number in range(1, 9)),
    *(f"gotmare2018_figure{number}" for number in range(1, 11)),
)


rule make_figure:
    """Draw a figure of a paper from what was measured."""
    input:
        artefact_inputs,
    output:
        png="<results>/figures/{artefact}.png",
        pdf="<results>/figures/{artefact}.pdf",
        csv="<results>/figures/{artefact}.csv",
    log:
        "<logs>/figures/{artefact}.log",
    wildcard_constraints:
        artefact=artefacts_of(FIGURES),
    localrule: True
    conda:
        "../envs/mode_connectivity.yaml"
    params:
        content=lambda wildcards: artefact_content(wildcards.artefact),
        code=script_code("make_figure.py"),
    script:
        "../workflow/scripts/make_figure.py"
