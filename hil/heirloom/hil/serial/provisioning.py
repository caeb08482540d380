"""A blank, foreign or damaged unit at a port becomes a device: by esptool, by a UF2 file, or by files over its REPL."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from heirloom.boards import Board
from heirloom.boards.images import firmware as images
from heirloom.boards.images import lfs, partitions
from heirloom.boards.images.errors import ImageError
from heirloom.cli.errors import HeirloomError, RigTrouble
from heirloom.cli.output import Progress
from heirloom.hil import firmware, flasher
from heirloom.hil.order import Before, Order, Plan, plan
from heirloom.hil.provision import DEVICE, FOLDERS, NETWORK, ROOT, Identity
from heirloom.hil.serial import identify, ports, volumes
from heirloom.hil.serial.files import Files
from heirloom.hil.serial.identify import Said
from heirloom.hil.serial.line import Line, resets
from heirloom.hil.serial.ports import Port
from heirloom.hil.serial.repl import NoRepl, SerialRepl
from heirloom.hil.serial.unit import ENTER_TIMEOUT_S, held

_ASK_TIMEOUT_S = 8.0
_SUPERBLOCKS = 2
_BACK_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Enrolled:
    """What came of it.

    Attributes:
        identity: Who the unit is.
        port: Where it answers.
        way: "files", "esptool" or "uf2".
        kept: Whether it kept trust, releases and data.
        micropython: The version that is on it.
        written: How many files were written.
        answers: Whether it can be asked at the port now.
    """

    identity: Identity
    port: Port
    way: str
    kept: bool
    micropython: str
    written: int
    answers: bool = True


@dataclass(frozen=True)
class Provisioning:
    """One unit's turn.

    Attributes:
        name: The unit, for messages.
        order: What it gets.
        port: Where it is; None: it shows only the drive of its loader.
        image: The file of the firmware to write; None: what is on it stays.
        default_image: What is written when nothing answers.
        volume: The drive of an RP2's loader; None: it is looked for.
        known: The identity that the project has of a unit of this name.
        agree: Asks a person; returns if the answer is yes.
        bar: Told of what goes on.
    """

    name: str
    order: Order
    port: Port | None
    image: Path | None
    default_image: Path | None
    volume: Path | None
    known: Identity | None
    agree: Callable[[str], None]
    bar: Progress

    @property
    def board(self) -> Board:
        """What the unit must be."""
        return self.order.board

    def run(self) -> Enrolled:
        """Do it.

        Raises:
            HeirloomError: It is another board or unit, its firmware does not do, or something does not fit.
            RigTrouble: It does not answer, or was unplugged. Running it again repairs what was left.
        """
        self.bar.step(f"asking {self.name} what it is")
        said = self._ask()
        if said is not None:
            self._check_known(said.id)
            if self.image is None:
                identify.check(said, self.board, self.name)
                return self.by_files(self._port)
            identify.check_hardware(said, self.board, self.name)
        if self.board.hardware.flashing == "esptool":
            return self._by_esptool()
        return self._by_uf2()

    @property
    def _port(self) -> Port:
        if self.port is None:
            raise RigTrouble(f"device {self.name} has no port", "name it with --port")
        return self.port

    def _image(self) -> Path:
        found = self.image or self.default_image
        if found is None:
            raise HeirloomError(
                f"device {self.name} does not answer, so it needs firmware, and there is none at hand",
                f"give --firmware FILE, MicroPython's image for {self.board.name} from micropython.org/download",
            )
        return found

    def _ask(self) -> Said | None:
        """What it says at its REPL; None: nobody answers, or there is no port."""
        if self.port is None:
            return None
        try:
            with Line(ports.find(self.port)) as line:
                repl = self._repl(line)
                repl.enter(_ASK_TIMEOUT_S)
                return identify.ask(repl, self.name)
        except NoRepl as exc:
            if self.image is None and self.default_image is None:
                raise NoRepl(exc.message, exc.advice) from exc
            return None

    def _check_known(self, id: str) -> None:
        if self.known is not None and self.known.id != id:
            raise HeirloomError(
                f"device {self.name} is known with the id {self.known.id}; the one at the port has {id}",
                "choose another name for this one",
            )

    def _repl(self, line: Line) -> SerialRepl:
        return SerialRepl(line, self.name, reset_line=self.board.hardware.flashing == "esptool")

    def _identity(self, id: str, before: Before) -> Identity:
        """The secret that it has, else the one that the project knows, else a new one."""
        secret = before.secret(id)
        if secret is not None and not self.order.erase:
            return Identity(id, secret)
        if self.known is not None and self.known.id == id:
            return self.known
        return Identity.new(id)

    def _ask_person(self, question: str) -> None:
        with self.bar.paused():
            self.agree(question)

    def _agree(self, before: Before) -> None:
        if self.order.erase or not (before.is_blank or before.belongs_to(self.order.product)):
            self._ask_person(f"Replace what is on device {self.name}?")

    # --- by files over the REPL --------------------------------------------------------------------------------

    def by_files(self, port: Port, way: str = "files") -> Enrolled:
        """Over the REPL of the firmware that is on it.

        Args:
            port: Where it answers.
            way: What to say of it.
        """
        self.bar.step(f"looking at the files of {self.name}")
        with Line(ports.find(port)) as line, held(self._repl(line)) as repl:
            said = identify.ask(repl, self.name)
            identify.check(said, self.board, self.name)
            self._check_known(said.id)
            files = Files(repl, self.name)
            before = _before_over_repl(files)
            self._agree(before)
            identity = self._identity(said.id, before)
            todo = plan(self.order, before, identity)
            written = self._bring_up_to_date(files, todo)
        return Enrolled(identity, port, way, todo.kept, said.release, written)

    def _bring_up_to_date(self, files: Files, todo: Plan) -> int:
        files.remove(sorted(todo.unwanted))
        files.make_folders(FOLDERS)
        self.bar.step(f"comparing the files of {self.name}")
        wanted = files.differing(todo.files)
        self.bar.step(f"writing files to {self.name}", sum(len(todo.files[path]) for path in wanted))
        for path in wanted:
            files.put(path, todo.files[path], self.bar.advance)
        return len(wanted)

    # --- by esptool --------------------------------------------------------------------------------------------

    def _by_esptool(self) -> Enrolled:
        port = ports.find(self._port)
        parts = firmware.read(self.board, self._image())
        self.bar.step(f"asking the chip of {self.name}")
        chip = flasher.identify(port, self.board.chip)
        self._check_known(chip.id)
        if chip.flash_size is not None and chip.flash_size < self.board.flash.size:
            raise HeirloomError(
                f"device {self.name} has {chip.flash_size >> 20} MB of flash, a {self.board.name} "
                f"{self.board.flash.size >> 20} MB",
                "describe it as a board of your own, see docs/boards.md",
            )
        old = self._rescue(port)
        before = before_of(old)
        self._agree(before)
        identity = self._identity(chip.id, before)
        todo = plan(self.order, before, identity)
        files = {**_remaining(old, todo, self.order), **todo.files}
        regions = firmware.regions(self.board, parts, lfs.build(self.board.flash, files, FOLDERS))
        self.bar.step(f"flashing {self.name}", sum(len(region.data) for region in regions))
        flasher.write(port, self.board.chip, regions, lambda count: self.bar.update(completed=count))
        version = self._back(self._port).release if resets(port) else parts.app_image.version
        return Enrolled(identity, self._port, "esptool", todo.kept, version, len(files), answers=resets(port))

    def _rescue(self, port: str) -> dict[str, bytes]:
        """The files of whatever MicroPython is in flash; none if there is no file system, or it is damaged."""
        if self.order.erase:
            return {}
        chip = self.board.chip
        try:
            table = partitions.parse(flasher.read(port, chip, partitions.OFFSET, partitions.SIZE_BYTES, _ignore))
        except ImageError:
            return {}
        place = table.labelled(partitions.FILESYSTEM)
        block = self.board.flash.block_size
        if place is None or place.size % block:
            return {}
        head = flasher.read(port, chip, place.offset, _SUPERBLOCKS * block, _ignore)
        magics = (head[at + lfs.MAGIC_OFFSET :][: len(lfs.MAGIC)] for at in (0, block))
        if lfs.MAGIC not in magics:
            return {}
        self.bar.step(f"reading the files of {self.name}", place.size)
        image = flasher.read(port, chip, place.offset, place.size, lambda count: self.bar.update(completed=count))
        layout = replace(self.board.flash, offset=place.offset, block_count=place.size // block)
        try:
            return lfs.read(layout, image)
        except ImageError:
            self._ask_person(f"The file system of {self.name} is damaged. Make it anew, without what was on it?")
            return {}

    # --- by a UF2 file -----------------------------------------------------------------------------------------

    def _by_uf2(self) -> Enrolled:
        data = firmware.read_file(self._image())
        images.check_uf2(self.board, data)
        if self.order.erase:
            self._ask_person(f"Replace what is on device {self.name}?")
            # Who it is stands in its id, which only its firmware can tell.
            files = plan(self.order, Before(), Identity("", "")).files
            filesystem = lfs.build(self.board.flash, {p: d for p, d in files.items() if p != DEVICE}, FOLDERS)
            data = volumes.with_filesystem(self.board, data, filesystem)
        volume = loader_drive(self.name, self.board, self.port, self.volume)
        self.bar.step(f"copying firmware to {volume}", len(data))
        volumes.copy(data, volume, self.bar.advance)
        self.bar.step(f"waiting for {self.name} to start")
        port = self._reappeared()
        self._back(port)
        agree = _agreed if self.order.erase else self.agree
        return replace(self, order=replace(self.order, erase=False), agree=agree).by_files(port, "uf2")

    def _reappeared(self) -> Port:
        """The port of a unit that starts new firmware: the one that it had, else the only one that fits."""
        if self.port is not None:
            return self.port
        deadline = time.monotonic() + _BACK_TIMEOUT_S
        while True:
            try:
                return ports.choose(ports.AUTO, self.board)
            except RigTrouble:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(1)

    def _back(self, port: Port) -> Said:
        """Wait until what was flashed answers."""
        deadline = time.monotonic() + _BACK_TIMEOUT_S
        while True:
            try:
                with Line(ports.find(port)) as line:
                    repl = self._repl(line)
                    repl.enter(ENTER_TIMEOUT_S)
                    said = identify.ask(repl, self.name)
                    identify.check(said, self.board, self.name)
                    return said
            except RigTrouble:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(1)


def loader_drive(name: str, board: Board, port: Port | None, volume: Path | None) -> Path:
    """The drive of an RP2's loader; a unit that answers at its REPL is sent there.

    Args:
        name: The unit, for messages.
        board: What it is.
        port: Where it may answer.
        volume: The drive, if a person has named it.

    Raises:
        HeirloomError: The drive belongs to another chip.
        RigTrouble: There is none, or there are several.
    """
    if volume is not None:
        volumes.check(volume, board)
        return volume
    if port is not None:
        try:
            with Line(ports.find(port)) as line:
                repl = SerialRepl(line, name)
                repl.enter(_ASK_TIMEOUT_S)
                repl.start("import machine\nmachine.bootloader()", time.monotonic() + 1)
        except RigTrouble:
            pass  # it does not answer, or is on its way; the drive tells
    return volumes.wait(board, _BACK_TIMEOUT_S if port else 0)


def _before_over_repl(files: Files) -> Before:
    paths = frozenset(files.sizes())
    found = {path: files.get(path) for path in (DEVICE, NETWORK, ROOT) if path in paths}
    return Before(paths, found.get(DEVICE, b""), found.get(NETWORK), found.get(ROOT))


def before_of(old: Mapping[str, bytes]) -> Before:
    """What was on a unit whose files have all been read."""
    return Before(frozenset(old), old.get(DEVICE, b""), old.get(NETWORK), old.get(ROOT))


def _remaining(old: Mapping[str, bytes], todo: Plan, order: Order) -> dict[str, bytes]:
    if order.erase:
        return {}
    return {path: data for path, data in old.items() if path not in todo.unwanted}


def _agreed(_: str) -> None:
    """A person has said yes already."""


def _ignore(_: int) -> None:
    """Too short to be told of."""
