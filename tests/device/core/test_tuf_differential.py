"""The same repositories, sound and spoiled, read by this client and by python-tuf's: same verdicts, same versions.

Each seed is a story: a repository that publishes, rotates, delegates and is tampered with, and two clients that
follow it. Where the verdicts differ, it must be for a reason that docs/differences.md gives. HEIRLOOM_SEEDS sets how
many stories (default 16, twelve chapters each).
"""

import copy
import json
import os
import random
import shutil
from collections import Counter
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.ngclient import FetcherInterface, Updater
from tuf_memory import FolderFetcher, MemoryStore, fast_signatures
from tuf_repository import NOW, Repository, unix

from heirloom.device.errors import UpdateError
from heirloom.device.tuf import Client

if TYPE_CHECKING:
    from collections.abc import Callable

SEEDS = int(os.environ.get("HEIRLOOM_SEEDS", "16"))
CHAPTERS = 12
POOL = [CryptoSigner.generate_ed25519() for _ in range(40)]
ROLES = ["root", "timestamp", "snapshot", "targets", "a", "b"]
PATHS = ["a/1", "a/2", "b/1", "c/1", "top"]


class Local(FetcherInterface):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _fetch(self, url: str) -> Any:
        path = self.folder / url.rpartition("/")[2]
        if not path.exists():
            raise DownloadHTTPError(url, 404)
        yield path.read_bytes()


class Theirs:
    """python-tuf's client, with a clock of ours."""

    def __init__(self, folder: Path, repository: Path, root: bytes) -> None:
        self.folder, self.repository = folder, repository
        folder.mkdir()
        (folder / "root.json").write_bytes(root)

    def update(self, now: datetime, path: str) -> tuple[str, Any]:
        try:
            updater = Updater(str(self.folder), "http://x/", fetcher=Local(self.repository), bootstrap=None)
            updater._trusted_set.reference_time = now
            updater.refresh()
            target = updater.get_targetinfo(path)
        except (RepositoryError, DownloadError, ValueError) as error:
            return f"{type(error).__name__}: {error}", None
        return "", target and (target.length, target.hashes, target.custom or {})

    def versions(self) -> dict[str, int]:
        return {p.stem: json.loads(p.read_bytes())["signed"]["version"] for p in self.folder.glob("*.json")}


class Ours:
    def __init__(self, repository: Path, root: bytes) -> None:
        self.store = MemoryStore(root)
        self.repository = repository

    def update(self, now: datetime, path: str) -> tuple[str, Any]:
        client = Client(self.store, FolderFetcher(self.repository), unix(now))
        try:
            client.refresh()
            target = client.find_target(path)
        except UpdateError as error:
            return str(error), None
        finally:
            client.close()
        if target is None:
            return "", None
        return "", (target.length, {kind: digest.hex() for kind, digest in target.hashes.items()}, target.custom)

    def versions(self) -> dict[str, int]:
        files = {"root": self.store.root, **self.store.files}
        return {role: json.loads(data)["signed"]["version"] for role, data in files.items()}


class Story:
    """A repository's life, from one seed."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.random = random.Random(seed)
        self.keys = list(POOL)
        self.random.shuffle(self.keys)
        with patch.object(CryptoSigner, "generate_ed25519", self.next_key):
            self.repository = Repository(
                folder / "repository", hashes=self.random.random() < 0.6, consistent=self.random.random() < 0.8
            )
        root = self.repository.folder / self.repository.file_name("root")
        root = root if root.exists() else self.repository.folder / "root.json"
        self.theirs = Theirs(folder / "theirs", self.repository.folder, root.read_bytes())
        self.ours = Ours(self.repository.folder, root.read_bytes())
        self.now = NOW
        self.told: list[str] = []
        self.rotated = False  # since both accepted an update, a new root came

    def next_key(self) -> CryptoSigner:
        self.keys.append(self.keys.pop(0))
        return self.keys[-1]

    def chapter(self) -> None:
        """One publication, and perhaps one attack that is over when the chapter is."""
        with patch.object(CryptoSigner, "generate_ed25519", self.next_key):
            self.publish()
        saved = self.repository.folder.with_name("saved")
        shutil.copytree(self.repository.folder, saved)
        if self.random.random() < 0.7:
            self.attack()
            self.compare()
        shutil.rmtree(self.repository.folder)
        saved.rename(self.repository.folder)
        if self.random.random() < 0.7:
            self.compare()

    def publish(self) -> None:
        r, pick = self.repository, self.random
        what = pick.choice(["nothing", "targets", "delegate", "rotate", "delegated", "time", "threshold", "change"])
        self.told.append(f"publish {what}")
        if what == "delegate":
            by = pick.choice([role for role in ("targets", "a", "b") if role in r.md])
            role = pick.choice([role for role in ("a", "b") if role != by])
            r.delegate(
                role,
                pick.choice([["a/*"], ["b/*"], ["*/1"], ["?/[12]"], ["*"]]),
                by=by,
                terminating=pick.random() < 0.4,
                keys=pick.choice([1, 2]),
            )
            r.publish(role, by)
        elif what == "rotate":
            r.rotate_root(*pick.sample(ROLES[:4], pick.choice([1, 2])))
            r.publish("targets")
        elif what == "threshold":
            r.rotate_root(pick.choice(ROLES[:4]), add=pick.choice([2, 3]), threshold=2)
            r.publish("targets")
        elif what == "delegated":
            roles = [role for role in ("a", "b") if role in r.md]
            for role in roles:
                r.add_target(role, pick.choice(PATHS), pick.randbytes(4), n=pick.randrange(9))
            r.publish(*roles)
        elif what == "time":
            r.publish("targets")
            self.now += timedelta(days=pick.choice([-5, 1, 5, 40]))
        elif what == "change":
            r.md[pick.choice(list(r.md))].signed.unrecognized_fields["x-extra"] = {"z": [1, None, "é\n"], "a": "\x7f"}
            for role in r.md:
                r.md[role].signed.expires = self.now + timedelta(days=pick.choice([1, 30]))
            r.rotate_root()
            r.publish("targets", *[role for role in ("a", "b") if role in r.md])
        else:
            r.add_target("targets", pick.choice(PATHS), pick.randbytes(4))
            r.publish(*(["targets"] if what == "targets" else []))

    def attack(self) -> None:
        attacks: list[Callable[[Path, bytes], bytes | None]] = [
            self.flip,
            self.flip,
            self.reorder,
            self.spaces,
            self.signatures,
            self.fields,
            self.fields,
            self.resigned,
            self.resigned,
            lambda path, data: None,
            lambda path, data: data[: self.random.randrange(len(data))],
            lambda path, data: data + self.random.choice([b" ", b"x", b"\n\n", b" " * 20_000]),
            self.older,
        ]
        folder = self.repository.folder
        # What the clients are about to ask for is more interesting than what they have.
        wanted = [folder / self.repository.file_name(role) for role in self.repository.md]
        path = self.random.choice([p for p in wanted if p.exists()])
        attack = self.random.choice(attacks)
        data = attack(path, path.read_bytes())
        self.told.append(f"attack {getattr(attack, '__name__', '')} on {path.name}")
        if data is None:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(data)

    def flip(self, path: Path, data: bytes) -> bytes:
        out = bytearray(data)
        for _ in range(self.random.choice([1, 1, 3])):
            out[self.random.randrange(len(out))] = self.random.choice(
                [*b'0123456789abcdef{}[]",:', self.random.randrange(256)]
            )
        return bytes(out)

    def reorder(self, path: Path, data: bytes) -> bytes:
        def shuffled(value: Any) -> Any:
            if isinstance(value, dict):
                names = list(value)
                self.random.shuffle(names)
                return {name: shuffled(value[name]) for name in names}
            return [shuffled(item) for item in value] if isinstance(value, list) else value

        return json.dumps(shuffled(json.loads(data)), ensure_ascii=self.random.random() < 0.5).encode()

    def spaces(self, path: Path, data: bytes) -> bytes:
        return json.dumps(json.loads(data), indent=self.random.choice([1, 4, "\t"]), sort_keys=True).encode()

    def older(self, path: Path, data: bytes) -> bytes:
        names = [
            p for p in path.parent.iterdir() if p.name.endswith(path.name.partition(".")[2]) or p.name == path.name
        ]
        return self.random.choice(names).read_bytes()

    def signatures(self, path: Path, data: bytes) -> bytes:
        document = json.loads(data)
        signatures = document["signatures"]
        what = self.random.randrange(6)
        if what == 0:
            signatures.clear()
        elif what == 1:
            signatures.append(dict(self.random.choice(signatures)))
        elif what == 2:
            signatures.append({"keyid": "stranger", "sig": "00" * 64})
        elif what == 3:
            self.random.choice(signatures)["sig"] = self.random.choice(["", "zz", "0" * 128, "ab"])
        elif what == 4:
            signatures.pop()
        else:
            self.random.choice(signatures)["keyid"] = "other"
        return json.dumps(document).encode()

    def fields(self, path: Path, data: bytes) -> bytes:
        """Changes that a thief of the role's keys could sign: see resigned."""
        document = json.loads(data)
        self.change(document["signed"])
        return json.dumps(document).encode()

    def resigned(self, path: Path, data: bytes) -> bytes:
        document = json.loads(data)
        role = next(role for role in self.repository.md if self.repository.file_name(role) == path.name)
        self.change(document["signed"])
        path.write_bytes(json.dumps(document).encode())
        with suppress(Exception):  # what cannot be signed stays unsigned
            self.repository.change(role, lambda md: None, sign=True)
        data = path.read_bytes()
        if self.random.random() < 0.7:
            self.vouch(role, data)
        return data

    def vouch(self, role: str, data: bytes) -> None:
        """Thieves of the online keys make snapshot and timestamp fit."""
        version = json.loads(data)["signed"].get("version")
        repository = self.repository
        saved = {name: copy.deepcopy(repository.md[name]) for name in ("snapshot", "timestamp")}
        with suppress(Exception):
            meta = repository.describe(data, version)
            if role == "snapshot":
                repository.md["timestamp"].signed.snapshot_meta = meta
                repository.md["timestamp"].signed.version += 1
                repository.put("timestamp", repository.sign("timestamp"))
            elif role not in ("root", "timestamp"):
                repository.md["snapshot"].signed.meta[f"{role}.json"] = meta
                repository.publish()
        for name, md in saved.items():
            md.signed.version = repository.md[name].signed.version + 1  # the honest ones go on from there
        repository.md.update(saved)

    def change(self, signed: dict[str, Any]) -> None:
        pick = self.random
        changes: list[Callable[[], object]] = [
            lambda: signed.update(version=signed["version"] + pick.choice([-1, 1, 10])),
            lambda: signed.update(version=pick.choice([0, -1, "1", None, 2.5])),
            lambda: signed.update(expires=pick.choice(["2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z", "soon", 5])),
            lambda: signed.update(spec_version=pick.choice(["1.0", "1.1.9", "2.0.0", "1", "x", 1, "1.0.0.0"])),
            lambda: signed.update(_type=pick.choice(["root", "targets", "timestamp", "snapshot", "other"])),
            lambda: signed.update(extra=pick.choice([1, "é", {"b": 1, "a": [True]}])),
            lambda: signed.pop(pick.choice(list(signed))),
        ]
        if "meta" in signed:
            name = pick.choice(list(signed["meta"]))
            meta = signed["meta"][name]
            changes += [
                lambda: signed["meta"].pop(name),
                lambda: meta.update(version=pick.choice([0, 1, meta["version"] + 1, max(1, meta["version"] - 1)])),
                lambda: meta.update(length=pick.choice([0, 10, 10_000, -1])),
                lambda: meta.update(hashes=pick.choice([{"sha256": "0" * 64}, {}, {"md6": "0"}])),
                lambda: meta.pop("length", None),
                lambda: meta.pop("hashes", None),
            ]
        if "roles" in signed:
            role = pick.choice(["root", "timestamp", "snapshot", "targets"])
            changes += [
                lambda: signed["roles"][role].update(threshold=pick.choice([0, 1, 2, -1])),
                lambda: signed["roles"][role]["keyids"].append(pick.choice(list(signed["keys"]))),
                lambda: signed["roles"].pop(role),
                lambda: signed["roles"].update(other=signed["roles"][role]),
                lambda: signed.update(consistent_snapshot=pick.choice([True, False])),
                lambda: signed["keys"].pop(pick.choice(list(signed["keys"]))),
            ]
        if signed.get("delegations", {}).get("roles"):
            delegated = pick.choice(signed["delegations"]["roles"])
            changes += [
                lambda: delegated.update(threshold=pick.choice([0, 1, 2])),
                lambda: delegated.update(paths=pick.choice([["*/*"], ["a/1"], [], ["[a-b]/[!2]"], ["a/**"]])),
                lambda: delegated.update(path_hash_prefixes=["0", "a"]),
                lambda: delegated.update(name=pick.choice(["root", "", "a", "b"])),
                lambda: delegated.update(terminating=pick.choice([True, False])),
                signed["delegations"]["roles"].reverse,
                lambda: signed["delegations"]["roles"].append(dict(delegated)),
            ]
        pick.choice(changes)()

    def compare(self) -> None:
        path = self.random.choice(PATHS)
        root = self.ours.versions()["root"]
        theirs, their_target = self.theirs.update(self.now, path)
        ours, our_target = self.ours.update(self.now, path)
        our_versions, their_versions = self.ours.versions(), self.theirs.versions()
        self.rotated = self.rotated or our_versions["root"] != root
        COMPARED["updates compared"] += 1
        COMPARED["refused by this client"] += bool(ours)
        if (bool(theirs), our_target, our_versions) != (bool(ours), their_target, their_versions):
            reason = self.explained(theirs, ours, their_versions, our_versions)
            they = f"theirs: {theirs or 'accepted'} {their_versions} {their_target}"
            we = f"ours: {ours or 'accepted'} {our_versions} {our_target}"
            assert reason, "\n  ".join(["differs without a reason", they, we, *self.told])
            COMPARED[f"explained by difference {reason}"] += 1
            raise Explained
        if not ours:
            self.rotated = False

    def explained(self, theirs: str, ours: str, their_versions: dict[str, int], our_versions: dict[str, int]) -> str:
        """The number of the difference in docs/differences.md, or nothing."""
        lost = set(their_versions) - set(our_versions)
        if self.rotated and lost and lost <= {"timestamp", "snapshot"} and ours:
            return "1"
        # New keys of timestamp or snapshot free this client from what only the old ones signed.
        if (
            self.rotated
            and not ours
            and theirs.startswith(("UnsignedMetadataError: snapshot", "BadVersionNumberError"))
        ):
            return "1"
        # What a role's own keys signed, but not in the format: python-tuf reads all of it at once.
        if theirs.startswith("DeserializationError") and self.told[-1].startswith("attack resigned"):
            return "2"
        return ""


class Explained(Exception):  # noqa: N818 - it is no error
    """The clients differ for a reason that is written down; from here on their states do, too."""


COMPARED: Counter[str] = Counter()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_same_story_for_both(seed: int, tmp_path: Path) -> None:
    story = Story(seed, tmp_path)
    with fast_signatures(), suppress(Explained):
        for _ in range(CHAPTERS):
            story.chapter()
