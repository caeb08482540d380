# mypy: ignore-errors
"""The port's `esp32`: partitions, and which of them starts next.

It follows ports/esp32/esp32_partition.c, and ESP-IDF's esp_ota_ops.c and esp_image_format.c below it.
"""

import hashlib
import struct
from binascii import crc32

import _sim_flash
import micropython
from micropython import const

_BLOCK = const(4096)
_APP = const(0)
_DATA = const(1)
_FACTORY = const(0)
_OTA_0 = const(0x10)
_OTADATA = const(0)
_NEW = const(0)
_VALID = const(2)
_INVALID = const(3)
_ABORTED = const(4)
_BLANK = const(0xFFFFFFFF)
_ANY = const(0xFF)
_INVALID_SIZE = const(0x104)
_VALIDATE_FAILED = const(0x1503)
_ENOENT = const(2)

# Set by `_configure`: label, type, subtype, offset and size of each partition; the running one; where flash begins.
_table = ()
_running = None
_chip_id = 0
_base = 0
_origin = 0


def _configure(table, running, chip_id, base, origin):
    """`base` is the address of the file system, which lies at `origin` in flash."""
    global _table, _running, _chip_id, _base, _origin
    _table = tuple(tuple(entry) for entry in table)
    _running = _first(_APP, _ANY, running)
    _chip_id, _base, _origin = chip_id, base, origin


def _first(type, subtype, label=None):
    for entry in _table:
        if entry[1] == type and subtype in (_ANY, entry[2]) and label in (None, entry[0]):
            return entry
    return None


class Partition:
    BOOT = 0
    RUNNING = 1
    TYPE_APP = _APP
    TYPE_DATA = _DATA

    def __init__(self, which):
        if which == 0:
            which = _boot_entry()
        elif which == 1:
            which = _running
        elif isinstance(which, str):
            which = _first(_APP, _ANY, which) or _first(_DATA, _ANY, which)
        elif which not in _table:
            raise ValueError
        if which is None:
            raise OSError(_ENOENT)
        self._entry = which
        size, offset = which[4], which[3]
        self._flash = _sim_flash.Flash(_base, size // _BLOCK, _BLOCK, 1, offset - _origin)

    @staticmethod
    def find(type=_APP, subtype=_ANY, label=None):
        return [
            Partition(entry)
            for entry in _table
            if entry[1] == type and subtype in (_ANY, entry[2]) and label in (None, entry[0])
        ]

    def info(self):
        return self._entry[1], self._entry[2], self._entry[3], self._entry[4], self._entry[0], False

    def readblocks(self, block, buffer, offset=0):
        self._check(block * _BLOCK + offset, len(buffer))
        self._flash.readblocks(block, buffer, offset)

    def writeblocks(self, block, buffer, offset=None):
        length = len(buffer)
        self._check(block * _BLOCK + (offset or 0), length)
        if offset is None:
            if length % _BLOCK:
                raise OSError(-_INVALID_SIZE)
            for number in range(block, block + length // _BLOCK):
                self._flash.ioctl(6, number)
        self._flash.writeblocks(block, buffer, offset or 0)

    def _check(self, start, length):
        if start < 0 or start + length > self._entry[4]:
            raise OSError(-_INVALID_SIZE)

    def ioctl(self, operation, argument):
        if operation == 6:
            self._check(argument * _BLOCK, _BLOCK)
        return self._flash.ioctl(operation, argument)

    def set_boot(self):
        if self._entry[1] != _APP or not _verified(self):
            raise OSError(-_VALIDATE_FAILED)
        place = Partition(_first(_DATA, _OTADATA))
        if self._entry[2] == _FACTORY:
            for sector in range(2):
                place.ioctl(6, sector)
            return
        entries = _entries()
        _write(place, *_next(entries, self._entry[2] - _OTA_0))

    @staticmethod
    def mark_app_valid_cancel_rollback():
        entries = _entries()
        active = _active(entries)
        if active is None:
            raise OSError(-1)
        if entries[active][2] != _VALID:
            _write(Partition(_first(_DATA, _OTADATA)), active, entries[active][0], entries[active][1], _VALID)

    def get_next_update(self):
        slots = _slots()
        place = slots.index(self._entry) + 1 if self._entry in slots else 0
        return Partition(slots[place % len(slots)])


def _slots():
    return sorted([entry for entry in _table if entry[1] == _APP and entry[2] & 0xF0 == _OTA_0], key=lambda e: e[2])


def _boot_entry():
    if _first(_DATA, _OTADATA) is not None:
        entries = _entries()
        active = _active(entries)
        if active is not None and _slots():
            return _slots()[_slot(entries[active][0])]
    return _first(_APP, _FACTORY) or _slots()[0]


def _slot(sequence):
    return (sequence - 1 & _BLANK) % len(_slots())


def _entries():
    """Sequence, label, state and CRC of both entries of otadata."""
    place = Partition(_first(_DATA, _OTADATA))
    data = bytearray(32)
    found = []
    for sector in range(2):
        place.readblocks(sector, data, 0)
        found.append(struct.unpack("<I20sII", data))
    return found


def _crc(sequence):
    return crc32(struct.pack("<I", sequence), _BLANK)


def _active(entries):
    best = None
    for index, (sequence, _, state, crc) in enumerate(entries):
        usable = sequence != _BLANK and state not in (_INVALID, _ABORTED) and crc == _crc(sequence)
        if usable and (best is None or sequence > entries[best][0]):
            best = index
    return best


def _next(entries, slot):
    """Which sector is written to start `slot`, and its sequence, label and state."""
    active = _active(entries)
    if active is None:
        return 0, slot + 1, entries[0][1], _NEW
    sequence, label = entries[active][0], entries[active][1]
    if _slot(sequence) == slot:
        return active, sequence, label, _NEW
    while _slot(sequence) != slot:
        sequence += 1
    return 1 - active, sequence, entries[1 - active][1], _NEW


def _write(place, sector, sequence, label, state):
    place.ioctl(6, sector)
    place.writeblocks(sector, struct.pack("<I20sII", sequence, label, state, _crc(sequence)), 0)


def _verified(part):
    """Whether the image in a partition is whole: header, segments, checksum, hash."""
    size = part._entry[4]
    header = bytearray(24)
    part.readblocks(0, header)
    if header[0] != 0xE9 or not 1 <= header[1] <= 16 or header[12] | header[13] << 8 != _chip_id or header[23] > 1:
        return False
    digest, buffer, at, checksum = hashlib.sha256(header), bytearray(_BLOCK), 24, 0xEF
    for _ in range(header[1]):
        segment = bytearray(8)
        if at + 8 > size:
            return False
        part.readblocks(0, segment, at)
        digest.update(segment)
        length = int.from_bytes(segment[4:], "little")
        at += 8
        if length % 4 or at + length > size:
            return False
        checksum = _take(part, at, length, buffer, digest, checksum)
        at += length
    tail = bytearray(16 - at % 16)
    if at + len(tail) + 32 * header[23] > size:
        return False
    part.readblocks(0, tail, at)
    digest.update(tail)
    if tail[-1] != checksum:
        return False
    stored = bytearray(32)
    if header[23]:
        part.readblocks(0, stored, at + len(tail))
    return not header[23] or bytes(stored) == digest.digest()


def _take(part, at, length, buffer, digest, checksum):
    """Hashes so many bytes, and gives the checksum after them."""
    while length:
        piece = memoryview(buffer)[: min(length, _BLOCK)]
        part.readblocks(0, piece, at)
        digest.update(piece)
        checksum = _xor(piece, checksum)
        at, length = at + len(piece), length - len(piece)
    return checksum


@micropython.viper
def _xor(data, checksum: int) -> int:
    bytes_ = ptr8(data)
    i = int(len(data))
    while i:
        i -= 1
        checksum ^= bytes_[i]
    return checksum
