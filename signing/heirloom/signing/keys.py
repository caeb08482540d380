"""Keys by name and by URI: the private folder of a product's keys, and the signers of a role.

A key NAME is two files: NAME.pem, the encrypted private key (keyfile.py), and NAME.pub.json, its public half
(records.py). Where the private half is not a file, NAME.pub.json alone says behind which URI it is (backends/).
heirloom.toml names keys as "heirloom:NAME" or by such a URI. Nothing here prints or logs a secret.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from securesystemslib.exceptions import KeyMismatchError
from securesystemslib.signer import SIGNER_FOR_URI_SCHEME, CryptoSigner, Key, SecretsHandler, Signer, SSlibKey

from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.cli.files import os_error, write_atomic
from heirloom.cli.project import Project
from heirloom.signing import backends, privatefiles, records
from heirloom.signing.backends import CheckedSigner
from heirloom.signing.keyfile import open_sealed, seal
from heirloom.signing.kinds import ED25519, new_private
from heirloom.signing.passphrases import Passphrases
from heirloom.signing.records import Record

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

SCHEME = "heirloom"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_ANCHOR = "trusted-root.json"


class WrongPassphraseError(HeirloomError):
    """A key did not open."""


class KeyFileSigner(CryptoSigner):
    """Signs with a key file. URI: "heirloom:NAME", or "heirloom:/FOLDER/NAME" outside of the project's own folder."""

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> "KeyFileSigner":
        """Open the key. The secrets handler is asked for the passphrase by the name of the key.

        Raises:
            HeirloomError: No such key, wrong permissions or a wrong passphrase.
        """
        scheme, _, path = priv_key_uri.partition(":")
        if scheme != SCHEME or not isinstance(public_key, SSlibKey) or secrets_handler is None:
            raise ValueError(f"{priv_key_uri} needs the scheme {SCHEME}:, its public key and a secrets handler")
        folder = Path(path).parent if Path(path).is_absolute() else Project.load().keys_dir()
        store = KeyStore(folder)
        name = Path(path).name
        return cls(store.private(name, secrets_handler(name)), public_key)


SIGNER_FOR_URI_SCHEME[SCHEME] = KeyFileSigner


class KeyStore:
    """The keys of one product as this machine knows them.

    Args:
        directory: The folder with key files and public halves; made by the first key, with mode 0700.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def names(self) -> list[str]:
        """The keys that are known here, sorted: files, and recorded ones of other kinds."""
        try:
            files = [path.stem for path in self.directory.glob("*.pem") if not path.name.startswith(".")]
            return sorted({*files, *self._recorded()})
        except OSError as exc:
            raise os_error(exc, f"cannot read the key folder {self.directory}") from exc

    def create(self, name: str, passphrase: str, kind: str = ED25519, *, rig: bool = False) -> SSlibKey:
        """Make a key file. Returns its public half; other arguments and errors as for `generate`."""
        return self.generate(name, passphrase, kind, rig=rig).public_key

    def generate(self, name: str, passphrase: str, kind: str = ED25519, *, rig: bool = False) -> KeyFileSigner:
        """Make a key file and keep it open.

        Args:
            name: Of the key; it must not exist.
            passphrase: Encrypts the file.
            kind: "ed25519", "ecdsa" (P-256) or "rsa".
            rig: A rig signs with it.

        Raises:
            HeirloomError: The key exists, or the folder cannot be written or is open to others.
        """
        self.check_free(name)
        private = new_private(kind)
        signer = KeyFileSigner(private, SSlibKey.from_crypto(private.public_key()))
        privatefiles.make_folder(self.directory)
        # The public half first: the key exists when its private file does, and is then complete.
        records.write(self._public_file(name), Record(signer.public_key, ci=rig, rig=rig))
        self._write_once(name, seal(private, passphrase))
        return signer

    def record(self, name: str, record: Record) -> None:
        """Remember the public half of a key that is no file, and its URI; errors as for `generate`."""
        self.check_free(name)
        for other, known in self._recorded().items():
            if known.uri == record.uri:
                raise HeirloomError(
                    f"the key {record.uri} is known already, as {other}", f"see `heirloom key show {other}`"
                )
        privatefiles.make_folder(self.directory)
        records.write(self._public_file(name), record)

    def fetch(
        self, name: str, uri: str, secrets_handler: SecretsHandler, *, ci: bool = False, rig: bool = False
    ) -> Record:
        """What `record` would remember: the public half from where the key is.

        Args:
            name: That the key will have.
            uri: Of a key that is no file.
            secrets_handler: Asked where the public half is not shown without.
            ci: A machine signs with it.
            rig: A rig signs with it.

        Raises:
            HeirloomError: The name is taken, the key is not there, or devices do not verify keys of its kind.
        """
        self.check_free(name)
        if not backends.is_backend(uri):
            kinds = ", ".join(f"{scheme}:" for scheme in backends.SCHEMES)
            raise UsageError(f"{uri} is no URI of a key to import", f"its scheme is one of {kinds}; see docs/keys.md")
        full, public = backends.fetch(uri, secrets_handler)
        return Record(public, full, ci or rig, rig)

    def create_on_token(self, name: str, uri: str, secrets_handler: SecretsHandler) -> SSlibKey:
        """Make a P-256 key on a token and record it. Returns its public half; arguments and errors as for `fetch`."""
        self.check_free(name)
        if not uri.startswith("hsm:"):
            raise UsageError(
                f"keys like {uri} are made where they are, not from here", "make it there, then `heirloom key import`"
            )
        from heirloom.signing.backends.token import BACKEND

        full, public = backends.fetch(BACKEND.create(uri, secrets_handler, name), secrets_handler)
        self.record(name, Record(public, full))
        return public

    def check_folder(self) -> None:
        """Raise HeirloomError if others can read the folder; it need not exist yet."""
        privatefiles.check(self.directory, "700")

    def check_free(self, name: str) -> None:
        """Raise HeirloomError if there is a key of that name."""
        check_name(name)
        if self._pem(name).exists() or name in self._recorded():
            raise self._exists(name)

    def public(self, name: str) -> SSlibKey:
        """The public half of a key by its name; HeirloomError if there is none."""
        return self.known(name).public

    def known(self, name: str) -> Record:
        """What is recorded of a key; HeirloomError if nothing is."""
        check_name(name)
        try:
            return records.read(self._public_file(name))
        except FileNotFoundError as exc:
            raise self._missing(name) from exc

    def private(self, name: str, passphrase: str) -> "PrivateKeyTypes":
        """Open the file of a private key; errors as for `signer`."""
        check_name(name)
        self.check_folder()
        path = self._pem(name)
        if not path.exists():
            raise self._missing(name)
        privatefiles.check(path, "600")
        try:
            pem = path.read_bytes()
        except OSError as exc:
            raise os_error(exc, f"cannot read {path}") from exc
        if b"-----BEGIN ENCRYPTED PRIVATE KEY-----" not in pem:
            raise HeirloomError(f"{path} is no encrypted PKCS#8 key", "restore it from a copy")
        try:
            return open_sealed(pem, passphrase)
        except ValueError as exc:
            raise WrongPassphraseError(
                f"wrong passphrase for key {name}", f"try again; if it is right, {path} is damaged"
            ) from exc

    def signer(self, uri: str, secrets_handler: SecretsHandler) -> Signer:
        """Open the key that a URI of the project file names.

        Args:
            uri: As in "heirloom:root-1" or "hsm:2?label=Anna".
            secrets_handler: Gives the passphrase, asked by the name of the key, or the PIN.

        Raises:
            HeirloomError: No such key, wrong permissions, a wrong passphrase or PIN, or an unknown scheme.
        """
        behind = self.behind(uri)
        if backends.is_backend(behind):
            return CheckedSigner.from_priv_key_uri(behind, self.public_behind(uri, secrets_handler), secrets_handler)
        name = self.name(uri)
        public, place = self.public(name), f"{SCHEME}:{self.directory.absolute() / name}"
        try:
            return _open(place, public, secrets_handler)
        except WrongPassphraseError:
            if not (isinstance(secrets_handler, Passphrases) and secrets_handler.ask_again(name)):
                raise
            return _open(place, public, secrets_handler)

    def public_behind(self, uri: str, secrets_handler: SecretsHandler) -> SSlibKey:
        """The public half of the key behind any URI: as recorded here, else from where the key is.

        Raises:
            HeirloomError: It is not known here and cannot be fetched.
        """
        name = self.name(uri)
        if not backends.is_backend(name):
            return self.public(name)
        return backends.fetch(uri, secrets_handler)[1]

    def test(self, uri: str, secrets_handler: SecretsHandler) -> None:
        """Open a key by name or URI, sign with it and verify; errors as for `signer`."""
        signer = self.signer(uri if ":" in uri else f"{SCHEME}:{uri}", secrets_handler)
        payload = b"heirloom key test"
        signer.public_key.verify_signature(signer.sign(payload), payload)

    def has(self, uri: str) -> bool:
        """Whether the private key of a URI can be used on this machine, as far as can be told without using it."""
        return self.missing(uri) is None

    def missing(self, uri: str) -> str | None:
        """Why the private key of a URI cannot be used on this machine, in words, or None."""
        behind = self.behind(uri)
        if backends.is_backend(behind):
            return backends.backend(behind).missing(behind)
        name = self.name(uri)
        return None if self._pem(name).exists() else f"{name} should be in {self.directory}"

    def name(self, uri: str) -> str:
        """The name of the key in a URI, or the URI itself if no name is known for it.

        Raises:
            HeirloomError: The scheme cannot be used.
        """
        scheme, _, name = uri.partition(":")
        if scheme == SCHEME:
            check_name(name)
            return name
        backends.backend(uri)
        return next((name for name, record in self._recorded().items() if record.uri == uri), uri)

    def behind(self, uri: str) -> str:
        """The URI of the private half: that which is recorded for a name, else `uri` itself."""
        if backends.is_backend(uri):
            return uri
        record = self._recorded().get(self.name(uri))
        return record.uri if record is not None and record.uri else uri

    def is_ci(self, uri: str) -> bool:
        """Whether the key was recorded as one that a machine signs with."""
        record = self._record_of(uri)
        return record is not None and record.ci

    def is_rig(self, uri: str) -> bool:
        """Whether the key was recorded as one that a rig signs with."""
        record = self._record_of(uri)
        return record is not None and record.rig

    def _record_of(self, uri: str) -> Record | None:
        try:
            return self.known(self.name(uri))
        except HeirloomError:
            return None  # known by its URI only

    def anchor(self) -> bytes | None:
        """The first root of the product that these keys belong to, kept apart from the repository, or None."""
        try:
            return (self.directory / _ANCHOR).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise os_error(exc, f"cannot read {self.directory / _ANCHOR}") from exc

    def set_anchor(self, root: bytes) -> None:
        """Remember the first root, so that a changed repository cannot make these keys sign for another."""
        write_atomic(self.directory / _ANCHOR, root)

    def _recorded(self) -> dict[str, Record]:
        """The keys that are no files, by name."""
        found = {}
        for path in sorted(self.directory.glob(f"[!.]*{records.SUFFIX}")):
            name = path.name.removesuffix(records.SUFFIX)
            if not self._pem(name).exists() and (record := records.read_if_elsewhere(path)) is not None:
                found[name] = record
        return found

    def _write_once(self, name: str, data: bytes) -> None:
        try:
            privatefiles.write_once(self._pem(name), data)
        except FileExistsError as exc:
            raise self._exists(name) from exc

    def _pem(self, name: str) -> Path:
        return self.directory / f"{name}.pem"

    def _public_file(self, name: str) -> Path:
        return self.directory / f"{name}{records.SUFFIX}"

    def _exists(self, name: str) -> HeirloomError:
        return HeirloomError(
            f"a key {name} exists in {self.directory}", "choose another name; keys are never overwritten"
        )

    def _missing(self, name: str) -> HeirloomError:
        return HeirloomError(
            f"no key {name} in {self.directory}", "copy it there, or name the folder that has it in HEIRLOOM_KEYS"
        )


def check_name(name: str) -> None:
    """Raise UsageError unless `name` can name a key."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a key", "letters, digits and . _ - (at most 96), as in root-1")


def as_uri(key: str) -> str:
    """The URI of a key that a person names or gives the URI of."""
    return key if ":" in key else f"{SCHEME}:{key}"


def _open(uri: str, public: Key, secrets_handler: SecretsHandler) -> Signer:
    try:
        return Signer.from_priv_key_uri(uri, public, secrets_handler)
    except KeyMismatchError as exc:
        raise HeirloomError(f"{uri}.pub.json is not the public half of that key", "restore it from a copy") from exc


# One per run of the program, so that a person types a passphrase once however many roles are signed.
_shared = Passphrases()


def role_signers(
    project: Project, role: str, passphrases: Passphrases | None = None, only: Sequence[str] = ()
) -> list[Signer]:
    """Open the keys of a role that can be used on this machine.

    Args:
        project: Names them in [signing].
        role: As in "releases-RPI_PICO_W".
        passphrases: Where passphrases and PINs come from; shared by the whole run if None.
        only: Names or URIs: open these and no others.

    Raises:
        HeirloomError: None is here, one of `only` is not, or one does not open.
    """
    store, uris = KeyStore(project.keys_dir()), project.signing.get(role, [])
    if not uris:
        raise HeirloomError(f"no keys are named for the role {role}", "name them in [signing] of heirloom.toml")
    if only:
        return [store.signer(_chosen(store, role, uris, key), passphrases or _shared) for key in only]
    reasons = {uri: store.missing(uri) for uri in uris}
    here = [uri for uri, reason in reasons.items() if reason is None]
    if not here:
        why = "; ".join(reason for reason in reasons.values() if reason)
        raise HeirloomError(f"no key of the role {role} is here: {why}", _where(uris))
    return [store.signer(uri, passphrases or _shared) for uri in here]


def signer_of(project: Project, key: str, passphrases: Passphrases | None = None) -> Signer:
    """Open one key by its name or URI, whatever roles it has; other arguments and errors as for `role_signers`."""
    return KeyStore(project.keys_dir()).signer(as_uri(key), passphrases or _shared)


def public_of(project: Project, key: str, passphrases: Passphrases | None = None) -> SSlibKey:
    """The public half of a key by its name or URI; other arguments and errors as for `role_signers`."""
    return KeyStore(project.keys_dir()).public_behind(as_uri(key), passphrases or _shared)


def _chosen(store: KeyStore, role: str, uris: Sequence[str], key: str) -> str:
    wanted = as_uri(key)
    for uri in uris:
        if wanted == uri or store.name(wanted) == store.name(uri):
            return uri
    names = ", ".join(store.name(uri) for uri in uris)
    raise HeirloomError(f"{key} is no key of the role {role}", f"heirloom.toml names {names}")


def _where(uris: Sequence[str]) -> str:
    """What would make the keys of these URIs usable here."""
    if all(not backends.is_backend(uri) for uri in uris):
        return "run this where the key is, or name its folder in HEIRLOOM_KEYS"
    advices = [backends.backend(uri).advice() for uri in uris if backends.is_backend(uri)]
    return "; ".join(dict.fromkeys(["run this where a key is", *advices]))
