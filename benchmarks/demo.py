"""What starting jobs costs, from the records of a demo that ran."""

import json
from pathlib import Path

from benchmarks.common import Row


def measure() -> list[Row]:
    """Return the share of the jobs' time that was spent before their own work began.

    Read from ``results/demo``; nothing where the demo has not run.
    """
    records = []
    for path in Path("results/demo").rglob("*.json"):
        content = json.loads(path.read_text())
        if "start_seconds" in content:
            records.append((content["start_seconds"], content["work_seconds"]))
    if not records:
        return []
    start = sum(record[0] for record in records)
    return [
        {
            "measurement": f"starting jobs / all of their time, {len(records)} jobs",
            "network": "demo",
            "value": start / (start + sum(record[1] for record in records)),
            "bound": 0.1,
        }
    ]
