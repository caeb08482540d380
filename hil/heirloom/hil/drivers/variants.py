"""Firmware for tests of firmware: other than a given image, and right in all that a bootloader checks."""

import hashlib
import struct
from dataclasses import replace
from functools import reduce
from operator import xor

from heirloom.boards.images.esp32 import Parts

_HASH_BYTES = 32
# esp_app_desc_t, the first thing in the first segment: magic word, then the version at 16 and the date at 96.
_DESCRIPTION, _DATE = (0xABCD5432).to_bytes(4, "little"), 96
_HEADER_BYTES, _SEGMENT = 24, struct.Struct("<II")
# Where an ESP32, and an ESP32-C3 or -S3, have the code that the bootloader loads; parts that are small are not code.
_CODE_IN_RAM, _SMALL_BYTES = (range(0x40080000, 0x400A0000), range(0x40370000, 0x403E0000)), 20_000
_SIZE_CODES = {2 << 20: 1, 4 << 20: 2, 8 << 20: 3, 16 << 20: 4}


def other(app: bytes) -> bytes:
    """The same firmware with another date in it, so with another hash."""
    changed = bytearray(app[:-_HASH_BYTES])
    place = app.index(_DESCRIPTION) + _DATE
    changed[place] ^= 1
    changed[-1] ^= 1  # the checksum over all segments is their XOR
    return bytes(changed) + hashlib.sha256(changed).digest()


def bad(app: bytes) -> bytes:
    """Firmware that the bootloader finds right and that panics while it starts: a part of its code in RAM is zeros.

    Which part was found by trying, on MicroPython 1.27 for the ESP32-C3: others are not run at all, or before there is
    a panic handler that resets. Code in flash stays as it is: QEMU goes on with what it has translated of it, even when
    the bootloader has turned to the other slot, and the good firmware would fail as well.
    """
    changed = bytearray(app[:-_HASH_BYTES])
    at = _HEADER_BYTES
    for _ in range(changed[1]):
        address, length = _SEGMENT.unpack_from(changed, at)
        at += _SEGMENT.size
        if length > _SMALL_BYTES and any(address in code for code in _CODE_IN_RAM):
            begin, end = at + length // 10, at + length * 2 // 10
            changed[-1] ^= reduce(xor, changed[begin:end])
            changed[begin:end] = bytes(end - begin)
        at += length
    return bytes(changed) + hashlib.sha256(changed).digest()


def for_flash_size(parts: Parts, size: int) -> Parts:
    """The same parts with a bootloader that expects another size of flash, as `esptool --flash-size` does it."""
    if parts.flash_size == size or size not in _SIZE_CODES:
        return parts
    changed = bytearray(parts.bootloader[:-_HASH_BYTES])
    changed[3] = changed[3] & 0x0F | _SIZE_CODES[size] << 4
    return replace(parts, bootloader=bytes(changed) + hashlib.sha256(changed).digest(), flash_size=size)
