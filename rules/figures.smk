"""Figures, each as PNG, PDF, the numbers that are drawn and where they lie in the picture.

Inputs: grids and predictions
Outputs: figures/{artefact}.png .pdf .csv .json
"""


rule make_figure:
    """Draw a figure, of a paper or of the user's own, from what was measured."""
    input:
        planned(plan.artefact_inputs),
    output:
        png=report(
            "<results>/figures/{artefact}.png",
            caption="../workflow/report/artefact.rst",
            category=artefact_paper,
            subcategory="Figures",
            labels=artefact_labels,
        ),
        pdf="<results>/figures/{artefact}.pdf",
        csv="<results>/figures/{artefact}.csv",
        places="<results>/figures/{artefact}.json",
    log:
        "<logs>/figures/{artefact}.log",
    wildcard_constraints:
        artefact=artefacts_of("make_figure"),
    localrule: True
    conda:
        "../envs/mode_connectivity.yaml"
    params:
        content=lambda wildcards: artefact_content(wildcards.artefact),
        caption=artefact_caption,
        code=lambda wildcards: script_code(
            "make_figure.py", figure=CONFIG.figures.get(wildcards.artefact)
        ),
    script:
        "../workflow/scripts/make_figure.py"
