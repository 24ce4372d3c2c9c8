"""What is wrong with a block of the config, and what is allowed, in the words of whoever wrote it.

pydantic finds the mistakes; its own texts speak of classes, unions and inputs.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from mode_connectivity.settings import UserError, nearest

Keys = tuple[int | str, ...]
Model = TypeVar("Model", bound=BaseModel)

LONGEST = 60
"""Characters of a value that a message shows."""
MISSING = "is missing"
TAGS = ("name", "source", "method")
"""Keys whose value says which of several blocks it is."""


def explain(
    error: ValidationError,
    model: Any,
    value: Any,
    *,
    further_keys: tuple[str, ...] = (),
) -> Iterator[tuple[Keys, str]]:
    """Yield each mistake in a block: the keys that lead to it, and what is wrong there.

    Args:
        error: what pydantic says.
        model: what the block was checked against: a model, or a union of models.
        value: the block as it was written.
        further_keys: keys that are allowed beside those of the model.
    """
    explained = set()
    for details in error.errors():
        place = _Place.find(model, details["loc"])
        if place.choice is not None:
            found = _look_up(value, place.choice.keys)
            if not isinstance(found, Mapping):
                # Each member of the union has its own complaint about the same value.
                if place.choice.keys not in explained:
                    explained.add(place.choice.keys)
                    yield place.choice.keys, _mismatch(found, place.choice.annotation)
                continue
            if not place.choice.is_block:
                continue
        if details["type"] == "value_error":
            for line in str(details["ctx"]["error"]).splitlines():
                yield place.keys, line
        elif details["type"] in ("union_tag_invalid", "union_tag_not_found"):
            yield _wrong_name(place, details)
        else:
            keys = further_keys if len(place.keys) == 1 else ()
            yield place.keys, _text(details, place, keys)


def validated(
    model: type[Model],
    value: Mapping[str, Any],
    where: str,
    options: Mapping[str, str] | None = None,
) -> Model:
    """Return settings that do not come from a config file.

    Args:
        model: their class.
        value: what they are made of.
        where: what they are, for messages.
        options: of a command line, by the keys that they set.

    Raises:
        UserError: with all mistakes.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        lines = []
        for keys, text in explain(error, model, value):
            key = ".".join(map(str, keys))
            place = (options or {}).get(key, ".".join(filter(None, [where, key])))
            lines.append(f"{place}: {text}")
        raise UserError("\n".join(lines)) from None


def without_empty(value: Any, annotation: Any) -> Any:
    """Return a block without the known keys that were left empty: they say nothing.

    Args:
        value: the block as it was written.
        annotation: the model of its settings.
    """
    if not isinstance(value, Mapping):
        return value
    bare = bare_type(annotation)
    if get_origin(bare) is dict:
        return {key: without_empty(item, get_args(bare)[1]) for key, item in value.items()}
    kept = {}
    for key, item in value.items():
        inner = [
            model.model_fields[key].annotation
            for model in models_of(bare)
            if isinstance(key, str) and key in model.model_fields
        ]
        if item is not None or not inner:
            kept[key] = without_empty(item, inner[0]) if inner else item
    return kept


def shown(value: Any) -> str:
    """Return a value about as YAML has it, cut if it is long."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return f".{value}".replace(".-", "-.")
    if isinstance(value, Mapping):
        text = "{" + ", ".join(f"{key}: {shown(item)}" for key, item in value.items()) + "}"
    elif isinstance(value, list):
        text = "[" + ", ".join(map(shown, value)) + "]"
    else:
        text = repr(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


@dataclass(frozen=True)
class _Choice:
    """A place at which one of several types is allowed."""

    keys: Keys
    annotation: Any
    is_block: bool
    """Whether the type that complains is a block of settings."""


@dataclass
class _Place:
    """Where a mistake is: the keys that lead there, and what belongs there."""

    annotation: Any
    keys: Keys = ()
    block: Any = None
    """What the last key is a key of."""
    description: str | None = None
    choice: _Choice | None = None

    @classmethod
    def find(cls, model: Any, location: tuple[int | str, ...]) -> "_Place":
        """Follow pydantic's location, in which names of types stand among the keys."""
        place = cls(model)
        for part in location:
            bare = bare_type(place.annotation)
            members = members_of(bare)
            if len(members) > 1:
                member = _member(members, str(part))
                if member not in tagged(members):
                    place.choice = _Choice(place.keys, bare, is_block=_is_model(member))
                place.annotation = member
            elif part != "[key]":
                place._enter(bare, part)
        return place

    def _enter(self, block: Any, key: int | str) -> None:
        self.keys = (*self.keys, key if get_origin(block) is list else str(key))
        self.block, self.annotation, self.description = block, Any, None
        if _is_model(block) and key in block.model_fields:
            information = block.model_fields[key]
            self.annotation, self.description = information.annotation, information.description
        elif get_origin(block) in (dict, list):
            self.annotation = get_args(block)[-1]


def _text(details: ErrorDetails, place: _Place, further_keys: tuple[str, ...]) -> str:
    found = details["input"]
    limits = details.get("ctx", {})
    match details["type"]:
        case "extra_forbidden" | "invalid_key":
            return _unknown_key(place, further_keys)
        case "missing":
            meaning = f" ({place.description})" if place.description else ""
            return f"{MISSING}; give {in_words(place.annotation)}{meaning}"
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
            (limit,) = (
                f"{words} {_limit(limits[key])}" for key, words in _LIMITS.items() if key in limits
            )
            return f"found {shown(found)}; it must be {limit}"
        case "finite_number":
            return f"found {shown(found)}; it must be a finite number"
        case "too_short" | "string_too_short" if not found:
            return f"is empty; give {in_words(place.annotation)}"
    if details["loc"][-1:] == ("[key]",):
        return f"the key {shown(found)} is no text; put it in quotes"
    return _mismatch(found, place.annotation)


def _limit(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _unknown_key(place: _Place, further_keys: tuple[str, ...]) -> str:
    key = str(place.keys[-1])
    fields = {
        name: part for model in models_of(place.block) for name, part in model.model_fields.items()
    }
    allowed = [*fields, *further_keys]
    hint = nearest(key, allowed)
    if not hint:
        inner = [
            f"{name}.{key}"
            for name, part in fields.items()
            if any(key in model.model_fields for model in models_of(bare_type(part.annotation)))
        ]
        hint = f"; did you mean {inner[0]!r}?" if inner else ""
    return f"unknown key; allowed: {', '.join(sorted(allowed))}{hint}"


def _wrong_name(place: _Place, details: ErrorDetails) -> tuple[Keys, str]:
    """Explain a block of which no name, or an unknown one, says which block it is."""
    tag = details["ctx"]["discriminator"].strip("'")
    members = members_of(bare_type(place.annotation))
    names = list(itertools.chain(*tagged(members).values()))
    allowed = f"one of {', '.join(names)}"
    if details["type"] == "union_tag_not_found":
        return (*place.keys, tag), f"{MISSING}; give {allowed}"
    found = details["input"][tag]
    hint = nearest(str(found), names)
    return (*place.keys, tag), f"found {shown(found)}; it must be {allowed}{hint}"


def _mismatch(found: Any, annotation: Any) -> str:
    return f"found {shown(found)}; it must be {in_words(annotation)}{_hint(found, annotation)}"


def _block_in_words(bare: Any, *, several: bool) -> str:
    if several:
        return "blocks"
    if tags := tagged(members_of(bare)):
        names = ", ".join(itertools.chain(*tags.values()))
        return f"a block with the key {tag_of(members_of(bare))}, one of {names}"
    options = " and its options" if bare.model_config.get("extra") == "allow" else ""
    return f"a block (key: value) with the keys {', '.join(bare.model_fields)}{options}"


def in_words(annotation: Any, block: Callable[..., str] = _block_in_words) -> str:
    """Say which values a type allows, but for their limits.

    Args:
        annotation: the type.
        block: says it of a model, or of a union whose members are told apart by a key, and of one
            or ``several``.
    """
    bare = bare_type(annotation)
    members = members_of(bare)
    if _is_model(bare) or tagged(members):
        return block(bare, several=False)
    if len(members) > 1:
        return ", or ".join(in_words(member, block) for member in members)
    if get_origin(bare) is Literal:
        names = ", ".join(map(str, get_args(bare)))
        return f"one of {names}" if len(get_args(bare)) > 1 else names
    if get_origin(bare) is list:
        return f"a list of {_plural(get_args(bare)[0], block)}"
    if get_origin(bare) is dict:
        value = bare_type(get_args(bare)[1])
        return f"named {_plural(value, block)} (name: {'block' if models_of(value) else 'text'})"
    return _SINGULARS.get(bare, "another value")


def _plural(annotation: Any, block: Callable[..., str]) -> str:
    bare = bare_type(annotation)
    if models_of(bare):
        return block(bare, several=True)
    if get_origin(bare) is Literal:
        return ", ".join(map(str, get_args(bare)))
    if get_origin(bare) is list:
        return f"lists of {_plural(get_args(bare)[0], block)}"
    return _PLURALS.get(bare, "values")


_SINGULARS = {bool: "true or false", int: "an integer", float: "a number", str: "a text"}
_PLURALS = {bool: "true and false", int: "integers", float: "numbers", str: "texts"}


def limits_in_words(annotation: Any) -> str:
    """Say what else is asked of values of a type, such as ``at least 0, at most 1``, or nothing."""
    found = {
        key: value
        for each in metadata_of(annotation)
        for key in (*_LIMITS, "min_length", "max_length", "pattern")
        if (value := getattr(each, key, None)) is not None
    }
    limits = [f"{words} {_limit(found[key])}" for key, words in _LIMITS.items() if key in found]
    match found.get("min_length"), found.get("max_length"):
        case None, None:
            pass
        case 1, None:
            limits.append("not empty")
        case least, None:
            limits.append(f"at least {least} of them")
        case least, most:
            limits.append(f"{most} of them" if least == most else f"{least or 0} to {most} of them")
    if "pattern" in found:
        limits.append(f"of the form {found['pattern']}")
    bare = bare_type(annotation)
    if get_origin(bare) in (list, dict):
        inner = limits_in_words(get_args(bare)[-1])
        limits += [f"each {inner}"] if inner else []
    return ", ".join(limits)


_LIMITS = {"gt": "greater than", "ge": "at least", "lt": "less than", "le": "at most"}


def _hint(found: Any, annotation: Any) -> str:
    """Say what was probably meant."""
    bare = bare_type(annotation)
    members = members_of(bare)
    if isinstance(found, str):
        if bare in (int, float):
            return _number_hint(found, whole=bare is int)
        if any("name" in model.model_fields for model in models_of(bare)):
            return f"; write {{name: {found}}}"
        choices = [c for m in members if get_origin(m) is Literal for c in get_args(m)]
        hint = nearest(found, choices)
        if hint:
            return hint
    if get_origin(bare) is list and isinstance(found, str | int | float):
        return f"; write [{found}]"
    if bare is str and isinstance(found, int | float) and not isinstance(found, bool):
        return f'; write "{found}"'
    return ""


def _number_hint(found: str, *, whole: bool) -> str:
    try:
        number = float(found)
    except ValueError:
        return ""
    if not whole:
        # YAML 1.1 takes a number without a point, such as 5e-2, for a text.
        return f", without quotes and with a point: {number}"
    return f", without quotes: {number:.0f}" if number.is_integer() else ""


def _look_up(value: Any, keys: Keys) -> Any:
    for key in keys:
        value = value[key]
    return value


def bare_type(annotation: Any) -> Any:
    """Return a type without its constraints and without None."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        members = [bare_type(each) for each in get_args(annotation) if each is not type(None)]
        return Union[tuple(members)]  # noqa: UP007
    return annotation


def metadata_of(annotation: Any) -> Iterator[Any]:
    """Yield what is said of a type beside it: limits, and what it is for."""
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        for each in metadata:
            yield from each.metadata if isinstance(each, FieldInfo) else (each,)
        yield from metadata_of(inner)
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from metadata_of(member)


def alternatives_of(annotation: Any) -> list[Any]:
    """Return the members of a union but None, with their constraints; another type is its own."""
    bare = annotation
    while get_origin(bare) is Annotated:
        bare = get_args(bare)[0]
    if get_origin(bare) not in (Union, UnionType):
        return [annotation]
    return [
        each
        for member in get_args(bare)
        for each in alternatives_of(member)
        if each is not type(None)
    ]


def members_of(bare: Any) -> tuple[Any, ...]:
    """Return the members of a union; another type is its own."""
    return get_args(bare) if get_origin(bare) in (Union, UnionType) else (bare,)


def models_of(bare: Any) -> list[type[BaseModel]]:
    """Return the members of a type that are blocks of settings."""
    return [member for member in members_of(bare) if _is_model(member)]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def tag_of(members: tuple[Any, ...]) -> str | None:
    """Return the key by whose value the members of a union are told from each other."""
    for key in TAGS:
        if all(
            _is_model(member)
            and key in member.model_fields
            and get_origin(bare_type(member.model_fields[key].annotation)) is Literal
            for member in members
        ):
            return key
    return None


def tagged(members: tuple[Any, ...]) -> dict[Any, tuple[str, ...]]:
    """Return the names by which each member is told from the others, if they have some."""
    tag = tag_of(members) if len(members) > 1 else None
    if tag is None:
        return {}
    return {
        member: tuple(map(str, get_args(bare_type(member.model_fields[tag].annotation))))
        for member in members
    }


def _member(members: tuple[Any, ...], part: str) -> Any:
    """Return the member of a union that pydantic names in a location."""
    tags = tagged(members)
    for member in members:
        if tags:
            if part in tags[member]:
                return member
        elif getattr(member, "__name__", "").lower() in part.lower():
            return member
    return members[0]
