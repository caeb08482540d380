"""The release manifest: what a release is, in deterministic CBOR with integer keys (docs/manifest.cddl).

One implementation for the host that writes it and the device that obeys it. Everything is checked on
the way in: a Manifest that `decode` returned is valid. The lists of files and patches stay encoded and
are read item by item, because a device has no room for 256 of them as objects. Pure.
"""

import binascii

from heirloom.device.cbor import CborError, Reader, encode
from heirloom.device.errors import UpdateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Collection, Iterator, Sequence, Union

    Buffer = Union[bytes, bytearray, memoryview]
    File = tuple[str, int, bytes]
    Firmware = tuple[int, bytes, str]
    Patch = tuple[bytes, bytes, bytes, int, str]

FORMAT = 1
MAX_LENGTH = 16384
MAX_FILES = 256
MAX_PATH_BYTES = 127
MAX_NUMBER = 0x7FFFFFFF  # keeps the device's state file under 256 bytes
MAX_CONFIRM_S = 86400
KIND_FEATURE = 0
KIND_SECURITY = 1

_FILES = 11
_PATCHES = 13
# Wire key -> attribute. The order is the order on the wire.
_NAMES = {
    2: "product",
    3: "board",
    4: "version",
    5: "epoch",
    6: "sequence",
    7: "floor",
    8: "requires",
    9: "via",
    10: "kind",
    _FILES: "files",
    12: "firmware",
    _PATCHES: "patches",
    14: "keep",
    15: "confirm",
    16: "install",
    17: "released_at",
    18: "support_until",
    19: "advisories",
    20: "notes",
    21: "sbom",
}
_REQUIRED = (1, 2, 3, 4, 5, 6, 7, 10, _FILES, 15, 16, 17)


class Manifest:
    """One release for one board. Times are Unix seconds, lengths are bytes, hashes are 32 raw SHA-256 bytes.

    `files` yields (path, length, sha256) sorted by the bytes of the path; `patches` yields (from, to, patch, length,
    algorithm). `confirm` is "check", "app" or a number of seconds; `install` is "reboot" or "background".
    """

    def __init__(
        self,
        *,
        product: str,
        board: str,
        version: str,
        epoch: int,
        sequence: int,
        files: "Collection[File]",
        floor: int = 0,
        requires: "int | None" = None,
        via: "str | None" = None,
        kind: int = KIND_FEATURE,
        firmware: "Firmware | None" = None,
        patches: "Collection[Patch]" = (),
        keep: "Sequence[str]" = (),
        confirm: "str | int" = "check",
        install: str = "reboot",
        released_at: int = 0,
        support_until: "str | None" = None,
        advisories: "Sequence[str]" = (),
        notes: "str | None" = None,
        sbom: "bytes | None" = None,
    ) -> None:
        self.product = product
        self.board = board
        self.version = version
        self.epoch = epoch
        self.sequence = sequence
        self.floor = floor
        self.requires = requires
        self.via = via
        self.kind = kind
        self.files = files
        self.firmware = firmware
        self.patches = patches
        self.keep = keep
        self.confirm = confirm
        self.install = install
        self.released_at = released_at
        self.support_until = support_until
        self.advisories = advisories
        self.notes = notes
        self.sbom = sbom

    @property
    def order(self) -> "tuple[int, int]":
        """What releases are ordered by, and nothing else: (epoch, sequence)."""
        return self.epoch, self.sequence

    @staticmethod
    def decode(data: "Buffer") -> "Manifest":
        """The valid manifest that `data` is; raises UpdateError E_MANIFEST for anything else."""
        try:
            fields = _read(data)
        except CborError as error:
            raise _bad(str(error)) from None
        for key in _REQUIRED:
            if key not in fields:
                raise _bad("key " + str(key) + " is missing")
        _check_number("format", fields[1])
        if fields.pop(1) != FORMAT:
            raise _bad("format is not " + str(FORMAT))
        manifest = Manifest(**{_NAMES[key]: value for key, value in fields.items()})  # type: ignore[arg-type]
        manifest.validate()
        return manifest

    def encode(self) -> bytes:
        """The deterministic encoding; raises UpdateError E_MANIFEST when the manifest is not valid."""
        self.validate()
        fields: "dict[int, object]" = {1: FORMAT}
        for key, name in _NAMES.items():
            value = getattr(self, name)
            if key == _FILES or key == _PATCHES:
                value = [list(record) for record in value]
            if key in _REQUIRED or (value is not None and value != [] and value != ()):
                fields[key] = value
        data = encode(fields)
        if len(data) > MAX_LENGTH:
            raise _bad(str(len(data)) + " bytes, at most " + str(MAX_LENGTH) + " are allowed")
        return data

    def validate(self) -> None:
        """Raise UpdateError E_MANIFEST, saying what is wrong, unless every field is as the format allows."""
        for name in ("product", "board", "version"):
            _check_name(name, getattr(self, name))
        if self.via is not None:
            _check_name("via", self.via)
        for name in ("epoch", "sequence", "floor", "released_at"):
            _check_number(name, getattr(self, name))
        if self.requires is not None:
            _check_number("requires", self.requires)
        if self.floor > self.sequence:
            raise _bad("floor is above the release's own sequence")
        if self.requires is not None and self.requires >= self.sequence:
            raise _bad("requires is not below the release's own sequence")
        self._check_modes()
        _check_files(self.files)
        self._check_firmware()
        _check_patches(self.patches)
        self._check_texts()

    def _check_modes(self) -> None:
        if self.kind is True or self.kind is False or self.kind not in (KIND_FEATURE, KIND_SECURITY):
            raise _bad("kind is 0 or 1")
        if self.install not in ("reboot", "background"):
            raise _bad('install is "reboot" or "background"')
        if self.confirm not in ("check", "app"):
            _check_number("confirm", self.confirm)
            if not 0 < self.confirm <= MAX_CONFIRM_S:  # type: ignore[operator]
                raise _bad('confirm is "check", "app" or 1 to ' + str(MAX_CONFIRM_S) + " seconds")

    def _check_firmware(self) -> None:
        if self.firmware is None:
            return
        _check_record("firmware", self.firmware, (int, bytes, str))
        _check_number("firmware length", self.firmware[0])
        _check_hash("firmware", self.firmware[1])
        _check_name("firmware version", self.firmware[2])

    def _check_texts(self) -> None:
        for name in ("keep", "advisories"):
            texts = getattr(self, name)
            if not isinstance(texts, (list, tuple)):
                raise _bad(name + " is a list")
            for text in texts:
                _check_text(name, text)
        for path in self.keep:
            check_path(path)
        for name in ("support_until", "notes"):
            if getattr(self, name) is not None:
                _check_text(name, getattr(self, name))
        if self.sbom is not None:
            _check_hash("sbom", self.sbom)


class Table:
    """An encoded list of lists, decoded item by item each time it is walked."""

    def __init__(self, data: "Buffer", start: int, count: int) -> None:
        self._data = data
        self._start = start
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> "Iterator[tuple[object, ...]]":
        reader = Reader(self._data, MAX_LENGTH)
        reader.position = self._start
        for _ in range(self._count):
            record = reader.item()
            yield tuple(record) if isinstance(record, list) else (record,)

    def positions(self) -> "Iterator[int]":
        """Where each record starts in the encoded manifest."""
        reader = Reader(self._data, MAX_LENGTH)
        reader.position = self._start
        for _ in range(self._count):
            yield reader.position
            reader.item()


def _read(data: "Buffer") -> "dict[int, object]":
    reader = Reader(data, MAX_LENGTH)
    fields: "dict[int, object]" = {}
    last = 0
    for _ in range(reader.map()):
        key = reader.item()
        # A boolean is an integer in Python, and true equals 1.
        if key is True or key is False or not isinstance(key, int) or (key not in _NAMES and key != 1):
            raise CborError("key " + str(key) + " is not known")
        if key <= last:
            raise CborError("map keys out of order or twice")
        last = key
        value = _read_table(reader, data) if key == _FILES or key == _PATCHES else reader.item()
        if value is None or (key not in _REQUIRED and isinstance(value, (list, Table)) and not len(value)):
            raise CborError("key " + str(key) + " is present but empty")
        fields[key] = value
    reader.finish()
    return fields


def _read_table(reader: Reader, data: "Buffer") -> Table:
    count = reader.array()
    table = Table(data, reader.position, count)
    for _ in range(count):
        reader.item()
    return table


def _bad(reason: str) -> UpdateError:
    return UpdateError("E_MANIFEST", "the release manifest is not valid: " + reason)


def check_path(path: object) -> None:
    """Raise UpdateError E_MANIFEST unless `path` is a relative path that every file system takes as it is."""
    if not isinstance(path, str):
        raise _bad("a path is not text")
    if len(path.encode()) > MAX_PATH_BYTES:
        raise _bad("path longer than " + str(MAX_PATH_BYTES) + " bytes: " + path[:40] + "...")
    for segment in path.split("/"):
        if segment in ("", ".", ".."):
            raise _bad("path " + repr(path) + " is absolute or has an empty, . or .. segment")
    for character in path:
        if character == "\\" or ord(character) < 32 or ord(character) == 127:
            raise _bad("path " + repr(path) + " has a backslash or a control character")


def _check_files(files: "Collection[File]") -> None:
    """TUF-bound content names and safe, sorted, unambiguous paths; needs memory for one number a file."""
    last = b""
    seen: "set[int]" = set()
    count = 0
    for record in files:
        _check_record("files", record, (str, int, bytes))
        path, length, sha256 = record
        check_path(path)
        _check_number("file length", length)
        _check_hash("file " + path, sha256)
        encoded = path.encode()
        if encoded <= last:
            raise _bad("files are not sorted by path, or twice: " + path)
        last = encoded
        count += 1
        if count > MAX_FILES:
            raise _bad("more than " + str(MAX_FILES) + " files")
        mark = _mark(encoded)
        if mark in seen:
            _check_unique(files, encoded)
        seen.add(mark)
    _check_folders(files, seen)


def _mark(path: bytes) -> int:
    # 30 bits: a small integer, which costs MicroPython no heap beyond the set's own slot.
    return int(binascii.crc32(path.lower())) & 0x3FFFFFFF


def _check_unique(files: "Collection[File]", path: bytes) -> None:
    folded = path.lower()
    for other, _, _ in files:
        encoded = other.encode()
        if encoded == path:
            return
        if encoded.lower() == folded:
            raise _bad("paths differ only by case: " + other + " and " + str(path, "utf-8"))


def _check_folders(files: "Collection[File]", seen: "set[int]") -> None:
    for path, _, _ in files:
        end = path.rfind("/")
        while end > 0:
            folder = path[:end].encode().lower()
            if _mark(folder) in seen and any(other.encode().lower() == folder for other, _, _ in files):
                raise _bad("a file and a folder have the same path: " + path[:end])
            end = path.rfind("/", 0, end)


def _check_patches(patches: "Collection[Patch]") -> None:
    for record in patches:
        _check_record("patches", record, (bytes, bytes, bytes, int, str))
        for sha256 in record[:3]:
            _check_hash("patch", sha256)
        _check_number("patch length", record[3])
        _check_name("patch algorithm", record[4])


def _check_record(name: str, record: object, types: "tuple[type, ...]") -> None:
    if not isinstance(record, (list, tuple)) or len(record) != len(types):
        raise _bad(name + ": each entry has " + str(len(types)) + " members")
    for value, wanted in zip(record, types):
        if value is True or value is False or not isinstance(value, wanted):
            raise _bad(name + ": an entry has a member of the wrong type")


def _check_number(name: str, value: object) -> None:
    if value is True or value is False or not isinstance(value, int) or not 0 <= value <= MAX_NUMBER:
        raise _bad(name + " is not a number from 0 to " + str(MAX_NUMBER))


def _check_hash(name: str, value: object) -> None:
    if not isinstance(value, bytes) or len(value) != 32:
        raise _bad(name + " has no SHA-256 of 32 bytes")


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise _bad(name + " is not text")


def _check_name(name: str, value: object) -> None:
    """Names become parts of paths and URLs: letters, digits, and . _ + - inside, at most 64."""
    _check_text(name, value)
    text = str(value)
    if not 0 < len(text) <= 64 or not all(
        "a" <= c <= "z" or "A" <= c <= "Z" or "0" <= c <= "9" or c in "._+-" for c in text
    ):
        raise _bad(name + " is not 1 to 64 letters, digits, dots, underscores, plus and minus signs")
    if text[0] in ".-+":
        raise _bad(name + " starts with a " + text[0])
