# The chooser: heirloom_boot on its own, without any of heirloom.*
import os

import heirloom_boot as boot
import prelude
from prelude import Reset, machine, power_cycle


def _trial(power_left=10, boots_left=3, started=0):
    state = boot.new_state()
    state.update({"a": "b", "f": "a", "t": [boots_left, power_left, started], "y": [0, 2, 1, "check"], "o": [0, 1]})
    return state


def round_trip():
    state = _trial()
    boot.save(state)
    assert boot.load() == state
    assert boot.change(d=1)["d"] == 1
    assert boot.load()["d"] == 1


def fits_inline_when_full():
    big = [2147483647, 2147483647]
    state = _trial()
    state.update({"o": big, "l": big, "r": 65536, "x": [big] * 4, "n": 2147483647, "y": big + [2147483647, 86400]})
    boot.save(state)
    assert boot.load()["x"][-1] == big
    assert os.stat("/heirloom/state")[6] < 256, os.stat("/heirloom/state")[6]


def damage_is_no_state():
    boot.save(_trial())
    with open("/heirloom/state", "rb") as file:
        good = file.read()
    for bad in [b"", b"\n", b"garbage", b"\xff" * 300, b"null\n" + good[-9:], good[:-2], good[5:]] + [
        good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :] for at in range(len(good) - 1)
    ]:
        with open("/heirloom/state", "wb") as file:
            file.write(bad)
        assert boot.load() is None, bad
    os.remove("/heirloom/state")
    assert boot.load() is None


def cut_at_each_operation():
    boot.save(boot.new_state())
    cuts = 0
    while True:
        power_cycle()
        before = boot.load()["n"]
        prelude.flash.cut_at = cuts
        try:
            boot.change(n=before + 1)
        except Exception:
            power_cycle()
            assert boot.load()["n"] in (before, before + 1)
            cuts += 1
            continue
        break
    assert cuts > 2, cuts
    print(cuts)


def charges_only_what_started():
    state = _trial()
    boot.begin(state, power=False)
    assert state["t"] == [3, 10, 1]
    boot.begin(state, power=False)
    assert state["t"] == [2, 10, 1]
    boot.begin(state, power=True)
    assert state["t"] == [2, 9, 1]
    state["t"][2] = boot.ORDERLY
    boot.begin(state, power=False)
    state["t"][2] = boot.HELD
    boot.begin(state, power=False)
    assert state["t"] == [2, 9, 1]
    assert state["n"] == 5


def faults_fail_the_release():
    state = _trial(boots_left=1, started=1)
    boot.begin(state, power=False)
    assert (state["a"], state["f"], state["t"], state["x"]) == ("a", None, None, [[0, 2]]), state


def power_losses_do_not():
    state = _trial(power_left=1, started=1)
    boot.begin(state, power=True)
    assert (state["a"], state["f"], state["t"], state["x"], state["w"]) == ("a", None, None, [], [0, 2]), state


def failed_memory_is_bounded():
    for sequence in range(2, 9):
        state = _trial(boots_left=1, started=1)
        state["x"] = [[0, number] for number in range(max(2, sequence - 4), sequence)]
        state["y"] = [0, sequence, 0, "check"]
        boot.begin(state, power=False)
        assert len(state["x"]) <= 4 and state["x"][-1] == [0, sequence], state["x"]


def confirm_raises_order_and_floor():
    boot.save(_trial(started=1))
    boot.confirm()
    state = boot.load()
    assert (state["t"], state["o"], state["l"], state["f"]) == (None, [0, 2], [0, 1], "a"), state
    assert "y" not in state
    boot.confirm()
    assert boot.load() == state


def a_failed_health_check_fails_the_release():
    def raises():
        raise ValueError("no sensor answers")

    for check, why in ((lambda: False, "says no"), (raises, "no sensor answers")):
        boot.save(_trial(started=1))
        boot.watch.health = check
        try:
            boot.confirm()
        except Reset:
            state = boot.load()
            assert (state["a"], state["f"], state["t"], state["x"]) == ("a", None, None, [[0, 2]]), state
            assert (state["o"], state["l"]) == ([0, 1], [0, 0])
            with open("/heirloom/log") as file:
                assert why in file.read()
            continue
        raise AssertionError("no reset")


def a_health_check_that_is_content_confirms():
    asked = []
    for answer in (True, None, 1):
        boot.save(_trial(started=1))
        boot.watch.health = lambda answer=answer: asked.append(answer) or answer
        boot.confirm()
        assert boot.load()["o"] == [0, 2]
    boot.confirm()  # nothing is on trial: nobody is asked
    assert len(asked) == 3


def confirm_drops_a_fallback_below_the_floor():
    state = _trial(started=1)
    state["y"] = [0, 2, 2, "check"]
    boot.save(state)
    boot.confirm()
    assert boot.load()["f"] is None


def orderly_and_held():
    boot.save(_trial(started=1))
    boot.orderly()
    assert boot.load()["t"] == [3, 10, 0]
    boot.save(_trial(started=1))
    boot._hold()
    assert boot.load()["t"] == [3, 10, boot.HELD]


def chooses():
    state = _trial()
    assert boot.choose(state) is None
    for slot in "ab":
        open(boot.slot_path(slot), "w").close()
    assert boot.choose(state) == "b"
    os.remove(boot.slot_path("b"))
    assert boot.choose(state) == "a"


def log_is_bounded():
    for number in range(400):
        boot.log("message number %d" % number)
    total = sum(os.stat("/heirloom/" + name)[6] for name in ("log", "log.old"))
    assert 1500 < total < 4300, total


def watchdog_is_fed_until_the_deadline():
    watch = boot.Watch()
    watch.start(3)
    assert machine.dogs[0].timeout == 8000
    for _ in range(10):
        machine.timers[0][2](None)
    assert machine.dogs[0].fed == 3
    watch.left = -1
    for _ in range(10):
        machine.timers[0][2](None)
    assert machine.dogs[0].fed == 13


def the_watchdog_of_an_esp32_outlasts_the_search_for_a_name():
    machine.longest_ms = 1 << 30
    boot.Watch().start(3)
    assert [dog.timeout for dog in machine.dogs] == [60000]


def _application(text):
    """Runs the text as the application; returns the state after it."""
    boot.exists = lambda path: True
    files = {}

    def execfile(path, namespace):
        files[path] = namespace["__name__"]
        exec(text, namespace)

    boot.execfile = execfile
    os.mkdir("/app")
    try:
        boot._run({"__name__": "__main__"})
    except Reset:
        assert files == {"/app/main.py": "__main__"}
        assert os.getcwd() == "/app"
        os.chdir("/")
        os.rmdir("/app")
        return boot.load()
    raise AssertionError("no reset")


def exception_on_trial_is_charged_at_once():
    boot.save(_trial(started=1))
    state = _application("raise ValueError('boom')")
    assert state["t"] == [2, 10, 0], state
    with open("/heirloom/traceback") as file:
        text = file.read()
    assert "ValueError: boom" in text and len(text) <= 1024


def return_and_exit_are_faults_too():
    for text in ("pass", "import sys; sys.exit()"):
        boot.save(_trial(started=1, boots_left=1))
        state = _application(text)
        assert state["t"] is None and state["x"] == [[0, 2]], state


def ctrl_c_is_not():
    boot.save(_trial(started=1))
    try:
        _application("raise KeyboardInterrupt")
    except KeyboardInterrupt:
        assert boot.load()["t"] == [3, 10, boot.HELD]
        return
    raise AssertionError("swallowed")


def confirmed_crash_looks_for_the_fix():
    state = boot.new_state()
    state["a"] = "a"
    boot.save(state)
    boot._CRASH_WAIT_S = 0
    state = _application("1 / 0")
    assert (state["d"], state["c"], state["a"], state["x"]) == (1, 1, "a", []), state
