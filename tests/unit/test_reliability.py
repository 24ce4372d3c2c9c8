"""The table of faults names tests that there are, and nothing is tested that it leaves out."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TABLE)


def names_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_row_names_a_test() -> None:
    rows = [line for line in TABLE.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 15
    for row in rows:
        fault, promise, test = (cell.strip() for cell in row.strip("|").split("|"))
        assert fault and promise and re.fullmatch(r"(`tests/[\w/]+\.py::\w+` ?)+", test), row


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_the_named_tests_exist(path: str, name: str) -> None:
    assert name in names_in(path)


@pytest.mark.parametrize(
    "path",
    [
        "tests/end_to_end/test_faults.py",
        "tests/end_to_end/test_killed.py",
        "tests/slurm/test_slurm_faults.py",
    ],
)
def test_every_fault_is_in_the_table(path: str) -> None:
    assert {name for file, name in NAMED if file == path} == names_in(path)


def test_nothing_asks_for_the_time_of_day() -> None:
    """But for the times of files, and for people."""
    for path in (ROOT / "src").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        asked = re.findall(r"\btime\.time\(|\bdatetime\b|\btime\.(?:localtime|ctime|gmtime)", text)
        assert not asked, path
