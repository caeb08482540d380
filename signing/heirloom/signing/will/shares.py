"""The trustees' shares: a key split k of n by SLIP-39, as words in one private file each.

Nothing here puts a word of a share into a message: messages end up in logs.
"""

import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.cli.files import os_error

KEY_BYTES = 32
# SLIP-39 numbers the members of a group with four bits.
MAX_SHARES = 16
_MAX_FILE_BYTES = 4096
SUFFIX = ".share.txt"
_WORDS_IN_A_LINE = 5


@dataclass(frozen=True)
class Share:
    """One trustee's share, undamaged by its checksum.

    Attributes:
        name: Where it came from, for messages.
        identifier: The same for all shares of one key.
        number: 1 to n.
        needed: How many shares open.
    """

    name: str
    identifier: int
    number: int
    needed: int
    words: str

    def __repr__(self) -> str:
        return f"Share({self.name!r})"


def split(needed: int, count: int) -> tuple[bytes, int, list[str]]:
    """A new key, the identifier of its shares, and the shares, of which any `needed` give the key.

    Raises:
        UsageError: There cannot be such shares.
    """
    if not 2 <= needed <= count <= MAX_SHARES:
        raise UsageError(
            f"{needed} of {count} trustees is not possible",
            f"at least 2 must be needed, and there are at most {MAX_SHARES}",
        )
    import shamir_mnemonic

    key = secrets.token_bytes(KEY_BYTES)
    (words,) = shamir_mnemonic.generate_mnemonics(1, [(needed, count)], key)
    return key, shamir_mnemonic.Share.from_mnemonic(words[0]).identifier, words


def parse(text: str, name: str) -> Share:
    """Read a share; lines that begin with # are remarks.

    Args:
        text: As in the trustee's file, or typed.
        name: Of the share, for messages.

    Raises:
        HeirloomError: A word is unknown or the checksum is wrong; says which word, never what it is.
    """
    import shamir_mnemonic
    from shamir_mnemonic import wordlist

    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    words = " ".join(lines).lower().split()
    if not words:
        raise HeirloomError(f"{name} holds no share", "a share is a line of English words")
    for number, word in enumerate(words, 1):
        if word not in wordlist.WORD_INDEX_MAP:
            raise HeirloomError(f"{name} is damaged: word {number} is no word of a share", "look at it again")
    try:
        share = shamir_mnemonic.Share.from_mnemonic(" ".join(words))
    except shamir_mnemonic.MnemonicError:
        raise HeirloomError(
            f"{name} is damaged: its checksum is wrong ({len(words)} words)", "look at each word and at their order"
        ) from None
    return Share(name, share.identifier, share.index + 1, share.member_threshold, " ".join(words))


def read(path: Path) -> Share:
    """The share in a file; errors as for `parse`."""
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_FILE_BYTES + 1)
    except OSError as exc:
        raise os_error(exc, f"cannot read the share {path}") from exc
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        text = None
    if text is None or len(data) > _MAX_FILE_BYTES:
        raise HeirloomError(f"{path} is no share", "a share is a line of English words")
    return parse(text, str(path))


def check(share: Share, identifier: int, needed: int) -> None:
    """Raise HeirloomError unless the share may be one of those with that identifier."""
    if share.identifier != identifier:
        raise HeirloomError(
            f"{share.name} is a share of another will: its number is {share.identifier}, this will's is {identifier}",
            "each trustee gets a new share with each new will; find the newest",
        )
    if share.needed != needed:
        raise HeirloomError(f"{share.name} is a share of another will: {share.needed} would open that one")


def join(shares: Iterable[Share], identifier: int, needed: int) -> bytes:
    """The key.

    Raises:
        HeirloomError: Too few shares, one of another will, one twice, or they do not fit together.
    """
    import shamir_mnemonic

    by_number: dict[int, Share] = {}
    for share in shares:
        check(share, identifier, needed)
        twin = by_number.get(share.number)
        if twin is not None:
            raise HeirloomError(f"{share.name} and {twin.name} are the same share", "another trustee's is needed")
        by_number[share.number] = share
    if len(by_number) < needed:
        missing = needed - len(by_number)
        raise HeirloomError(
            f"{len(by_number)} of the {needed} shares that open this will are here",
            f"{missing} more {'trustee' if missing == 1 else 'trustees'} must bring theirs",
        )
    chosen = [by_number[number].words for number in sorted(by_number)[:needed]]
    try:
        return bytes(shamir_mnemonic.combine_mnemonics(chosen))
    except shamir_mnemonic.MnemonicError:
        names = ", ".join(by_number[number].name for number in sorted(by_number)[:needed])
        raise HeirloomError(
            f"these shares do not fit together: {names}", "one of them was made for another will, or was forged"
        ) from None


def write(folder: Path, texts: Mapping[str, str], remarks: Sequence[str]) -> list[Path]:
    """Write one private file for each trustee into a new private folder.

    Args:
        folder: Must not exist.
        texts: Trustee to share.
        remarks: Lines above the words, without #.

    Raises:
        HeirloomError: The folder exists, or cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True)
        return [
            _write_one(folder / f"{name}{SUFFIX}", words, [f"Trustee: {name}", *remarks])
            for name, words in texts.items()
        ]
    except FileExistsError as exc:
        raise HeirloomError(f"{folder} exists already", "name a new folder: shares are never overwritten") from exc
    except OSError as exc:
        raise os_error(exc, f"cannot write shares to {folder}") from exc


def _write_one(path: Path, words: str, remarks: Sequence[str]) -> Path:
    parts = words.split()
    lines = [f"# {remark}" for remark in remarks]
    lines += [" ".join(parts[start : start + _WORDS_IN_A_LINE]) for start in range(0, len(parts), _WORDS_IN_A_LINE)]
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write("\n".join(lines) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    return path
