"""Where the passphrases of keys come from: a file descriptor, the environment, or a person, who is asked once."""

import os

from heirloom.cli.errors import UsageError
from heirloom.cli.output import ask_secret

VARIABLE = "HEIRLOOM_PASSPHRASE"
MIN_LENGTH = 8


class Passphrases:
    """The passphrases of one run of the program, as a secrets handler of securesystemslib.

    What was read from the file descriptor or typed is kept: nobody types the same thing twice.

    Args:
        fd: The file descriptor of --passphrase-fd, whose first line is the passphrase.
    """

    def __init__(self, fd: int | None = None) -> None:
        self._fd = fd
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
