"""The loader in the ROM of an ESP32, ESP32-C3 or ESP32-S3, in download mode: one request in, its answers out.

It follows Espressif's "Serial Protocol" (docs.espressif.com/projects/esptool, advanced topics). When a host has
uploaded a program to RAM and starts it, that is taken to be esptool's flasher stub, and the loader goes on as it would.

It is stricter than a chip: what lies outside the flash, unaligned offsets, blocks out of order and more data than was
announced are errors.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from heirloom.boards.chips import CHIPS
from heirloom.hil.sim.esp32.nor import PAGE_BYTES, SECTOR_BYTES, NorFlash
from heirloom.hil.sim.esp32.registers import Registers

#: The longest request: a block of 16 KiB for the stub, and its header.
MAX_REQUEST_BYTES = 0x8000
_REQUEST = struct.Struct("<BBHI")
_BLOCK_HEADER_BYTES = 16
_CHECKSUM_SEED = 0xEF
_SLOW_READ_BYTES = 64
_SYNC_ANSWERS = 8
_ROM_SYNC_VALUE = 0x20120707
_STUB_GREETING = b"OHAI"


class Op(IntEnum):
    """The requests."""

    FLASH_BEGIN = 0x02
    FLASH_DATA = 0x03
    FLASH_END = 0x04
    MEM_BEGIN = 0x05
    MEM_END = 0x06
    MEM_DATA = 0x07
    SYNC = 0x08
    WRITE_REG = 0x09
    READ_REG = 0x0A
    SPI_SET_PARAMS = 0x0B
    SPI_ATTACH = 0x0D
    READ_FLASH_SLOW = 0x0E
    CHANGE_BAUDRATE = 0x0F
    FLASH_DEFL_BEGIN = 0x10
    FLASH_DEFL_DATA = 0x11
    FLASH_DEFL_END = 0x12
    SPI_FLASH_MD5 = 0x13
    GET_SECURITY_INFO = 0x14
    ERASE_FLASH = 0xD0
    ERASE_REGION = 0xD1
    READ_FLASH = 0xD2


class Refusal(Exception):  # noqa: N818 - an answer
    """The request is answered by an error code."""

    INVALID = 0x05
    FAILED = 0x06
    CHECKSUM = 0x07
    DEFLATE = 0x0B

    def __init__(self, code: int) -> None:
        super().__init__(f"{code:#04x}")
        self.code = code


@dataclass
class _Write:
    """A write that has begun.

    Attributes:
        at: Where the next byte goes.
        end: Where the announced region ends.
        next_block: The number of the next block.
        inflate: The stream, if it comes deflated.
        pending: Inflated bytes that are no whole page yet.
    """

    at: int
    end: int
    next_block: int = 0
    inflate: "zlib._Decompress | None" = None
    pending: bytes = b""


@dataclass
class _Reading:
    """A read by the stub that goes on: blocks are sent ahead, and the host acknowledges bytes."""

    offset: int
    length: int
    block: int
    ahead: int
    sent: int = 0


class RomLoader:
    """One power-on in download mode.

    Args:
        chip: As in "esp32c3".
        mac: Its MAC address, 6 bytes.
        flash: What is written and read.

    Attributes:
        stub: Whether the flasher stub runs.
    """

    def __init__(self, chip: str, mac: bytes, flash: NorFlash) -> None:
        self.stub = False
        self._chip = CHIPS[chip]
        self._flash = flash
        self._registers = Registers(chip, mac, len(flash))
        self._write: _Write | None = None
        self._reading: _Reading | None = None
        self._handlers: dict[int, Callable[[bytes], bytes]] = {
            Op.FLASH_BEGIN: self._flash_begin, Op.FLASH_DATA: self._flash_data, Op.FLASH_END: self._ignore,
            Op.FLASH_DEFL_BEGIN: self._defl_begin, Op.FLASH_DEFL_DATA: self._defl_data, Op.FLASH_DEFL_END: self._ignore,
            Op.MEM_BEGIN: self._ignore, Op.MEM_DATA: self._ignore, Op.MEM_END: self._ignore, Op.SYNC: self._ignore,
            Op.WRITE_REG: self._write_register, Op.READ_REG: self._ignore, Op.SPI_ATTACH: self._ignore,
            Op.SPI_SET_PARAMS: self._ignore, Op.CHANGE_BAUDRATE: self._ignore, Op.READ_FLASH_SLOW: self._read_slow,
            Op.SPI_FLASH_MD5: self._md5, Op.GET_SECURITY_INFO: self._security_info, Op.ERASE_FLASH: self._erase_flash,
            Op.ERASE_REGION: self._erase_region, Op.READ_FLASH: self._read_flash,
        }  # fmt: skip

    def answer(self, frame: bytes) -> Iterator[bytes]:
        """The frames that answer one frame.

        Raises:
            PowerCut: The flash lost its power.
        """
        if self._reading is not None:
            yield from self._continue_reading(frame)
            return
        if len(frame) < _REQUEST.size or frame[0] != 0:
            return  # noise on the line
        _, op, length, checksum = _REQUEST.unpack_from(frame)
        body = frame[_REQUEST.size :]
        try:
            if length != len(body):
                raise Refusal(Refusal.INVALID)
            payload = self._handle(op, body, checksum)
        except Refusal as refusal:
            yield self._reply(op, 0, bytes([1, refusal.code]))
            return
        for _ in range(_SYNC_ANSWERS if op == Op.SYNC else 1):
            yield self._reply(op, self._value(op, body), payload + b"\0\0")
        yield from self._afterwards(op, body)

    def _handle(self, op: int, body: bytes, checksum: int) -> bytes:
        handler = self._handlers.get(op)
        if handler is None or (op >= Op.ERASE_FLASH and not self.stub):
            raise Refusal(Refusal.INVALID)
        if op in (Op.FLASH_DATA, Op.FLASH_DEFL_DATA, Op.MEM_DATA) and _checksum(body) != checksum & 0xFF:
            raise Refusal(Refusal.CHECKSUM)
        try:
            return handler(body)
        except struct.error as exc:
            raise Refusal(Refusal.INVALID) from exc

    def _reply(self, op: int, value: int, data: bytes) -> bytes:
        reserved = b"" if self.stub else b"\0\0"
        return _REQUEST.pack(1, op, len(data + reserved), value) + data + reserved

    def _value(self, op: int, body: bytes) -> int:
        if op == Op.READ_REG:
            return self._registers.read(*struct.unpack_from("<I", body.ljust(4, b"\0")))
        # esptool takes a value of zero for a stub that is running already.
        return _ROM_SYNC_VALUE if op == Op.SYNC and not self.stub else 0

    def _afterwards(self, op: int, body: bytes) -> Iterator[bytes]:
        if op == Op.MEM_END and len(body) >= 8 and struct.unpack_from("<II", body)[1]:
            self.stub = True
            yield _STUB_GREETING
        if self._reading is not None:
            yield from self._read_ahead(self._reading, 0)

    def _ignore(self, body: bytes) -> bytes:  # noqa: ARG002 - one of the handlers
        """Nothing to do here, and the host wants to hear that it is done."""
        return b""

    def _write_register(self, body: bytes) -> bytes:
        for start in range(0, len(body), 16):
            address, value, mask, _ = struct.unpack_from("<IIII", body, start)
            self._registers.write(address, value, mask)
        return b""

    def _security_info(self, body: bytes) -> bytes:  # noqa: ARG002 - one of the handlers
        if self._chip.name == "esp32":
            raise Refusal(Refusal.INVALID)  # it came with later chips
        return struct.pack("<IB7sII", 0, 0, bytes(7), self._chip.image_id or 0, 0)

    # --- writing ---------------------------------------------------------------------------------------------------

    def _begin(self, body: bytes) -> _Write:
        size, _, _, offset = struct.unpack_from("<IIII", body)
        if offset % SECTOR_BYTES or not self._flash.contains(offset, size):
            raise Refusal(Refusal.FAILED)
        if not self.stub:
            self._flash.erase(offset, size)
        self._write = _Write(offset, offset + size)
        return self._write

    def _flash_begin(self, body: bytes) -> bytes:
        write = self._begin(body)
        _, blocks, block_size, _ = struct.unpack_from("<IIII", body)
        if not self.stub:  # the last block comes filled up, and the ROM writes all of it
            write.end = min(len(self._flash), write.at + blocks * block_size)
        return b""

    def _defl_begin(self, body: bytes) -> bytes:
        self._begin(body).inflate = zlib.decompressobj()
        return b""

    def _next_block(self, body: bytes, *, deflated: bool) -> tuple[_Write, bytes]:
        length, number = struct.unpack_from("<II", body)
        write, data = self._write, body[_BLOCK_HEADER_BYTES:]
        if (
            write is None
            or (write.inflate is not None) != deflated
            or number != write.next_block
            or length != len(data)
        ):
            raise Refusal(Refusal.FAILED)
        write.next_block += 1
        return write, data

    def _flash_data(self, body: bytes) -> bytes:
        write, data = self._next_block(body, deflated=False)
        if self.stub:  # the stub is told the exact size, and the last block is filled up with FF
            data = data[: max(0, write.end - write.at)]
        self._program(write, data)
        return b""

    def _defl_data(self, body: bytes) -> bytes:
        write, data = self._next_block(body, deflated=True)
        stream = write.inflate
        try:
            inflated = stream.decompress(data) if stream else b""
        except zlib.error as exc:
            raise Refusal(Refusal.DEFLATE) from exc
        write.pending += inflated
        finished = stream is None or stream.eof
        whole = len(write.pending) if finished else len(write.pending) // PAGE_BYTES * PAGE_BYTES
        ready, write.pending = write.pending[:whole], write.pending[whole:]
        self._program(write, ready)
        return b""

    def _program(self, write: _Write, data: bytes) -> None:
        if write.at + len(data) > write.end:
            raise Refusal(Refusal.FAILED)
        if self.stub:
            self._erase_as_it_goes(write.at, len(data))
        self._flash.program(write.at, data)
        write.at += len(data)

    def _erase_as_it_goes(self, at: int, length: int) -> None:
        """The stub erases each sector when it comes to its first byte."""
        first = at + -at % SECTOR_BYTES
        if first < at + length:
            self._flash.erase(first, at + length - first)

    # --- erasing and reading -----------------------------------------------------------------------------------------

    def _erase_flash(self, body: bytes) -> bytes:  # noqa: ARG002 - one of the handlers
        self._flash.erase(0, len(self._flash))
        return b""

    def _erase_region(self, body: bytes) -> bytes:
        offset, length = struct.unpack_from("<II", body)
        if offset % SECTOR_BYTES or length % SECTOR_BYTES or not self._flash.contains(offset, length):
            raise Refusal(Refusal.FAILED)
        self._flash.erase(offset, length)
        return b""

    def _md5(self, body: bytes) -> bytes:
        offset, length = self._region(body)
        digest = self._flash.md5(offset, length)
        return digest if self.stub else digest.hex().encode()

    def _read_slow(self, body: bytes) -> bytes:
        offset, length = self._region(body)
        if length > _SLOW_READ_BYTES:
            raise Refusal(Refusal.FAILED)
        return self._flash.read(offset, length).ljust(_SLOW_READ_BYTES, b"\0")

    def _read_flash(self, body: bytes) -> bytes:
        offset, length = self._region(body)
        block, ahead = struct.unpack_from("<II", body, 8)
        if not block or not ahead:
            raise Refusal(Refusal.FAILED)
        self._reading = _Reading(offset, length, block, ahead)
        return b""

    def _region(self, body: bytes) -> tuple[int, int]:
        offset, length = struct.unpack_from("<II", body)
        if not self._flash.contains(offset, length):
            raise Refusal(Refusal.FAILED)
        return offset, length

    def _continue_reading(self, frame: bytes) -> Iterator[bytes]:
        reading = self._reading
        if reading is None or len(frame) != 4:
            return
        acknowledged = int.from_bytes(frame, "little")
        if acknowledged < reading.length:
            yield from self._read_ahead(reading, acknowledged)
            return
        self._reading = None
        yield self._flash.md5(reading.offset, reading.length)

    def _read_ahead(self, reading: _Reading, acknowledged: int) -> Iterator[bytes]:
        while reading.sent < min(reading.length, acknowledged + reading.ahead * reading.block):
            count = min(reading.block, reading.length - reading.sent)
            yield self._flash.read(reading.offset + reading.sent, count)
            reading.sent += count


def _checksum(body: bytes) -> int:
    checksum = _CHECKSUM_SEED
    for byte in body[_BLOCK_HEADER_BYTES:]:
        checksum ^= byte
    return checksum
