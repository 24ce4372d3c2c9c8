"""Which code a stage runs, as a short hash: comments, docstrings and time stamps do not count."""

import ast
import hashlib
import io
import token
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent


def code_fingerprint(*sources: Path) -> str:
    """Return a hash of source files and of every module of their packages that they import.

    Editing the code that a stage runs changes it, and Snakemake runs the stage again; editing a
    comment, a docstring or a blank line, touching a file or changing another stage's module does
    not. Nor does the place of the checkout, or the version of Python.

    Modules are found in this package and, for a network of the user's own, in the package of its
    file; what else is installed is a matter of the environment.

    Args:
        sources: the files at which the search begins, a rule's script first.
    """
    found: dict[Path, tuple[str, str]] = {}
    waiting = [source.resolve() for source in sources]
    while waiting:
        path = waiting.pop()
        if path not in found:
            name = path.relative_to((_package(path) or path).parent).as_posix()
            found[path] = (name, _canonical_source(path))
            waiting.extend(_imported_modules(path))
    digest = hashlib.blake2b(digest_size=8)
    for name, text in sorted(found.values()):
        digest.update(f"{name}\0{text}\0".encode())
    return digest.hexdigest()


@cache
def _canonical_source(path: Path) -> str:
    """Return a file's source without comments, docstrings, blank lines and trailing spaces.

    Cut from the text by position, not printed from the syntax tree, so that every version of
    Python sees the same.
    """
    source = _read(path)
    lines = source.split("\n")
    for docstring in _docstrings(ast.parse(source)):
        _cut(lines, docstring)
    inside_string = set()
    starts: list[int] = []
    for part in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = token.tok_name[part.type]
        if part.type == tokenize.COMMENT:
            row, column = part.start
            lines[row - 1] = lines[row - 1][:column]
        elif part.type == tokenize.STRING:
            inside_string.update(range(part.start[0], part.end[0]))
        elif kind.endswith("STRING_START"):
            starts.append(part.start[0])
        elif kind.endswith("STRING_END"):
            inside_string.update(range(starts.pop(), part.end[0]))
    kept = (
        line if row in inside_string else line.rstrip()
        for row, line in enumerate(lines, start=1)
        if row in inside_string or line.strip()
    )
    return "\n".join(kept)
