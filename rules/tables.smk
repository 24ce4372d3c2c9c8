"""Tables, each as CSV, Markdown and LaTeX, with the published values beside ours.

Inputs: grids and predictions
Outputs: tables/{artefact}.csv .md .tex
"""

TABLES = (
    *(f"garipov2018_table{number}" for number in (1, 2, 3)),
    "garipov2018_curve_ensemble",
    "garipov2018_imagenet",
    "garipov2018_trivial_path",
    "gotmare2018_modes",
    *(f"benton2021_figure{part}" for part in (8, 9, "_a7")),
    "benton2021_figure11",
    "benton2021_c1",
    "benton2021_figure10",
)


rule make_table:
    """Make a table of a paper from what was measured."""
    input:
        artefact_inputs,
    output:
        csv="<results>/tables/{artefact}.csv",
        markdown="<results>/tables/{artefact}.md",
        latex="<results>/tables/{artefact}.tex",
    log:
        "<logs>/tables/{artefact}.log",
    wildcard_constraints:
        artefact=artefacts_of(TABLES),
    localrule: True
    conda:
        "../envs/mode_connectivity.yaml"
    params:
        content=lambda wildcards: artefact_content(wildcards.artefact),
        code=script_code("make_table.py"),
    script:
        "../workflow/scripts/make_table.py"
