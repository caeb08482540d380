"""Repositories for the tests of the verification core, made with python-tuf; and devices that read them."""

import contextlib
import copy
import json
import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

DEVICE = Path(__file__).resolve().parents[3] / "device"
NOW = datetime(2026, 6, 1, tzinfo=UTC)
TOP_LEVEL = ("root", "timestamp", "snapshot", "targets")


def unix(when: datetime) -> int:
    return int(when.timestamp())


class Repository:
    """A repository whose parts can be changed one by one; `folder` has what a mirror serves."""

    def __init__(self, folder: Path, *, hashes: bool = True, consistent: bool = True) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.hashes = hashes
        self.signers: dict[str, list[Signer]] = {}
        expires = NOW + timedelta(days=30)
        self.md: dict[str, Metadata[Any]] = {
            "root": Metadata(Root(expires=NOW + timedelta(days=700), consistent_snapshot=consistent)),
            "timestamp": Metadata(Timestamp(expires=expires)),
            "snapshot": Metadata(Snapshot(expires=expires)),
            "targets": Metadata(Targets(expires=expires)),
        }
        for role in TOP_LEVEL:
            self.rotate(role)
        self.publish(*TOP_LEVEL, bump=False)

    @property
    def root(self) -> Root:
        return self.md["root"].signed

    def rotate(self, role: str, *, keep: int = 0, add: int = 1, threshold: int = 1) -> None:
        """Replaces the keys of a top-level role by new ones, all but the first `keep`."""
        for signer in self.signers.get(role, [])[keep:]:
            self.root.revoke_key(signer.public_key.keyid, role)
        self.signers[role] = self.signers.get(role, [])[:keep]
        for _ in range(add):
            signer = CryptoSigner.generate_ed25519()
            self.root.add_key(signer.public_key, role)
            self.signers[role].append(signer)
        self.root.roles[role].threshold = threshold

    def delegate(
        self,
        role: str,
        paths: list[str],
        *,
        by: str = "targets",
        terminating: bool = True,
        keys: int = 1,
        threshold: int = 1,
    ) -> None:
        """Adds a delegation with new keys; the role itself is made when there is none."""
        signers: list[Signer] = [CryptoSigner.generate_ed25519() for _ in range(keys)]
        self.signers[role] = self.signers.get(role, []) + signers
        parent: Targets = self.md[by].signed
        if parent.delegations is None:
            parent.delegations = Delegations({}, {})
        assert parent.delegations.roles is not None
        parent.delegations.roles[role] = DelegatedRole(role, [], threshold, terminating, paths)
        for signer in signers:
            parent.add_key(signer.public_key, role)
        if role not in self.md:
            self.md[role] = Metadata(Targets(expires=NOW + timedelta(days=30)))
            self.md[role].signed.version = 0

    def add_target(self, role: str, path: str, data: bytes = b"content", **custom: object) -> TargetFile:
        target = TargetFile.from_data(path, data)
        if custom:
            target.unrecognized_fields["custom"] = custom
        self.md[role].signed.targets[path] = target
        return target

    def sign(self, role: str) -> bytes:
        md = self.md[role]
        md.signatures.clear()
        for signer in self.signers[role]:
            md.sign(signer, append=True)
        return md.to_bytes(JSONSerializer(compact=True))

    def file_name(self, role: str) -> str:
        if role == "timestamp" or (role != "root" and not self.root.consistent_snapshot):
            return f"{quote(role, '')}.json"
        return f"{self.md[role].signed.version}.{quote(role, '')}.json"

    def put(self, role: str, data: bytes) -> None:
        (self.folder / self.file_name(role)).write_bytes(data)

    def describe(self, data: bytes, version: int) -> MetaFile:
        return MetaFile.from_data(version, data, ["sha256"]) if self.hashes else MetaFile(version)

    def publish(self, *roles: str, bump: bool = True) -> None:
        """Signs and publishes roles, and with them snapshot and timestamp."""
        for role in roles:
            if role not in ("snapshot", "timestamp"):
                self.md[role].signed.version += bump
                data = self.sign(role)
                self.put(role, data)
                if role != "root":
                    self.md["snapshot"].signed.meta[f"{role}.json"] = self.describe(data, self.md[role].signed.version)
        for role in ("snapshot", "timestamp"):
            self.md[role].signed.version += bump
            data = self.sign(role)
            self.put(role, data)
            if role == "snapshot":
                self.md["timestamp"].signed.snapshot_meta = self.describe(data, self.md[role].signed.version)

    def rotate_root(self, *roles: str, add: int = 1, threshold: int = 1) -> None:
        """Publishes a new root with new keys for these roles, signed by the old and the new root keys."""
        old = list(self.signers["root"])
        for role in roles:
            self.rotate(role, add=add, threshold=threshold)
        self.root.version += 1
        new = self.signers["root"]
        self.signers["root"] = new + [signer for signer in old if signer not in new]
        self.put("root", self.sign("root"))
        self.signers["root"] = new

    def change(self, role: str, change: Callable[[dict[str, Any]], None], *, sign: bool = False) -> None:
        """Changes a published file behind the publisher's back; sign: by the role's keys, as a thief would."""
        path = self.folder / self.file_name(role)
        document = json.loads(path.read_bytes())
        change(document)
        if sign:
            from securesystemslib.formats import encode_canonical

            signed = encode_canonical(document["signed"])
            assert signed is not None
            document["signatures"] = [s.sign(signed.encode()).to_dict() for s in self.signers[role]]
        path.write_bytes(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())

    def fork(self, folder: Path) -> "Repository":
        """A copy that goes its own way: an attacker's, or yesterday's."""
        other = copy.copy(self)
        other.md = copy.deepcopy(self.md)
        other.signers = {role: list(signers) for role, signers in self.signers.items()}
        other.folder = folder
        folder.mkdir()
        for path in self.folder.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        return other


class Worker:
    """A MicroPython process that runs tuf_worker.py."""

    def __init__(self, micropython: Path, modules: Path, heap: str) -> None:
        self._command = [str(micropython), "-X", f"heapsize={heap}", "-c", "import tuf_worker"]
        self._modules = modules
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "MICROPYPATH": f"{self._modules}:.frozen"},
            text=True,
        )

    def run(self, **command: object) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        with contextlib.suppress(BrokenPipeError):  # then it says below why
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        said = []
        for line in self._process.stdout:
            if line.startswith("=> "):
                answer: dict[str, Any] = json.loads(line[3:])
                return answer
            said.append(line)
        self.close()
        self._start()
        raise AssertionError("MicroPython stopped:\n" + "".join(said))

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


class Device:
    """A device with trusted metadata of its own."""

    def __init__(self, worker: Worker, store: Path, repository: Repository, root: bytes | None = None) -> None:
        store.mkdir()
        self.worker = worker
        self.store = store
        self.repository = repository
        self.now = unix(NOW)
        self.options: dict[str, object] = {}
        self.provisioned = store / "provisioned"
        first = (repository.folder / repository.file_name("root")).read_bytes() if root is None else root
        self.provisioned.write_bytes(first)

    def run(self, *steps: object, **options: object) -> dict[str, Any]:
        return self.worker.run(
            **{
                "store": str(self.store),
                "repository": str(self.repository.folder),
                "provisioned": str(self.provisioned),
                "now": self.now,
                "do": steps,
                **self.options,
                **options,
            }
        )

    def refresh(self, *steps: object, **options: object) -> dict[str, Any]:
        """A refresh (and then other steps) that must succeed."""
        answer = self.run("refresh", *steps, **options)
        assert answer["code"] is None, answer["error"]
        return answer

    def resists(self, code: str, *words: str, steps: tuple[object, ...] = ("refresh",), **options: object) -> None:
        """The update must be refused with this code and a sentence with these words, nothing trusted lost."""
        before = self.versions()
        answer = self.run(*steps, **options)
        assert answer["code"] == code, answer
        for word in words:
            assert word in answer["error"], answer["error"]
        after = self.versions()
        assert all(after[role] >= version for role, version in before.items() if role in after)

    def versions(self) -> dict[str, int]:
        found = {}
        for path in self.store.glob("*.json"):
            with contextlib.suppress(ValueError):
                found[path.stem] = json.loads(path.read_bytes())["signed"]["version"]
        return found
