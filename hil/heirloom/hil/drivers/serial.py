"""The driver `serial`: a physical device at a port, or anything that answers as one does."""

import contextlib
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TypeVar

from heirloom.cli.errors import HeirloomError, RigTrouble
from heirloom.hil.drivers.protocol import Capability, Driver
from heirloom.hil.drivers.resource import Resource
from heirloom.hil.provision import Network
from heirloom.hil.serial import ports
from heirloom.hil.serial.files import Files
from heirloom.hil.serial.line import Line, LineBroken
from heirloom.hil.serial.repl import SerialRepl
from heirloom.hil.sim.console import Console
from heirloom.hil.sim.device import LOG, DeviceTimeout

_APPEARS_S = 20.0
_COMMAND_S = 30.0
_ENTER_S = 20.0
_READ_S = 0.05
_AGAIN_S = 0.25
T = TypeVar("T")


class SerialDriver(Driver):
    """Drives a device by its console, and its power by a program where the rig names one.

    Without such a program, "off" means that it is held at its REPL, and "on" that it is reset from there.

    Args:
        resource: Says how the device is found.
        directory: For its log.
    """

    pace = 2.0

    def __init__(self, resource: Resource, directory: Path) -> None:
        super().__init__(resource)
        directory.mkdir(parents=True, exist_ok=True)
        found = set()
        if resource.power:
            found.add(Capability.POWER)
        if resource.host is not None:
            found.add(Capability.NETWORK)
        if "deepsleep" in self.board.capabilities:
            found.add(Capability.DEEP_SLEEP)
        self.capabilities = frozenset(found - self.given_up)
        if resource.network is not None:
            password = os.environ.get(resource.password_env, "") if resource.password_env else ""
            self.network = Network(resource.network, password)
        self._console = Console(directory / LOG)
        self._changed = threading.Condition()
        self._line: Line | None = None
        self._reader: threading.Thread | None = None
        self._listening = False
        self._broken: str | None = None
        self._id = ""

    @property
    def id(self) -> str:
        """Asked at its REPL, once."""
        if not self._id:
            code = "import machine\nprint(machine.unique_id().hex())"
            self._id = self._at_repl(lambda repl: repl.exec(code, _ENTER_S)).strip()
        return self._id

    def check(self) -> None:
        """It is plugged in."""
        self._port()

    @property
    def is_on(self) -> bool:
        """Whether it runs on its own, as far as is known."""
        return self._listening

    def connect(self, port: int) -> str:
        """By the address of this machine on the device's network."""
        if self.resource.host is None:
            raise HeirloomError(f"device {self.name} has no network", 'say host = "…" in the rig, or by-stick = true')
        return f"http://{self.resource.host}:{port}/"

    def power_on(self) -> None:
        """By its power command; without one, by a reset from its REPL."""
        if self.is_on:
            raise HeirloomError(f"device {self.name} is already switched on")
        self._console.event("power on")
        self._console.mark()
        if self.resource.power:
            self._switch("cycle" if "cycle" in self.resource.power else "on")
            self._open()
        else:
            repl = self._entered()
            repl.start("import machine\nmachine.reset()", time.monotonic() + _ENTER_S)
        self._listen()

    def power_off(self) -> None:
        """By its power command; without one it is held at its REPL, where it does nothing."""
        if not self.is_on:
            return
        self._mute()
        if "off" in self.resource.power:
            self._close()
            self._switch("off")
        else:
            with contextlib.suppress(RigTrouble):  # it may be asleep, or gone for a reset
                self._entered()
        self._console.event("power off")

    def close(self) -> None:
        """The device goes on with what it has."""
        self._mute()
        self._close()
        self._console.close()

    def console(self) -> str:
        """As it was heard."""
        return self._console.text

    def wait_for(self, pattern: str, timeout_s: float) -> re.Match[str]:
        """While a thread listens."""
        wanted, patience_s = re.compile(pattern, re.MULTILINE), timeout_s * self.pace
        end = time.monotonic() + patience_s
        with self._changed:
            while (match := self._console.find(wanted)) is None:
                if self._broken is not None:
                    raise RigTrouble(f"device {self.name}: {self._broken}", self._console.tail())
                if time.monotonic() > end or not self._listening:
                    raise DeviceTimeout(
                        f"device {self.name} did not say {pattern!r} in {patience_s:g} s",
                        f"its last lines:\n{self._console.tail()}",
                    )
                self._changed.wait(_AGAIN_S)
        return match

    def send(self, data: bytes) -> None:
        """At its console."""
        (self._line or self._open()).write(data)

    def exec(self, code: str, timeout_s: float = 30.0) -> str:
        """In its raw REPL."""
        return self._at_repl(lambda repl: repl.exec(code, timeout_s * self.pace))

    def soft_reset(self, timeout_s: float = 30.0) -> None:
        """From its raw REPL."""
        self._at_repl(lambda repl: repl.soft_reset(timeout_s * self.pace))

    def hold(self, timeout_s: float = 30.0) -> None:
        """Through boot.py by a soft reset, whatever it did before."""
        self._mute()
        self._entered().soft_reset(timeout_s * self.pace)

    def write_files(self, content: Mapping[str, bytes], folders: Collection[str] = ()) -> None:
        """Over its REPL; what is there and not wanted goes."""

        def write(repl: SerialRepl) -> None:
            files = Files(repl, self.name)
            files.remove(sorted(files.sizes().keys() - content.keys()))
            files.make_folders(folders)
            for path in files.differing(content):
                files.put(path, content[path])

        self._mute()
        repl = self._entered()
        repl.soft_reset(_ENTER_S)
        write(repl)

    # --- inner ------------------------------------------------------------------------------------------------------

    def _at_repl(self, act: Callable[[SerialRepl], T]) -> T:
        """Do something at its REPL; who listened before listens again."""
        listened = self._listening
        self._mute()
        try:
            return act(self._entered())
        finally:
            if listened:
                self._listen()

    def _entered(self) -> SerialRepl:
        repl = SerialRepl(self._line or self._open(), self.name)
        repl.enter(_ENTER_S * self.pace)
        return repl

    def _port(self) -> str:
        known = self.resource
        if known.port is not None:
            return known.port
        if known.serial_number is not None:
            return ports.find(ports.choose(known.serial_number))
        for port in ports.available():
            if port.location == known.hub_port:
                return port.device
        raise RigTrouble(f"nothing is plugged into hub port {known.hub_port}, where {self.name} should be")

    def _open(self) -> Line:
        """It may take a moment to show itself after a reset."""
        self._close()
        end = time.monotonic() + _APPEARS_S
        while True:
            try:
                self._line = Line(self._port())
                return self._line
            except RigTrouble:
                if time.monotonic() > end:
                    raise
            time.sleep(_AGAIN_S)

    def _close(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def _switch(self, what: str) -> None:
        argv = list(self.resource.power[what])
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=_COMMAND_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise RigTrouble(f"the power of device {self.name} cannot be switched {what}: {exc}") from exc
        if done.returncode:
            raise RigTrouble(
                f"switching the power of device {self.name} ({argv[0]}) ended with code {done.returncode}",
                done.stderr.strip()[-500:],
            )

    def _listen(self) -> None:
        self._listening, self._broken = True, None
        self._reader = threading.Thread(target=self._hear, daemon=True, name=f"console of {self.name}")
        self._reader.start()

    def _mute(self) -> None:
        self._listening = False
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.join()

    def _hear(self) -> None:
        """What it says; a USB port that goes with a reset comes back."""
        while self._listening:
            try:
                data = (self._line or self._open()).read(_READ_S)
            except LineBroken:
                self._close()
                continue
            except RigTrouble as exc:
                with self._changed:
                    self._broken = exc.message
                    self._changed.notify_all()
                return
            if data:
                with self._changed:
                    self._console.add(data)
                    self._changed.notify_all()
