"""Small applications for the suite: an emulated board takes its time over each byte."""

from collections.abc import Mapping

GOOD = """import asyncio
print("app {version} starting")
async def run():
    while True:
        await asyncio.sleep(1)
asyncio.run(run())
"""

BAD = """print("app {version} starting")
raise ValueError("this release is bad")
"""

SLEEPS = """import asyncio, machine, os
print("app {version} starting")
async def run():
    {then}
asyncio.run(run())
"""


def good(version: str, files: Mapping[str, str | bytes] | None = None) -> dict[str, str | bytes]:
    """An application that runs; more files by their name."""
    main = GOOD.format(version=version)
    always = {"main.py": main, "about.txt": f"version {version}\n", "same.txt": "the same in each release\n"}
    return {**always, **(files or {})}


def bad(version: str) -> dict[str, str | bytes]:
    """One that raises at once."""
    return {**good(version), "main.py": BAD.format(version=version)}


def sleeps(version: str, counter: str = "settings.json", naps: int = 2) -> dict[str, str | bytes]:
    """One that sleeps deeply on its first starts, as a battery device does, before the client could check anything."""
    then = (
        "import json, heirloom_boot\n"
        f"    with open({counter!r}) as f: n = json.load(f)\n"
        f"    if n < {naps}:\n"
        f"        with open({counter!r}, 'w') as f: json.dump(n + 1, f)\n"
        "        print('app sleeps', n)\n"
        "        heirloom_boot.orderly()\n"
        "        machine.deepsleep(300)\n"
        "    while True: await asyncio.sleep(1)"
    )
    return {**good(version), "main.py": SLEEPS.format(version=version, then=then), counter: "0"}
