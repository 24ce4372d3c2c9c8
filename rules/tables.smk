"""Tables, each as CSV, Markdown and LaTeX, with the published values beside ours.

Inputs: grids and predictions
Outputs: tables/{artefact}.csv .md .tex
"""


rule make_table:
    """Make a table of a paper from what was measured."""
    input:
        planned(plan.artefact_inputs),
    output:
        csv=report(
            "<results>/tables/{artefact}.csv",
            caption="../workflow/report/artefact.rst",
            category=artefact_paper,
            subcategory="Tables",
            labels=artefact_labels,
        ),
        markdown="<results>/tables/{artefact}.md",
        latex="<results>/tables/{artefact}.tex",
    log:
        "<logs>/tables/{artefact}.log",
    wildcard_constraints:
        artefact=artefacts_of("make_table"),
    localrule: True
    conda:
        "../envs/mode_connectivity.yaml"
    params:
        content=lambda wildcards: artefact_content(wildcards.artefact),
        caption=artefact_caption,
        code=script_code("make_table.py"),
    script:
        "../workflow/scripts/make_table.py"
