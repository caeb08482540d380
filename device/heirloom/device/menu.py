"""The owner's menu on the serial line: plain questions, in words.

from heirloom.device import menu
menu.run()
"""

from heirloom.device import owner, presence, status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SWITCHES = (
    ("updates", "Updates", "on: install by itself; ask: wait for my yes; off: do nothing"),
    ("network", "Use the network for updates", "yes or no"),
    ("channel", "Channel", "a name; nothing: the one it was made with"),
    ("pinned", "Stay at version", "a version; nothing: take what comes"),
    ("url", "Own address to look at first", "http://... or https://...; nothing: none"),
    ("tls_only", "Only encrypted connections", "yes or no"),
    ("media", "Card or stick to look at by itself", "its path, as in /sd; nothing: none"),
)
_YES = ("y", "yes")


def run() -> None:
    """Asks until the answer is nothing or "q". What is changed takes effect at the next start."""
    acts = _acts()
    while True:
        _show(acts)
        choice = input("Number, or q to leave: ").strip()
        if choice in ("", "q"):
            return
        number = int(choice) if choice.isdigit() else 0
        try:
            if 0 < number <= len(_SWITCHES):
                _change(*_SWITCHES[number - 1])
            elif len(_SWITCHES) < number <= len(_SWITCHES) + len(acts):
                _do(*acts[number - 1 - len(_SWITCHES)])
            else:
                print("There is no such number.")
        except Exception as error:
            if not hasattr(error, "code"):
                raise
            print("That was refused:", error)


def _acts() -> "tuple[tuple[str, str, Any], ...]":
    """What can be done, the question before it is done, and how."""
    return (
        ("Say yes to the release that waits", "Install it at the next start", presence.approve),
        ("Install from a card or a stick", "", _from_media),
        ("Take what has expired, once", "Signatures and versions still hold. Take it", presence.accept_stale),
        ("Forget which releases failed here", "They are tried again. Forget them", presence.forget_failed),
        ("Factory reset", "Erase what the application wrote and what is set here", _factory_reset),
        ("Give the device away", "Erase all that, the networks too, and make a new secret", _new_owner),
    )


def _show(acts: "tuple[tuple[str, str, Any], ...]") -> None:
    said = status.report()
    switches = owner.load()
    active, check = said["active"], said["last_check"] or {}
    print(f"\n{said['product']} on {said['board']}, runs {active['version'] if active else 'nothing'}")
    print("Last check:", check.get("error") or check.get("result") or "never")
    if said["waiting"]:
        print(f"Release {said['waiting']['version']} waits for your yes. {said['waiting'].get('notes') or ''}")
    if switches.damaged:
        print("What was set here cannot be read any more; updates are off until you set something.")
    for number, (name, title, _) in enumerate(_SWITCHES):
        print(f"{number + 1:3} {title}: {_word(getattr(switches, name))}")
    for number, act in enumerate(acts):
        print(f"{number + 1 + len(_SWITCHES):3} {act[0]}")


def _change(name: str, title: str, means: str) -> None:
    answer = input(f"{title} ({means}): ").strip()
    value: "Any" = answer or None
    if name in ("network", "tls_only"):
        if answer.lower() not in _YES + ("n", "no"):
            print("Nothing was changed: yes or no?")
            return
        value = answer.lower() in _YES
    presence.change(**{name: value})
    print("It is set, and holds from the next start.")


def _do(_title: str, question: str, act: "Any") -> None:
    if question and input(question + "? (yes or no): ").strip().lower() not in _YES:
        print("Nothing was done.")
        return
    done = act()
    print("Done." if done is None else f"Done: {done}")


def _from_media() -> "str | None":
    path = input("Where is it (nothing: /sd)? ").strip() or "/sd"
    stale = input("Take it even if it has expired? (yes or no): ").strip().lower() in _YES
    presence.install_from(path, stale)
    return "at the next start, from " + path


def _factory_reset() -> None:
    from heirloom.device import ownership

    ownership.factory_reset()


def _new_owner() -> str:
    from heirloom.device import ownership

    ownership.new_owner()
    return "it has a new secret; the next owner tells it their network"


def _word(value: object) -> str:
    if value is True or value is False:
        return "yes" if value else "no"
    return str(value or "-")
