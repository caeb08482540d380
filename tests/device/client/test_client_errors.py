"""The codes of the device are a closed set: docs/errors.md explains each, and each is said somewhere."""

import re
from pathlib import Path

import pytest

from heirloom.device import errors

CODES = {name for name in vars(errors) if name.startswith("E_")}
CODE = re.compile(r"\bE_[A-Z_]+\b")


@pytest.fixture
def client(source_tree: Path) -> dict[str, str]:
    sources = (source_tree / "device" / "heirloom" / "device").rglob("*.py")
    return {path.name: path.read_text() for path in sources if path.name != "errors.py"}


def test_every_name_is_its_own_code() -> None:
    assert {getattr(errors, name) for name in CODES} == CODES


def test_the_page_explains_each_code_and_no_other(source_tree: Path) -> None:
    page = (source_tree / "docs" / "errors.md").read_text()
    explained = re.findall(r"^\| `(E_[A-Z_]+)` \|(.*)\|$", page, re.MULTILINE)
    assert sorted(code for code, _ in explained) == sorted(CODES)
    assert set(CODE.findall(page)) == CODES
    for code, cells in explained:
        assert all(cell.strip() for cell in re.split(r" \| ", cells)), f"{code} lacks a meaning or an advice"


def test_the_client_says_each_code_and_no_other(client: dict[str, str]) -> None:
    said = {code for source in client.values() for code in CODE.findall(source)}
    assert said == CODES


def test_an_error_is_only_made_with_a_code_of_the_set(client: dict[str, str]) -> None:
    for name, source in client.items():
        for first in re.findall(r"UpdateError\(\s*([^,\n)]+),", source):
            assert CODE.search(first) or first.strip() == "error.code", f"{name}: UpdateError({first}"
