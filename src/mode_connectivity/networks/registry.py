"""Networks by name: which there are, which options each takes, and how to build one.

Everything but `build` reads source text and imports none of it, so that a config is checked
without torch.
"""

import ast
import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mode_connectivity.own_functions import FORM, find_function, functions_in, load_function
from mode_connectivity.settings import UserError, nearest

if TYPE_CHECKING:
    import torch

Function = TypeVar("Function", bound="Callable[..., torch.nn.Module]")

_GIVEN_BY_THE_DATA_SET = ("input_shape", "classes")


@dataclass(frozen=True)
class Option:
    """An option of a network.

    Attributes:
        annotation: its type as written in the source; any sequence reads ``list[...]``, which is
            what a config file can hold.
        default: its value where the config is silent, as a config file would write it.
    """

    annotation: str
    default: Any


@dataclass(frozen=True)
class NetworkSpecification:
    """What is known of a network before torch is imported.

    Attributes:
        name: what a config calls it.
        title: what tables and figures call it.
        options: its options by name, in the order of its signature.
        path: the file that defines it.
        docstring: of its function.
    """

    name: str
    title: str
    options: dict[str, Option]
    path: Path
    docstring: str


def network(*, title: str) -> Callable[[Function], Function]:
    """Register the decorated function, found by its own name, as a network.

    The function takes ``input_shape`` and ``classes`` and its options, all keyword-only; every
    option has a plain annotation (int, float, bool, str, a list of these, or ``Literal``) and a
    default written out as a literal. It returns a `torch.nn.Module` from images
    ``[batch, *input_shape]`` to logits ``[batch, classes]``.

    Args:
        title: what tables and figures call the network; a literal text, for it is read from the
            source.
    """

    def register(function: Function) -> Function:
        return function

    return register


def available() -> dict[str, NetworkSpecification]:
    """Return every network that a file of this package registers, by name."""
    return dict(_registered())


def specification(name: str) -> NetworkSpecification:
    """Look up a network.

    Args:
        name: a registered name, or ``package.module:function``, or ``path/to/file.py:function``
            (from the working directory); a function of the user's own need not be decorated.

    Raises:
        UserError: the name, module, file or function does not exist, or the function does not
            have the signature that `network` asks for.
    """
    if ":" not in name:
        networks = _registered()
        if name not in networks:
            raise UserError(
                f"network {name!r} is unknown; networks: {', '.join(networks)}"
                f"{nearest(name, networks)}; a network of your own is written {FORM}"
            )
        return networks[name]
    function, path = find_function(name, "network")
    return _specify(name, function, path)


def in_words(option: Option) -> str:
    """Say which values an option allows."""
    return _in_words(ast.parse(option.annotation, mode="eval").body)


def check_options(name: str, options: Mapping[str, object]) -> list[str]:
    """Return one text for every mistake in the options of a network, none if all are right.

    Args:
        name: the network, as `specification` takes it; a mistake in it is returned like the others.
        options: values by option, as a config file holds them.
    """
    try:
        known = specification(name).options
    except UserError as error:
        return [str(error)]
    mistakes = []
    for option, value in options.items():
        if option not in known:
            listing = ", ".join(f"{other} (by default {known[other].default!r})" for other in known)
            mistakes.append(
                f"network {name!r}: option {option!r} is unknown; "
                f"options: {listing or 'none'}{nearest(option, known)}"
            )
            continue
        annotation = ast.parse(known[option].annotation, mode="eval").body
        if not _fits(annotation, value):
            mistakes.append(
                f"network {name!r}: option {option!r} is {value!r}; "
                f"it must be {_in_words(annotation)}{_hint(annotation, value)}"
            )
    return mistakes


def build(
    name: str, /, *, input_shape: tuple[int, ...], classes: int, **options: object
) -> "torch.nn.Module":
    """Build a network, its weights drawn by PyTorch's defaults from the global generator.

    Args:
        name: the network, as `specification` takes it.
        input_shape: the shape of one example, ``(channels, height, width)`` for images.
        classes: the number of logits.
        **options: its options; those left out take their defaults.

    Raises:
        UserError: the network or an option is not what `check_options` allows, the network does
            not take examples of this shape, or a function of the user's own returns no module.
    """
    if mistakes := check_options(name, options):
        raise UserError("\n".join(mistakes))
    from torch.nn import Module

    from mode_connectivity.networks.pointwise import subsample_before_pointwise

    found = specification(name)
    if ":" in name:
        function = load_function(name, "network")
    else:
        module = importlib.import_module(f"{__package__}.{found.path.stem}")
        function = getattr(module, name)
    built = function(input_shape=input_shape, classes=classes, **options)
    if not isinstance(built, Module):
        raise UserError(
            f"network {name!r}: the function returned {type(built).__name__}; "
            "it must return a torch.nn.Module"
        )
    subsample_before_pointwise(built)
    return built


@cache
def _registered() -> dict[str, NetworkSpecification]:
    networks: dict[str, NetworkSpecification] = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        for function in functions_in(path):
            if _decoration(function) is None:
                continue
            if function.name in networks:
                raise UserError(
                    f"network {function.name!r} is registered twice, in "
                    f"{networks[function.name].path} and {path}; rename one of the functions"
                )
            networks[function.name] = _specify(function.name, function, path)
    return networks


def _decoration(function: ast.FunctionDef) -> ast.Call | None:
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call):
            called = decorator.func
            name = called.attr if isinstance(called, ast.Attribute) else ast.unparse(called)
            if name == network.__name__:
                return decorator
    return None


def _specify(name: str, function: ast.FunctionDef, path: Path) -> NetworkSpecification:
    where = f"network {name!r} ({path}, line {function.lineno})"
    arguments = function.args
    names = [argument.arg for argument in arguments.kwonlyargs]
    missing = [argument for argument in _GIVEN_BY_THE_DATA_SET if argument not in names]
    if missing or arguments.posonlyargs or arguments.args:
        signature = ", ".join(("*", *_GIVEN_BY_THE_DATA_SET, "..."))
        raise UserError(
            f"{where}: the function takes ({ast.unparse(arguments)}); a network takes "
            f"keyword-only arguments, input_shape and classes among them; "
            f"write def {function.name}({signature})"
        )
    options = {}
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if argument.arg in _GIVEN_BY_THE_DATA_SET:
            continue
        try:
            # No default at all is None here, which literal_eval refuses like any non-literal.
            value = ast.literal_eval(default)  # type: ignore[arg-type]
        except (ValueError, TypeError):
            raise UserError(
                f"{where}: the option {argument.arg!r} has no literal default; "
                f"write one, as in {argument.arg}: int = 1"
            ) from None
        options[argument.arg] = Option(
            _config_type(argument.annotation), list(value) if isinstance(value, tuple) else value
        )
    docstring = ast.get_docstring(function) or ""
    return NetworkSpecification(name, _title(where, function), options, path, docstring)


def _title(where: str, function: ast.FunctionDef) -> str:
    decoration = _decoration(function)
    if decoration is None:
        return function.name
    for keyword in decoration.keywords:
        if keyword.arg == "title" and isinstance(keyword.value, ast.Constant):
            return str(keyword.value.value)
    raise UserError(f'{where}: the decorator has no literal title; write @network(title="...")')


def _config_type(annotation: ast.expr | None) -> str:
    if annotation is None:
        return "object"
    return re.sub(r"[\w.]*\bSequence\[", "list[", ast.unparse(annotation))


def _fits(annotation: ast.expr, value: object) -> bool:
    """Whether a value is of a type; an annotation that is not plain fits every value."""
    match annotation:
        case ast.Constant(value=None):
            return value is None
        case ast.Name(id="bool"):
            return isinstance(value, bool)
        case ast.Name(id="int"):
            return isinstance(value, int) and not isinstance(value, bool)
        case ast.Name(id="float"):
            return isinstance(value, int | float) and not isinstance(value, bool)
        case ast.Name(id="str"):
            return isinstance(value, str)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _fits(left, value) or _fits(right, value)
        case ast.Subscript(value=ast.Name(id="list"), slice=element):
            return isinstance(value, list | tuple) and all(_fits(element, item) for item in value)
        case ast.Subscript(value=ast.Name(id="Literal")):
            # Types are compared too, for True equals 1.
            return any(
                type(value) is type(choice) and value == choice for choice in _choices(annotation)
            )
    return True


def _in_words(annotation: ast.expr) -> str:
    match annotation:
        case ast.Constant(value=None):
            return "nothing (null)"
        case ast.Name(id="bool"):
            return "true or false"
        case ast.Name(id="int"):
            return "an integer"
        case ast.Name(id="float"):
            return "a number"
        case ast.Name(id="str"):
            return "a text"
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return f"{_in_words(left)} or {_in_words(right)}"
        case ast.Subscript(value=ast.Name(id="list"), slice=element):
            return f"a list, each element {_in_words(element)}"
        case ast.Subscript(value=ast.Name(id="Literal")):
            return "one of " + ", ".join(repr(choice) for choice in _choices(annotation))
    return ast.unparse(annotation)


def _choices(literal: ast.Subscript) -> tuple[object, ...]:
    choices = ast.literal_eval(literal.slice)
    return choices if isinstance(choices, tuple) else (choices,)


def _hint(annotation: ast.expr, value: object) -> str:
    if not isinstance(value, str):
        return ""
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Literal":
        return nearest(value, (str(choice) for choice in _choices(annotation)))
    try:
        number = float(value)
    except ValueError:
        return ""
    if not _fits(annotation, number):
        return ""
    # YAML 1.1 takes a number without a point, such as 5e-2, for a text.
    return f", without quotes and with a point: {number}"
