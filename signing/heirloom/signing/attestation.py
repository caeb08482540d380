"""What a rig says of a release: an in-toto statement about test results, in a DSSE envelope signed with the rig's key.

`.heirloom/attestations/SHA256.intoto.jsonl`, named by the release's manifest, one envelope a line and one for each rig;
published beside it. Sources: in-toto Attestation Framework, Statement v1 and test-result v0.1; DSSE v1.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import FormatError, UnverifiedSignatureError, VerificationError
from securesystemslib.signer import Key, Signer

from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error, write_atomic
from heirloom.cli.project import Project
from heirloom.signing.built import BuiltRelease

ATTESTATIONS = "attestations"
SUFFIX = ".intoto.jsonl"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://in-toto.io/attestation/test-result/v0.1"
PASSED = "PASSED"

_MAX_BYTES = 1 << 20
_MAX_LINES = 16


@dataclass(frozen=True)
class TestedDevice:
    """A device on which a release was tested.

    Attributes:
        name: In the rig.
        driver: As in "sim" or "serial".
        board: MicroPython's name of its model.
        firmware: What MicroPython it ran, if that is known.
    """

    __test__ = False  # no test of pytest's

    name: str
    driver: str
    board: str
    firmware: str = ""


@dataclass(frozen=True)
class Results:
    """What came of testing one release.

    Attributes:
        suite: What was run.
        devices: On what.
        passed: Names of tests.
        skipped: Names of tests, each with its reason.
        failed: Names of tests that failed, or that the rig could not run.
        finished: When (UTC).
    """

    suite: str
    devices: Sequence[TestedDevice]
    passed: Sequence[str]
    finished: datetime
    skipped: dict[str, str] = field(default_factory=dict)
    failed: Sequence[str] = ()


@dataclass(frozen=True)
class Attestation:
    """An envelope whose signature was verified: the rig with this key says that the release passed."""

    keyid: str
    predicate: dict[str, Any] = field(repr=False)

    @property
    def passed(self) -> int:
        """How many tests passed."""
        return len(self.predicate["passedTests"])


def statement(release: BuiltRelease, results: Results) -> dict[str, Any]:
    """The in-toto statement that the release passed.

    Raises:
        HeirloomError: It did not: a test failed, or none ran.
    """
    if results.failed:
        raise HeirloomError(
            f"release {release.version} failed {len(results.failed)} tests: {', '.join(results.failed[:5])}",
            "only what passed is attested; mend it, and build a new version",
        )
    if not results.passed or not results.devices:
        raise HeirloomError(
            f"no test of release {release.version} ran on any device", "run the suite on a rig first: heirloom hil run"
        )
    return {
        "_type": STATEMENT,
        "subject": [{"name": release.path, "digest": {"sha256": release.sha256}}],
        "predicateType": PREDICATE,
        "predicate": {
            "result": PASSED,
            "configuration": [
                {"name": device.name, "annotations": {key: value for key, value in vars(device).items() if value}}
                for device in results.devices
            ],
            "passedTests": sorted(results.passed),
            "warnedTests": [],
            "failedTests": [],
            # Monotonic: who does not know these two passes over them.
            "suite": {"name": results.suite, "finished": f"{results.finished:%Y-%m-%dT%H:%M:%SZ}"},
            "skippedTests": [{"name": name, "reason": why} for name, why in sorted(results.skipped.items())],
        },
    }


def attest(project: Project, release: BuiltRelease, results: Results, signer: Signer) -> Path:
    """Sign the statement and keep it where signing and publishing look for it. Returns its file.

    Raises:
        HeirloomError: The release did not pass, or the file cannot be written.
    """
    payload = json.dumps(statement(release, results), separators=(",", ":"), sort_keys=True).encode()
    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    envelope.sign(signer)
    path = path_of(project.state_dir, release.sha256)
    others = [line for line in _lines(path) if _keyid(line) != signer.public_key.keyid]
    line = json.dumps(envelope.to_dict(), separators=(",", ":")).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise os_error(exc, f"cannot make {path.parent}") from exc
    write_atomic(path, b"\n".join([*others, line]) + b"\n")
    return path


def path_of(folder: Path, sha256: str) -> Path:
    """Where the attestations of a manifest lie in a state folder or a repository."""
    return folder / ATTESTATIONS / f"{sha256}{SUFFIX}"


def verified(folder: Path, sha256: str, keys: Collection[Key]) -> list[Attestation]:
    """Those attestations of a manifest in a folder that one of the keys signed; others are passed over.

    Args:
        folder: A state folder or a repository.
        sha256: Of the manifest, hexadecimal.
        keys: Of rigs.

    Raises:
        HeirloomError: The file cannot be read or is too long to be one.
    """
    known = {key.keyid: key for key in keys}
    found = []
    for line in _lines(path_of(folder, sha256)):
        key = known.get(_keyid(line))
        predicate = _verify(line, sha256, key) if key else None
        if key and predicate:
            found.append(Attestation(key.keyid, predicate))
    return found


def _lines(path: Path) -> list[bytes]:
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise os_error(exc, f"cannot read {path}") from exc
    lines = [line for line in data.split(b"\n") if line.strip()]
    if len(data) > _MAX_BYTES or len(lines) > _MAX_LINES:
        raise HeirloomError(f"{path} is too long for attestations", "remove it, and attest again")
    return lines


def _envelope(line: bytes) -> Envelope | None:
    try:
        return Envelope.from_dict(json.loads(line))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, FormatError):
        return None


def _keyid(line: bytes) -> str:
    envelope = _envelope(line)
    return next(iter(envelope.signatures), "") if envelope else ""


def _verify(line: bytes, sha256: str, key: Key) -> dict[str, Any] | None:
    """The predicate if the key signed, about this manifest, that it passed."""
    envelope = _envelope(line)
    if envelope is None or envelope.payload_type != PAYLOAD_TYPE:
        return None
    try:
        key.verify_signature(envelope.signatures[key.keyid], envelope.pae())
        said = json.loads(envelope.payload)
        about = [subject["digest"]["sha256"] for subject in said["subject"]]
        predicate = said["predicate"]
        kind = said["_type"], said["predicateType"], predicate["result"]
        good = kind == (STATEMENT, PREDICATE, PASSED) and about == [sha256]
        listed = (
            isinstance(predicate["passedTests"], list) and predicate["passedTests"] and not predicate["failedTests"]
        )
    except (UnverifiedSignatureError, VerificationError, ValueError, KeyError, TypeError):
        return None
    return predicate if good and listed else None
