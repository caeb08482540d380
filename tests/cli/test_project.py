"""heirloom.toml: found, read, and refused with the key named."""

from pathlib import Path

import pytest

from heirloom.cli import project
from heirloom.cli.context import Context, enter, leave
from heirloom.cli.errors import HeirloomError
from heirloom.cli.project import BoardSettings, Project

FULL = """
[product]
name = "weather"
urls = ["https://updates.example.org/weather/", "https://mirror.example.net/weather/"]
contact = "mailto:security@example.org"
support-until = 2031-01-01

[app]
source = "src"
version = "1.0.0"
keep = ["settings.json"]
confirm = 30
install = "background"

[boards.RPI_PICO_W]
micropython = "1.27"

[boards.OWN]
micropython = "1.27"
definition = "boards/own.toml"

[signing]
root = ["heirloom:root-1", "heirloom:root-2"]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "heirloom.toml"
    path.write_text(text)
    return path


def test_everything_is_read(tmp_path: Path) -> None:
    write(tmp_path, FULL)
    found = Project.load(tmp_path)
    assert found.product.name == "weather"
    assert found.product.support_until == "2031-01-01"
    assert found.app.source == tmp_path / "src"
    assert found.app.confirm == 30
    assert found.app.keep == ["settings.json"]
    assert found.boards["RPI_PICO_W"] == BoardSettings("1.27")
    assert found.boards["OWN"].definition == tmp_path / "boards" / "own.toml"
    assert found.signing == {"root": ["heirloom:root-1", "heirloom:root-2"]}
    assert found.repository == tmp_path / "repository"
    assert found.state_dir == tmp_path / ".heirloom"


def test_defaults(tmp_path: Path) -> None:
    write(tmp_path, '[product]\nname = "weather"\n')
    found = Project.load(tmp_path)
    assert (found.app.source, found.app.version, found.app.confirm, found.app.install) == (
        tmp_path / "app", None, "check", "reboot",
    )  # fmt: skip
    assert found.boards == {}


def test_found_upward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, FULL)
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert Project.load(below).root == tmp_path
    monkeypatch.chdir(below)
    assert Project.load().root == tmp_path


def test_option_before_environment_before_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {name: tmp_path / name for name in ("option", "environment", "place")}
    for name, folder in folders.items():
        folder.mkdir()
        write(folder, f'[product]\nname = "{name}"\n')
    monkeypatch.chdir(folders["place"])
    assert Project.load().product.name == "place"
    monkeypatch.setenv("HEIRLOOM_PROJECT", str(folders["environment"]))
    assert Project.load().product.name == "environment"
    before = enter(Context(project=folders["option"] / "heirloom.toml"))
    try:
        assert Project.load().product.name == "option"
    finally:
        leave(before)


def test_none_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project, "find", lambda start=None: None)
    with pytest.raises(HeirloomError, match=r"no heirloom\.toml in") as caught:
        Project.load(tmp_path)
    assert "heirloom init" in caught.value.advice


def test_named_but_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEIRLOOM_PROJECT", str(tmp_path / "gone"))
    with pytest.raises(HeirloomError, match=r"no project at .*gone"):
        Project.load()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[product", "is not TOML"),
        ("", r"\[product\] is missing"),
        ("product = 1", r"product is 1; it must be a table"),
        ("[product]\n", r"\[product\] name is missing"),
        ('[product]\nname = ""', r"\[product\] name is empty"),
        ('[product]\nname = "a/b"', r"\[product\] name 'a/b' may only have"),
        ('[product]\nname = "../a"', r"\[product\] name '../a' may only have"),
        ("[product]\nname = 7", r"\[product\] name is 7; it must be a string"),
        ('[product]\nname = "a"\nurls = "http://a/"', r"\[product\] urls is 'http://a/'; it must be a list of strings"),
        ('[product]\nname = "a"\nurls = ["ftp://a/"]', r"\[product\] urls has 'ftp://a/', which is not an http"),
        ('[product]\nname = "a"\nkontact = "b"', r"\[product\] kontact is unknown; did you mean 'contact'"),
        ('[product]\nname = "a"\n[app]\nkeeep = []', r"\[app\] keeep is unknown; did you mean 'keep'"),
        ('[product]\nname = "a"\n[app]\nkeep = [1]', r"\[app\] keep is \[1\]; it must be a list of strings"),
        ('[product]\nname = "a"\n[app]\nconfirm = "maybe"', r"\[app\] confirm is 'maybe'; it must be"),
        ('[product]\nname = "a"\n[app]\nconfirm = 0', r"\[app\] confirm is 0; it must be"),
        ('[product]\nname = "a"\n[app]\nconfirm = true', r"\[app\] confirm is True; it must be"),
        ('[product]\nname = "a"\n[app]\ninstall = "now"', r"\[app\] install is 'now'; it must be"),
        ('[product]\nname = "a"\n[boards]\nPICO = "1.27"', r"\[boards\] PICO is '1\.27'; it must be a table"),
        ('[product]\nname = "a"\n[boards.PICO]\n', r"\[boards\.PICO\] micropython is missing"),
        (
            '[product]\nname = "a"\n[boards.PICO]\nmicropython = 1.27',
            r"\[boards\.PICO\] micropython is 1\.27; it must be a str",
        ),
        ('[product]\nname = "a"\n[boards."a b"]\nmicropython = "1"', r"\[boards\] 'a b' is no board name"),
        ('[product]\nname = "a"\n[signing]\nroot = "heirloom:root-1"', r"\[signing\] root is .* a list of strings"),
        ('[product]\nname = "a"\n[sining]\n', r"sining is unknown; did you mean 'signing'"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(HeirloomError, match=message) as caught:
        Project.load(tmp_path)
    assert str(path) in caught.value.message
    assert caught.value.exit_code == 1
    assert "\n" not in caught.value.message


def test_unreadable_files(tmp_path: Path) -> None:
    write(tmp_path, "").write_bytes(b"\xff")
    with pytest.raises(HeirloomError, match="is not UTF-8 text"):
        Project.load(tmp_path)
    write(tmp_path, "").unlink()
    (tmp_path / "heirloom.toml").mkdir()
    with pytest.raises(HeirloomError):
        Project.load(tmp_path)


def test_keys_lie_outside_of_git(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, '[product]\nname = "weather"\n')
    found = Project.load(tmp_path)
    assert found.keys_dir() == home / "keys"
    monkeypatch.delenv("HEIRLOOM_KEYS")
    assert found.keys_dir() == home / ".local/share/heirloom/keys/weather"
    (tmp_path / ".git").mkdir()
    for inside in (tmp_path / "keys", tmp_path):
        monkeypatch.setenv("HEIRLOOM_KEYS", str(inside))
        with pytest.raises(HeirloomError, match="keys must not lie in a git work tree"):
            found.keys_dir()


def test_a_link_into_git_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, '[product]\nname = "weather"\n')
    (tmp_path / "tree" / ".git").mkdir(parents=True)
    (tmp_path / "tree" / "below").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "tree" / "below")
    monkeypatch.setenv("HEIRLOOM_KEYS", str(tmp_path / "link" / "keys"))
    with pytest.raises(HeirloomError, match="git work tree"):
        Project.load(tmp_path).keys_dir()
