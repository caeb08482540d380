"""Firmware over the air, on an ESP32: into the partition that does not run, block by block, read back and hashed whole.

Loaded only for a release that brings firmware. The partition is erased first, then the record says whose it is: from
then on flash itself tells how far a download came, and it goes on at the block that was written last. Whether that was
right, the hash says.
"""

import binascii
import hashlib

import heirloom_boot
from esp32 import Partition
from micropython import const

from heirloom.device.errors import E_FIRMWARE, E_HASH, E_LENGTH, E_NETWORK, UpdateError
from heirloom.device.store import flash_error, read, remove, write_atomic

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Callable, Optional, Union

    from heirloom.device.manifest import Firmware, Manifest
    from heirloom.device.places import Places

    Buffer = Union[bytes, bytearray, memoryview]

RECORD = "/heirloom/slots/firmware"  # hash of the image for which a partition was erased, and the partition's name
_BLOCK = const(4096)
_PIECE = const(1024)
_TRIES = const(4)
_TOLD = const(4)  # blocks between two reports of progress
_ERASE = const(6)
_OTA = const(0x10)
_HEADER = const(24)
_MAGIC = const(0xE9)


class Image:
    """The firmware that runs, read as a file as long as the image is. A patch starts from it."""

    def __init__(self) -> None:
        self.part: Partition = heirloom_boot.esp32().running()
        self.length = _length(self.part)
        self._at = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """Moves and returns the new position; whence 0: from the beginning, 1: from here, 2: from the end."""
        self._at = max(0, offset + (0, self._at, self.length)[whence])
        return self._at

    def readinto(self, buffer: "Union[bytearray, memoryview]") -> int:
        """Fills the buffer from the current position; fewer bytes only at the end, 0 there."""
        count = min(len(buffer), max(0, self.length - self._at))
        if count:
            part = buffer if count == len(buffer) else memoryview(buffer)[:count]
            self.part.readblocks(self._at // _BLOCK, part, self._at % _BLOCK)  # type: ignore[arg-type]
            self._at += count
        return count

    def sha256(self) -> bytes:
        """Of all of it."""
        return _sha256(self.part, self.length, bytearray(_BLOCK))


def _length(part: Partition) -> int:
    """How long the image in a partition is, from its headers; 0 when there is none."""
    size, head = part.info()[3], bytearray(_HEADER)
    part.readblocks(0, head, 0)
    if head[0] != _MAGIC:
        return 0
    at, segment = _HEADER, bytearray(8)
    for _ in range(head[1]):
        if at + 8 > size:
            return 0
        part.readblocks(at // _BLOCK, segment, at % _BLOCK)
        at += 8 + int.from_bytes(segment[4:], "little")
    at += 16 - at % 16 + (32 if head[23] else 0)  # the checksum ends 16 bytes, a hash may follow
    return at if at <= size else 0


def _sha256(part: Partition, length: int, buffer: bytearray) -> bytes:
    digest = hashlib.sha256()
    for block in range((length + _BLOCK - 1) // _BLOCK):
        part.readblocks(block, buffer)
        left = length - block * _BLOCK
        digest.update(buffer if left >= _BLOCK else memoryview(buffer)[:left])
    return bytes(digest.digest())


def check(length: int) -> Partition:
    """The partition for a firmware of so many bytes: never the one that runs. Raises UpdateError E_FIRMWARE."""
    port = heirloom_boot.esp32()
    running = port.label(port.running())
    slots = [part for part in Partition.find(Partition.TYPE_APP) if part.info()[1] & 0xF0 == _OTA]
    others = [part for part in slots if part.info()[4] != running]
    if len(slots) < 2 or not others or not Partition.find(Partition.TYPE_DATA, 0):
        raise UpdateError(E_FIRMWARE, f"the release brings firmware, and beside {running} is no second slot for it")
    state = heirloom_boot.current()
    fallback = (state.get("p") or {}).get(state["f"])
    part: Partition = others[-1]
    for part in others:
        if port.mark(part) != fallback:
            break
    if length > part.info()[3]:
        raise UpdateError(
            E_FIRMWARE, f"the firmware has {length} bytes, and partition {part.info()[4]} {part.info()[3]}"
        )
    return part


def find(firmware: "Firmware") -> "Optional[str]":
    """The mark of a firmware that lies on flash, whole; None where it does not."""
    for part in Partition.find(Partition.TYPE_APP):
        length, buffer = firmware[0], bytearray(_BLOCK)
        if length <= part.info()[3] and _sha256(part, length, buffer) == firmware[1]:
            return str(heirloom_boot.esp32().mark(part))
    return None


def stage(manifest: "Manifest", places: "Places", progress: "Callable[[int], object]") -> "tuple[str, int]":
    """Has the firmware of a release on flash, whole: (mark of where it lies, bytes that were fetched).

    Nothing is written when it runs already or lies there from before. A patch is taken when it begins with the firmware
    that runs. Raises UpdateError.
    """
    length, sha256 = manifest.firmware[0], manifest.firmware[1]  # type: ignore[index]
    image = Image()
    try:
        running = image.sha256()
        if image.length == length and running == sha256:
            return heirloom_boot.esp32().mark(image.part), 0
        target = Target(check(length), length, sha256)
        done = target.is_whole() or (manifest.patches and target.patch(manifest, image, running, places, progress))
        if not done:
            target.fetch(places, progress)
        remove(RECORD)
        return heirloom_boot.esp32().mark(target.part), target.fetched
    except OSError as error:
        raise flash_error(error, "the firmware") from None


class Target:
    """The partition that gets an image. A sink for patches as well: `begin`, `write` and `end`."""

    def __init__(self, part: Partition, length: int, sha256: bytes) -> None:
        self.part = part
        self.fetched = 0
        self._length = length
        self._sha256 = sha256
        self._blank = b"\xff" * _BLOCK
        self._old = bytearray(_BLOCK)
        self._new = bytearray(_BLOCK)
        self._view = memoryview(self._new)
        self._pieces = [self._view[at : at + _PIECE] for at in range(0, _BLOCK, _PIECE)]
        self._block = 0
        self._fill = 0

    def is_whole(self) -> bool:
        """Whether what lies on flash is the image."""
        return _sha256(self.part, self._length, self._old) == self._sha256

    def fetch(self, places: "Places", progress: "Callable[[int], object]") -> None:
        """Fetches the image, from where an earlier download stopped. Raises UpdateError; what came stays."""
        for tries in range(_TRIES, -1, -1):
            before = self.begin()
            try:
                self._download(places, before, progress)
                if self.is_whole():
                    return
                raise UpdateError(E_HASH, "the firmware differs from the hash that the release names")
            except UpdateError as error:
                if error.code in (E_HASH, E_LENGTH):
                    remove(RECORD)  # a wrong hash may come of a wrong beginning
                    places.next()
                if not tries or (error.code == E_NETWORK and self.reached() <= before):
                    raise

    def patch(
        self, manifest: "Manifest", image: Image, running: bytes, places: "Places", progress: "Callable[[int], object]"
    ) -> bool:
        """Whether a patch made the image of the one that runs, whose hash is given. Never raises UpdateError.

        A patch goes through from its beginning; blocks that are there from before a power cut are not written again.
        """
        from heirloom.device import blobs, patched

        choice = patched.choose(manifest, self._sha256, lambda old: old == running)
        if not choice or choice[1] >= self._length - self.begin():
            return False
        work = blobs.Blobs()
        try:
            work.check_space([(choice[1], choice[2])])
            work.download(places, choice[1], choice[2], progress)
            self.start(0)
            patched.make(choice, image, self, self._length)
            if not self.is_whole():
                raise UpdateError(E_HASH, "the patch does not make the firmware")
            return True
        except (UpdateError, MemoryError, ImportError, ValueError) as error:
            heirloom_boot.log(f"{error}; the firmware is fetched in full instead of its patch")
            if getattr(error, "code", "") != E_NETWORK:
                remove(RECORD)  # whatever was written, it is not the image
            return False
        finally:
            self.fetched += work.bytes
            remove(blobs.partial_of(choice[2]))

    def begin(self) -> int:
        """Makes the partition ready; returns at which byte to go on, the beginning of a block."""
        name = self._sha256 + heirloom_boot.esp32().label(self.part).encode()
        if read(RECORD) == name:
            return self.reached()
        remove(RECORD)
        self._give_up_fallback()
        for block in range(self._blocks()):
            self.part.readblocks(block, self._old)
            if self._old != self._blank:
                self.part.ioctl(_ERASE, block)
        write_atomic(RECORD, name)
        return 0

    def reached(self) -> int:
        """Where the block begins that was written last: a power cut may have torn it."""
        for block in range(self._blocks() - 1, -1, -1):
            self.part.readblocks(block, self._old)
            if self._old != self._blank:
                return block * _BLOCK
        return 0

    def start(self, offset: int) -> None:
        """The next `write` is for that byte, the beginning of a block."""
        self._block, self._fill = offset // _BLOCK, 0

    def write(self, data: "Buffer") -> None:
        """Takes the next bytes of the image. Raises UpdateError E_LENGTH beyond its end."""
        view, done = memoryview(data), 0
        while done < len(view):
            count = min(len(view) - done, _BLOCK - self._fill)
            self._view[self._fill : self._fill + count] = view[done : done + count]
            done += count
            self._took(count)

    def _took(self, count: int) -> None:
        """So many bytes more are in the block; writes it when it is full, or the image ends."""
        self._fill += count
        at = self._block * _BLOCK + self._fill
        if at > self._length:
            raise UpdateError(E_LENGTH, "the firmware is longer than signed")
        if self._fill < _BLOCK and at < self._length:
            return
        if self._fill < _BLOCK:
            self._view[self._fill :] = self._blank[self._fill :]
        self.part.readblocks(self._block, self._old)
        if self._old != self._new:
            if self._old != self._blank:
                self.part.ioctl(_ERASE, self._block)
            self.part.writeblocks(self._block, self._new, 0)
        self._block, self._fill = self._block + 1, 0

    def _blocks(self) -> int:
        return (self._length + _BLOCK - 1) // _BLOCK

    def _give_up_fallback(self) -> None:
        """The fallback slot needs the firmware that is about to be overwritten: there is none from here on."""
        state = heirloom_boot.current()
        if state["f"] and (state.get("p") or {}).get(state["f"]) == heirloom_boot.esp32().mark(self.part):
            heirloom_boot.change(f=None)

    def _download(self, places: "Places", offset: int, progress: "Callable[[int], object]") -> None:
        response = places.open("blobs/" + binascii.hexlify(self._sha256).decode(), offset)
        if response.length is not None and response.offset + response.length != self._length:
            raise UpdateError(
                E_LENGTH, f"the firmware has {response.offset + response.length} bytes, {self._length} are signed"
            )
        self.start(response.offset)  # a place that cannot go on begins anew
        left = self._length - response.offset
        while left > 0:
            count = response.readinto(self._room(left))
            if not count:
                raise UpdateError(E_LENGTH, f"the firmware is {left} bytes shorter than signed")
            left -= count
            self.fetched += count
            self._took(count)
            if not self._fill and not self._block % _TOLD:
                progress(self.fetched)
        if response.readinto(self._pieces[0]):
            raise UpdateError(E_LENGTH, "the firmware is longer than signed")
        progress(self.fetched)

    def _room(self, left: int) -> memoryview:
        """Where the next bytes go: nothing is allocated for a full piece."""
        if left >= _PIECE and not self._fill % _PIECE:
            return self._pieces[self._fill // _PIECE]
        return self._view[self._fill : min(self._fill + left, self._fill - self._fill % _PIECE + _PIECE)]
