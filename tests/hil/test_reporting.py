"""The report of a run: what is in it, what it refuses, and how it looks in a browser."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from heirloom.cli.errors import HeirloomError
from heirloom.cli.main import run
from heirloom.hil.reporting import Recorder, collect, render
from heirloom.hil.reporting.model import CutPhase, Event
from heirloom.hil.reporting.picture import cut_map, dots

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from heirloom.hil.sim import SimDevice

pytest.importorskip("jinja2", reason="no jinja2: pip install 'heirloom-ota[sim]'")

JUNIT = """<testsuites><testsuite name="life-cycle" tests="4">
<testcase classname="lifecycle" name="test_update" time="1.25"/>
<testcase classname="lifecycle" name="test_patch" time="0"><skipped message="sim has no Wi-Fi"/></testcase>
<testcase classname="lifecycle" name="test_bad" time="2">
<failure message="kitchen runs &lt;script&gt;alert(1)&lt;/script&gt;"/></testcase>
<testcase classname="lifecycle" name="test_relay" time="2"><error message="the relay does not click"/></testcase>
</testsuite></testsuites>"""
CUTS: dict[str, Any] = {
    "seed": 7,
    "seconds": 3.5,
    "phases": [
        {
            "name": "install",
            "operations": 300,
            "cells": [[at, "before", "new" if at > 250 else "old", 1] for at in range(301)],
        },
        {
            "name": "rollback",
            "operations": 3,
            "cells": [[1, "bits", "lost", 1], [1, "bits", "started", 9], [2, "prefix", "old", 2]],
        },
    ],
    "problems": {"rollback_1-bits-9": "it did not reach its end"},
}
ATTACKS = [
    {
        "name": "rollback",
        "stolen": "timestamp",
        "cells": {"online": "refused: E_ROLLBACK", "stick": "refused: E_ROLLBACK"},
    },
    {"name": "freeze", "stolen": "nothing", "cells": {"online": "stale"}, "wrong": ["online"]},
]


def chromium_unavailable_reason() -> str | None:
    if shutil.which("chromium") is None:
        return "no `chromium`: apt install chromium"
    return None if find_spec("playwright") else "no playwright: it is in the group `dev`"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The folder of a run with everything in it, and something wrong in each part."""
    folder = tmp_path / "nightly"
    (folder / "devices").mkdir(parents=True)
    (folder / "junit.xml").write_text(JUNIT)
    (folder / "powercut.json").write_text(json.dumps(CUTS))
    (folder / "attacks.json").write_text(json.dumps(ATTACKS))
    events = [Event(0.0, "power", "on"), Event(0.4, "state", "release 1.1.0 confirmed"), Event(0.5, "flash", "12")]
    timeline = {"device": "kitchen", "board": "SIM_RPI_PICO_W", "driver": "sim", "test": "test_update"}
    (folder / "devices" / "kitchen.json").write_text(json.dumps({**timeline, "events": [asdict(e) for e in events]}))
    return folder


def test_what_is_in_it(results: Path) -> None:
    report = collect(results)
    assert [case.outcome for case in report.cases] == ["passed", "skipped", "failed", "error"]
    page = render(report)
    assert "Something did not hold." in page
    assert "sim has no Wi-Fi" in page
    assert "of the rig, no verdict on the release" in page
    assert "&lt;script&gt;" in page
    assert "<script" not in page, "what a device says never becomes code"
    assert "http" not in page.replace("http-equiv", ""), "it asks nobody for anything"
    assert "rollback_1-bits-9" in page


def test_a_good_run_says_so(results: Path) -> None:
    for name in ("powercut.json", "attacks.json", "devices/kitchen.json"):
        (results / name).unlink()
    (results / "junit.xml").write_text(
        JUNIT.split("<testcase classname", maxsplit=1)[0] + '<testcase name="a"/></testsuite></testsuites>'
    )
    page = render(collect(results, "Before 1.2.0"))
    assert "Everything that was tested held." in page
    assert "Nothing was skipped." in page
    assert "<title>Before 1.2.0: good</title>" in page


def test_the_map_of_cuts_shows_the_worst_of_each_place() -> None:
    shown = cut_map(
        CutPhase("rollback", 3, [(1, "bits", "lost", 1), (1, "bits", "started", 9), (2, "prefix", "old", 2)])
    )
    assert (shown.columns, shown.cuts, shown.lost) == (4, 12, 1)
    worst = {(cell.x, cell.y): cell for cell in shown.cells}
    assert worst[1, 0].outcome == "lost"
    assert worst[1, 0].title == "operation 1, bits: 9 started, 1 lost"
    wide = cut_map(CutPhase("install", 5000, [(at, "before", "old", 1) for at in range(5001)]))
    assert sum(cell.outcome == "old" for cell in wide.cells) == wide.columns == 160
    assert wide.cuts == 5001


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("junit.xml", "<testsuite"),
        ("powercut.json", "{}"),
        ("powercut.json", '{"seed": 1, "seconds": 1, "phases": [7]}'),
        ("attacks.json", "[{}]"),
        ("devices/kitchen.json", '{"events": [{"at_s": 1, "lane": "nonsense", "text": ""}]}'),
        ("devices/kitchen.json", "\x00"),
    ],
)
def test_damaged_results_are_refused(results: Path, name: str, text: str) -> None:
    (results / name).write_text(text)
    with pytest.raises(HeirloomError, match="is damaged, or of another version"):
        collect(results)


def test_an_empty_folder_holds_no_results(tmp_path: Path) -> None:
    with pytest.raises(HeirloomError, match="holds no results of a run"):
        collect(tmp_path)


def test_a_recorder_sees_what_a_device_does(make_device: Callable[..., "SimDevice"], tmp_path: Path) -> None:
    script = "open('x', 'w').close()\nprint('heirloom: release [0, 2] confirmed')\nprint('21 degrees')\nprint('end')\n"
    device = make_device({"main.py": script})
    recorder = Recorder(
        device,
        driver="sim",
        board=device.board.name,
        power=lambda: device.power.value,
        operations=lambda: device.flash.operations,
    )
    with recorder:
        device.run_until("^end")
        recorder.note("request", "GET /metadata/timestamp.json 304")
        device.power_off()
    seen = recorder.timeline()
    texts = {
        lane: [event.text for event in seen.events if event.lane == lane] for lane in ("state", "console", "request")
    }
    assert texts["state"] == ["release [0, 2] confirmed"]
    assert "21 degrees" in texts["console"]
    assert texts["request"] == ["GET /metadata/timestamp.json 304"]
    assert sum(int(event.text) for event in seen.events if event.lane == "flash") == device.flash.operations > 0
    assert {dot.lane for dot in dots(seen)} >= {"power", "state", "flash"}
    recorder.save(tmp_path, "kitchen")
    assert collect(tmp_path).timelines[0].events == list(seen.events)


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    reason = chromium_unavailable_reason()
    if reason:
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run"]
    quiet += ["--disable-component-update"]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=quiet)
        yield started
        started.close()


@pytest.mark.parametrize(("width", "height"), [(1200, 900), (390, 844)], ids=["desk", "phone"])
def test_in_a_browser_from_a_file(browser: "Browser", results: Path, width: int, height: int) -> None:
    """It opens without a server, shows each part, and nothing but wide tables scrolls sideways on a phone."""
    assert run(["hil", "report", str(results)]) == 0
    page = browser.new_page(viewport={"width": width, "height": height})
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((results / "report.html").as_uri())
    assert asked == [(results / "report.html").as_uri()]
    assert page.locator(".verdict").inner_text() == "Something did not hold."
    assert page.locator("svg.cutmap").count() == 2
    lost = page.locator("svg.cutmap rect.lost")
    assert lost.count() == 1
    colours = [
        page.evaluate("e => getComputedStyle(e).fill", page.locator(f"svg.cutmap rect.{kind}").first.element_handle())
        for kind in ("lost", "old", "new")
    ]
    assert colours == ["rgb(200, 50, 43)", "rgb(46, 139, 87)", "rgb(63, 120, 196)"]
    assert page.locator("#attacks + .wide td.wrong").inner_text() == "stale"
    assert page.locator("section.device circle.state title").text_content() == "0.40 s release 1.1.0 confirmed"
    page.locator("section.device summary").click()
    assert page.get_by_text("12 flash operations").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "the page itself is too wide"
    size = page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)")
    assert size >= 15, "too small to read"
    page.close()
