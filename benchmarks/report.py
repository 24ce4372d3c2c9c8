"""How long tables, figures, verdicts and the page take, where everything was measured before."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common import Row

CHECKOUT = Path(__file__).parents[1]
MADE = ("tables", "figures", "claims.csv", "claims_details.csv", "claims.md", "report.html")


def measure() -> list[Row]:
    """Return the seconds of a run of Snakemake on two cores that makes these and nothing else.

    Of the demo in ``results``; nothing where it has not run. The copy has links for files, which
    keep their times and take no room.
    """
    results = Path("results/demo")
    if not (results / "report.html").exists():
        return []
    (CHECKOUT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CHECKOUT / "build") as name:
        folder = Path(name)
        copy = folder / results
        shutil.copytree(results, copy, copy_function=os.link)
        for made in MADE:
            path = copy / made
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        command = [
            *(sys.executable, "-m", "snakemake", "--cores", "2", "--quiet", "all"),
            *("--snakefile", str(CHECKOUT / "Snakefile"), "--directory", str(folder)),
        ]
        start = time.perf_counter()
        subprocess.run(command, check=True)
        seconds = time.perf_counter() - start
        files = [*(copy / "tables").iterdir(), *(copy / "figures").iterdir()]
    return [
        {
            "measurement": f"{len(files)} files of tables and figures, verdicts and page, seconds",
            "network": "demo",
            "value": seconds,
            "bound": 60.0,
        }
    ]
