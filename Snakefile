"""Tables and figures of three papers on mode connectivity.

Results lie below results/{scale}/ (results/README.md has the contract):

    datasets/{dataset}.safetensors
    networks/{recipe}/seed{seed}/    weights, history, record of the run, snapshots
    curves/{curve}/                  vertices, history, record, grid
    simplexes/{simplex}/seed{seed}/  vertices, history, volumes, record, grids of drawn points
    planes/{plane}/                  grid, points on the plane
    ensembles/{ensemble}/            members, predictions, metrics, the same under corruption
    tables/{artefact}.{csv,md,tex}   figures/{artefact}.{png,pdf,csv,json}
    claims.{csv,md}  claims_details.csv  report.html
"""

from pathlib import Path

from snakemake.utils import min_version

min_version("9.12")


configfile: f"{workflow.basedir}/config.yaml"


include: "rules/common.smk"


pathvars:
    results=f"{CONFIG.results}/{CONFIG.scale}",
    logs=f"{CONFIG.results}/{CONFIG.scale}/logs",


container: CONFIG.container


report: "workflow/report/workflow.rst"


include: "rules/data.smk"
include: "rules/networks.smk"
include: "rules/curves.smk"
include: "rules/ensembles.smk"
include: "rules/simplexes.smk"
include: "rules/shift.smk"
include: "rules/evaluation.smk"
include: "rules/tables.smk"
include: "rules/figures.smk"
include: "rules/report.smk"
include: "rules/cost.smk"


rule all:
    default_target: True
    input:
        artefact_files(plan.selected_artefacts(CONFIG)),
        [result(path) for path in plan.report_files()],
    localrule: True


for paper, artefacts in plan.papers(CONFIG).items():

    rule:
        name:
            paper
        input:
            artefact_files(artefacts),
        localrule: True


for artefact in artefact_names(CONFIG):

    rule:
        name:
            artefact
        input:
            artefact_files([artefact]),
        localrule: True


rule datasets:
    input:
        [result(layout.dataset(name)) for name in plan.used_datasets(CONFIG)],
    localrule: True


check_rules_of_profile()


# All of it, as of several Snakemake keeps only the last.
onstart:
    check_cluster()
    check_devices()
    announce_planned_cost()
    redated = date_back(Path(CONFIG.results, CONFIG.scale))
    if redated:
        print(
            f"{redated} files of {CONFIG.results} were dated in the future; they are dated now"
        )


onsuccess:
    results = f"{CONFIG.results}/{CONFIG.scale}"
    print(
        f"Tables: {results}/tables    Figures: {results}/figures    All of it: {results}/report.html"
    )
