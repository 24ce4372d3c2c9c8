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

    Modules are looked for in this package and, for a network of the user's own, in the package
    that its file is part of; everything else that is installed belongs to the environment.

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
    ends_in_string: set[int] = set()
    starts: list[int] = []
    for part in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = token.tok_name[part.type]
        if kind == "COMMENT":
            row, column = part.start
            lines[row - 1] = lines[row - 1][:column]
        elif kind == "STRING":
            ends_in_string.update(range(part.start[0], part.end[0]))
        # From Python 3.12 on, a formatted string is several tokens.
        elif kind.endswith("STRING_START"):
            starts.append(part.start[0])
        elif kind.endswith("STRING_END"):
            ends_in_string.update(range(starts.pop(), part.end[0]))
    # From the last to the first, as a cut moves what follows it on its line.
    for first, start, last, end in sorted(_docstrings(ast.parse(source)), reverse=True):
        head, tail = lines[first - 1].encode()[:start], lines[last - 1].encode()[end:]
        lines[first - 1 : last] = [""] * (last - first + 1)
        lines[first - 1] = head.decode()
        lines[last - 1] += tail.decode()
        ends_in_string.difference_update(range(first, last))
    return "\n".join(
        line if row in ends_in_string else line.rstrip()
        for row, line in enumerate(lines, start=1)
        if row in ends_in_string or line.strip()
    )


def _read(path: Path) -> str:
    with tokenize.open(path) as file:
        return file.read()


def _docstrings(tree: ast.Module) -> Iterator[tuple[int, int, int, int]]:
    """Yield first row, start, last row and end of each; columns count bytes."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else []:
            # Strings that stand alone do nothing: docstrings and attribute descriptions.
            match statement:
                case ast.Expr(value=ast.Constant(value=str()) as text):
                    yield (
                        text.lineno,
                        text.col_offset,
                        text.end_lineno or text.lineno,
                        text.end_col_offset or text.col_offset,
                    )


@cache
def _package(path: Path) -> Path | None:
    """Return the topmost folder of the package that a file is part of, if it is part of one."""
    package = None
    for folder in path.parents:
        if not (folder / "__init__.py").is_file():
            break
        package = folder
    return package


@cache
def _imported_modules(path: Path) -> tuple[Path, ...]:
    """Return the files of this package, and of the file's own, that it imports anywhere."""
    packages = {folder.name: folder for folder in (_package(path), PACKAGE) if folder is not None}
    stems: set[Path] = set()
    for node in ast.walk(ast.parse(_read(path))):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            stems.update(
                packages[first].joinpath(*rest) for first, *rest in names if first in packages
            )
        elif isinstance(node, ast.ImportFrom):
            first, *rest = node.module.split(".") if node.module else [""]
            if node.level:
                module = path.parents[node.level - 1].joinpath(first, *rest)
            elif first in packages:
                module = packages[first].joinpath(*rest)
            else:
                continue
            stems.add(module)
            stems.update(module / alias.name for alias in node.names)
    # The version of this package is no reason to run anything again.
    stems.discard(PACKAGE)
    files = [
        file for stem in sorted(stems) for file in (stem.with_suffix(".py"), stem / "__init__.py")
    ]
    return tuple(file.resolve() for file in files if file.is_file())
