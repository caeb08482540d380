"""Every row of the golden table, against the bootloader's own functions, taken out of ESP-IDF and compiled here.

Needs the sources of ESP-IDF, named by IDF_PATH as usual, and a C compiler. All 4,214 rows agreed with ESP-IDF 5.2.2,
5.4.2, 5.5.1 and 6.2-dev (10212290).
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from heirloom.boards.images import otadata
from heirloom.boards.images.partitions import APP
from heirloom.cli.extras import missing

if missing("flash"):
    pytest.skip("the extra `flash` is not installed: pip install 'heirloom-ota[flash]'", allow_module_level=True)

import bootloader_rows as rows

HERE = Path(__file__).parent
PLACE = "/* Here come the functions of ESP-IDF. */"
SOURCES = "components/bootloader_support/src"
# In the order in which they call each other.
FUNCTIONS = {
    "bootloader_common_loader.c": [
        "bootloader_common_ota_select_crc",
        "bootloader_common_ota_select_invalid",
        "bootloader_common_ota_select_valid",
        "bootloader_common_select_otadata",
        "bootloader_common_get_active_otadata",
    ],
    "bootloader_utility.c": [
        "index_to_partition",
        "write_otadata",
        "check_anti_rollback",
        "bootloader_utility_get_selected_boot_partition",
        "try_load_partition",
        "set_actual_ota_seq",
        "bootloader_utility_load_boot_image",
    ],
}


def function(source: str, name: str) -> str:
    """The definition of a C function, as it stands there."""
    found = re.search(rf"^\w[^\n;{{}}]*\b{name}\([^;{{}}]*\)\s*\{{.*?^\}}", source, re.MULTILINE | re.DOTALL)
    assert found, f"no function {name}"
    return found[0]


@pytest.fixture
def bootloader(tmp_path: Path) -> Path:
    """A program that makes the choice as ESP-IDF's functions do."""
    compiler = shutil.which("cc")
    folder = Path(os.environ.get("IDF_PATH", "")) / SOURCES
    if compiler is None:
        pytest.skip("no C compiler")
    if "IDF_PATH" not in os.environ or not folder.is_dir():
        pytest.skip("no sources of ESP-IDF: name a checkout in IDF_PATH")
    found = []
    for file, names in FUNCTIONS.items():
        source = (folder / file).read_text(encoding="utf-8")
        found += [function(source, name) for name in names]
    code = tmp_path / "bootloader.c"
    stubs = (HERE / "esp_idf_stubs.c").read_text(encoding="utf-8")
    code.write_text(stubs.replace(PLACE, "\n\n".join(found)), encoding="utf-8")
    program = tmp_path / "bootloader"
    subprocess.run([compiler, "-w", "-O1", "-fsanitize=undefined", "-o", program, code], check=True)
    return program


def question(key: tuple[str, str, str, str]) -> str:
    layout, first, second, whole = key
    table = rows.LAYOUTS[layout]
    factory = table.factory.size if table.factory else 0
    numbers = [factory, len(table.ota_slots)]
    for code in (first, second):
        entry = rows.entry(code)
        numbers += [entry.sequence, entry.state, entry.crc]
    assert sum(part.type == APP for part in table) == len(whole)
    return " ".join([*(str(int(number)) for number in numbers), whole])


def answer(line: str) -> str:
    """A line of the program as a row says it."""
    running, *writes = line.split()
    said = [running]
    for write in writes:
        sector, numbers = write.split(":")
        sequence, state, crc = map(int, numbers.split(","))
        said.append(f"{sector}:{rows.code_of(otadata.Entry(sequence, state, crc))}")
    return " ".join(said)


def test_the_golden_table_is_what_espressifs_functions_do(bootloader: Path) -> None:
    keys = list(rows.every_key())
    text = "\n".join(question(key) for key in keys) + "\n"
    done = subprocess.run([bootloader], input=text, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    made = [f"{' '.join(key)} -> {answer(line)}" for key, line in zip(keys, lines, strict=True)]
    golden = (HERE / "bootloader_golden.txt").read_text(encoding="utf-8").splitlines()
    different = [(ours, theirs) for ours, theirs in zip(golden, made, strict=True) if ours != theirs]
    assert different == []
