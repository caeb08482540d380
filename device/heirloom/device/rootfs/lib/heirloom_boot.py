"""The chooser: which release runs, what a trial has left, and how the application is started.

Source or plain bytecode, and it needs nothing of heirloom.* to say what goes on: whatever else is damaged, this
either runs a release or leaves the device answering. The format of /heirloom/state is frozen: newer
clients add keys and never change what one means, because a provisioned client must read what any later
one wrote.

State keys: v format; a active slot, f fallback slot ("a", "b" or None); t trial [boots left, power losses left,
started]; y what is on trial [epoch, sequence, floor, confirm mode]; o highest confirmed [epoch, sequence];
l floor [epoch, sequence]; r highest root version; x releases that failed [[epoch, sequence], ...];
d 1: check and install before the application starts; s 1: the application does not run asyncio;
n boots; c crashes of the confirmed release in a row; w [epoch, sequence] that lost power too often;
k [epoch, sequence] the owner said yes to; h what the client did just before this start: CHECKED or TRIED;
b [epoch, sequence] to be fetched beside the application, with a 1 behind when that is done.
Of an ESP32 whose releases brought firmware: p the mark of the firmware that a slot needs {"a": mark, "b": mark}, see
heirloom_esp32; u starts in a row, outside a trial, at which another firmware ran than the active slot's.
"""

import binascii
import gc
import json
import os
import sys

from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    State = dict[str, Any]

TRIAL_BOOTS = 3
TRIAL_POWER_LOSSES = 10
# The third number of a trial: only STARTED is charged at the next boot, and SWITCHED where the old firmware is back.
ORDERLY, STARTED, HELD, SWITCHED = 0, 1, 2, 3
TRIED, CHECKED = 1, 2  # an update check was begun, and reached verified metadata
_FAILED_KEPT = const(4)
_HOME = "/heirloom/"
_STATE = _HOME + "state"
_PATH = [".frozen", "/lib", ""]  # "" last: at the root, it would take the folder /heirloom for the package
_STATE_BYTES = const(256)  # littlefs keeps a file so small beside its name, and saves it on a full disk
_LOG_HALF_BYTES = const(2048)
_TRACEBACK_BYTES = const(1024)
_TIDY_BYTES = 8192  # collecting so often keeps what lives together: a heap full of holes fails long before it is full
# An RP2040 takes at most 8388. On an ESP32 looking up a name blocks even timers: about 7 s for each of up to three name
# servers, perhaps twice. A network without an answer must not count as a fault of the release.
_WATCHDOGS_MS = (60000, 8000)
_CRASH_WAIT_S = 5
_CRASH_WAIT_MAX_S = const(300)


def new_state() -> "State":
    """The state of a device on which nothing is installed."""
    return {"v": 1, "a": None, "f": None, "t": None, "o": [0, 0], "l": [0, 0], "r": 0, "x": [], "d": 0, "s": 1, "n": 0}


def load() -> "Optional[State]":
    """The saved state, or None when it is missing or damaged."""
    try:
        with open(_STATE, "rb") as file:
            line, crc = file.read(600).split(b"\n")[:2]
        if int(crc, 16) == binascii.crc32(line):
            state = new_state()
            state.update(json.loads(line))
            return state
    except Exception:
        pass
    return None


def current() -> "State":
    """The saved state, or a new one where there is none."""
    return load() or new_state()


def save(state: "State") -> None:
    """Writes the state atomically; unset optional keys are left out. Raises OSError."""
    while True:
        line = json.dumps(
            {k: v for k, v in state.items() if v is not None or k in "aft"}, separators=(",", ":")
        ).encode()
        if len(line) < _STATE_BYTES - 10 or not state["x"]:
            break
        state["x"] = state["x"][1:]  # numbers so long occur in attacks only
    with open(_STATE + ".new", "wb") as file:
        file.write(line + b"\n%08x\n" % binascii.crc32(line))
    os.rename(_STATE + ".new", _STATE)


def change(**values: "Any") -> "State":
    """Sets keys of the saved state (None removes an optional one); returns the new state. Raises OSError."""
    state = current()
    before = dict(state)
    state.update(values)
    if state != before:
        save(state)
    return state


def read_json(name: str) -> "dict[str, Any]":
    """The JSON file /heirloom/NAME as an object, or {}."""
    try:
        with open(_HOME + name) as file:
            value: "dict[str, Any]" = json.load(file)
            return value
    except Exception:
        return {}


def timing(name: str, default: int) -> int:
    """A number of seconds from device.json, for demonstrations and tests; else the default."""
    seconds: int = read_json("device.json").get("timing", {}).get(name, default)
    return seconds


def log(text: str) -> None:
    """Prints a message and keeps it in /heirloom/log, which holds the newest 2 to 4 KiB."""
    print("heirloom:", text)
    try:
        with open(_HOME + "log", "a") as file:
            file.write(text + "\n")
            full = file.tell() > _LOG_HALF_BYTES
        if full:
            os.rename(_HOME + "log", _HOME + "log.old")
    except OSError:
        pass  # a full disk must not stop an update or an application


def exists(path: str) -> bool:
    """Whether there is a file or folder of this name."""
    try:
        os.stat(path)
        return True
    except OSError:
        return False


def slot_path(slot: str) -> str:
    """Where the manifest of a slot ("a" or "b") lies."""
    return _HOME + "slots/" + slot + ".cbor"


def esp32() -> "Any":
    """The module heirloom_esp32, which does not stay in memory."""
    module = __import__("heirloom_esp32")
    del sys.modules["heirloom_esp32"]
    return module


_mark: "Optional[str]" = None  # of the firmware that runs, once it was asked for


def fits(state: "State", slot: "Optional[str]") -> bool:
    """Whether the firmware that runs is the one of the slot. A slot without a mark runs on any."""
    global _mark  # noqa: PLW0603 - it cannot change before the next reset
    wanted = (state.get("p") or {}).get(slot)
    if wanted and _mark is None:
        try:
            _mark = esp32().mark(esp32().running())
        except Exception as error:
            log("which firmware runs is not known: %r" % error)
            _mark = ""
    return not wanted or wanted == _mark


def choose(state: "State") -> "Optional[str]":
    """The slot to run: the active one, else the fallback, else None; of those that the running firmware is for."""
    slot: "Optional[str]"
    for slot in (state["a"], state["f"]):
        if slot and exists(slot_path(slot)) and fits(state, slot):
            return slot
    return None


def charge(state: "State", power: bool) -> None:
    """One boot of the trial went wrong, by loss of power or by a fault; ends the trial when the budget is spent."""
    trial = state["t"]
    budget = 1 if power else 0
    trial[budget] -= 1
    trial[2] = ORDERLY
    if trial[budget] > 0:
        return
    order = state["y"][:2]
    if power:
        state["w"] = order
    else:
        state["x"] = [failed for failed in state["x"] if failed != order][1 - _FAILED_KEPT :] + [order]
    log("release %s %s: back to the one before" % (order, "lost power too often" if power else "failed"))
    state["a"], state["f"], state["t"], state["y"] = state["f"], None, None, None


def begin(state: "State", power: bool) -> None:
    """Counts this boot; charges the boot before when it started the trial's application and nothing ended it."""
    waits = not fits(state, state["a"])  # for the bootloader to start its firmware
    if state["t"]:
        if state["t"][2] == STARTED or (waits and state["t"][2] == SWITCHED):
            charge(state, power)
        if state["t"]:
            state["t"][2] = SWITCHED if waits else STARTED
    elif waits or "u" in state:
        state["u"] = (state.get("u") or 0) + 1 if waits else None
    state["n"] += 1


def confirm() -> None:
    """The running release is healthy: its order and floor hold from now on. Nothing happens outside a trial.

    Where the application's health check (watch.health) says no, the release has failed, and the device resets.
    """
    state = load()
    if not state or not state["t"]:
        return
    why = watch.unwell()
    if why:
        import machine

        log(why)
        state["t"][0] = 1
        charge(state, False)
        save(state)
        machine.reset()
        return
    epoch, sequence, floor = state["y"][:3]
    if state["o"] < [epoch, floor]:
        state["f"] = None  # not even the automatic rollback goes below the floor
    state["o"] = max(state["o"], [epoch, sequence])
    state["l"] = max(state["l"], [epoch, floor])
    state["t"] = state["y"] = state["w"] = None
    save(state)
    watch.left = -1
    log("release %s confirmed" % [epoch, sequence])


def orderly(how: int = ORDERLY) -> None:
    """Call this before a deliberate reset or deep sleep: the trial is not charged for it."""
    state = load()
    if state and state["t"] and state["t"][2] != how:
        state["t"][2] = how
        save(state)


class Watch:
    """The watchdog of a trial, fed by a timer each second until `left` seconds have passed (-1: for ever)."""

    left = -1
    hook: "Any" = None  # called each second
    health: "Any" = None  # the application's own check, asked before its release is confirmed
    _dog: "Any" = None

    def start(self, seconds: int) -> None:
        """Arms the watchdog, which nothing can disarm, and feeds it for so many seconds."""
        import machine

        self.left = seconds
        if self._dog is None:
            for timeout_ms in _WATCHDOGS_MS:
                try:
                    self._dog = machine.WDT(timeout=timeout_ms)
                    break
                except ValueError:
                    pass
            for number in (-1, 3, 1):  # boards with virtual timers, with four, with two
                try:
                    self._timer = machine.Timer(number, period=1000, callback=self._tick)
                    break
                except (ValueError, OSError):
                    pass

    def unwell(self) -> str:
        """Why the release must not be confirmed: its check returned False or raised. "" when it is well."""
        try:
            return "the health check says no" if self.health and self.health() is False else ""
        except Exception as error:
            return "the health check raised %r" % error

    def _tick(self, _timer: "Any") -> None:
        if self.left:
            self._dog.feed()
            if self.left > 0:
                self.left -= 1
        if self.hook:
            self.hook()


watch = Watch()


def forget(*keep: str) -> None:
    """Drops the client's modules, all but the named ones, which go on with less around them.

    Without names, the next import loads the running release's own client when it brings one.
    """
    package = sys.modules.get("heirloom.device")
    for name in list(sys.modules):
        last = name.split(".")[-1]
        if name.split(".")[0] != "heirloom" or (keep and last in keep + ("heirloom", "device")):
            continue
        del sys.modules[name]
        if keep and hasattr(package, last):
            delattr(package, last)
    gc.collect()


def client(name: str) -> "Any":
    """The module heirloom.device.NAME: the release's own client, or where that does not load the provisioned one."""
    forget()
    if "/app" not in sys.path:
        sys.path[:] = _PATH
    full = "heirloom.device." + name
    try:
        return __import__(full, None, None, (name,))
    except Exception as error:
        path = sys.path[:]
        if "/app" not in path:
            raise
        log("the release's own client does not load: %r" % error)
        forget()
        try:
            sys.path[:] = _PATH
            return __import__(full, None, None, (name,))
        finally:
            sys.path[:] = path


def unmount() -> bool:
    """Takes /app away to give its memory back, unless the release brings its own client; returns whether it did."""
    if exists("/app/lib/heirloom"):
        return False
    os.chdir("/")
    sys.path[:] = _PATH
    try:
        os.umount("/app")
    except OSError:
        return False
    return True


def mount(slot: str) -> None:
    """Mounts the slot's release at /app, by its own client where it brought one for another firmware."""
    unmount()
    sys.path[:] = [slot_path(slot)[:-5]] + _PATH
    appfs = __import__("heirloom.device.appfs", None, None, ("appfs",))
    os.mount(appfs.AppFS(slot_path(slot)), "/app")
    sys.path[:] = ["/app/lib", "/app"] + _PATH


def boot() -> None:
    """What boot.py does. The working directory stays: the firmware looks there for main.py next."""
    state = load()
    if state and state["t"] and state["t"][2] == HELD:
        watch.start(-1)  # somebody is at the REPL and the watchdog of the trial may still run
    slot = state and choose(state)
    if slot:
        mount(slot)
        forget()


def main(namespace: "dict[str, Any]") -> str:
    """What main.py does. Returns why nothing could be run; the namespace becomes the application's."""
    import machine

    cause = machine.reset_cause()
    asleep = cause == getattr(machine, "DEEPSLEEP_RESET", -1)  # an RP2040 has no such cause
    power = asleep or cause == machine.PWRON_RESET
    state = load()
    done = 0
    if state:
        done = state.pop("h", 0)
        active = state["a"]
        begin(state, power)
        if state["t"] or not asleep:  # a battery device that wakes each minute need not wear its flash
            try:
                save(state)
            except OSError as error:  # flash is full or worn out: that is no reason to run nothing
                if state["a"] != active:
                    raise  # which other slot must run would be forgotten, and the device start again and again
                log("cannot save the state: %r" % error)
        if state["a"] != active:
            machine.reset()
        while not fits(state, state["a"]):
            esp32().switch(state)  # resets, or gives the slot up
        if state["t"]:
            watch.start(timing("trial_timeout_s", 300))
    gc.threshold(_TIDY_BYTES)
    try:
        client("run").before(not power, done)
    except KeyboardInterrupt:
        _hold()
        raise
    except Exception as error:
        forget()  # it may be memory that is missing
        log("the client does not work: %r" % error)
        sys.print_exception(error)
        if state and state["t"] and state.get("p"):
            machine.reset()  # it may be the new firmware: its application must not run without a way back
    forget()
    gc.threshold(-1)
    state = load()
    if not state or not choose(state) or not exists("/app"):
        return "no release is installed"
    _run(namespace)
    return "the reset did not come"


def _run(namespace: "dict[str, Any]") -> None:
    """Runs the application; what comes after it depends on whether it was on trial."""
    import time

    import machine

    os.chdir("/app")
    started = time.ticks_ms()
    why = "the application returned"
    try:
        if exists("/app/main.py"):
            execfile("/app/main.py", namespace)
        else:
            __import__("main")
    except KeyboardInterrupt:
        _hold()
        raise
    except SystemExit:
        why = "the application called sys.exit()"
    except BaseException as error:
        why = "the application raised " + repr(error)
        _keep_traceback(error)
    lived_s = time.ticks_diff(time.ticks_ms(), started) // 1000
    try:
        wait_s = _ended(why, lived_s)
    except OSError as error:
        wait_s = _CRASH_WAIT_MAX_S
        log("cannot save the state: %r" % error)
    for _ in range(wait_s * 10):
        time.sleep_ms(100)
    machine.reset()


def _ended(why: str, lived_s: int) -> int:
    """Records that the application ended, which it never should; returns how many seconds to wait."""
    log("%s after %d s" % (why[:200], lived_s))
    state = load()
    if not state:
        return _CRASH_WAIT_S
    wait_s = 0
    if state["t"]:
        charge(state, False)
    else:
        crashes = 1 + (state.get("c", 0) if lived_s < 600 else 0)
        wait_s = min(_CRASH_WAIT_S << min(crashes - 1, 8), _CRASH_WAIT_MAX_S)
        state["c"] = crashes
        state["d"] = 1  # perhaps the fix is already there
    save(state)
    return wait_s


def _hold() -> None:
    """Somebody pressed Ctrl-C: what is on trial is not charged, and the watchdog leaves them in peace."""
    orderly(HELD)
    watch.left = -1


def _keep_traceback(error: BaseException) -> None:
    import io

    text = io.StringIO()
    sys.print_exception(error, text)
    sys.print_exception(error)
    try:
        with open(_HOME + "traceback", "w") as file:
            file.write(text.getvalue()[-_TRACEBACK_BYTES:])
    except OSError:
        pass
