"""Mutated input for every parser of the device, under CPython: no exception but our own, bounded time and memory.

    bench/bench_fuzz.py [ROUNDS]      200 rounds, 10 inputs for the workflow and 4 for parsers in each: a minute or two

Prints how many inputs there were, how many were taken for good, and the slowest and the largest of each kind; the first
foreign exception ends it. tests/device/core/test_tuf_fuzz.py has the same mutations in small number.
"""

import json
import random
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from unittest.mock import patch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "device" / "core"))

from test_tuf_fuzz import ROLES, mutate  # noqa: E402 - found by the line above
from tuf_memory import FolderFetcher, MemoryStore, fast_signatures  # noqa: E402
from tuf_repository import NOW, Repository, unix  # noqa: E402

from heirloom.device import cbor, keys  # noqa: E402
from heirloom.device.canonical import Document  # noqa: E402
from heirloom.device.errors import E_FORMAT, UpdateError  # noqa: E402
from heirloom.device.manifest import Manifest  # noqa: E402
from heirloom.device.tuf import Client  # noqa: E402

PEMS = [
    {"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256"},
    {"keytype": "rsa", "scheme": "rsassa-pss-sha256"},
    {"keytype": "ed25519", "scheme": "ed25519"},
]
MEMORY_EVERY = 20

Parse = Callable[[bytes], object]


class Figures:
    """What was tried of one kind."""

    def __init__(self) -> None:
        self.inputs = self.accepted = self.peak_bytes = 0
        self.slowest_ms = 0.0

    def run(self, parse: Parse, data: bytes) -> None:
        """Raises whatever is not our own."""
        self.inputs += 1
        measured = self.inputs % MEMORY_EVERY == 0
        if measured:
            tracemalloc.start()
        start = time.process_time()
        try:
            parse(data)
            self.accepted += 1
        except (UpdateError, cbor.CborError):
            pass
        except BaseException:
            print("input:", data.hex())
            raise
        finally:
            if measured:
                self.peak_bytes = max(self.peak_bytes, tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()
            else:  # tracing slows everything down
                self.slowest_ms = max(self.slowest_ms, 1000 * (time.process_time() - start))


def manifest() -> bytes:
    return Manifest(
        product="weather", board="B", version="1.0.0", epoch=0, sequence=3, requires=1, via="0.9.0",
        files=[(f"lib/{n:03}.mpy", n, bytes(32)) for n in range(40)], firmware=(3, bytes(32), "1.27"),
        patches=[(bytes(32), bytes(32), bytes(32), 4, "detools")], keep=["settings.json"], support_until="2036",
        advisories=["CVE-2026-1"], notes="x", sbom=bytes(32),
    ).encode()  # fmt: skip


def pems() -> list[bytes]:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    made = [ec.generate_private_key(ec.SECP256R1()).public_key(), rsa.generate_private_key(65537, 2048).public_key()]
    found = [key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) for key in made]
    return [*found, b"ab" * 32]


def changed(pick: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(pick.choice([1, 1, 2, 8])):
        at = pick.randrange(len(out) + 1)
        choice = pick.randrange(3)
        if choice == 0 and at < len(out):
            out[at] = pick.randrange(256)
        elif choice == 1:
            out[at:at] = pick.randbytes(pick.choice([1, 1, 4]))
        else:
            del out[at : at + pick.choice([1, 2, 40])]
    return bytes(out)


def scan(data: bytes) -> None:
    document = Document("document", BytesIO(data), len(data))
    document.check()
    document.feed(lambda _: None)
    document.load(document.signed)


def key(which: int, public: str) -> None:
    """A key that is none counts as refused."""
    if keys.parse({**PEMS[which], "keyval": {"public": public}}) is None:
        raise UpdateError(E_FORMAT, "no key")


class Workflow:
    """A repository of which one file at a time is spoiled, and a client that begins anew each time."""

    def __init__(self, folder: Path) -> None:
        made = Repository(folder, hashes=False)
        made.delegate("a", ["*"])
        made.delegate("b", ["b/*"], by="a")
        made.add_target("a", "x", n=1)
        made.publish("a", "b", "targets")
        self.root = (folder / "1.root.json").read_bytes()
        made.rotate_root("root")
        self.folder = folder
        self.files = {role: folder / made.file_name(role) for role in ROLES}
        self.good = {role: path.read_bytes() for role, path in self.files.items()}

    def parse(self, role: str, trusting: bool) -> Parse:
        def run(data: bytes) -> None:
            self.files[role].write_bytes(data)
            client = Client(MemoryStore(self.root), FolderFetcher(self.folder), unix(NOW))
            try:
                client.refresh()
                client.find_target("x")
            finally:
                client.close()
                self.files[role].write_bytes(self.good[role])

        def believing(data: bytes) -> None:
            with patch.object(keys.Delegation, "verify"):  # the code behind the signature check is fuzzed as well
                run(data)

        return believing if trusting else run


def fuzz(rounds: int, folder: Path) -> dict[str, Figures]:
    found = {name: Figures() for name in ("workflow", "document", "cbor", "manifest", "key")}
    pick, workflow, good, public = random.Random(rounds), Workflow(folder), manifest(), pems()
    for _ in range(rounds):
        for role in ROLES:
            for trusting in (False, True):
                found["workflow"].run(workflow.parse(role, trusting), mutate(pick, workflow.good[role]))
        found["document"].run(scan, mutate(pick, workflow.good[pick.choice(ROLES)]))
        found["cbor"].run(cbor.decode, changed(pick, good))
        found["manifest"].run(Manifest.decode, changed(pick, good))
        which = pick.randrange(3)
        text = changed(pick, public[which]).decode("latin-1")
        found["key"].run(lambda _, which=which, text=text: key(which, text), text.encode())
    return found


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as folder, fast_signatures():
        found = fuzz(rounds, Path(folder))
    figures = {name: vars(one) for name, one in found.items()}
    figures["all"] = {"inputs": sum(one.inputs for one in found.values())}
    print(json.dumps(figures, indent=2))
    (HERE / "out").mkdir(exist_ok=True)
    (HERE / "out" / "fuzz.json").write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
