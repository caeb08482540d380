"""Where the passphrases of keys and the PINs of tokens come from: a file descriptor, the environment, or a person.

A person is asked once.
"""

import os
import sys

from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.cli.output import ask_secret

VARIABLE = "HEIRLOOM_PASSPHRASE"
PIN_VARIABLE = "HEIRLOOM_PIN"
MIN_LENGTH = 8


class Passphrases:
    """The passphrases of one run of the program, as a secrets handler of securesystemslib.

    What was read from the file descriptor or typed is kept: nobody types the same thing twice.

    Args:
        fd: The file descriptor of --passphrase-fd, whose first line is the passphrase.
        pin_fd: The file descriptor of --pin-fd, whose first line is the PIN of the one token that is used.
    """

    def __init__(self, fd: int | None = None, pin_fd: int | None = None) -> None:
        self._fd = fd
        self._pin_fd = pin_fd
        self._pins: dict[str, str] = {}
        self._refused_pins: set[str] = set()
        self._kept: str | None = None
        self._typed_for: str | None = None

    def __call__(self, key: str) -> str:
        """The passphrase to open the key of that name with.

        Raises:
            UsageError: There is no way to get it.
        """
        if self._environment():
            return ask_secret(_of(key), env=VARIABLE)
        if self._kept is None:
            self._kept = ask_secret(_of(key), env=VARIABLE, fd=self._fd)
            self._typed_for = key if self._fd is None else None
        return self._kept

    def ask_again(self, key: str) -> bool:
        """Whether a refused passphrase had been typed for another key than `key`; it is forgotten then."""
        typed_for_another = self._typed_for not in (None, key) and not self._environment()
        if typed_for_another:
            self._kept = self._typed_for = None
        return typed_for_another

    def pin(self, token: str, *, last_try: bool = False) -> str:
        """The PIN of the token with that label.

        Args:
            token: Its label.
            last_try: One more wrong PIN locks it: only a person may try that.

        Raises:
            UsageError: There is no way to get it, or it was given for another token, where it would cost a try.
            HeirloomError: The token refused it before.
        """
        if token in self._refused_pins:
            raise HeirloomError(f"the PIN of token {token} was refused, and is not tried again", "start again")
        if token not in self._pins:
            self._pins[token] = self._ask_pin(token, last_try)
        return self._pins[token]

    def refuse_pin(self, token: str) -> None:
        """The token refused its PIN, which is forgotten and not asked for again in this run."""
        self._pins.pop(token, None)
        self._refused_pins.add(token)

    def _ask_pin(self, token: str, last_try: bool) -> str:
        by_hand = self._pin_fd is None and PIN_VARIABLE not in os.environ
        if last_try and not (by_hand and sys.stdin.isatty()):
            raise UsageError(f"token {token} locks itself at the next wrong PIN", "so type it at a terminal")
        if not by_hand and (self._pins or self._refused_pins):
            known = next(iter({*self._pins, *self._refused_pins}))
            raise UsageError(
                f"the PIN that was given is that of token {known}, and token {token} needs one too",
                "sign with one token at a time, or type the PINs at a terminal",
            )
        warning = " (LAST TRY: a wrong one locks it)" if last_try else ""
        return ask_secret(f"PIN of token {token}{warning}", env=PIN_VARIABLE, fd=self._pin_fd, option="--pin-fd")

    def create(self, what: str) -> str:
        """The passphrase for new keys; a person types it twice.

        Raises:
            UsageError: It is too short, or there is no way to get it.
        """
        passphrase = ask_secret(f"new passphrase for {what}", env=VARIABLE, fd=self._fd, repeat=True)
        if len(passphrase) < MIN_LENGTH:
            raise UsageError(
                f"the passphrase is too short: at least {MIN_LENGTH} characters", "four random words are good"
            )
        self._kept = passphrase
        return passphrase

    def _environment(self) -> bool:
        return self._fd is None and VARIABLE in os.environ


def _of(key: str) -> str:
    return f"passphrase of key {key}"
