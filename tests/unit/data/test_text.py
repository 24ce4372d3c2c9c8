import json
import platform
import re
import sys
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest
import torch
from torch import Tensor

from mode_connectivity.data import prepared_file, text
from mode_connectivity.data.settings import TextSettings
from mode_connectivity.data.sources import prepare
from mode_connectivity.settings import UserError

WriteText = Callable[..., Path]


@pytest.fixture
def write_text(tmp_path: Path) -> WriteText:
    """Write the parts of a text that are given, as bytes."""

    def write(folder: str = "mine", prefix: str = "", **parts: bytes) -> Path:
        place = tmp_path / folder
        place.mkdir(parents=True, exist_ok=True)
        for name, content in parts.items():
            (place / f"{prefix}{name}.txt").write_bytes(content)
        return place

    return write


@pytest.fixture
def tiny_ptb(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    monkeypatch.setattr(text, "_PTB_TOKENS", {"train": 7, "validation": 3, "test": 2})
    monkeypatch.setattr(text, "_PTB_WORDS", 4)
    return {"train": b" b a b \n b <unk> \n", "valid": b" a <unk> \n", "test": b" b \n"}


def read(data_root: Path, **settings: Any) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Prepare a text and read the prepared file."""
    output = data_root / "results" / "text.safetensors"
    prepare(
        TextSettings.model_validate({"title": "Text", **settings}),
        data_root=data_root,
        download=False,
        output=output,
    )
    return prepared_file.read(output)


def mine(data_root: Path, **settings: Any) -> tuple[dict[str, Tensor], dict[str, str]]:
    return read(data_root, source="text_files", folder="mine", **settings)


def words(contents: tuple[dict[str, Tensor], dict[str, str]], part: str) -> list[str]:
    tensors, metadata = contents
    vocabulary = json.loads(metadata["vocabulary"])
    return [vocabulary[token] for token in tensors[f"{part}_tokens"].tolist()]


# Files


def test_tokens_and_vocabulary_by_hand(tmp_path: Path, write_text: WriteText) -> None:
    write_text(
        train=b" d b a \nc  b\tB\nc b\n", valid=b"a\n\nb", test="\ufeffc\r\nd d\r\n".encode()
    )
    tensors, metadata = mine(tmp_path)
    # <eos> and b come three times each, c twice, the others once; "<" and "B" sort before "a".
    assert json.loads(metadata["vocabulary"]) == ["<eos>", "b", "c", "B", "a", "d"]
    assert tensors["train_tokens"].tolist() == [5, 1, 4, 0, 2, 1, 3, 0, 2, 1, 0]
    assert tensors["validation_tokens"].tolist() == [4, 0, 0, 1, 0]
    assert tensors["test_tokens"].tolist() == [2, 0, 5, 5, 0]
    assert {tensor.dtype for tensor in tensors.values()} == {torch.int32}
    assert metadata["format"] == prepared_file.TEXT_FORMAT
    settings = TextSettings(title="Text", source="text_files", folder="mine")
    assert TextSettings(**json.loads(metadata["settings"])) == settings


def test_rare_words_become_unknown(tmp_path: Path, write_text: WriteText) -> None:
    write_text(train=b"a b a c\nd b\n", valid=b"c a e\n", test=b"a b\n")
    contents = mine(tmp_path, minimum_count=2, unknown_words="replace")
    assert json.loads(contents[1]["vocabulary"]) == ["<eos>", "a", "b", "<unk>"]
    assert words(contents, "train") == ["a", "b", "a", "<unk>", "<eos>", "<unk>", "b", "<eos>"]
    assert words(contents, "validation") == ["<unk>", "a", "<unk>", "<eos>"]


def test_rare_words_bring_unk_whatever_becomes_of_unknown_ones(
    tmp_path: Path, write_text: WriteText
) -> None:
    write_text(train=b"a b a\n", valid=b"a\n", test=b"a\n")
    contents = mine(tmp_path, minimum_count=2)
    assert words(contents, "train") == ["a", "<unk>", "a", "<eos>"]


def test_a_line_end_is_never_rare(tmp_path: Path, write_text: WriteText) -> None:
    write_text(train=b"a a b b\n", valid=b"a\n", test=b"b\n")
    assert words(mine(tmp_path, minimum_count=2), "train") == ["a", "a", "b", "b", "<eos>"]


def test_unk_of_the_text_keeps_its_place(tmp_path: Path, write_text: WriteText) -> None:
    write_text(train=b"<unk> a <unk>\n", valid=b"<unk> z\n", test=b"a\n")
    contents = mine(tmp_path, unknown_words="replace")
    assert json.loads(contents[1]["vocabulary"]) == ["<unk>", "<eos>", "a"]
    assert contents[0]["validation_tokens"].tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("unknown_words", "vocabulary"),
    [("error", ["<eos>", "a"]), ("replace", ["<eos>", "a", "<unk>"])],
)
def test_unk_is_added_only_where_it_can_be_needed(
    tmp_path: Path, write_text: WriteText, unknown_words: str, vocabulary: list[str]
) -> None:
    write_text(train=b"a\n", valid=b"a\n", test=b"a\n")
    _, metadata = mine(tmp_path, unknown_words=unknown_words)
    assert json.loads(metadata["vocabulary"]) == vocabulary


def test_unknown_words_are_named(tmp_path: Path, write_text: WriteText) -> None:
    place = write_text(train=b"a b\n", valid=b"a\n\nb x a\n", test=b"y z y z y z a\n")
    with pytest.raises(UserError) as error:
        mine(tmp_path)
    # 11 words and 4 line ends; 1 unknown word in one part and 6 in the other.
    assert "7 of the 15 tokens" in str(error.value)
    assert f"'x' ({place}/valid.txt, line 3)" in str(error.value)
    assert f"'y' ({place}/test.txt, line 1)" in str(error.value)
    assert "and 2 more" in str(error.value)
    assert "unknown_words: replace" in str(error.value)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("name", ["train", "valid", "test"])
@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_a_part_without_words_is_refused(
    tmp_path: Path, write_text: WriteText, name: str, content: bytes
) -> None:
    place = write_text(**{"train": b"a\n", "valid": b"a\n", "test": b"a\n", name: content})
    with pytest.raises(UserError, match=f"{place}/{name}.txt has no words"):
        mine(tmp_path)
    assert not (tmp_path / "results").exists()


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path, write_text: WriteText) -> None:
    place = write_text(train=b"a\n", valid="a\nna\u00efve\n".encode("latin-1"), test=b"a\n")
    with pytest.raises(UserError, match=rf"{place}/valid\.txt, line 2, is not UTF-8"):
        mine(tmp_path)


def test_line_ends_are_not_marked_twice(tmp_path: Path, write_text: WriteText) -> None:
    place = write_text(train=b"a\na <eos>\n", valid=b"a\n", test=b"a\n")
    with pytest.raises(UserError, match=rf"{place}/train\.txt, line 2, has the word <eos>"):
        mine(tmp_path)


def test_a_vocabulary_without_words_is_refused(tmp_path: Path, write_text: WriteText) -> None:
    write_text(train=b"a b b\n<unk>\n", valid=b"a\n", test=b"a\n")
    with pytest.raises(UserError, match=r"minimum_count 3 leaves no word .* more than 2 times"):
        mine(tmp_path, minimum_count=3)


def test_missing_files_say_where_they_were_looked_for(
    tmp_path: Path, write_text: WriteText
) -> None:
    with pytest.raises(UserError) as error:
        read(tmp_path, source="ptb")
    for place in (tmp_path, tmp_path / "ptb", tmp_path / "simple-examples" / "data"):
        assert f"\n  {place}\n" in str(error.value)
    assert "ptb.train.txt, ptb.valid.txt, ptb.test.txt" in str(error.value)
    with pytest.raises(UserError, match=r"for train\.txt, valid\.txt, test\.txt in\n .*/mine\n"):
        mine(tmp_path)
    place = write_text(valid=b"a\n")
    with pytest.raises(UserError, match=rf"{place} lacks train\.txt and test\.txt"):
        mine(tmp_path)


# Penn Treebank


@pytest.mark.parametrize("folder", [".", "ptb", "simple-examples/data"])
def test_ptb_is_found(
    tmp_path: Path, write_text: WriteText, tiny_ptb: dict[str, bytes], folder: str
) -> None:
    write_text(folder, "ptb.", **tiny_ptb)
    contents = read(tmp_path, source="ptb")
    assert json.loads(contents[1]["vocabulary"]) == ["b", "<eos>", "<unk>", "a"]
    assert words(contents, "train") == ["b", "a", "b", "<eos>", "b", "<unk>", "<eos>"]
    assert words(contents, "validation") == ["a", "<unk>", "<eos>"]


def test_a_part_that_lies_astray_does_not_hide_the_whole(
    tmp_path: Path, write_text: WriteText, tiny_ptb: dict[str, bytes]
) -> None:
    write_text(".", "ptb.", train=b"foreign\n")
    write_text("ptb", "ptb.", **tiny_ptb)
    assert len(read(tmp_path, source="ptb")[0]["train_tokens"]) == 7


def test_a_folder_is_the_only_place(
    tmp_path: Path, write_text: WriteText, tiny_ptb: dict[str, bytes]
) -> None:
    write_text("ptb", "ptb.", **tiny_ptb)
    with pytest.raises(UserError) as error:
        read(tmp_path, source="ptb", folder="treebank")
    assert f"in\n  {tmp_path}/treebank\nPut" in str(error.value)


def test_another_treebank_is_refused(tmp_path: Path, write_text: WriteText) -> None:
    write_text("ptb", "ptb.", train=b"a b\n", valid=b"a\n", test=b"b\n")
    with pytest.raises(UserError) as error:
        read(tmp_path, source="ptb")
    assert "3 train tokens where there are 929,589" in str(error.value)
    assert "2 validation tokens where there are 73,760" in str(error.value)
    assert "2 test tokens where there are 82,430" in str(error.value)
    assert "3 different words where there are 10,000" in str(error.value)
    assert "text_files" in str(error.value)
    assert not (tmp_path / "results").exists()


# The documentation of Python


def python(data_root: Path, **settings: Any) -> tuple[dict[str, Tensor], dict[str, str]]:
    return read(data_root, source="python_documentation", unknown_words="replace", **settings)


def split(contents: dict[str, str] = topics, **settings: Any) -> dict[str, list[str]]:
    made = TextSettings(title="Python", source="python_documentation", **settings)
    return text._split_topics(contents, made)


def test_each_topic_is_in_one_part() -> None:
    parts = split(test_fraction=0.2)
    assert sorted(name for names in parts.values() for name in names) == sorted(topics)
    assert len(parts["test"]) == round(0.2 * len(topics))
    assert len(parts["validation"]) == round(0.1 * len(topics))


def test_the_split_depends_on_the_seed_alone() -> None:
    assert split(dict(reversed(topics.items()))) == split()
    assert split(split_seed=1) != split()


@pytest.mark.parametrize("seed", [0, 1])
def test_no_paragraph_is_tested_that_was_trained_on(seed: int) -> None:
    paragraphs = {
        part: {
            tuple(paragraph.split())
            for name in names
            for paragraph in re.split(r"\n\s*\n", topics[name])
            if len(paragraph.split()) >= 10
        }
        for part, names in split(split_seed=seed).items()
    }
    assert not paragraphs["train"] & paragraphs["test"]
    assert not paragraphs["train"] & paragraphs["validation"]
    assert not paragraphs["validation"] & paragraphs["test"]


def test_topics_are_related_by_way_of_others() -> None:
    first, second = ("one two three four five six seven eight nine " + end for end in ("ten", "x"))
    related = text._related_topics(
        {"a": first, "b": second, "c": "ten words", "d": f"{first}\n\n{second}", "e": "ten words"}
    )
    assert sorted(map(sorted, related)) == [["a", "b", "d"], ["c"], ["e"]]


def test_the_documentation_has_its_words(tmp_path: Path) -> None:
    contents = python(tmp_path)
    tensors, metadata = contents
    assert metadata["python"] == platform.python_version()
    vocabulary = json.loads(metadata["vocabulary"])
    count = sum(len(topic.split()) for topic in topics.values())
    # Punctuation marks and line ends are words as well; rules are not.
    assert count < sum(map(len, tensors.values())) < 2 * count
    if sys.version_info[:2] == (3, 11):
        assert 64_000 < count < 67_000
        assert 100_000 < sum(map(len, tensors.values())) < 110_000
        unknown = tensors["test_tokens"] == vocabulary.index("<unk>")
        assert 0 < unknown.float().mean() < 0.05
    assert {"the", "lambda", "__init__", "<eos>", "<unk>", "("} <= set(vocabulary)
    assert all(word == word.lower() for word in vocabulary)
    assert "<eos> <eos>" not in " ".join(words(contents, "train"))


def test_lines_of_the_documentation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    line = 'The "Try" statement\n*******\n\n  x_1 = 3.14.\n+----+\n| __a__ |\n...\n'
    monkeypatch.setattr("pydoc_data.topics.topics", dict.fromkeys(("a", "b", "c"), line))
    contents = python(tmp_path, test_fraction=0.3, validation_fraction=0.3)
    expected = 'the " try " statement <eos> x_1 = 3.14 . <eos> | __a__ | <eos> . . . <eos>'
    for part in ("train", "validation", "test"):
        assert words(contents, part) == expected.split()


def test_unknown_words_of_a_topic_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\(topic '[\w-]+', line \d+\)"):
        read(tmp_path, source="python_documentation")


@pytest.mark.parametrize(
    ("fractions", "part"),
    [
        ({"test_fraction": 0.001}, "test"),
        ({"validation_fraction": 0.001}, "validation"),
        ({"test_fraction": 0.5, "validation_fraction": 0.499}, "train"),
    ],
)
def test_every_part_needs_a_topic(tmp_path: Path, fractions: dict[str, float], part: str) -> None:
    with pytest.raises(UserError, match=f"leave none for the {part} part"):
        python(tmp_path, **fractions)
    assert not (tmp_path / "results").exists()


def test_a_python_without_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(UserError, match="pydoc_data"):
        python(tmp_path)


# All sources


@pytest.mark.parametrize("source", ["text_files", "python_documentation"])
def test_preparing_twice_gives_the_same_file(
    tmp_path: Path, write_text: WriteText, source: str
) -> None:
    write_text(train=b"a c b\n", valid=b"a\n", test=b"b\n")
    output = tmp_path / "results" / "text.safetensors"
    contents = []
    for _ in range(2):
        read(tmp_path, source=source, folder="mine", unknown_words="replace")
        contents.append(output.read_bytes())
    assert contents[0] == contents[1]
