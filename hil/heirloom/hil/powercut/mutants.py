"""Mistakes of the client, made on purpose, each of which the sweep must find.

The first three are those with which MCUboot bricked devices although its simulator reboots at every flash operation.
A mutant replaces text that must be there exactly once: who changes the client changes the mutant with it.
"""

from dataclasses import dataclass

BOOT = "heirloom_boot"


@dataclass(frozen=True)
class Mutant:
    """A mistake.

    Attributes:
        name: What is wrong then, for people.
        life: The life in which it shows.
        module: The module of the client that has it.
        edits: Text there, and what stands in its place.
        survives: Why the sweep cannot find it; "" if it must.
    """

    name: str
    life: str
    module: str
    edits: tuple[tuple[str, str], ...]
    survives: str = ""

    def edit(self, module: str, source: str) -> str:
        """A module of the client, with the mistake if it is the one that has it.

        Raises:
            ValueError: The client changed, and the mutant did not.
        """
        if module != self.module:
            return source
        for old, new in self.edits:
            if source.count(old) != 1:
                raise ValueError(f"{module} changed; change the mutant with it: {self.name}")
            source = source.replace(old, new)
        return source


def _one(name: str, life: str, module: str, old: str, new: str, survives: str = "") -> Mutant:
    return Mutant(name, life, module, ((old, new),), survives)


_SAVE = """    with open(_STATE + ".new", "wb") as file:
        file.write(line + b"\\n%08x\\n" % binascii.crc32(line))
    os.rename(_STATE + ".new", _STATE)
"""
_SWITCH = '    state["a"], state["f"], state["t"], state["y"] = state["f"], None, None, None\n'
_RENAME_SLOT = "        os.rename(STAGING, heirloom_boot.slot_path(new))\n"
_STAGE = "    _stage(manifest, places, work, progress)\n"
_WHAT = "        y=[manifest.epoch, manifest.sequence, manifest.floor, manifest.confirm],\n"
_ORDER = '    state["o"] = max(state["o"], [epoch, sequence])\n'
_FLOOR = '    state["l"] = max(state["l"], [epoch, floor])\n'
_ENDED = '    state["t"] = state["y"] = state["w"] = None\n    save(state)\n'
_COMMIT = '            os.rename(TRUST + "tmp", TRUST + name + ".json")\n'
_ATOMIC = """        with open(path + ".new", "wb") as file:
            file.write(data)
        os.rename(path + ".new", path)
"""

MUTANTS = (
    # MCUboot's.
    _one(
        "MCUboot 1: what a start must know is kept in memory, as if it survived the reset",
        "update",
        BOOT,
        "                save(state)\n            except OSError as error:  # flash is full",
        "                watch.kept = state\n            except OSError as error:  # flash is full",
    ),
    _one(
        "MCUboot 2: the state is written in place, in two parts",
        "update",
        BOOT,
        _SAVE,
        '    with open(_STATE, "wb") as file:\n        file.write(line[:40])\n        file.flush()\n'
        '        file.write(line[40:] + b"\\n%08x\\n" % binascii.crc32(line))\n',
    ),
    _one(
        "MCUboot 3: back to the old release first, and the books about the failed one after it",
        "rollback",
        BOOT,
        _SWITCH,
        f'    failed, state["x"] = state["x"], current()["x"]\n{_SWITCH}    save(state)\n    state["x"] = failed\n',
    ),
    # The state.
    _one(
        "the old state is removed before the new one has its name",
        "update",
        BOOT,
        '    os.rename(_STATE + ".new", _STATE)',
        '    exists(_STATE) and os.remove(_STATE)\n    os.rename(_STATE + ".new", _STATE)',
    ),
    _one(
        "the trial ends before what it confirmed is saved",
        "update",
        BOOT,
        _ORDER + _FLOOR + _ENDED,
        f'    state["t"] = None\n    save(state)\n{_ORDER}{_FLOOR}{_ENDED}',
    ),
    _one(
        "the floor is saved after the confirmation",
        "update",
        BOOT,
        _FLOOR + _ENDED,
        f"{_ENDED}{_FLOOR}    save(state)\n",
    ),
    _one(
        "the fallback below the floor is given up after the confirmation",
        "update",
        BOOT,
        '        state["f"] = None  # not even the automatic rollback goes below the floor\n',
        "        watch.below = True\n",
    ),
    # Activation.
    _one(
        "the state names the new slot before its manifest is there",
        "update",
        "install",
        _RENAME_SLOT,
        f"        _set(a=new, f=None)\n{_RENAME_SLOT}",
    ),
    _one(
        "the new release is active before it is on trial",
        "update",
        "install",
        "    _set(\n        a=new,\n",
        "    _set(a=new)\n    _set(\n        a=new,\n",
    ),
    _one(
        "a trial is begun, and what is on trial is said after it",
        "update",
        "install",
        f"        ],\n{_WHAT}",
        f"        ],\n    )\n    _set(\n{_WHAT}",
    ),
    _one(
        "the old manifest is removed before the state names the new one",
        "update",
        "install",
        "    _set(\n        a=new,\n",
        "    remove(heirloom_boot.slot_path(old or new))\n    _set(\n        a=new,\n",
    ),
    _one(
        "the fallback's manifest is overwritten while it is the fallback",
        "client",
        "install",
        "        _set(f=None)  # before its manifest is overwritten\n",
        "        pass\n",
    ),
    _one(
        "a release is active before its files are there",
        "update",
        "install",
        f"{_STAGE}    marks, moved = _marks(manifest, places, progress)\n    _activate(manifest, marks)\n",
        f"    marks, moved = _marks(manifest, places, progress)\n    _activate(manifest, marks)\n{_STAGE}",
    ),
    _one("activation forgets what has failed", "repair", "install", "        d=0,\n", "        d=0,\n        x=[],\n"),
    _one(
        "garbage is what the fallback does not need, and the running release may",
        "repair",
        "install",
        '    for slot in (state["a"], state["f"]):\n        if not slot:\n            continue\n        path',
        '    for slot in (state["f"],):\n        if not slot:\n            continue\n        path',
    ),
    # The store.
    _one(
        "metadata: the old file is removed before the new one has its name",
        "update",
        "store",
        _COMMIT,
        f'            remove(TRUST + name + ".json")\n{_COMMIT}',
    ),
    _one(
        "small files: the old one is removed before the new one has its name",
        "update",
        "store",
        '        os.rename(path + ".new", path)\n',
        '        remove(path)\n        os.rename(path + ".new", path)\n',
    ),
    _one(
        "small files are written in place, in two parts",
        "update",
        "store",
        _ATOMIC,
        '        with open(path, "wb") as file:\n'
        "            file.write(data[:20])\n            file.flush()\n            file.write(data[20:])\n",
    ),
    _one(
        "the notes of the time are emptied before they are written",
        "update",
        "store",
        '            write_atomic(TRUST + "time", data)\n',
        '            write_atomic(TRUST + "time", b"{}")\n            write_atomic(TRUST + "time", data)\n',
    ),
    _one(
        "a new root is remembered before it is stored",
        "update",
        "rootchain",
        "    trust.close_root()\n    trust.trust_root(",
        "    trust.close_root()\n    trust.store.remember_root(version)\n    trust.trust_root(",
    ),
    _one(
        "a root that was stored and not remembered is never remembered",
        "update",
        "trust",
        "        self.store.remember_root(version)  #",
        "        #",
    ),
    _one(
        "every new root throws away what is known of the timestamp",
        "update",
        "rootchain",
        "        if _identity(trust.by_root(role)) != _identity(by_root(document, role)):\n",
        "        if True:\n",
    ),
    # What the application and the owner wrote.
    _one(
        "a kept file is empty until its first writing is closed",
        "install",
        "appfs",
        "self._own(path, copy=True)\n        return",
        'self._own(path, copy="w" not in mode)\n        return',
    ),
    Mutant(
        "a kept file is seeded under its own name",
        "install",
        "appfs",
        (
            (', open(target + ".new", "wb") as copy', ', open(target, "wb") as copy'),
            ('        os.rename(target + ".new", target)\n', ""),
        ),
    ),
    _one(
        "the owner's word is removed before the next is written",
        "owner",
        "presence",
        "    write_atomic(owner.FILE, data)\n",
        "    remove(owner.FILE)\n    remove(owner.COPY)\n    write_atomic(owner.FILE, data)\n",
    ),
    _one(
        "what was migrated takes its place before the release is confirmed",
        "migration",
        "migrating",
        '    if note and note["order"] == state["o"]:\n',
        "    if note:\n",
    ),
    _one(
        "the note of a migration is gone before what was migrated has its place",
        "migration",
        "migrating",
        '    for path in note["keep"]:\n        kind = ',
        '    remove(_NOTE)\n    for path in note["keep"]:\n        kind = ',
    ),
    # Firmware.
    _one(
        "a release is kept to fall back to while its firmware is overwritten",
        "bad firmware",
        "firmware",
        "        self._give_up_fallback()\n        for block",
        "        for block",
    ),
    # What the client is built to bear: more than one thing stands against it.
    _one(
        "a table of a key is believed without its hash",
        "install",
        "store",
        "        if not intact:\n",
        "        if len(data) < _HASH_BYTES:\n",
        "a signature that fails with a table is tried once without, and the table is dropped",
    ),
    _one(
        "a download goes under the blob's own name",
        "update",
        "blobs",
        '    return BLOBS + "tmp-" + path_of(sha256)[len(BLOBS) :]\n',
        "    return path_of(sha256)\n",
        "a file that is too short is not there, and every blob is hashed once more before a release is active",
    ),
)
