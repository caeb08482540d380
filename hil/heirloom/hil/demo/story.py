"""The story of Heirloom, chapter by chapter. What is claimed is read back from the device or counted on its wire."""

import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heirloom.cli.errors import HeirloomError
from heirloom.hil.demo import attacker
from heirloom.hil.demo.narrator import Narrator
from heirloom.hil.demo.steps import BOARD, Unit, Workshop, weather
from heirloom.hil.demo.wire import Attack, Wire
from heirloom.signing.keys import role_signers

POLL_LIMIT_BYTES = 1024
_STARTING = r"weather [\d.]+ starting, boot \d+"
_CONFIRMED = r"release \[.*\] confirmed"

# The fix of 1.2.0: its mistake, and what should have been written.
_MISTAKE = 'config["storm_drop_hpa"]'
_RIGHT = 'config.get("storm", {}).get("drop_hpa", 2.0)'


@dataclass
class Story:
    """Who takes part."""

    narrator: Narrator
    workshop: Workshop
    wire: Wire
    unit: Unit = field(init=False)

    def tell(self) -> None:
        """All chapters, in order.

        Raises:
            HeirloomError: Something broke that no claim covers.
        """
        self._chapter("A maker makes keys and publishes 1.0.0", keys_and_first_release)
        self.unit = Unit.new(self.workshop, self.wire.port)
        with closing(self.unit.sim), self.workshop.serving() as url:
            self.wire.upstream = url
            for title, told in _CHAPTERS:
                self._chapter(title, told)

    def _chapter(self, title: str, told: Callable[["Story"], None]) -> None:
        with self.narrator.chapter(title):
            told(self)

    def claim_runs(
        self, version: str, report: dict[str, Any], claim: str = "the device runs {} and has confirmed it"
    ) -> None:
        """Claim that the device runs a release and has accepted it."""
        confirmed = report["confirmed"] == self.workshop.order(version) and report["trial"] is None
        seen = {key: report[key] for key in ("active", "fallback", "confirmed", "trial")}
        held = active_version(report) == version and confirmed
        self.narrator.claim(claim.format(version), held, seen)


def active_version(report: dict[str, Any]) -> str | None:
    """The version of the release that a device says it runs."""
    return (report["active"] or {}).get("version")


def last_error(report: dict[str, Any]) -> str:
    """The error of a device's last update check, or nothing."""
    return (report["last_check"] or {}).get("error") or ""


def boot_count(line: str) -> int:
    """The number of starts that the application itself keeps in its settings.json."""
    return int(line.rpartition(" ")[2])


def keys_and_first_release(story: Story) -> None:
    """The maker's side, once."""
    narrator, workshop = story.narrator, story.workshop
    workshop.found()
    narrator.say("heirloom init")
    keys = sorted(workshop.keys_dir.glob("*.pem"))
    encrypted = all(b"ENCRYPTED" in key.read_bytes() for key in keys)
    narrator.claim(
        f"{len(keys)} keys, each encrypted, none in the project", bool(keys) and encrypted, [k.stem for k in keys]
    )
    threshold = workshop.repository.root().signed.roles["root"].threshold
    narrator.claim(
        "it takes two of three people to change who is trusted", threshold == 2, {"root threshold": threshold}
    )
    workshop.publish("1.0.0", weather("1.0.0"))
    narrator.say("heirloom release build, sign, publish --channel stable")
    listed = [release.version for release in workshop.repository.releases(BOARD)]
    narrator.claim("the repository lists 1.0.0", listed == ["1.0.0"], listed)


def first_boot(story: Story) -> None:
    """A blank unit becomes a device that runs the application."""
    narrator, unit = story.narrator, story.unit
    unit.provision(story.workshop)
    narrator.say("heirloom device new, provision: the client, the root of trust and a network, no release yet")
    with narrator.waiting("it fetches its first release"):
        unit.power_on()
        line = unit.wait_for(_STARTING)
        unit.wait_for(_CONFIRMED)
    report = unit.report()
    story.claim_runs("1.0.0", report)
    published = story.workshop.metadata_versions()
    seen = {"device": report["metadata"], "published": published}
    narrator.claim("it has verified the published metadata itself", report["metadata"] == published, seen)
    narrator.claim("the application runs as its maker wrote it", boot_count(line) == 1, line)
    narrator.quote("console", line)


def good_update(story: Story) -> None:
    """A release that works. Only what changed is moved."""
    narrator, workshop, unit = story.narrator, story.workshop, story.unit
    workshop.publish("1.1.0", weather("1.1.0"))
    changed, patches = workshop.to_fetch("1.1.0", "1.0.0")
    mark = story.wire.mark()
    with narrator.waiting("the device finds 1.1.0") as wait:
        unit.power_on()
        unit.wait_for(r"weather 1\.1\.0 starting", glance=lambda: wait.update(unit.download()))
        unit.wait_for(_CONFIRMED)
    traffic = story.wire.since(mark)
    report = unit.report()
    story.claim_runs("1.1.0", report)
    moved, of = traffic.blobs(), len(workshop.contents("1.1.0"))
    seen = {"moved": sorted(moved), "changed": sorted(changed)}
    how = f"{len(moved)} of {of} files moved, those that changed; {patches} as a patch of what the device has"
    narrator.claim(how, moved == changed.keys(), seen)
    fetched = report["fetched"] or {}
    narrator.claim(
        f"the device counts the same: {fetched.get('blobs')} files, {fetched.get('bytes')} bytes",
        fetched.get("blobs") == len(changed) and fetched.get("bytes") == sum(changed.values()),
        {"fetched": fetched, "changed bytes": sum(changed.values())},
    )
    narrator.say(f"metadata included, {traffic.wire_bytes} bytes of HTTP in both directions together")


def idle(story: Story) -> None:
    """The price of asking when there is nothing."""
    narrator, unit, wire = story.narrator, story.unit, story.wire
    with narrator.waiting("the device asks"):
        mark = wire.mark()
        unit.power_on()
        line = unit.wait_for(_STARTING)
        wire.wait_for_polls(mark, 1)
        unit.settle()
    unit.power_off()
    traffic = wire.since(mark)
    each = [one.sent_bytes + one.received_bytes for one in traffic.polls]
    seen = {"requests": [[one.path, one.status] for one in traffic.exchanges], "bytes": each}
    quiet = all(one.status == 304 for one in traffic.exchanges) and max(each) <= POLL_LIMIT_BYTES
    narrator.claim(f"a poll moves {max(each)} bytes of HTTP, both directions together", quiet, seen)
    narrator.claim(f"the application kept its settings: it counts start {boot_count(line)}", boot_count(line) > 2, line)


def bad_update(story: Story) -> None:
    """A release that crashes undoes itself and is not tried again."""
    narrator, workshop, unit = story.narrator, story.workshop, story.unit
    workshop.publish("1.2.0", weather("1.2.0"))
    with narrator.waiting("the device tries 1.2.0"):
        unit.power_on()
        unit.wait_for(r"weather 1\.2\.0 starting")
        unit.wait_for(r"back to the one before")
        unit.wait_for(r"weather 1\.1\.0 starting")
    report = unit.report()
    story.claim_runs("1.1.0", report, "the device is back on {} by itself")
    failed = workshop.order("1.2.0")
    narrator.claim("it remembers that 1.2.0 failed", failed in report["failed"], report["failed"])
    trace = (report["traceback"] or "").strip()
    narrator.claim("it keeps the traceback for the maker", trace.endswith("KeyError: storm_drop_hpa"), trace)
    narrator.quote("traceback", trace.rpartition("\n")[2])
    workshop.heirloom("renew")
    mark = story.wire.mark()
    with narrator.waiting("the device sees that 1.2.0 is still offered"):
        unit.power_on()
        said = unit.wait_for(r"E_FAILED: [^\n]*")
        unit.settle()
    report = unit.report()
    moved = sorted(story.wire.since(mark).blobs())
    left_alone = active_version(report) == "1.1.0" and not moved
    narrator.claim(
        "it does not try 1.2.0 again", left_alone, {"active": active_version(report), "moved": moved, "said": said}
    )
    narrator.quote("device", said)


def attacks(story: Story) -> None:
    """Somebody on the network; then somebody with a stolen key."""
    workshop = story.workshop
    metadata = workshop.repository.path / "metadata"
    old = (metadata / "timestamp.json").read_bytes()
    workshop.publish("1.3.0", repaired(workshop.directory / "1.3.0"))
    forged = attacker.replace_metadata("timestamp.json", {"version": 1000})
    (stolen,) = role_signers(workshop.project, "timestamp")
    resist(story, "a file of the release is replaced on its way", attacker.replace_blobs(), "E_HASH")
    resist(story, "metadata is replaced", forged, "E_KEYS", "E_THRESHOLD")
    resist(story, "old metadata is replayed", attacker.serve_instead({"timestamp.json": old}), "E_ROLLBACK")
    lies = attacker.forge_with(stolen, metadata)
    theft = "the timestamp key is stolen and vouches for a forged snapshot"
    resist(story, theft, attacker.serve_instead(lies), "E_KEYS", "E_THRESHOLD")
    # The thief has used up one version number of the timestamp; the maker's second one from now lies above it.
    for _ in range(2):
        workshop.heirloom("renew", "--all")
    story.narrator.say("heirloom renew: the thief could delay an update, not make one")


def resist(story: Story, what: str, attack: Attack, *codes: str) -> None:
    """One attack: it really reaches the device, which refuses it, says why, and stays on its release."""
    narrator, unit, wire = story.narrator, story.unit, story.wire
    mark = wire.mark()
    wire.attack = attack
    try:
        with narrator.waiting(what):
            unit.power_on()
            said = unit.wait_for(f"({'|'.join(codes)}): [^\n]*")
            unit.settle()
        report = unit.report()
    finally:
        wire.attack = None
    reached = len(wire.since(mark).tampered)
    seen = {"active": active_version(report), "error": last_error(report), "false answers": reached}
    refused = active_version(report) == "1.1.0" and last_error(report).startswith(codes) and reached > 0
    narrator.claim(f"{what}: refused, the device stays on 1.1.0", refused, seen)
    narrator.quote("device", said)


def power_cut(story: Story) -> None:
    """The plug is pulled in the middle of a flash write."""
    narrator, unit = story.narrator, story.unit
    with narrator.waiting("the device installs 1.3.0, and the power fails"):
        unit.power_on()
        unit.wait_for(r"installing 1\.3\.0")
        unit.wait_for(r"\d+ of \d+ bytes")
        operation = unit.cut_power_inside_a_write()
    report = unit.report()
    active, slot = active_version(report), (report["active"] or {}).get("slot", "")
    damaged = unit.damaged_files(slot)
    narrator.claim(
        f"cut inside flash operation {operation}: the device has {active}, and every file of it is whole",
        active in ("1.1.0", "1.3.0") and damaged == [],
        {"active": active, "damaged": damaged, "trial": report["trial"]},
    )


def next_good_release(story: Story) -> None:
    """After all that, the good release arrives."""
    narrator, unit = story.narrator, story.unit
    with narrator.waiting("the device goes on") as wait:
        unit.power_on()
        line = unit.wait_for(r"weather 1\.3\.0 starting, boot \d+", glance=lambda: wait.update(unit.download()))
        unit.wait_for(_CONFIRMED)
    report = unit.report()
    story.claim_runs("1.3.0", report)
    narrator.claim(f"the settings came through it all: start {boot_count(line)}", boot_count(line) > 5, line)
    narrator.quote("console", line)


def repaired(target: Path) -> Path:
    """Version 1.3.0, made from 1.2.0 as its maker would: the mistake corrected."""
    shutil.copytree(weather("1.2.0"), target)
    corrections = (("main.py", _MISTAKE, _RIGHT), ("lib/statusline.py", "weather 1.2.0", "weather 1.3.0"))
    for name, wrong, right in corrections:
        text = (target / name).read_text(encoding="utf-8")
        if wrong not in text:
            raise HeirloomError(f"the example application changed: {name} has no {wrong}")
        (target / name).write_text(text.replace(wrong, right), encoding="utf-8")
    return target


_CHAPTERS = (
    ("A blank unit is provisioned and boots", first_boot),
    ("1.1.0 is published: found, verified, installed, confirmed", good_update),
    ("Nothing is new", idle),
    ("1.2.0 is published, and crashes", bad_update),
    ("1.3.0 is published, and an attacker stands between device and server", attacks),
    ("The power fails in the middle of the update", power_cut),
    ("The next good release installs", next_good_release),
)
