"""The reference of every key of the config: ``python -m mode_connectivity.settings_reference``.

Written from the models that check the config, so that it says what they allow. A key means what its
field's description says; the key of a block, what the block's docstring begins with. Nothing here
imports torch.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from inspect import cleandoc
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mode_connectivity.config import SECTIONS, Config
from mode_connectivity.files import write_text
from mode_connectivity.mistakes import (
    alternatives_of,
    bare_type,
    in_words,
    limits_in_words,
    members_of,
    metadata_of,
    models_of,
    tag_of,
    tagged,
)
from mode_connectivity.networks import registry
from mode_connectivity.reporting.captions import load_captions
from mode_connectivity.reporting.claim_settings import PaperClaims
from mode_connectivity.reporting.settings import ArtefactSettings
from mode_connectivity.settings import Names
from mode_connectivity.training.recipes import NetworkSettings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
STATEMENTS = "files of statements"
BEGINNING = """\
# Settings

Every key of the config: what it may be, what it is where it is left out or left empty, and what it
means. `make docs` writes this page from the models that check the config before a job starts, in
the words in which they tell mistakes. [adding.md](adding.md) has experiments as a whole.

Named blocks (`name: block`) stand below
{sections}.
Any of them may have the key `extends`, the name of another one below the same key, whose keys hold
where it gives none of its own.
"""


@dataclass(frozen=True)
class Key:
    """A key of a block, in Markdown.

    Attributes:
        name: as the config has it.
        allowed: what it may be.
        default: its value where it is not given.
        meaning: what it means.
    """

    name: str
    allowed: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Block:
    """A block of the config, or the choice between several, in Markdown.

    Attributes:
        heading: what links lead to.
        level: of the heading, from 2 on.
        text: what it is.
        keys: in the order of its model; a choice has none.
    """

    heading: str
    level: int
    text: str
    keys: tuple[Key, ...] = ()


def blocks() -> list[Block]:
    """Return every block of the config and of files of statements, in the order of the config."""
    reference = _Reference()
    return [reference.described(place) for place in reference.places]


def page() -> str:
    """Return the reference as one page in Markdown."""
    described = blocks()
    sections = ",\n".join(f"[{name}](#{anchor(name)})" for name in SECTIONS)
    parts = [BEGINNING.format(sections=sections)]
    parts.append(
        "\n".join(
            f"{'  ' * (block.level - 2)}- [{block.heading}](#{anchor(block.heading)})"
            for block in described
            if block.level <= 3
        )
        + "\n"
    )
    for block in described:
        parts.append(f"{'#' * block.level} {block.heading}\n\n{block.text}\n")
        if block.keys:
            rows = ["| key | allowed | default | meaning |", "|---|---|---|---|"]
            rows += [
                f"| `{k.name}` | {k.allowed} | {k.default} | {k.meaning} |" for k in block.keys
            ]
            parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def anchor(heading: str) -> str:
    """Return the name under which GitHub links to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@dataclass(frozen=True)
class _Place:
    """Where a block is described: a model, a union of models or a network."""

    what: Any
    heading: str
    level: int


class _Reference:
    """Every block, each at the place where it is met first."""

    def __init__(self) -> None:
        self.places: list[_Place] = []
        self._headings: dict[Any, str] = {}
        self._captions = load_captions()
        self._add(Config, "the config", "", 2)
        self._add(PaperClaims, STATEMENTS, "statements", 2)

    def _add(self, what: Any, heading: str, parent: str, level: int) -> None:
        """Give a block a heading, then the blocks in it.

        Args:
            what: the model, the union of models, or the network.
            heading: its own.
            parent: what the headings of its parts call it.
            level: of the heading.
        """
        if what in self._headings:
            return
        self._headings[what] = heading
        self.places.append(_Place(what, heading, level))
        for member, names in tagged(members_of(what)).items():
            key = heading.partition(" of ")[0]
            self._add(member, f"{key}: {', '.join(names)}", parent, level + 1)
        for key, field in what.model_fields.items() if models_of(what) == [what] else ():
            for part in _blocks_in(field.annotation):
                if what is Config:
                    self._add(part, key, key, 2)
                elif what is ArtefactSettings:
                    alike = [
                        name
                        for name, other in what.model_fields.items()
                        if part in _blocks_in(other.annotation)
                    ]
                    self._add(part, ", ".join(alike), alike[0], level + 1)
                else:
                    self._add(part, f"{key} of {parent}", key, level + 1)
        if what is NetworkSettings:
            for name, network in sorted(registry.available().items()):
                self.places.append(_Place(network, f"network: {name}", level + 1))

    def described(self, place: _Place) -> Block:
        """Return the block at a place."""
        what = place.what
        if isinstance(what, registry.NetworkSpecification):
            return self._network(what, place)
        if choices := tagged(members_of(what)):
            lines = [
                f"- {self._link(member, ', '.join(names))}: {_summary(member)}"
                for member, names in choices.items()
            ]
            text = f"The key `{tag_of(members_of(what))}` says which of these blocks it is.\n\n"
            return Block(place.heading, place.level, text + "\n".join(lines))
        text = _markdown(_prose(what.__doc__))
        if what is NetworkSettings:
            networks = (
                f"[{name}](#{anchor(f'network: {name}')})" for name in sorted(registry.available())
            )
            text += f" The project's own networks: {', '.join(networks)}."
        keys = (self._key(what, name, field) for name, field in what.model_fields.items())
        return Block(place.heading, place.level, text, tuple(keys))

    def _key(self, model: type[BaseModel], name: str, field: FieldInfo) -> Key:
        whole = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        inner = [part for part in _blocks_in(field.annotation) if models_of(part) == [part]]
        if model is ArtefactSettings:
            meaning = self._captions[name].title
        elif field.description:
            meaning = _markdown(field.description)
        elif inner:
            meaning = _summary(inner[0])
        else:
            # Only the key that tells blocks apart has one value.
            alone = get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1
            meaning = "says that it is this block" if alone else ""
        return Key(name, self._allowed(whole), _default(field), meaning)

    def _allowed(self, annotation: Any) -> str:
        alternatives = alternatives_of(annotation)
        if len(alternatives) > 1 and not tagged(members_of(bare_type(annotation))):
            return ", or ".join(map(self._allowed, alternatives))
        words = in_words(annotation, self._block)
        if sections := list(_named(annotation)):
            verb = "names one" if words == "a text" else "name some"
            links = (f"[{section}](#{anchor(section)})" for section in sections)
            words = f"{words} that {verb} of {' or '.join(links)}"
        return ", ".join(filter(None, [words, _markdown(limits_in_words(annotation))]))

    def _block(self, bare: Any, *, several: bool) -> str:
        return self._link(bare, "blocks" if several else "a block")

    def _link(self, what: Any, text: str) -> str:
        return f"[{text}](#{anchor(self._headings[what])})"

    def _network(self, network: registry.NetworkSpecification, place: _Place) -> Block:
        meanings = _arguments(network.docstring)
        keys = (
            Key(
                name,
                registry.in_words(option),
                _written(option.default),
                _markdown(meanings.get(name, "")),
            )
            for name, option in network.options.items()
        )
        text = f"{_markdown(_prose(network.docstring))}\n\nIn tables: {network.title}."
        return Block(place.heading, place.level, text, tuple(keys))


def _blocks_in(annotation: Any) -> Iterator[Any]:
    """Yield the models in a type, and the unions of models that a key tells apart."""
    bare = bare_type(annotation)
    members = members_of(bare)
    if models_of(bare) == [bare] or tagged(members):
        yield bare
        return
    for member in members:
        if models_of(member):
            yield member
        elif get_origin(member) in (list, dict):
            yield from _blocks_in(get_args(member)[-1])


def _named(annotation: Any) -> Iterator[str]:
    """Yield the sections of the config of which texts name blocks."""
    for each in metadata_of(annotation):
        if isinstance(each, Names):
            yield each.section
    bare = bare_type(annotation)
    if get_origin(bare) in (list, dict):
        yield from _named(get_args(bare)[-1])


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if isinstance(field.default, BaseModel):
        given = field.default.model_dump(mode="json", exclude_unset=True)
        return _written(given) if given else "its defaults"
    return "empty" if field.default in (None, "", {}) else _written(field.default)


def _written(value: Any) -> str:
    """Return a value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000)
    return f"`{text.removesuffix('...' + chr(10)).strip()}`"


def _prose(docstring: str | None) -> str:
    """Return a docstring up to its sections."""
    return re.split(r"\n\n[A-Z]\w+:\n", cleandoc(docstring or ""))[0]


def _summary(model: type[BaseModel]) -> str:
    """Return the first sentence of a block's docstring, without the full stop."""
    first = cleandoc(model.__doc__ or "").partition("\n\n")[0]
    return _markdown(" ".join(first.split()).removesuffix("."))


def _arguments(docstring: str) -> dict[str, str]:
    """Return what a docstring says of each argument."""
    section = re.search(r"\n\nArgs:\n(.*?)(?:\n\n|\Z)", docstring, flags=re.DOTALL)
    found = re.findall(
        r"^ {4}(\w+): (.*?)(?=^ {4}\w|\Z)",
        section[1] if section else "",
        flags=re.DOTALL | re.MULTILINE,
    )
    return {name: " ".join(text.split()).removesuffix(".") for name, text in found}


def _markdown(text: str) -> str:
    """Return a text as Markdown: marks of Markdown and HTML mean themselves, but for code."""
    parts = text.split("``")
    return "".join(
        f"`{part}`" if place % 2 else re.sub(r"([<*|])", r"\\\1", part)
        for place, part in enumerate(parts)
    )


def main() -> None:
    """Write ``docs/settings.md``."""
    write_text(PAGE, page())
    print(f"{PAGE} is written")


if __name__ == "__main__":
    main()
