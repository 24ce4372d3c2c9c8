"""Reads the texts that users have and writes them prepared as indices of a vocabulary."""

import io
import platform
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mode_connectivity.data import prepared_file
from mode_connectivity.data.settings import TextSettings
from mode_connectivity.files import canonical_json
from mode_connectivity.settings import UserError

END_OF_SENTENCE = "<eos>"
UNKNOWN = "<unk>"

Tokens = NDArray[np.int32]

_PARTS = {"train": "train", "validation": "valid", "test": "test"}
"""The parts of a text, and what the names of their files have for each."""

_PTB_TOKENS = {"train": 929_589, "validation": 73_760, "test": 82_430}
_PTB_WORDS = 10_000

_WORD = re.compile(r"\d\w*(?:\.\d\w*)*|\w+|[^\w\s]")
_RULER = re.compile(r"[-+|=*~^#]{4,}")
_SHARED_PARAGRAPH_WORDS = 10


class _Line(NamedTuple):
    """A line as read: where it stands, and its words with ``<eos>``."""

    place: str
    words: list[str]


_Text = dict[str, list[_Line]]
"""The lines of each part."""


def prepare_text(settings: TextSettings, *, data_root: Path, output: Path) -> None:
    """Read a text, check it, and write it to ``output``, whole or not at all.

    Words are what white space separates. Every line ends in the word ``<eos>``, the last one too,
    and an empty line is one ``<eos>``. The words of the training part are ordered by falling count,
    equal counts alphabetically, as the recurrent tutorial of TensorFlow does that Garipov et al.
    name as their baseline (Table 3). Words of the other parts that the training part lacks are
    ``<unk>`` or a mistake; the tutorial's reader drops them silently, which would make the
    perplexity one of another text. The published Penn Treebank has no such words.

    The same settings and files give the same bytes; for ``python_documentation`` so does the same
    version of Python.

    Args:
        settings: The text.
        data_root: The folder that holds the user's data.
        output: The prepared file, see :mod:`mode_connectivity.data.prepared_file`; the metadata of
            ``python_documentation`` have the version of ``python`` that the text came with too.

    Raises:
        UserError: the text is missing, incomplete or unreadable, a part of it is empty, it has
            words that the vocabulary lacks, or the file cannot be written.
    """
    metadata = {"settings": canonical_json(settings.model_dump(mode="json"))}
    if settings.source == "python_documentation":
        text = _read_python_documentation(settings)
        metadata["python"] = platform.python_version()
    else:
        text = _read_files(settings, data_root)
    counts = Counter(word for line in text["train"] for word in line.words)
    if settings.source == "ptb":
        _check_counts(text, counts, settings)
    vocabulary = _vocabulary(counts, settings)
    indices = {word: index for index, word in enumerate(vocabulary)}
    if settings.unknown_words == "error":
        _refuse_unknown_words(text, indices, settings)
    prepared_file.write(
        output,
        tensors={f"{part}_tokens": _encode(lines, indices) for part, lines in text.items()},
        metadata={**metadata, "vocabulary": canonical_json(vocabulary)},
        format=prepared_file.TEXT_FORMAT,
    )


def _read_files(settings: TextSettings, data_root: Path) -> _Text:
    prefix = "ptb." if settings.source == "ptb" else ""
    names = {part: f"{prefix}{name}.txt" for part, name in _PARTS.items()}
    if settings.folder is None:
        # The last is where the tutorial's archive, simple-examples.tgz, has them.
        homes = [data_root, data_root / "ptb", data_root / "simple-examples" / "data"]
    else:
        homes = [data_root / settings.folder]
    missing = {
        home: [name for name in names.values() if not (home / name).is_file()] for home in homes
    }
    home = min(homes, key=lambda home: len(missing[home]))
    if len(missing[home]) == len(names):
        looked = "".join(f"\n  {home}" for home in homes)
        raise UserError(
            f"{settings.title}: no text found. Looked for {', '.join(names.values())} in{looked}\n"
            "Put the three files, uncompressed, in one of these places, or name another `folder` "
            "below the data root."
        )
    if missing[home]:
        raise UserError(
            f"{settings.title}: {home} lacks {' and '.join(missing[home])}. A text has a training, "
            "a validation and a test part; put the missing ones there."
        )
    return {part: _read_file(home / name, settings) for part, name in names.items()}


def _read_file(path: Path, settings: TextSettings) -> list[_Line]:
    try:
        content = path.read_bytes()
        decoded = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{settings.title}: {path}, line {number}, is not UTF-8 ({error.reason}). "
            "Convert the file to UTF-8."
        ) from error
    except OSError as error:
        raise UserError(f"{settings.title}: {path} cannot be read ({error.strerror})") from error
    lines = [
        _Line(f"{path}, line {number}", [*line.split(), END_OF_SENTENCE])
        for number, line in enumerate(io.StringIO(decoded), start=1)
    ]
    if all(len(words) == 1 for _, words in lines):
        raise UserError(
            f"{settings.title}: {path} has no words. Put the text there; each of the three parts "
            "needs at least one word."
        )
    for place, words in lines:
        if END_OF_SENTENCE in words[:-1]:
            raise UserError(
                f"{settings.title}: {place}, has the word {END_OF_SENTENCE}, which is added at "
                "each line end and would come twice. Remove it from the files."
            )
    return lines


def _check_counts(text: _Text, counts: Mapping[str, int], settings: TextSettings) -> None:
    problems = []
    for part, expected in _PTB_TOKENS.items():
        found = sum(len(line.words) for line in text[part])
        if found != expected:
            problems.append(f"{found:,} {part} tokens where there are {expected:,}")
    if len(counts) != _PTB_WORDS:
        problems.append(f"{len(counts):,} different words where there are {_PTB_WORDS:,}")
    if problems:
        raise UserError(
            f"{settings.title}: this is not the Penn Treebank of the published perplexities "
            f"(Mikolov's files, with {END_OF_SENTENCE} at each line end): {'; '.join(problems)}. "
            "Get the original files, or read a text of your own with source text_files."
        )


def _vocabulary(counts: Mapping[str, int], settings: TextSettings) -> list[str]:
    """Return the words by falling count, then alphabetically; ``<unk>`` comes last if added."""
    words = sorted(counts, key=lambda word: (-counts[word], word))
    # A text of one line has one line end, yet no word can take its place.
    kept = [
        word for word in words if counts[word] >= settings.minimum_count or word == END_OF_SENTENCE
    ]
    if set(kept) <= {END_OF_SENTENCE, UNKNOWN}:
        raise UserError(
            f"{settings.title}: minimum_count {settings.minimum_count} leaves no word in the "
            f"vocabulary; the training part has none more than {counts[words[0]]} times"
        )
    if UNKNOWN not in kept and (len(kept) < len(words) or settings.unknown_words == "replace"):
        kept.append(UNKNOWN)
    return kept


def _refuse_unknown_words(
    text: _Text, indices: Mapping[str, int], settings: TextSettings, limit: int = 5
) -> None:
    unknown = [
        (word, place)
        for part in ("validation", "test")
        for place, words in text[part]
        for word in words
        if word not in indices
    ]
    if unknown:
        total = sum(len(line.words) for part in ("validation", "test") for line in text[part])
        examples = "".join(f"\n  {word!r} ({place})" for word, place in unknown[:limit])
        rest = f"\n  and {len(unknown) - limit:,} more" if len(unknown) > limit else ""
        raise UserError(
            f"{settings.title}: {len(unknown):,} of the {total:,} tokens of the validation and the "
            f"test part are not in the vocabulary, which comes from the training part:{examples}"
            f"{rest}\nSet `unknown_words: replace` to read them as {UNKNOWN}."
        )


def _encode(lines: Iterable[_Line], indices: Mapping[str, int]) -> Tokens:
    # Without <unk> in the vocabulary no word is unknown: -1 is never stored.
    unknown = indices.get(UNKNOWN, -1)
    return np.fromiter(
        (indices.get(word, unknown) for line in lines for word in line.words), dtype=np.int32
    )


def _read_python_documentation(settings: TextSettings) -> _Text:
    """Read the reference that ``help()`` shows, some 80 topics such as "lambda" or "try".

    In lower case; identifiers, numbers and single punctuation marks are the words. Empty lines and
    the rules under titles and in tables are left out, every other line ends in ``<eos>``.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise UserError(
            f"{settings.title}: this Python ({platform.python_version()}) came without its "
            "documentation, the module pydoc_data. Install the whole standard library."
        ) from error
    text: _Text = {}
    for part, names in _split_topics(topics, settings).items():
        text[part] = []
        for name in names:
            for number, line in enumerate(topics[name].splitlines(), start=1):
                words = _WORD.findall(line.lower())
                if words and not _RULER.fullmatch(line.strip()):
                    place = f"topic {name!r}, line {number}"
                    text[part].append(_Line(place, [*words, END_OF_SENTENCE]))
    return text


def _split_topics(topics: Mapping[str, str], settings: TextSettings) -> dict[str, list[str]]:
    """Deal the topics out to the parts, a fraction of their number to validation and to test.

    Some topics repeat whole sections of others ("if" is a part of "compound"). Those that share a
    paragraph stay together, so that nothing that is tested was trained on.
    """
    groups = _related_topics(topics)
    # The legacy generator, because NumPy promises that its stream never changes.
    order = np.random.RandomState(settings.split_seed).permutation(len(groups))
    groups = [groups[index] for index in order]
    parts = {}
    for part, fraction in (
        ("test", settings.test_fraction),
        ("validation", settings.validation_fraction),
    ):
        count = round(fraction * len(topics))
        taken: list[str] = []
        left = []
        for group in groups:
            if len(taken) + len(group) <= count:
                taken += group
            else:
                left.append(group)
        parts[part], groups = taken, left
    parts["train"] = [name for group in groups for name in group]
    for part, names in parts.items():
        if not names:
            raise UserError(
                f"{settings.title}: test_fraction {settings.test_fraction} and validation_fraction "
                f"{settings.validation_fraction} of {len(topics)} topics leave none for the "
                f"{part} part; change the fractions"
            )
    return {part: sorted(parts[part]) for part in _PARTS}


def _related_topics(topics: Mapping[str, str]) -> list[list[str]]:
    """Group the topics that share a paragraph, directly or by way of others."""
    groups: list[tuple[list[str], set[str]]] = []
    for name in sorted(topics):
        names, paragraphs = [name], _paragraphs(topics[name])
        apart = []
        for group in groups:
            if paragraphs.isdisjoint(group[1]):
                apart.append(group)
            else:
                names, paragraphs = names + group[0], paragraphs | group[1]
        groups = [*apart, (names, paragraphs)]
    return [names for names, _ in groups]


def _paragraphs(text: str) -> set[str]:
    """Return the paragraphs, less the short ones that are mere turns of phrase."""
    split = (paragraph.split() for paragraph in re.split(r"\n\s*\n", text))
    return {" ".join(words) for words in split if len(words) >= _SHARED_PARAGRAPH_WORDS}
