import subprocess
import sys
from pathlib import Path

import pytest

from mode_connectivity.own_functions import find_function, load_function
from mode_connectivity.settings import UserError

SOURCE = """from math import sqrt


def root(number):
    return sqrt(number)


def square(number):
    return number**2
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    return path


def test_a_function_of_a_file(file: Path) -> None:
    for name in (f"{file}:square", "mine.py:square", "./mine.py:square"):
        function, path = find_function(name, "figure")
        assert (function.name, function.lineno, path) == ("square", 8, file)
        assert load_function(name, "figure")(3) == 9


def test_a_function_of_a_module(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = file.parent / "a_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "inside.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(file.parent)
    assert find_function("a_package.inside:root", "figure")[1] == package / "inside.py"
    assert load_function("a_package.inside:root", "figure")(9) == 3


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "square",
            "figure 'square' is no function; write package.module:function or "
            "path/to/file.py:function",
        ),
        (
            "mine.py:sqare",
            "{file} defines no function 'sqare' at its top level; functions: root, "
            "square; did you mean 'square'?",
        ),
        (
            "mien.py:square",
            "figure 'mien.py:square': there is no file {folder}/mien.py; did you "
            "mean 'mine.py'?; a relative path starts from the working directory, {folder}",
        ),
        (
            "no.such:square",
            "figure 'no.such:square': there is no Python module 'no.such' on "
            "Python's path; install it, or write path/to/file.py:function",
        ),
    ],
)
def test_what_cannot_be_found(file: Path, name: str, expected: str) -> None:
    with pytest.raises(UserError) as raised:
        find_function(name, "figure")
    assert expected.format(file=file, folder=file.parent) in str(raised.value)


def test_a_file_that_cannot_be_imported_is_told_with_the_line(file: Path) -> None:
    file.write_text("\n\nimport no_such_module\n\n\ndef square(number): ...\n")
    with pytest.raises(UserError) as raised:
        load_function("mine.py:square", "figure")
    assert str(raised.value) == (
        f"figure 'mine.py:square' cannot be imported: {file}, line 3: ModuleNotFoundError: No "
        "module named 'no_such_module'"
    )


def test_finding_imports_nothing(file: Path) -> None:
    file.write_text("import torch\n\n\ndef square(number): ...\n")
    program = (
        "import sys\n"
        "from mode_connectivity.own_functions import find_function\n"
        f"find_function({str(file)!r} + ':square', 'figure')\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
