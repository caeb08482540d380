"""The lives that a sweep cuts: stretches from one settled device to the next, in their order."""

from dataclasses import dataclass

from heirloom.hil.demo.steps import BOARD, HOST, PRODUCT
from heirloom.hil.powercut.facts import Facts

ESP32 = "SIM_ESP32_GENERIC_C3"
ADOPTED = (1,)  # the version of the root that is adopted

#: What the owner says at the REPL in the life "owner"; each call is one word, heard or not.
_OWNER = "from heirloom.device import owner\nowner.change(updates='ask')\nowner.change(updates='off', network=False)\n"


#: A device that changes hands; the new secret is of no value.
_SECRET = "5e" * 32
_CHANGES_HANDS = f"from heirloom.device import ownership\nownership.new_owner({_SECRET!r})\n"
#: Who goes on with the product without the maker's keys; the scene puts in the parts of that root.
_ADOPTS = f"""from heirloom.device import ownership
for number, part in enumerate({{root}}):
    ownership.receive_root(part, number == 0)
ownership.adopt({PRODUCT!r}, ['http://{HOST}/'], secret={_SECRET!r})
"""


@dataclass(frozen=True)
class Life:
    """One stretch of a device's life.

    Attributes:
        name: For people.
        serves: The release that the channel points to meanwhile.
        old: What the device runs before; None: nothing.
        ends: What it runs in the end.
        about: What is in it.
        fails: Whether `serves` is one that must fail and be rolled back.
        says: Code that a person runs at the REPL; "": the device is switched on, and goes its way.
        aside: Whether the next life does not go on from its end.
        secret: The device's secret in the end; "": the one that it had.
        words: What the owner's switch for updates is before, during and after `says`, in this order.
        migrates: Whether `serves` changes what the application keeps.
        provisions: Whether the host makes a device of it first, over its REPL; it begins blank.
        adopts: Whether another root is trusted in the end, with nothing that was verified under the one before.
        board: What the device is.
        firmware: What `serves` brings beside its application, "good" or "bad"; "": none.
        boots: The partition that an ESP32's bootloader starts in the end.
    """

    name: str
    serves: str
    old: str | None
    ends: str
    about: str
    fails: bool = False
    says: str = ""
    aside: bool = False
    secret: str = ""
    words: tuple[str, ...] = ()
    migrates: bool = False
    provisions: bool = False
    adopts: bool = False
    board: str = BOARD
    firmware: str = ""
    boots: str = ""

    def reached(self, seen: Facts, order: tuple[int, int], root: int) -> bool:
        """Whether the device is where it should be in the end. order, root: of what is served."""
        settled = seen.runs == self.ends and not seen.trial and self.ends in seen.whole and seen.firmware == self.boots
        if self.says:
            told = seen.owner == self.words[-1] and self.secret in ("", seen.secret)
            if self.adopts:
                told = told and seen.marks["highest root"] == seen.marks["trusted root"] == ADOPTED
            return settled and told and not seen.owed
        settled = settled and seen.marks["highest root"] == seen.marks["trusted root"] == (root,)
        settled = settled and not seen.owed and (not self.migrates or seen.migrated == 1)
        if self.fails:
            return settled and order in seen.failed
        return settled and seen.marks["confirmed order"] == order


#: Each begins where the one before ended. Root and targets are new from "update" on; its release raises the floor.
LIVES = (
    Life("install", "1.0.0", None, "1.0.0", "first start, key tables, metadata, download, activation, trial, confirm"),
    Life("update", "1.1.0", "1.0.0", "1.1.0", "root rotation, download of what changed, trial, confirm with a floor"),
    Life("rollback", "1.2.0", "1.1.0", "1.1.0", "a release that crashes, the way back, the memory of it", fails=True),
    Life("repair", "1.3.0", "1.1.0", "1.3.0", "the next good release after a failed one, garbage collection"),
    Life(
        "owner", "1.3.0", "1.3.0", "1.3.0", "the owner's switches", says=_OWNER, aside=True, words=("on", "ask", "off")
    ),
    Life(
        *("new owner", "1.3.0", "1.3.0", "1.3.0", "the device changes hands: /data, switches and networks are erased"),
        says=_CHANGES_HANDS,
        aside=True,
        secret=_SECRET,
        words=("on",),
    ),
    Life("client", "1.4.0", "1.3.0", "1.4.0", "a release that brings its own client, beside a release to fall back to"),
    Life("background", "1.5.0", "1.4.0", "1.5.0", "a release that is fetched beside the application"),
    Life(
        *(
            "migration",
            "1.6.0",
            "1.5.0",
            "1.6.0",
            "a release that changes what the application keeps: a copy, a commit",
        ),
        migrates=True,
    ),
    Life(
        *("adoption", "1.6.0", "1.6.0", "1.6.0", "a person has the device trust another root"),
        says=_ADOPTS,
        aside=True,
        secret=_SECRET,
        words=("on",),
        adopts=True,
    ),
    Life(
        *("provision", "1.0.0", None, "1.0.0", "a blank device, files over its REPL, then as install"),
        provisions=True,
        aside=True,
    ),
    Life(
        *("esp32", "3.0.0", None, "3.0.0", "as install, on an ESP32-C3: its bootloader chooses among two firmwares"),
        board=ESP32,
        boots="ota_0",
    ),
    Life(
        *("firmware", "3.1.0", "3.0.0", "3.1.0", "firmware and application in one release, which switch together"),
        board=ESP32,
        firmware="good",
        boots="ota_1",
    ),
    Life(
        *("bad firmware", "3.2.0", "3.1.0", "3.1.0", "firmware that panics, the bootloader's way back, and ours"),
        fails=True,
        board=ESP32,
        firmware="bad",
        boots="ota_1",
    ),
)
