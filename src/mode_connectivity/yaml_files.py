"""Reading YAML files of named blocks, in which nothing is silently given twice."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from mode_connectivity.mistakes import shown
from mode_connectivity.settings import UserError


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML in which a key that is given twice is a mistake, not a silent choice."""


class _FastLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The same, five times as fast where PyYAML has libyaml; its errors say less."""


def _mapping(loader: Any, node: yaml.MappingNode) -> dict[Hashable, Any]:
    seen = set()
    for key_node, _ in node.value:
        # Other keys than scalars are refused below; << may be given twice.
        if not isinstance(key_node, yaml.ScalarNode) or key_node.tag.endswith(":merge"):
            continue
        key = loader.construct_object(key_node)
        if key in seen:
            raise UserError(f"line {key_node.start_mark.line + 1}: the key {key!r} is given twice")
        seen.add(key)
    mapping: dict[Hashable, Any] = loader.construct_mapping(node, deep=True)
    return mapping


for _loader in (_UniqueKeyLoader, _FastLoader):
    _loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file of named blocks.

    Raises:
        UserError: the file is not YAML, no mapping, or gives a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
        try:
            content = yaml.load(text, Loader=_FastLoader)
        except yaml.YAMLError:
            content = yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark is not None else ""
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise UserError(f"{line}not valid YAML: {said}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"not valid YAML: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"found {shown(content)}; a config file holds named blocks (key: value)")
    return content
