"""Figures, each as PNG, PDF, the numbers that are drawn and where they lie in the picture.

Inputs: grids and predictions
Outputs: figures/{artefact}.png .pdf .csv .json
"""

FIGURES = (
    "garipov2018_trivial_path",
    *(f"garipov2018_figure{number}" for number in range(1, 9)),
    *(f"gotmare2018_figure{number}" for number in range(1, 11)),
    *(f"benton2021_figure{number}" for number in (7, 10)),
    "benton2021_figure2",
    *(f"benton2021_figure{part}" for part in (3, 4, 5, 6, "_a2", "_a4a")),
    *(f"benton2021_figure{part}" for part in (8, 9, "_a3", "_a4b", "_a5", "_a6", "_a7", "_a8")),
    "benton2021_figure11",
    "benton2021_c1",
)


rule make_figure:
    """Draw a figure of a paper from what was measured."""
    input:
        artefact_inputs,
    output:
        png="<results>/figures/{artefact}.png",
        pdf="<results>/figures/{artefact}.pdf",
        csv="<results>/figures/{artefact}.csv",
        places="<results>/figures/{artefact}.json",
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
