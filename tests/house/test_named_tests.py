"""Where a page says that a test holds something, there is that test."""

import re
from pathlib import Path

import pytest

NAMED = re.compile(r"`(\w+\.py)::(\w+)`")


def named(tree: Path, page: str) -> list[tuple[str, str]]:
    return NAMED.findall((tree / "docs" / page).read_text(encoding="utf-8"))


@pytest.mark.parametrize(("page", "at_least"), [("attacks.md", 40), ("adr/0006-time-and-freeze.md", 10)])
def test_these_pages_name_tests(source_tree: Path, page: str, at_least: int) -> None:
    assert len(named(source_tree, page)) >= at_least


def test_each_named_test_exists(source_tree: Path) -> None:
    sources = {path.name: path.read_text(encoding="utf-8") for path in (source_tree / "tests").rglob("*.py")}
    for path in (source_tree / "docs").rglob("*.md"):
        for file, name in named(source_tree, str(path.relative_to(source_tree / "docs"))):
            assert f"def {name}(" in sources.get(file, ""), f"{path.name} names {file}::{name}"


def test_each_attack_has_a_test(source_tree: Path) -> None:
    page = (source_tree / "docs" / "attacks.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.endswith("| test |")]
    assert [row for row in rows if not NAMED.search(row) and not row.endswith("as above |")] == []
