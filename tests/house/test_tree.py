"""The source tree keeps its promises about itself."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

FOLDERS = ("cli", "boards", "signing", "server", "hil", "device", "tests", "docs", "examples", "bench")
ROOTS = FOLDERS[:6]
SCREEN_LINES = 45
# Home directories, and where this or another machine keeps its checkouts.
MACHINE_PATH = re.compile(r"(?<![\w.~$}/])/(?:home/[a-z]\w*|root|work|Users/\w+|mnt|srv)/[\w.-]+")


def tracked(tree: Path) -> list[Path]:
    listed = subprocess.run(["git", "-C", tree, "ls-files", "-z"], capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("the source tree is no git work tree")
    return [path for name in listed.stdout.split("\0") if name and (path := tree / name).is_file()]


def test_the_namespace_has_no_init(source_tree: Path) -> None:
    """One would hide the other five roots."""
    assert [root for root in ROOTS if (source_tree / root / "heirloom" / "__init__.py").exists()] == []
    assert not (source_tree / "device" / "heirloom" / "device" / "__init__.py").exists()


def test_the_installed_namespace_has_no_init() -> None:
    import heirloom

    assert getattr(heirloom, "__file__", None) is None


def test_all_roots_are_packaged(source_tree: Path) -> None:
    wheel = tomllib.loads((source_tree / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert sorted(wheel["only-include"]) == sorted(f"{root}/heirloom" for root in ROOTS)
    assert sorted(wheel["sources"]) == sorted(wheel["dev-mode-dirs"]) == sorted(ROOTS)


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_folder_has_a_page(source_tree: Path, folder: str) -> None:
    lines = (source_tree / folder / "README.md").read_text().splitlines()
    assert lines[0].startswith(f"# {folder}")
    assert 5 < len(lines) <= SCREEN_LINES


def test_no_path_of_a_machine(source_tree: Path) -> None:
    found = []
    for path in tracked(source_tree):
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(source_tree)}: {match[0]}" for match in MACHINE_PATH.finditer(text)]
    assert found == []


def test_nothing_is_tracked_that_is_built_or_secret(source_tree: Path) -> None:
    unwanted = re.compile(r"(\.mpy|\.pem|\.whl|\.bin|\.uf2|\.pyc|/typings/.*)$")
    names = [str(path.relative_to(source_tree)) for path in tracked(source_tree)]
    assert [name for name in names if unwanted.search(name)] == []


def test_every_dependency_is_pinned_for_make(source_tree: Path) -> None:
    project = tomllib.loads((source_tree / "pyproject.toml").read_text())
    wanted = project["project"]["dependencies"] + [
        item for group in project["dependency-groups"].values() for item in group
    ]
    wanted += [item for extra in project["project"]["optional-dependencies"].values() for item in extra]
    lines = (source_tree / "constraints.txt").read_text().splitlines()
    pinned = {normalized(line.partition("==")[0]) for line in lines if "==" in line}
    names = {normalized(re.split(r"[<>=\[ ]", item)[0]) for item in wanted} - {"heirloom-ota"}
    assert names <= pinned


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_decisions_are_numbered(source_tree: Path) -> None:
    names = sorted(path.name for path in (source_tree / "docs" / "adr").glob("*.md"))
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
    for name in names:
        text = (source_tree / "docs" / "adr" / name).read_text()
        assert text.startswith(f"# {int(name[:4])}. ")
        assert "## Options weighed" in text


def test_links_between_documents_lead_somewhere(source_tree: Path) -> None:
    links = [
        (path, target)
        for path in tracked(source_tree)
        if path.suffix == ".md"
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text())
    ]
    broken = [f"{path.relative_to(source_tree)}: {to}" for path, to in links if not (path.parent / to).exists()]
    assert broken == []
