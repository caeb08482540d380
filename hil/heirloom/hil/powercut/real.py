"""Power cuts on real MicroPython images in emulators: the client's own steps, run on the board, and cut there.

The board begins with a device that has all of a new release but its activation. Code at its REPL calls the functions of
the client one after the other: fetch files, keep notes, activate, start the trial, confirm, change the owner's
switches. Power fails at one flash command of that, exactly (rp2040), or at some moment (esp32: the process is killed).
What is on flash then is judged by littlefs on the host; the board starts from it, does the same again, and must
come to the end.
"""

import hashlib
import json
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from heirloom.boards import Board
from heirloom.boards.images import lfs
from heirloom.cli.errors import HeirloomError, RigTrouble
from heirloom.cli.files import write_atomic
from heirloom.hil import drivers, provision
from heirloom.hil.drivers import Capability, Driver, Resource
from heirloom.hil.drivers.protocol import CutKind
from heirloom.hil.powercut import cuts, facts, record
from heirloom.hil.powercut.campaign import Plan, prepare
from heirloom.hil.powercut.facts import HOME, Facts
from heirloom.hil.powercut.lives import LIVES, Life
from heirloom.hil.powercut.scene import Scene
from heirloom.signing.compiler import Compiler

BOARDS = {"rp2040": "RPI_PICO_W", "esp32": "ESP32_GENERIC_C3"}
_KINDS: tuple[CutKind, ...] = ("before", "torn", "after")
_FOLDERS = ("/data", "/heirloom/blobs", "/heirloom/slots", "/heirloom/trust")
_BLOBS = {hashlib.sha256(data).digest(): data for data in (bytes([65 + n]) * (700 + 1900 * n) for n in range(3))}
_PATIENCE_S = 60.0

_CHOOSER = "/lib/heirloom_boot.py"
# Typed at the REPL, or compiled on the board, it would take longer than it runs. The path: at the root, "" would take
# the folder of the state for the package.
_RUN = 'import sys\nsys.path[:] = [".frozen", "/lib"]\nimport steps\n'
# It can be run again from wherever a cut has left the device, as the client can. What is fetched comes from memory.
_ACTION = """
import heirloom_boot
from heirloom.device import blobs, install, owner, store
files = %r
class Response:
    length, offset = None, 0
    def __init__(self, data, at):
        self.data, self.offset, self.length = data[at:], at, len(data) - at
    def readinto(self, buffer):
        n = min(len(buffer), len(self.data))
        buffer[:n] = self.data[:n]
        self.data = self.data[n:]
        return n
class Places:
    def open(self, name, at=0, *more):
        return Response(bytes([files[name[6:]][0]]) * files[name[6:]][1], at)
    def next(self):
        pass
work = blobs.Blobs()
for name in sorted(files):
    sha256 = bytes(int(name[i : i + 2], 16) for i in range(0, 64, 2))
    if not work.intact(files[name][1], sha256):
        store.remove(blobs.path_of(sha256))
        work.fetch(Places(), files[name][1], sha256, lambda done: None)
keep = store.FlashStore()
keep.save_notes(keep.load_notes().replace(b'"etag": "', b'"etag": "x'))
new = %r
if heirloom_boot.current()["o"] < new:
    if not heirloom_boot.current()["t"]:
        if not heirloom_boot.exists(install.STAGING):
            store.write_atomic(install.STAGING, store.read(heirloom_boot.slot_path("b")))
        install._activate(blobs.load(install.STAGING), None)
    state = heirloom_boot.load()
    heirloom_boot.begin(state, True)
    heirloom_boot.save(state)
    heirloom_boot.confirm()
owner.change(updates="ask")
owner.change(updates="off", network=False)
print("done", heirloom_boot.load()["o"])
"""


# An emulated second of an RP2040 takes half a minute: there, a device on trial counts a start and is confirmed. Each
# time the folder holds another number of files, so that littlefs has other things to do.
_SHORT = """
import heirloom_boot
new = %r
state = heirloom_boot.load()
if state["o"] < new:
    heirloom_boot.begin(state, True)
    heirloom_boot.save(state)
    heirloom_boot.orderly()
    heirloom_boot.confirm()
heirloom_boot.change(d=1)
print("done", heirloom_boot.load()["o"])
"""


@dataclass
class Findings:
    """What came of it.

    Attributes:
        operations: Flash operations of the steps; 0 where they are not counted.
        cuts: Power cuts.
        early: Of these, those that left the files of the beginning.
        late: Of these, those after which the owner's last word, the last step, was there.
        problems: Name of the case to what is wrong.
    """

    driver: str
    board: str
    seed: int
    operations: int = 0
    cuts: int = 0
    early: int = 0
    late: int = 0
    seconds: float = 0.0
    problems: dict[str, str] = field(default_factory=dict)


def sweep(name: str, number: int, plan: Plan, folder: Path, progress: Callable[[str], object]) -> Findings:
    """Cut so often.

    Args:
        name: Of the driver, "rp2040" or "esp32".
        number: Of cuts.
        plan: Its seed is used.
        folder: Empty, or that of a sweep with this plan.
        progress: Told what is being done.

    Raises:
        HeirloomError: The board cannot be emulated here.
        RigTrouble: The steps do not come to their end without a cut.
    """
    began = time.monotonic()
    resource = Resource(name, name, BOARDS[name])
    life = next(one for one in LIVES if one.name == "update")
    with prepare(plan, folder, [life], progress) as made:
        content, order = _ready(made, life, folder, on_trial=name == "rp2040")
    with drivers.open_driver(resource, folder / f"board-{name}") as driver:
        found = Findings(name, driver.board.name, plan.seed)
        _Cutter(driver, life, content, order, found).run(number, folder, progress)
    found.seconds = time.monotonic() - began
    return found


def _ready(made: Scene, life: Life, folder: Path, *, on_trial: bool) -> tuple[dict[str, bytes], tuple[int, int]]:
    """The files of a device that has all of the new release, just before or after its activation; and its order."""
    start, operations = record.load(folder / "records" / f"{life.name}.z")
    judge, cells = made.judge(life), bytearray(start)
    last = None
    for operation in operations:
        cuts.apply(cells, operation, made.medium(life).block_size)
        look = judge.look(cells)
        if look.facts.trial:
            last = look.content if on_trial else last
            break
        if f"{HOME}/slots/staging.cbor" in look.content:
            last = look.content
    if last is None:
        raise RigTrouble("the life does not stage a release")
    return last, made.served[life.serves].order


def _compiled(board: Board, name: str, source: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="heirloom-") as folder:
        path = Path(folder) / f"{name}.py"
        path.write_text(source)
        return Compiler(board).compile(path, path.name, with_lines=False)


class _Cutter:
    """Cuts one board again and again."""

    def __init__(
        self, driver: Driver, life: Life, content: Mapping[str, bytes], order: tuple[int, int], found: Findings
    ) -> None:
        self._driver, self._life, self._found = driver, life, found
        client = provision.client_files(driver.board)
        lib = {path: data for path, data in client.items() if path.startswith("/lib/")}  # nothing runs by itself
        chooser = lib.pop(_CHOOSER).decode()
        self._short = Capability.EXACT_CUTS in driver.capabilities
        files = {sha256.hex(): (data[0], len(data)) for sha256, data in _BLOBS.items()}
        steps = _SHORT % (list(order),) if self._short else _ACTION % (files, list(order))
        lib["/lib/steps.mpy"] = _compiled(driver.board, "steps", steps)
        lib[_CHOOSER.replace(".py", ".mpy")] = _compiled(driver.board, "heirloom_boot", chooser)
        self._content = {**content, **lib}
        self._order = order
        self._coin = random.Random(found.seed)  # noqa: S311 - a case that comes again, no secret

    def run(self, number: int, folder: Path, progress: Callable[[str], object]) -> None:
        """The steps once without a cut, then so often with one; what is found is kept in the folder at once."""
        variant = 0
        while self._found.cuts < number:
            counted = self._operations()
            self._without_cut(variant)
            operations = self._operations() - counted
            self._found.operations += operations
            for name, cut in self._cuts(variant, operations, number - self._found.cuts):
                wrong = self._case(cut)
                self._found.cuts += 1
                if wrong:
                    self._found.problems[name] = wrong
                write_atomic(folder / f"board-{self._found.driver}.json", json.dumps(asdict(self._found)).encode())
                progress(f"{self._found.board}: {self._found.cuts} cuts, {len(self._found.problems)} problems")
            variant += 1

    def _without_cut(self, variant: int) -> None:
        files = {f"{HOME}/filler-{n}": bytes(40) for n in range(variant)}
        self._image = lfs.build(self._driver.board.flash, {**self._content, **files}, _FOLDERS)
        self._before = self._facts(self._image)
        self._driver.write_filesystem(self._image)
        self._driver.power_on()
        began = time.monotonic()
        told = self._driver.exec(_RUN, _PATIENCE_S)
        self._lasts_s = time.monotonic() - began
        self._driver.power_off()
        if wrong := self._at_the_end():
            raise RigTrouble(f"the steps do not come to their end without a cut: {wrong}", told[-500:])

    def _operations(self) -> int:
        """So far; 0 before the first start, and where nobody counts."""
        counts = self._short and hasattr(self, "_lasts_s")
        return self._driver.flash_operations if counts else 0

    def _cuts(self, variant: int, operations: int, number: int) -> Iterator[tuple[str, Callable[[], None]]]:
        """Names of cases, and how to cut: at each operation in each way, or at so many moments."""
        name = f"{self._found.driver}/{variant}"
        if self._short:
            cases = [(at, kind) for at in range(1, operations + 1) for kind in _KINDS]
            for at, kind in cases[:number]:
                yield f"{name}/{at}:{kind}", partial(self._exactly, at, kind)
            return
        for case in range(number):
            after_s = self._coin.uniform(0, 1.05 * self._lasts_s)
            yield f"{name}/{case}:{after_s:.3f}s", partial(self._killed, after_s)

    def _case(self, cut: Callable[[], None]) -> str:
        """One cut and what follows; returns what is wrong, or ""."""
        self._driver.write_filesystem(self._image)
        cut()
        try:
            seen = self._facts(self._driver.filesystem_image())
        except HeirloomError as exc:
            return exc.message
        wrong = [*seen.wrong, *seen.went_back(self._before)]
        if seen.runs not in (self._life.old, self._life.serves):
            wrong.append(f"{seen.runs} would run")
        self._found.early += seen.digest == self._before.digest
        self._found.late += seen.owner == "off"
        told = self._again()
        if self._at_the_end():
            told = self._again()  # an emulator on a busy machine may not have answered in time
        return "; ".join([*wrong, *([f"{end}: {told[-800:]}"] if (end := self._at_the_end()) else [])])

    def _again(self) -> str:
        """The steps once more, after a start. Returns what the board said."""
        self._driver.power_on()
        try:
            return self._driver.exec(_RUN, _PATIENCE_S)
        except RigTrouble:
            raise
        except HeirloomError as exc:
            return f"{exc.message}\n{exc.advice or ''}"
        finally:
            self._driver.power_off()

    def _exactly(self, at: int, kind: CutKind) -> None:
        self._driver.cut_power_at(at, kind)
        self._driver.power_on()
        self._begin()
        self._driver.wait_off(_PATIENCE_S)

    def _killed(self, after_s: float) -> None:
        self._driver.power_on()
        self._driver.exec("print(1)", _PATIENCE_S)  # it has started
        self._begin()
        time.sleep(after_s)
        self._driver.cut_power()

    def _begin(self) -> None:
        """The steps, in a thread that nobody waits for: the board will not answer it any more."""

        def steps() -> None:
            with suppress(HeirloomError):
                self._driver.exec(_RUN, _PATIENCE_S)

        threading.Thread(target=steps, daemon=True).start()

    def _facts(self, image: bytes) -> Facts:
        return facts.read(lfs.read(self._driver.board.flash, image, facts.HOME, facts.DATA))

    def _at_the_end(self) -> str:
        """What is not as it should be, or ""."""
        try:
            content = lfs.read(self._driver.board.flash, self._driver.filesystem_image(), facts.HOME, facts.DATA)
        except HeirloomError as exc:
            return exc.message
        seen = facts.read(content)
        if self._short:
            found = [seen.runs, seen.trial, seen.marks["confirmed order"], *seen.wrong]
            return "" if found == [self._life.serves, None, self._order] else f"in the end it is {found}"
        missing = [one.hex()[:8] for one, data in _BLOBS.items() if content.get(f"{HOME}/blobs/{one.hex()}") != data]
        if missing:
            return f"the files {missing} were not fetched"
        if seen.runs != self._life.serves or seen.trial or seen.marks["confirmed order"] != self._order or seen.wrong:
            return f"{seen.runs} runs, confirmed is {seen.marks['confirmed order']}; {'; '.join(seen.wrong)}"
        return "" if seen.owner == "off" else f"the owner's switch for updates is {seen.owner}"
