import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mode_connectivity import provenance
from mode_connectivity.provenance import code_fingerprint

ROOT = Path(__file__).parents[2]

FILES = {
    "scripts/train.py": '''"""Train."""

from mode_connectivity.training.loop import train

if __name__ == "__main__":
    train(snakemake.input)
''',
    "mode_connectivity/__init__.py": '"""Everything."""\n\n__version__ = "1"\n',
    "mode_connectivity/files.py": "def write(path):\n    return path\n",
    "mode_connectivity/unrelated.py": "def unused():\n    return 1\n",
    "mode_connectivity/training/__init__.py": '"""Training."""\n',
    "mode_connectivity/training/loop.py": '''"""The loop."""

from pathlib import Path

import torch

from mode_connectivity.networks import registry

RATE = 0.1  # of Garipov et al.


def train(source: Path) -> float:
    """Train.

    Args:
        source: where from.
    """
    from mode_connectivity import files

    # Written before it is returned.
    files.write(source)
    text = """first

    last  # no comment
"""
    return registry.build(text)


class Diverged(Exception): """The loss is not finite."""
''',
    "mode_connectivity/networks/__init__.py": '"""Networks."""\n',
    "mode_connectivity/networks/registry.py": """import mode_connectivity.networks.checks


def build(name):
    return mode_connectivity.networks.checks.check(name)
""",
    "mode_connectivity/networks/checks.py": "def check(name):\n    return name\n",
}


@pytest.fixture
def fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The fingerprint of a script in a checkout of its own, with some files edited."""
    count = 0

    def compute(files: dict[str, str] | None = None, *scripts: str) -> str:
        nonlocal count
        count += 1
        folder = tmp_path / f"checkout{count}"
        for name, text in {**FILES, **(files or {})}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        monkeypatch.setattr(provenance, "PACKAGE", folder / "mode_connectivity")
        return code_fingerprint(*(folder / script for script in scripts or ("scripts/train.py",)))

    return compute


def edited(name: str, old: str, new: str) -> dict[str, str]:
    assert FILES[name].count(old) == 1
    return {name: FILES[name].replace(old, new)}


LOOP = "mode_connectivity/training/loop.py"


def test_the_place_of_the_checkout_does_not_matter(fingerprint) -> None:
    first = fingerprint()
    assert first == fingerprint()
    assert len(first) == 16


@pytest.mark.parametrize(
    "edit",
    [
        (LOOP, "# of Garipov et al.", "# of someone else"),
        (LOOP, "  # of Garipov et al.", ""),
        (LOOP, "    # Written before it is returned.\n", ""),
        (LOOP, "        source: where from.\n", "        source: where\n            from.\n\n"),
        (LOOP, '"""The loop."""', "'''Another,\n\nlonger text.'''"),
        (LOOP, '"""The loss is not finite."""', '"""\n    No.\n    """  # at all'),
        (LOOP, "\n\n\ndef train", "\n\n\n\n   \ndef train"),
        (LOOP, "import torch\n", "import torch   \n"),
        (LOOP, "import torch\n", "import torch\n'no docstring, but does nothing'\n"),
        ("scripts/train.py", '"""Train."""', '"""Train a network."""'),
        ("mode_connectivity/unrelated.py", "return 1", "return 2"),
        ("mode_connectivity/__init__.py", '"1"', '"2"'),
    ],
)
def test_edits_that_change_nothing(fingerprint, edit: tuple[str, str, str]) -> None:
    assert fingerprint(edited(*edit)) == fingerprint()


@pytest.mark.parametrize(
    "edit",
    [
        ("scripts/train.py", "snakemake.input", "snakemake.output"),
        (LOOP, "RATE = 0.1", "RATE = 0.2"),
        (LOOP, "RATE = 0.1  # of", "RATE = 0.15  # of"),
        (LOOP, "class Diverged", "class Diverging"),
        # Lines of a text that look like blank lines or comments.
        (LOOP, '"""first\n\n', '"""first\n'),
        (LOOP, "first\n", "first \n"),
        (LOOP, "# no comment", "# a comment"),
        (LOOP, "registry.build(text)", "registry.build(text), 1"),
        ("mode_connectivity/networks/registry.py", "check(name)", "check(name) + 1"),
        ("mode_connectivity/networks/checks.py", "return name", "return None"),
        ("mode_connectivity/files.py", "return path", "return str(path)"),
        ("mode_connectivity/networks/__init__.py", "\n", "\nimport os\n"),
    ],
)
def test_edits_that_change_something(fingerprint, edit: tuple[str, str, str]) -> None:
    assert fingerprint(edited(*edit)) != fingerprint()


def test_touch_changes_nothing(fingerprint, tmp_path: Path) -> None:
    before = fingerprint()
    for path in (tmp_path / "checkout1").rglob("*.py"):
        os.utime(path, (0, 0))
    provenance._canonical_source.cache_clear()
    assert code_fingerprint(tmp_path / "checkout1" / "scripts" / "train.py") == before


def test_line_ends_and_byte_order_marks_change_nothing(fingerprint, tmp_path: Path) -> None:
    before = fingerprint()
    for path in (tmp_path / "checkout1").rglob("*.py"):
        text = path.read_text().replace("\n", "\r\n")
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    provenance._canonical_source.cache_clear()
    provenance._imported_modules.cache_clear()
    assert code_fingerprint(tmp_path / "checkout1" / "scripts" / "train.py") == before


def test_modules_that_exchange_their_contents_are_noticed(fingerprint) -> None:
    names = ("mode_connectivity/networks/checks.py", "mode_connectivity/files.py")
    exchanged = {names[0]: FILES[names[1]], names[1]: FILES[names[0]]}
    assert fingerprint(exchanged) != fingerprint()


def test_name_of_a_file_counts(fingerprint) -> None:
    files = {"scripts/first.py": "A = 1\n", "scripts/second.py": "A = 1\n"}
    assert fingerprint(files, "scripts/first.py") != fingerprint(files, "scripts/second.py")


def test_text_that_moves_between_modules_is_noticed(fingerprint) -> None:
    moved = {
        "mode_connectivity/files.py": "A = 1\n",
        "mode_connectivity/networks/checks.py": "B = 2\nC = 3\n",
    }
    other = {
        "mode_connectivity/files.py": "A = 1\nB = 2\n",
        "mode_connectivity/networks/checks.py": "C = 3\n",
    }
    assert fingerprint(moved) != fingerprint(other)


def test_every_source_counts_once_and_in_any_order(fingerprint) -> None:
    script, network = "scripts/train.py", "mode_connectivity/networks/vgg.py"
    files = {network: "WIDTH = 64\n"}
    both = fingerprint(files, script, network)
    assert both == fingerprint(files, network, script)
    assert both == fingerprint(files, script, network, script)
    assert both != fingerprint(files, script)
    assert both != fingerprint({network: "WIDTH = 32\n"}, script, network)


@pytest.mark.parametrize(
    "statement",
    [
        "import mode_connectivity.unrelated",
        "import os, mode_connectivity.unrelated as other",
        "from mode_connectivity import unrelated",
        "from mode_connectivity import files, unrelated",
        "from mode_connectivity.unrelated import unused",
        "def later():\n    from mode_connectivity.unrelated import unused",
    ],
)
def test_every_form_of_import_is_followed(fingerprint, statement: str) -> None:
    script = {"scripts/train.py": f"{statement}\n"}
    changed = edited("mode_connectivity/unrelated.py", "return 1", "return 2")
    assert fingerprint(script) != fingerprint({**script, **changed})


@pytest.mark.parametrize(
    "statement",
    [
        "from . import blocks",
        "from .blocks import Block",
        "from own.parts.blocks import Block",
        "from own.parts import blocks",
        "import own.parts.blocks",
        "from ..parts import blocks",
    ],
)
def test_package_of_the_users_own_network_is_followed(fingerprint, statement: str) -> None:
    files = {
        "own/__init__.py": "",
        "own/parts/__init__.py": "",
        "own/parts/network.py": f"import torch\n{statement}\n",
        "own/parts/blocks.py": "class Block: pass\n",
        "own/parts/unrelated.py": "A = 1\n",
    }
    before = fingerprint(files, "own/parts/network.py")
    changed = {"own/parts/blocks.py": "class Block: width = 1\n"}
    assert fingerprint({**files, **changed}, "own/parts/network.py") != before
    unrelated = {"own/parts/unrelated.py": "A = 2\n"}
    assert fingerprint({**files, **unrelated}, "own/parts/network.py") == before


def test_circular_imports_end(fingerprint) -> None:
    circular = {
        "mode_connectivity/networks/checks.py": "from mode_connectivity.training import loop\n"
    }
    assert fingerprint(circular) != fingerprint()


NASTY = r'''
"""Docstring with # and "quotes"."""
import os  # ends in a comment
x = "# no comment"; "does nothing"; y = 'é'; """multi
line""" ; z = 3
f = f"""{x!r:>{len(y)}} # no comment

   {"nested " + f'{y}'}   
{{braces}}   
"""
g = (f"a" "b"  # between

     rf'\d{x}')
def h(): "Docstring."; return 1
class A: """Docstring."""; b = 1
match x:
    case 1:
        "does nothing"
        pass
'''  # noqa: W291

NASTY_CANONICAL = r'''
import os
x = "# no comment"; ; y = 'é';
 ; z = 3
f = f"""{x!r:>{len(y)}} # no comment

   {"nested " + f'{y}'}   
{{braces}}   
"""
g = (f"a" "b"
     rf'\d{x}')
def h(): ; return 1
class A: ; b = 1
match x:
    case 1:
        pass
'''.strip("\n")  # noqa: W291


def test_what_is_left_of_a_source(tmp_path: Path) -> None:
    path = tmp_path / "nasty.py"
    path.write_text(NASTY)
    assert provenance._canonical_source(path) == NASTY_CANONICAL


def other_pythons() -> list[str]:
    """Interpreters of other minor versions, on the path or kept by pyenv."""
    names = [f"python3.{minor}" for minor in range(11, 20) if minor != sys.version_info.minor]
    found = [path for name in names if (path := shutil.which(name))]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found += [str(path) for name in names for path in pyenv.glob(f"versions/*/bin/{name}")]
    return [
        path
        for path in found
        if subprocess.run([path, "-c", ""], capture_output=True).returncode == 0
    ]


def test_every_version_of_python_sees_the_same(tmp_path: Path) -> None:
    pythons = other_pythons()
    if not pythons:
        pytest.skip("no other version of Python is installed")
    nasty = tmp_path / "nasty.py"
    nasty.write_text(NASTY)
    # A copy, as somebody may be at work on the original.
    shutil.copytree(ROOT / "src", tmp_path / "src")
    shutil.copytree(ROOT / "workflow" / "scripts", tmp_path / "scripts")
    sources = [nasty, *sorted((tmp_path / "scripts").glob("*.py"))]
    sources += sorted((tmp_path / "src" / "mode_connectivity" / "networks").glob("*.py"))
    program = """
import sys
from pathlib import Path
from mode_connectivity.provenance import code_fingerprint
print(*[code_fingerprint(Path(source)) for source in sys.argv[1:]])
"""
    fingerprints = {}
    for python in [sys.executable, *pythons]:
        finished = subprocess.run(
            [python, "-c", program, *map(str, sources)],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONPATH": str(tmp_path / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
        )
        fingerprints[python] = finished.stdout.split()
    ours = fingerprints[sys.executable]
    assert len(set(ours)) == len(sources)
    assert fingerprints == dict.fromkeys(fingerprints, ours)


def test_a_stage_does_not_depend_on_the_config_of_others() -> None:
    provenance._imported_modules.cache_clear()
    waiting, seen = [ROOT / "workflow" / "scripts" / "train_network.py"], set()
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting.extend(provenance._imported_modules(path))
    names = {path.relative_to(ROOT).as_posix() for path in seen}
    assert "src/mode_connectivity/training/loop.py" in names
    assert "src/mode_connectivity/networks/registry.py" in names
    for stranger in ("config", "mistakes", "evaluation/curves", "reporting/tables"):
        assert f"src/mode_connectivity/{stranger}.py" not in names
