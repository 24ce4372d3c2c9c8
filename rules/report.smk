"""What the numbers say of the papers' statements, and the page in front of all results.

Inputs: tables and figures
Outputs: claims.csv .md, claims_details.csv, report.html
"""


rule judge_claims:
    """Judge the papers' statements by the numbers of the tables and figures that are asked for."""
    input:
        planned(plan.judged_files),
    output:
        claims=report(
            "<results>/claims.csv",
            caption="../workflow/report/claims.rst",
            category="Statements",
            labels={"what": "all statements"},
        ),
        details="<results>/claims_details.csv",
        markdown="<results>/claims.md",
    log:
        "<logs>/claims.log",
    localrule: True
    conda:
        "../envs/mode_connectivity.yaml"
    params:
        scale=CONFIG.scale,
        own=CONFIG.claims,
        statements=contents(claim_files(CONFIG.claims)),
        code=script_code("judge_claims.py"),
    script:
        "../workflow/scripts/judge_claims.py"


rule make_report:
    """Make one page of the scorecard, every table and every figure."""
    input:
        claims="<results>/claims.csv",
        details="<results>/claims_details.csv",
        markdown="<results>/claims.md",
        artefacts=planned(plan.shown_files),
    output:
        "<results>/report.html",
    log:
        "<logs>/report.log",
    localrule: True
    conda:
        "../envs/mode_connectivity.yaml"
    threads: 4
    params:
        settings=lambda wildcards: digest_of_shown_settings(),
        page=contents(page_sources()),
        code=script_code("make_report.py"),
    script:
        "../workflow/scripts/make_report.py"
