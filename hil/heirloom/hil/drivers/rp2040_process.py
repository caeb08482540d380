"""A program: rp2040py with a flash that is a file, an exact power cut, and a network that leads to one port only.

stdin and stdout are the board's USB serial port. It ends with `CUT` when the cut that was asked for has struck.
"""

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from heirloom.hil.drivers.process import CUT

_PROGRAM, _ERASES = 0x02, {0x20: 4096, 0xD8: 65536}
_PAGE_BYTES = 256
_PUMP_NS = 1_000_000
_FAILED = 71
_GATEWAY = "10.0.0.1"
_START_S = 600.0


class FlashFile:
    """Stands between rp2040py's flash commands and its flash: each is in the file when it is done.

    Args:
        path: The file of the whole flash.
        counter: The file that holds the number of operations, eight bytes.
        cut: At which operation the power fails; 0: at none.
        kind: "before" it, "after" it, or "torn": half a page programmed, half a sector erased.
    """

    def __init__(self, path: Path, counter: Path, cut: int, kind: str) -> None:
        self._file = os.open(path, os.O_RDWR)
        self._counter = os.open(counter, os.O_RDWR)
        self._cut, self._kind = cut, kind
        self._count = 0

    def fill(self, mcu: Any) -> None:
        """Copy the file into the chip, and put this between them from now on."""
        size = os.fstat(self._file).st_size
        mcu.flash[0:size] = os.pread(self._file, size, 0)
        self._mcu, self._apply = mcu, mcu.ssi._apply_command  # noqa: SLF001 - there is no public place
        mcu.ssi._apply_command = self._command  # noqa: SLF001

    def _command(self) -> None:
        place = self._place()
        if place is None:
            self._apply()
            return
        self._count += 1
        os.pwrite(self._counter, self._count.to_bytes(8, "little"), 0)
        address, size = place
        if self._count == self._cut and self._kind == "before":
            os._exit(CUT)
        before = bytes(self._mcu.flash[address : address + size])
        self._apply()
        after = bytes(self._mcu.flash[address : address + size])
        if self._count == self._cut and self._kind == "torn":
            after = after[: size // 2] + before[size // 2 :]
        os.pwrite(self._file, after, address)
        if self._count == self._cut:
            os._exit(CUT)

    def _place(self) -> tuple[int, int] | None:
        """Where the command that is due changes flash: address and length; None if it does not."""
        ssi = self._mcu.ssi
        sent = ssi._tx_buffer  # noqa: SLF001
        if len(sent) < 4 or not ssi._write_enabled:  # noqa: SLF001
            return None
        address = int.from_bytes(sent[1:4], "big")
        if sent[0] in _ERASES:
            size = _ERASES[sent[0]]
            return address & ~(size - 1), size
        if sent[0] == _PROGRAM and len(sent) > 4:
            return address, min(len(sent) - 4, _PAGE_BYTES)
        return None


class _Writer:
    """A stream's writer for a guest that may end its side after the server has gone, which rp2040py does not expect."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    def write_eof(self) -> None:
        with suppress(OSError):
            self._writer.write_eof()


def _leads_to(port: int) -> Callable[[str, int], Coroutine[Any, Any, Any]]:
    async def connect(host: str, wanted: int) -> Any:
        """The one place that the emulated network reaches."""
        if host != _GATEWAY or wanted != port:
            raise ConnectionRefusedError(f"{host}:{wanted} is not on this network")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        return reader, _Writer(writer)

    return connect


class _NoDatagrams:
    """In place of the relay for UDP, which would ask a name server on the internet."""

    def maybe_handle(self, _frame: object) -> bool:
        return True


def _confine(mcu: Any, radio: Any, port: int) -> None:
    """Nothing but that port is reachable, whatever the guest does."""
    from rp2040py.external.cyw43.nat import TcpReflector

    bridge = radio.bus.nat_bridge
    bridge._udp = _NoDatagrams()  # noqa: SLF001 - there is no public place for either
    bridge._tcp = TcpReflector(  # noqa: SLF001
        mcu, radio.bus.queue_rx_ethernet_frame, connect_fn=_leads_to(port)
    )


class _Keyboard:
    """Bytes from stdin to the board, no faster than its USB takes them."""

    def __init__(self, device: Any) -> None:
        self._device, self._pending = device, bytearray()
        self._alarm = device.simulator.clock.create_alarm(self._pump)
        self._alarm.schedule(_PUMP_NS)

    def read(self) -> None:
        data = os.read(0, 4096)
        if not data:  # whoever switched it on is gone
            os._exit(_FAILED)
        self._pending += data

    def _pump(self) -> None:
        fifo = self._device.cdc.tx_fifo
        for _ in range(min(len(self._pending), max(fifo.size - fifo.item_count, 0))):
            self._device.cdc.send_serial_byte(self._pending.pop(0))
        self._alarm.schedule(_PUMP_NS)


def _say(data: bytes | bytearray) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


async def _run(arguments: argparse.Namespace) -> None:
    from rp2040py.boards import BOARDS
    from rp2040py.device import MicroPythonDevice
    from rp2040py.external.cyw43.chip import Cyw43439

    radio = None if arguments.wifi is None else Cyw43439()
    spec = BOARDS["pico"]
    extras = spec.extras if radio is None else (*spec.extras[1:], lambda: radio)
    with tempfile.NamedTemporaryFile(suffix=".uf2") as empty:
        device = MicroPythonDevice(board=replace(spec, extras=extras, image=empty.name, firmware=None))
    FlashFile(arguments.flash, arguments.counter, arguments.cut, arguments.kind).fill(device.mcu)
    if radio is not None:
        _confine(device.mcu, radio, arguments.wifi)
    device.cdc.on_serial_data = _say
    await device.astart(_START_S)
    keyboard = _Keyboard(device)
    asyncio.get_running_loop().add_reader(0, keyboard.read)
    while device.simulator.executing:  # noqa: ASYNC110 - rp2040py has no event for it
        await asyncio.sleep(1)


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("flash", type=Path)
    parser.add_argument("--counter", type=Path, required=True)
    parser.add_argument("--wifi", type=int, metavar="PORT")
    parser.add_argument("--cut", type=int, default=0)
    parser.add_argument("--kind", default="before")
    asyncio.run(_run(parser.parse_args()))
    sys.exit(_FAILED)


if __name__ == "__main__":
    main()
