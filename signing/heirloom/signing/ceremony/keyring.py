"""The keys that are at hand: found by keyid, whatever name or URI they go by."""

from collections.abc import Collection, Mapping
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.signer import Signer, SSlibKey

from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.cli.files import os_error
from heirloom.cli.project import Project
from heirloom.signing import records
from heirloom.signing.ceremony.wishes import NewKey
from heirloom.signing.keys import SCHEME, KeyStore, as_uri
from heirloom.signing.kinds import usable
from heirloom.signing.passphrases import Passphrases

_PEM = b"-----BEGIN PUBLIC KEY-----"
_MAX_BYTES = 16384


class Keyring:
    """The keys of a machine.

    Args:
        store: The private folder.
        project: Names further keys by URI; None for a signer who has only the folder of a ceremony.
        passphrases: Where passphrases come from.
    """

    def __init__(self, store: KeyStore, project: Project | None, passphrases: Passphrases | None = None) -> None:
        self.store = store
        self.project = project
        self.passphrases = passphrases or Passphrases()
        self._opened: dict[str, Signer] = {}

    def publics(self) -> dict[str, SSlibKey]:
        """The known keys by URI, those of heirloom.toml first."""
        named = [uri for uris in self.project.signing.values() for uri in uris] if self.project else []
        found = {}
        for uri in dict.fromkeys([*named, *(f"{SCHEME}:{name}" for name in self.store.names())]):
            try:
                found[uri] = self.store.public(self.store.name(uri))
            except HeirloomError:
                continue  # held by somebody else, or never recorded here
        return found

    def names(self) -> dict[str, str]:
        """Keyid to the name of the key here: the best name for a holder until somebody gives a better one."""
        found: dict[str, str] = {}
        for uri, public in self.publics().items():
            found.setdefault(public.keyid, self.store.name(uri))
        return found

    def uris(self) -> dict[str, str]:
        """Keyid to URI."""
        found: dict[str, str] = {}
        for uri, public in self.publics().items():
            found.setdefault(public.keyid, uri)
        return found

    def here(self, keyids: Collection[str]) -> dict[str, str]:
        """Those of the keys whose private half can be used here: keyid to URI."""
        return {keyid: uri for keyid, uri in self.uris().items() if keyid in keyids and self.store.has(uri)}

    def signers(self, keyids: Collection[str]) -> list[Signer]:
        """Open those of the keys that are here; HeirloomError if one does not open."""
        return [self._open(keyid, uri) for keyid, uri in self.here(keyids).items()]

    def _open(self, keyid: str, uri: str) -> Signer:
        if keyid not in self._opened:
            self._opened[keyid] = self.store.signer(uri, self.passphrases)
        return self._opened[keyid]

    def new_key(self, text: str, holder: str | None = None, folder: Path | None = None) -> NewKey:
        """The key that a person names: a public key file (NAME.pub.json or PEM), a name in the key folder, or a URI.

        Args:
            text: What they said.
            holder: Who holds it; the name of the key if None.
            folder: What relative paths start from.

        Raises:
            HeirloomError: There is no such key, or devices do not verify its kind.
        """
        path = (folder or Path.cwd()) / Path(text).expanduser()
        if path.is_file():
            record = read_public(path)
            name = path.name.removesuffix(records.SUFFIX).removesuffix(".pem")
            uri = record.uri or self.uris().get(record.public.keyid, "")
            return NewKey(usable(record.public, text), holder or name, uri, record.ci, record.rig)
        if text.endswith((records.SUFFIX, ".pem")):
            raise UsageError(f"there is no file {path}")
        uri = as_uri(text)
        public = self.store.public_behind(uri, self.passphrases)
        who = holder or self.store.name(uri)
        return NewKey(usable(public, text), who, uri, self.store.is_ci(uri), self.store.is_rig(uri))

    def old_key(self, text: str, holders: Mapping[str, str], known: Collection[str]) -> str:
        """The keyid of a key in use that a person names: by holder, by key name or URI, or by the start of the keyid.

        Args:
            text: What they said.
            holders: Names by keyid, signed ones.
            known: Keyids in use.

        Raises:
            UsageError: No key or several keys are meant.
        """
        by_name = {keyid for keyid, name in {**self.names(), **holders}.items() if name == text}
        by_name |= {keyid for keyid, uri in self.uris().items() if text in (uri, self.store.name(uri))}
        by_id = {keyid for keyid in known if len(text) >= 8 and keyid.startswith(text)}
        found = sorted((by_name | by_id) & set(known))
        if len(found) == 1:
            return found[0]
        if found:
            several = ", ".join(keyid[:16] for keyid in found)
            raise UsageError(f"{text} holds several keys: {several}", "name one by the start of its keyid")
        names = sorted({holders.get(keyid) or self.names().get(keyid) or keyid[:16] for keyid in known})
        raise UsageError(f"no key in use is called {text}", f"in use: {', '.join(names)}")


def read_public(path: Path) -> records.Record:
    """A public key from a file.

    Raises:
        HeirloomError: It is none.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_BYTES)
        if data.lstrip().startswith(_PEM):
            return records.Record(SSlibKey.from_crypto(load_pem_public_key(data)))
        if b"PRIVATE KEY-----" in data:
            raise HeirloomError(
                f"{path} is a private key", f"give its public half, NAME{records.SUFFIX}, and never this"
            )
        return records.read(path)
    except OSError as exc:
        raise os_error(exc, f"cannot read {path}") from exc
    except ValueError as exc:
        raise HeirloomError(f"{path} is no public key: {exc}") from exc
