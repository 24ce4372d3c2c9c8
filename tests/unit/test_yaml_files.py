from pathlib import Path

import pytest

from mode_connectivity import yaml_files
from mode_connectivity.settings import UserError
from mode_connectivity.yaml_files import read_yaml

ROOT = Path(__file__).parents[2]


def test_file_in_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes("title: Zürich".encode("latin-1"))
    with pytest.raises(UserError, match=r"^not valid YAML: 'utf-8' codec can't decode"):
        read_yaml(path)


def test_files_that_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("# nothing\n")
    assert read_yaml(path) == {}
    path.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\nc: {<<: [*a, {z: 4}]}\n")
    assert read_yaml(path)["b"] == {"x": 3, "y": 2}
    assert read_yaml(path)["c"] == {"x": 1, "y": 2, "z": 4}


def test_the_fast_reader_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [ROOT / "config.yaml", *sorted((ROOT / "config").rglob("*.yaml"))]
    fast = [read_yaml(path) for path in paths]
    monkeypatch.setattr(yaml_files, "_FastLoader", yaml_files._UniqueKeyLoader)
    assert [read_yaml(path) for path in paths] == fast
