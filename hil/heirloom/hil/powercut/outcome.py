"""What came of a sweep, as documents: for programs, for JUnit readers, and for the report of a run."""

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

from heirloom.cli.files import write_atomic
from heirloom.hil.powercut.sweep import Tally


@dataclass
class Result:
    """What a sweep found.

    Attributes:
        seconds: With the making of the product, and in all runs together.
    """

    seed: int
    lives: dict[str, Tally] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def total(self) -> Tally:
        """Of all lives."""
        total = Tally()
        for tally in self.lives.values():
            total.add(tally)
        return total

    def as_dict(self) -> dict[str, object]:
        """For `--json`."""
        lives = {name: asdict(tally) for name, tally in self.lives.items()}
        return {"seed": self.seed, "seconds": round(self.seconds, 1), "total": asdict(self.total), "lives": lives}


def write(result: Result, folder: Path) -> None:
    """Write junit.xml, and powercut.json for `heirloom hil report`, into the folder of a sweep."""
    write_atomic(folder / "junit.xml", junit(result))
    phases = [
        {"name": name, "operations": tally.operations, "cells": [_cell(*item) for item in tally.map.items()]}
        for name, tally in result.lives.items()
    ]
    document = {"seed": result.seed, "seconds": result.seconds, "phases": phases, "problems": result.total.problems}
    write_atomic(folder / "powercut.json", json.dumps(document).encode())


def _cell(key: str, count: int) -> list[object]:
    at, kind, outcome = key.split()
    return [int(at), kind, outcome, count]


def junit(result: Result) -> bytes:
    """A sweep as JUnit XML: one test for each life, its problems in the failure."""
    suite = ET.Element("testsuite", name="powercut", timestamp=datetime.now(UTC).isoformat(timespec="seconds"))
    suite.set("tests", str(len(result.lives)))
    suite.set("failures", str(sum(bool(tally.problems) for tally in result.lives.values())))
    suite.set("time", f"{result.seconds:.1f}")
    properties = ET.SubElement(suite, "properties")
    counts = {"seed": result.seed, **{name: getattr(result.total, name) for name in ("cuts", "pairs", "starts")}}
    for name, value in counts.items():
        ET.SubElement(properties, "property", name=name, value=str(value))
    for name, tally in result.lives.items():
        case = ET.SubElement(suite, "testcase", classname="powercut", name=name)
        if tally.problems:
            failure = ET.SubElement(case, "failure", message=f"{len(tally.problems)} cuts; seed {result.seed}")
            failure.text = "\n\n".join(f"{which}: {_printable(what)}" for which, what in tally.problems.items())
    return bytes(ET.tostring(suite, encoding="utf-8", xml_declaration=True))


def _printable(text: str) -> str:
    """Without what XML cannot hold."""
    return "".join(sign if sign >= " " or sign in "\n\t" else "?" for sign in text)
