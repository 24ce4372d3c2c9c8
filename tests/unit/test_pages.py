"""What pages link to and name is there."""

import re
from pathlib import Path

import pytest

from mode_connectivity.settings_reference import anchor

CHECKOUT = Path(__file__).parents[2]
PAGES = [
    *(CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "results/README.md")),
    *sorted((CHECKOUT / "docs").rglob("*.md")),
]


def headings(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if link.startswith(("http:", "https:")):
            continue
        path, _, place = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if place:
            assert place in map(anchor, headings(target)), link


def test_what_contributing_names_is_there() -> None:
    text = (CHECKOUT / "CONTRIBUTING.md").read_text()
    targets = re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), flags=re.MULTILINE)
    asked = re.findall(r"`make ([a-z-]+)`", text)
    assert len(asked) > 5
    assert set(asked) <= set(targets)
    places = [CHECKOUT, CHECKOUT / "src" / "mode_connectivity", CHECKOUT / "tests"]
    paths = re.findall(r"`([\w./-]+(?:/|\.py|\.md|\.lock))`", text)
    assert len(paths) > 10
    for path in paths:
        assert any((place / path).exists() for place in places), path
