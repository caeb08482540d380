# heap: 2m
# Fetching in an event loop: how much is done between two turns of the loop, whatever the machine's speed.
import asyncio
import hashlib
import json
import os

import heirloom_boot as boot

from heirloom.device import background, blobs, install
from heirloom.device.errors import UpdateError
from heirloom.device.manifest import Manifest


class Steps:
    """Counts turns of the loop that another task gets, and the most that came between two of them."""

    def __init__(self):
        self.turns = 0
        self.most = 0

    async def run(self):
        before = 0
        while True:
            now = sum(max(0, os.stat(blobs.BLOBS + name)[6]) for name in os.listdir(blobs.BLOBS[:-1]))
            self.most = max(self.most, now - before)
            before = now
            self.turns += 1
            await asyncio.sleep_ms(0)


async def _both(steps, url):
    task = asyncio.create_task(steps.run())
    try:
        return await background.fetch([url], False)
    finally:
        task.cancel()


def fetches(url, path):
    """Prints what came of a release whose files are described in a file of the host: [[path, length, sha256], ...]."""
    with open("/host" + path) as file:
        files = [(name, length, bytes.fromhex(sha256)) for name, length, sha256 in json.load(file)]
    boot.save(boot.new_state())
    manifest = Manifest(product="p", board="b", version="1", epoch=0, sequence=1, files=files, install="background")
    with open(install.STAGING, "wb") as file:
        file.write(manifest.encode())
    steps = Steps()
    try:
        came = asyncio.run(_both(steps, url))
    except UpdateError as error:
        came = str(error)
    whole = all(blobs.Blobs().intact(length, sha256) for _, length, sha256 in files)
    print("=> " + json.dumps([came, steps.turns, steps.most, whole, hashlib.sha256(b"").digest() != b""]))
