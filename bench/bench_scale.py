"""Whether a product may go on releasing for ever: the 11th release beside the 10,001st.

Two repositories, side by side and in turn: how long it takes to sign and publish the next release, and how many bytes
of metadata a device fetches to learn of it. The long history is made in bulk: all its manifests and all the versions
of metadata that publishing one by one would have left, the current ones through the functions that publishing uses.

    bench/bench_scale.py                     some minutes, most of them for the 10,000 releases
    bench/bench_scale.py --releases 400      less
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tuf.api.metadata import Metadata, MetaFile, TargetFile, Targets

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "device" / "conformance_support"))

from directory_store import DirectoryStore  # noqa: E402

from heirloom.cli.project import Project  # noqa: E402
from heirloom.device.errors import E_NOT_FOUND, UpdateError  # noqa: E402
from heirloom.device.manifest import Manifest  # noqa: E402
from heirloom.device.tuf import Client  # noqa: E402
from heirloom.server.publish import Publisher  # noqa: E402
from heirloom.signing import archiving, bins, channels, endorse, founding, keyfile, release, roles  # noqa: E402
from heirloom.signing.keys import role_signers  # noqa: E402
from heirloom.signing.metadata import (  # noqa: E402
    AnyMetadata,
    describe,
    file_name,
    meta_name,
    next_role,
    sign,
    to_bytes,
    utc_now,
)
from heirloom.signing.repository import Repository, channel_path, release_path, target_file  # noqa: E402
from heirloom.signing.twins import SUFFIX, twin  # noqa: E402

BOARD = "SIM_RPI_PICO_W"
PASSPHRASE = "correct horse battery staple"
PLACES = ["http://127.0.0.1:9/", "https://somebody.example.org/scale/"]
LIMITS = {"time_ratio": 2.0, "cpu_ratio": 2.0, "bytes_ratio": 1.05}


@dataclass
class Count:
    """A Fetcher of the verification core that reads a folder and counts what a device would fetch, compressed."""

    folder: Path
    total: int = 0
    names: list[str] = field(default_factory=list)

    def fetch(self, name: str, limit: int, sink: object, etag: str | None = None) -> str:  # noqa: ARG002 - a protocol
        path = self.folder / name
        if not path.is_file():
            raise UpdateError(E_NOT_FOUND, f"{name} is not there")
        self.total += path.with_name(name + SUFFIX).stat().st_size
        self.names.append(name)
        sink.write(path.read_bytes())  # type: ignore[attr-defined]
        return ""


class Product:
    """A product with one board and a history of `count` releases."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count
        os.environ |= {"HEIRLOOM_KEYS": str(folder / "keys"), "HEIRLOOM_PASSPHRASE": PASSPHRASE}
        answers = founding.Answers("scale", {BOARD: "1.29"}, PLACES, contact="security@example.com")
        founding.found(folder / "project", answers, PASSPHRASE, utc_now())
        self.project = Project.load(folder / "project")
        self.project.app.source.mkdir(exist_ok=True)
        self.device = folder / "device"
        self.device.mkdir()
        self.metadata = self.project.repository / "metadata"
        shutil.copy(self.metadata / "1.root.json", self.device / "provisioned")
        self._fill()

    def _fill(self) -> None:
        """The history."""
        repository, now = Repository(self.project.repository), utc_now()
        role = roles.releases_role(BOARD)
        listing = next_role(repository.role(role), role, now)
        manifests = [_manifest(self.project.product.name, number) for number in range(1, self.count + 1)]
        folder = self.project.repository / "targets"
        for manifest in manifests:
            data, path = manifest.encode(), release_path(BOARD, manifest.version)
            custom = {"version": manifest.version, "epoch": manifest.epoch, "sequence": manifest.sequence}
            target = TargetFile.from_data(path, data, [roles.HASH])
            target.unrecognized_fields["custom"] = custom
            listing.signed.targets[path] = target
            for name in (path, channel_path(BOARD, "stable")):
                file = folder / target_file(name, hashlib.sha256(data).hexdigest())
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
        archive = archiving.arrange(repository, BOARD, listing, manifests[-archiving.RECENT :], now)
        told = listing.signed.unrecognized_fields[bins.ARCHIVE]
        for name, content in archive.items():
            content.signed.version = self.count // len(archive) + 1
            told[name] = bins.said(content)
        self._write(repository, {role: listing, **archive}, manifests[-1])

    def _write(self, repository: Repository, changed: dict[str, Metadata[Targets]], newest: Manifest) -> None:
        """Today's metadata at the version that it would have, and files by the names of all versions before."""
        now, pointer = utc_now(), roles.channels_role(BOARD)
        listing = changed[roles.releases_role(BOARD)]
        pointed = channels.point(
            repository, BOARD, "stable", newest.version, role_signers(self.project, pointer), now, listing
        )
        current = {**changed, pointer: Metadata[Targets].from_bytes(pointed)}
        snapshot = next_role(repository.snapshot(), roles.SNAPSHOT, now)
        for role, metadata in current.items():
            version = metadata.signed.version if roles.archived_below(role) else self.count + 1
            data = self._sign(role, roles.releases_role(BOARD) if role in changed else role, metadata, version)
            bare = roles.archived_below(role) is not None
            snapshot.signed.meta[meta_name(role)] = MetaFile(version) if bare else describe(version, data)
        described = self._sign(roles.SNAPSHOT, roles.SNAPSHOT, snapshot, self.count + 1)
        timestamp = next_role(repository.timestamp(), roles.TIMESTAMP, now)
        timestamp.signed.snapshot_meta = describe(self.count + 1, described)
        self._sign(roles.TIMESTAMP, roles.TIMESTAMP, timestamp, self.count + 1)

    def _sign(self, role: str, keys: str, metadata: AnyMetadata, version: int) -> bytes:
        metadata.signed.version = version
        metadata.signatures.clear()
        sign(metadata, role_signers(self.project, keys))
        data = to_bytes(metadata)
        for number in range(1, version):
            path = self.metadata / file_name(role, number)
            if role != roles.TIMESTAMP and not path.exists():
                path.write_bytes(b"{}")
                path.with_name(path.name + SUFFIX).write_bytes(b"{}")
        path = self.metadata / file_name(role, version)
        path.write_bytes(data)
        path.with_name(path.name + SUFFIX).write_bytes(twin(data))
        return data

    def publish(self) -> tuple[float, float]:
        """Sign and publish the next release, and point the channel to it. Returns seconds by the clock and of CPU."""
        os.environ["HEIRLOOM_KEYS"] = str(self.folder / "keys")
        self.count += 1
        (self.project.app.source / "main.py").write_text(f"print({self.count})\n")
        built = release.build(self.project, BOARD, f"1.{self.count}.0", release.Options())
        start = time.perf_counter(), time.process_time()
        endorse.sign(self.project, built)
        Publisher(self.project).publish(built.version, [BOARD], "stable")
        return time.perf_counter() - start[0], time.process_time() - start[1]

    def check(self) -> Count:
        """What a device fetches that looks for an update of its channel."""
        count = Count(self.metadata)
        client = Client(DirectoryStore(str(self.device), str(self.device / "provisioned")), count, int(time.time()))
        client.poll()
        pointer = client.find_target(channel_path(BOARD, "stable"))
        assert pointer is not None
        target = client.find_target(pointer.custom["release"])
        assert target is not None
        assert target.sha256 == pointer.sha256
        client.close()
        return count


def _manifest(product: str, number: int) -> Manifest:
    file = ("main.py", 12, hashlib.sha256(b"history").digest())
    return Manifest(
        product=product, board=BOARD, version=f"1.{number}.0", epoch=0, sequence=number, floor=0, files=[file],
        confirm="check", install="reboot", released_at=1_700_000_000 + number,
    )  # fmt: skip


def measure(folder: Path, small: int, large: int, rounds: int) -> dict[str, object]:
    """Publish the releases after the `small`th and after the `large`th, `rounds` times in turn."""
    few, many = Product(folder / "few", small), Product(folder / "many", large)
    for product in (few, many):
        product.check()  # as a device that is up to date
    seconds: dict[str, list[tuple[float, float]]] = {"few": [], "many": []}
    fetched: dict[str, list[int]] = {"few": [], "many": []}
    for _ in range(rounds):
        for name, product in (("few", few), ("many", many)):
            seconds[name].append(product.publish())
            fetched[name].append(product.check().total)
    # The fastest of some: what else the machine does only ever adds.
    best = {name: min(clock for clock, _ in values) for name, values in seconds.items()}
    # What waits for a disk that others use, too, is not in this one.
    cpu = {name: min(used for _, used in values) for name, values in seconds.items()}
    size = {name: statistics.mean(values) for name, values in fetched.items()}
    return {
        "releases": {"few": small, "many": large},
        "publish_s": best,
        "publish_cpu_s": cpu,
        "check_bytes": size,
        "time_ratio": best["many"] / best["few"],
        "cpu_ratio": cpu["many"] / cpu["few"],
        "bytes_ratio": size["many"] / size["few"],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--releases", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    keyfile.SCRYPT_N = 2  # keys that open at once: else they would hide what grows
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), 10, arguments.releases, arguments.rounds)
    print(f"{'':24}{'after 10':>12}{f'after {arguments.releases}':>14}{'ratio':>8}{'limit':>8}")
    for title, key, ratio in (
        ("sign and publish, s", "publish_s", "time_ratio"),
        ("of that CPU, s", "publish_cpu_s", "cpu_ratio"),
        ("one check, bytes", "check_bytes", "bytes_ratio"),
    ):
        few, many = found[key]["few"], found[key]["many"]  # type: ignore[index]
        print(f"{title:24}{few:12.3f}{many:14.3f}{found[ratio]:8.3f}{LIMITS[ratio]:8.2f}")
    out = HERE / "out"
    out.mkdir(exist_ok=True)
    (out / "scale.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
