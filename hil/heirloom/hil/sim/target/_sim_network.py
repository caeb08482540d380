# mypy: ignore-errors
"""The port's `network`: one access point is in reach, and nothing works before it is joined."""

from time import ticks_diff, ticks_ms

from micropython import const

_JOIN_MS = const(30)

STA_IF = 0
AP_IF = 1

# Set by the runner.
_ssid = ""
_password = None

_active = False
_target = None
_since = 0
_hostname = "sim"


def _configure(esp32, ssid, password):
    global _ssid, _password, STAT_IDLE, STAT_CONNECTING, STAT_GOT_IP, STAT_NO_AP_FOUND, STAT_WRONG_PASSWORD
    _ssid, _password = ssid, password
    values = (1000, 1001, 1010, 201, 202) if esp32 else (0, 1, 3, -2, -3)
    STAT_IDLE, STAT_CONNECTING, STAT_GOT_IP, STAT_NO_AP_FOUND, STAT_WRONG_PASSWORD = values


def _state():
    if _target is None:
        return STAT_IDLE
    if ticks_diff(ticks_ms(), _since) < _JOIN_MS:
        return STAT_CONNECTING
    if _target[0] != _ssid:
        return STAT_NO_AP_FOUND
    if _password is not None and _target[1] != _password:
        return STAT_WRONG_PASSWORD
    return STAT_GOT_IP


def _up():
    return _active and _state() == STAT_GOT_IP


def hostname(name=None):
    global _hostname
    if name is None:
        return _hostname
    _hostname = name


def country(code=None):
    return "XX"


class WLAN:
    IF_STA = 0
    IF_AP = 1
    PM_NONE = 0
    PM_PERFORMANCE = 1
    PM_POWERSAVE = 2

    def __init__(self, interface=STA_IF):
        if interface != STA_IF:
            raise ValueError("the simulated board has no access point mode")

    def active(self, on=None):
        global _active, _target
        if on is None:
            return _active
        _active = bool(on)
        if not _active:
            _target = None

    def connect(self, ssid=None, key=None, *, bssid=None):
        global _target, _since
        if not _active:
            raise OSError("Wifi Not Started")
        _target = (ssid if isinstance(ssid, str) else bytes(ssid).decode(), key)
        _since = ticks_ms()

    def disconnect(self):
        global _target
        _target = None

    def isconnected(self):
        return _up()

    def status(self, param=None):
        if param == "rssi":
            return -50
        return _state()

    def scan(self):
        if not _active:
            raise OSError("Wifi Not Started")
        return [(_ssid.encode(), b"\x02\0\0\0\0\x01", 1, -50, 0 if _password is None else 3, 1)]

    def ifconfig(self):
        return ("127.0.0.1" if _up() else "0.0.0.0", "255.0.0.0", "127.0.0.1", "127.0.0.1")

    def config(self, name=None, **settings):
        if name == "mac":
            return b"\x02\0\0\0\0\x02"
        if name == "ssid":
            return _target[0] if _target else ""
        if name is not None:
            raise ValueError("unknown config param")
        for key in settings:
            if key not in ("pm", "txpower", "hostname", "reconnects"):
                raise ValueError("unknown config param")
