"""Whom the device belongs to: factory reset, a new owner, a new root of trust. Each by a person at its REPL or menu.

What is to be done is written down first, by one rename, and then done; a start that finds it written down goes on with
it before anything else. So a power cut in the middle leaves a device that finishes, and no step depends on that: what
trusts the old root keeps its floor until the new root is there, whole. Nothing here lowers a floor but a new root.
"""

import binascii
import hashlib
import json
import os

import heirloom_boot
from micropython import const

from heirloom.device import owner
from heirloom.device.errors import E_LENGTH, E_PRODUCT, E_STATE, E_TRIAL, UpdateError
from heirloom.device.store import TRUST, FlashStore, flash_error, remove, write_atomic

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

_HOME = "/heirloom/"
_OWED = "owed"
_ROOT = _HOME + "owed-root"
_ROOT_BYTES = const(32768)
_PIECE = const(512)
_DATA = "/data"
_DEVICE_KEYS = ("product", "urls", "channel", "secret")
_TRACES = ("log", "log.old", "traceback", "media-once", "stale-once", "last")
_FOLDER = const(0x4000)


def factory_reset(wifi: bool = False) -> None:
    """Erases what the application wrote and what the owner set; the release, the floor and the identity stay.

    wifi: forget the networks, too. Raises UpdateError.
    """
    _promise({"erase": True, "wifi": wifi})
    finish()


def new_owner(secret: "Optional[str]" = None) -> str:
    """The device changes hands: as a factory reset, the networks forgotten, and with a new secret, which it returns.

    secret: 64 hexadecimal digits; None: the device makes one. Raises UpdateError.
    """
    secret = _secret(secret)
    _promise({"erase": True, "wifi": True, "device": {"secret": secret}})
    finish()
    return secret


def receive_root(part: str, first: bool = False) -> int:
    """Takes the next part, in base64, of a root that is to be adopted; returns how many bytes are there."""
    if first and heirloom_boot.exists(_HOME + _OWED):
        finish()  # what it needs is about to be overwritten
    try:
        data = binascii.a2b_base64(part)
        with open(_ROOT, "wb" if first else "ab") as file:
            file.write(data)
            length = file.seek(0, 2)
    except ValueError:
        raise UpdateError(E_STATE, "that is not base64") from None
    except OSError as error:
        raise flash_error(error, _ROOT) from None
    if length > _ROOT_BYTES:
        remove(_ROOT)
        raise UpdateError(E_LENGTH, f"a root has at most {_ROOT_BYTES} bytes")
    return int(length)


def adopt(
    product: str, urls: "list[str]", channel: str = "stable", secret: "Optional[str]" = None, other: bool = False
) -> "dict[str, Any]":
    """Trusts the received root from now on, in place of the one before. What the application wrote stays.

    The new publisher's releases order from the beginning: floor and confirmed order are those of nobody. other: the
    product may be another one than before. Returns the version of the root, and the secret. Raises UpdateError.
    """
    state = heirloom_boot.load()
    if state is None:
        raise UpdateError(E_STATE, "the device's state is missing or damaged; let it start once, which repairs it")
    if state["t"]:
        raise UpdateError(E_TRIAL, "a release is on trial; adopt the device when it is confirmed or rolled back")
    if (
        not product
        or not urls
        or not all(owner.valid("url", url) for url in urls)
        or not owner.valid("channel", channel)
    ):
        raise UpdateError(E_STATE, "a product, addresses that are http or https, and a channel are needed")
    version, said = _check_root()
    before = heirloom_boot.read_json("device.json").get("product")
    if said not in (None, product):
        raise UpdateError(E_PRODUCT, f"that is the root of {said}, not of {product}")
    if before not in (None, product) and not other:
        raise UpdateError(E_PRODUCT, f"this device is a {before}; it becomes a {product} only when that is said")
    secret = _secret(secret)
    _promise(
        {
            "root": version,
            "sha256": _digest(),
            "device": {"product": product, "urls": list(urls), "channel": channel, "secret": secret},
        }
    )
    finish()
    return {"root": version, "secret": secret}


def finish() -> None:
    """Does what is written down, all of it, and forgets it. Doing a step twice does no harm. Raises UpdateError."""
    owed = heirloom_boot.read_json(_OWED)
    if owed.get("root"):
        digest = _digest()
        if not digest or digest != owed["sha256"]:  # flash went bad: the old root stays, and so does all else
            owed = {}
        else:
            _replace_root(int(owed["root"]))
    if owed.get("erase"):
        _erase()
    if owed.get("wifi"):
        write_atomic(_HOME + "network.json", b'{"networks":[]}')
    if owed.get("device"):
        device = heirloom_boot.read_json("device.json")
        device.update({key: value for key, value in owed["device"].items() if key in _DEVICE_KEYS})
        write_atomic(_HOME + "device.json", json.dumps(device).encode())
    done = "what the owner set was erased" if owed.get("erase") else "nothing could be done of what was begun"
    heirloom_boot.log(f"root {owed['root']} was adopted" if owed.get("root") else done)
    remove(_HOME + _OWED)
    remove(_ROOT)


def _promise(owed: "dict[str, Any]") -> None:
    """From here on it is going to be done, whatever happens to the power."""
    write_atomic(_HOME + _OWED, json.dumps(owed).encode())


def _secret(secret: "Optional[str]") -> str:
    if secret is None:
        return str(binascii.hexlify(os.urandom(32)), "ascii")
    if len(secret) != 64 or any(c not in "0123456789abcdef" for c in secret):
        raise UpdateError(E_STATE, "a secret has 64 hexadecimal digits")
    return secret


def _digest() -> str:
    """Of the received root; "" when it is not there, or cannot be read."""
    digest = hashlib.sha256()
    try:
        _read_root(digest.update)
    except OSError:
        return ""
    return str(binascii.hexlify(digest.digest()), "ascii")


def _read_root(write: "Callable[[memoryview], object]") -> None:
    """Gives the received root on, piece by piece: in one piece it may not fit into a heap that has been used.

    Raises OSError.
    """
    piece = memoryview(bytearray(_PIECE))
    with open(_ROOT, "rb") as file:
        while count := file.readinto(piece):
            write(piece[:count])


def _check_root() -> "tuple[int, Any]":
    """The version of the received root and the product it names, when its own keys signed it. Raises UpdateError."""
    from heirloom.device.canonical import Document
    from heirloom.device.trust import by_root, root_parts

    try:
        file = open(_ROOT, "rb")  # noqa: SIM115 - the document closes it
    except OSError:
        raise UpdateError(E_STATE, "no root was received") from None
    document = Document("root", file, file.seek(0, 2))
    try:
        document.check()
        header, _ = root_parts(document)
        by_root(document, "root").verify(document, "5.3.4")
        return header.version, document.value("x-heirloom-product")
    finally:
        document.close()


def _replace_root(version: int) -> None:
    """The new root, and nothing that was verified under the old one.

    First goes what can be fetched again, then come both copies of the root, then what is remembered: with the old root
    the old floor holds, and a new root with the old memory refuses everything.
    """
    store = FlashStore()
    try:
        names = os.listdir(TRUST[:-1])
    except OSError:
        names = []
    for name in names:
        if name == "tables":
            _remove_below(TRUST + name)
        elif name not in ("root.json", "provisioned.json"):
            remove(TRUST + name)
    for name in ("provisioned", "root"):
        copy = store.temporary()
        try:
            _read_root(copy.write)
        except (OSError, UpdateError) as error:
            store.discard(copy)
            raise error if isinstance(error, UpdateError) else flash_error(error, _ROOT) from None
        store.commit(name, copy)
    remove(_HOME + "last")
    _state(r=version, o=[0, 0], l=[0, 0], x=[], w=None, k=None, d=1)


def _erase() -> None:
    for path in (owner.FILE, owner.COPY):
        remove(path)
    for name in _TRACES:
        remove(_HOME + name)
    _remove_below(_HOME + "migrated")  # else what was confirmed but not yet moved would come back
    _remove_below(_DATA)
    _state(k=None, d=1)


def _state(**values: "Any") -> None:
    try:
        heirloom_boot.change(**values)
    except OSError as error:
        raise flash_error(error, "state") from None


def _remove_below(folder: str) -> None:
    """Everything in a folder, not the folder itself."""
    try:
        entries = list(os.ilistdir(folder))
    except OSError:
        return
    for entry in entries:
        path = folder + "/" + entry[0]
        if entry[1] == _FOLDER:
            _remove_below(path)
            try:
                os.rmdir(path)
            except OSError:
                pass
        else:
            remove(path)
