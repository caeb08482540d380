"""What a test run says of a release, as JUnit XML: the properties that bind a report to a release and to devices.

pytest writes the report (`--junitxml`); the plugin, or any other runner, adds the properties of `properties()` to it.
A report is the rig's own: whoever can write it can also use the rig's key.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error
from heirloom.signing.attestation import Results, TestedDevice

RELEASE = "heirloom.release"
DEVICE = "heirloom.device"
SUITE = "heirloom.suite"
_MAX_BYTES = 16 << 20


@dataclass(frozen=True)
class Report:
    """A report that was read.

    Attributes:
        releases: SHA-256 of the manifests, hexadecimal, that were tested.
        results: What came of it.
    """

    releases: frozenset[str]
    results: Results


def properties(sha256s: Iterable[str], devices: Iterable[TestedDevice], suite: str) -> list[tuple[str, str]]:
    """The properties of a test suite (JUnit `<property name value>`) that `read` understands.

    Args:
        sha256s: Of the manifests of the tested releases, hexadecimal.
        devices: On which they were tested.
        suite: What was run, for people.
    """
    return [
        (SUITE, suite),
        *((RELEASE, sha256) for sha256 in sha256s),
        *((DEVICE, json.dumps(vars(device), sort_keys=True)) for device in devices),
    ]


def read(path: Path) -> Report:
    """A report in JUnit XML.

    Raises:
        HeirloomError: It cannot be read, is no such report, or does not say what was tested on what.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise HeirloomError(f"{path} is too long for a test report")
        root = ET.fromstring(data)  # noqa: S314 - the rig's own file, bounded; expat stops expanding entities
    except OSError as exc:
        raise os_error(exc, f"cannot read {path}") from exc
    except ET.ParseError as exc:
        raise HeirloomError(f"{path} is no JUnit XML: {exc}", "give the file that --junitxml wrote") from exc
    said: dict[str, list[str]] = {}
    for entry in root.iter("property"):
        said.setdefault(entry.get("name", ""), []).append(entry.get("value", ""))
    if not said.get(RELEASE) or not said.get(DEVICE):
        raise HeirloomError(
            f"{path} does not say which release was tested, and on which devices",
            "run the suite with `heirloom hil run`, or pytest with Heirloom's plugin",
        )
    devices = [_device(text, path) for text in dict.fromkeys(said[DEVICE])]
    return Report(frozenset(said[RELEASE]), _results(root, said.get(SUITE, [path.stem])[0], devices))


def _device(text: str, path: Path) -> TestedDevice:
    try:
        return TestedDevice(**{key: str(value) for key, value in json.loads(text).items()})
    except (ValueError, TypeError, AttributeError) as exc:
        raise HeirloomError(f"{path} names a device in a way that is not known: {text[:80]!r}") from exc


def _results(root: ET.Element, suite: str, devices: list[TestedDevice]) -> Results:
    passed, failed, skipped = [], [], {}
    for case in root.iter("testcase"):
        name = f"{case.get('classname', '')}::{case.get('name', '')}"
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(name)
        elif skip is not None:
            skipped[name] = skip.get("message", "")
        else:
            passed.append(name)
    return Results(suite, devices, passed, _finished(root), skipped, failed)


def _finished(root: ET.Element) -> datetime:
    """When the last suite of the report began, plus its time; now where it does not say."""
    ends = []
    for suite in root.iter("testsuite"):
        try:
            began = datetime.fromisoformat(suite.get("timestamp", ""))
            ends.append(began.astimezone(UTC).timestamp() + float(suite.get("time", "0")))
        except ValueError:
            continue
    return datetime.fromtimestamp(max(ends), UTC) if ends else datetime.now(UTC)
