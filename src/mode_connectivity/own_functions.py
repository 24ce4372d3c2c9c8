"""Functions of the user's own, by name: ``package.module:function``, ``path/to/file.py:function``.

Everything but `load_function` reads source text and imports none of it, so that a config is checked
without what these functions need.
"""

import ast
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from mode_connectivity.settings import UserError, nearest

FORM = "package.module:function or path/to/file.py:function"


def find_function(name: str, kind: str) -> tuple[ast.FunctionDef, Path]:
    """Return the source of a function, and the file that defines it.

    Args:
        name: ``package.module:function`` or ``path/to/file.py:function``; a relative path starts
            from the working directory.
        kind: what it is for, for messages: ``network``.

    Raises:
        UserError: the name has another form, or the module, file or function does not exist.
    """
    place, _, function = name.rpartition(":")
    if ":" not in name:
        raise UserError(f"{kind} {name!r} is no function; write {FORM}")
    path = _file(name, kind, place) if _is_path(place) else _module_file(name, kind, place)
    functions = {node.name: node for node in functions_in(path)}
    if function not in functions:
        raise UserError(
            f"{kind} {name!r}: {path} defines no function {function!r} at its top level; "
            f"functions: {', '.join(functions) or 'none'}{nearest(function, functions)}"
        )
    return functions[function], path


def functions_in(path: Path) -> Iterator[ast.FunctionDef]:
    """Yield the functions that a file defines at its top level.

    Raises:
        UserError: the file is no Python.
    """
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{path} is not valid Python: {error}") from error
    return (node for node in tree.body if isinstance(node, ast.FunctionDef))


def load_function(name: str, kind: str) -> Callable[..., Any]:
    """Import a function.

    Args:
        name: as `find_function` takes it.
        kind: likewise.

    Raises:
        UserError: there is no such function, or its file cannot be imported.
    """
    _, path = find_function(name, kind)
    place, _, function = name.rpartition(":")
    try:
        module = _load(path) if _is_path(place) else importlib.import_module(place)
        loaded: Callable[..., Any] = getattr(module, function)
    # Whatever the code of the file does.
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(path)]
        where = f"{path}, line {lines[-1]}" if lines else str(path)
        text = " ".join(str(error).split())
        raise UserError(
            f"{kind} {name!r} cannot be imported: {where}: {type(error).__name__}: {text}"
        ) from error
    return loaded


def _is_path(place: str) -> bool:
    return place.endswith(".py") or "/" in place or "\\" in place


def _file(name: str, kind: str, place: str) -> Path:
    path = Path(place).expanduser().resolve()
    if not path.is_file():
        neighbours = [neighbour.name for neighbour in path.parent.glob("*.py")]
        raise UserError(
            f"{kind} {name!r}: there is no file {path}{nearest(path.name, neighbours)}; "
            f"a relative path starts from the working directory, {Path.cwd()}"
        )
    return path


def _module_file(name: str, kind: str, module: str) -> Path:
    # importlib would import the packages above a module to find it, and they may import torch.
    package, *inner = module.split(".")
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    candidates: list[Path] = []
    if spec is not None and inner:
        for location in spec.submodule_search_locations or ():
            inside = Path(location, *inner)
            candidates += [inside.with_name(f"{inside.name}.py"), inside / "__init__.py"]
    elif spec is not None and spec.origin is not None:
        candidates.append(Path(spec.origin))
    for candidate in candidates:
        if candidate.suffix == ".py" and candidate.is_file():
            return candidate
    raise UserError(
        f"{kind} {name!r}: there is no Python module {module!r} on Python's path; install it, or "
        "write path/to/file.py:function"
    )


def _load(path: Path) -> ModuleType:
    # Dataclasses look their module up by its name; the bare stem could shadow another module.
    name = f"own_file_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} cannot be loaded as Python; the file's name ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
