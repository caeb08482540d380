"""Reads the folder of a run. What is not there is left out; what is damaged is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from xml.etree import ElementTree as ET

from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error
from heirloom.hil.reporting.model import (
    ATTACKS,
    DEVICES,
    JUNIT,
    LANES,
    POWERCUT,
    Attack,
    Case,
    CutPhase,
    Event,
    PowerCuts,
    Report,
    Timeline,
)

T = TypeVar("T")
_MAX_BYTES = 64 << 20


def collect(folder: Path, title: str | None = None) -> Report:
    """The report of a run.

    Args:
        folder: As model.py describes it.
        title: For people; the folder's name if None.

    Raises:
        HeirloomError: There is nothing in the folder, or a file cannot be read or is none of ours.
    """
    report = Report(
        title or folder.absolute().name,
        _load(folder / JUNIT, _cases) or (),
        [found for path in sorted((folder / DEVICES).glob("*.json")) if (found := _load(path, _timeline))],
        _load(folder / POWERCUT, _powercuts),
        _load(folder / ATTACKS, _attacks) or (),
    )
    if not (report.cases or report.timelines or report.powercuts or report.attacks):
        raise HeirloomError(f"{folder} holds no results of a run", f"{JUNIT}, {DEVICES}/, {POWERCUT} or {ATTACKS}")
    return report


def _load(path: Path, parse: Callable[[bytes], T]) -> T | None:
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise HeirloomError(f"{path} is too long for a report")
        return parse(data)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise os_error(exc, f"cannot read {path}") from exc
    except (ValueError, KeyError, TypeError, ET.ParseError) as exc:
        raise HeirloomError(f"{path} is damaged, or of another version: {exc}", "run the suite again") from exc


def _cases(data: bytes) -> list[Case]:
    root = ET.fromstring(data)  # noqa: S314 - the rig's own file, bounded; expat stops expanding entities
    return [_case(element) for element in root.iter("testcase")]


def _case(element: ET.Element) -> Case:
    outcome, detail = "passed", ""
    for tag, meaning in (("skipped", "skipped"), ("failure", "failed"), ("error", "error")):
        found = element.find(tag)
        if found is not None:
            outcome, detail = meaning, found.get("message") or (found.text or "")[:2000]
    name = "::".join(filter(None, (element.get("classname"), element.get("name"))))
    return Case(name, outcome, float(element.get("time", "0")), detail.removeprefix("Skipped: "))


def _timeline(data: bytes) -> Timeline:
    fields: dict[str, Any] = json.loads(data)
    events = [Event(float(event["at_s"]), str(event["lane"]), str(event["text"])) for event in fields.pop("events")]
    unknown = {event.lane for event in events} - set(LANES)
    if unknown:
        raise ValueError(f"lane {min(unknown)!r} is unknown")
    return Timeline(**fields, events=events)


def _powercuts(data: bytes) -> PowerCuts:
    fields: dict[str, Any] = json.loads(data)
    phases = [
        CutPhase(
            str(phase["name"]), int(phase["operations"]), [(int(a), str(k), str(o), int(n)) for a, k, o, n in cells]
        )
        for phase in fields["phases"]
        for cells in [phase["cells"]]
    ]
    return PowerCuts(int(fields["seed"]), float(fields["seconds"]), phases, dict(fields.get("problems", {})))


def _attacks(data: bytes) -> list[Attack]:
    return [Attack(**row) for row in json.loads(data)]
