"""Keys as encrypted files in one private folder, and the signers of a role.

A key NAME is two files: NAME.pem, the private key (keyfile.py), and NAME.pub.json, the public key as TUF
metadata has it. Key URIs are "heirloom:NAME". Nothing here prints or logs a secret.
"""

import json
import os
import re
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from securesystemslib.exceptions import KeyMismatchError
from securesystemslib.signer import SIGNER_FOR_URI_SCHEME, CryptoSigner, Key, SecretsHandler, Signer, SSlibKey

from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.cli.files import os_error, write_atomic
from heirloom.cli.project import Project
from heirloom.signing.keyfile import open_sealed, seal
from heirloom.signing.passphrases import Passphrases

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

SCHEME = "heirloom"
ED25519, ECDSA, RSA = "ed25519", "ecdsa", "rsa"
KINDS = (ED25519, ECDSA, RSA)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_ANCHOR = "trusted-root.json"
_RSA_BITS = 3072


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
    """The folder with the keys of one product.

    Args:
        directory: The folder; made by the first key, with mode 0700.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def names(self) -> list[str]:
        """The keys that are here, sorted."""
        try:
            return sorted(path.stem for path in self.directory.glob("*.pem") if not path.name.startswith("."))
        except OSError as exc:
            raise os_error(exc, f"cannot read the key folder {self.directory}") from exc

    def create(self, name: str, passphrase: str, kind: str = ED25519) -> SSlibKey:
        """Make a key. Returns its public half; other arguments and errors as for `generate`."""
        return self.generate(name, passphrase, kind).public_key

    def generate(self, name: str, passphrase: str, kind: str = ED25519) -> KeyFileSigner:
        """Make a key and keep it open.

        Args:
            name: Of the key; it must not exist.
            passphrase: Encrypts the file.
            kind: "ed25519", "ecdsa" (P-256) or "rsa".

        Raises:
            HeirloomError: The key exists, or the folder cannot be written or is open to others.
        """
        self.check_free(name)
        private = _new_private(kind)
        signer = KeyFileSigner(private, SSlibKey.from_crypto(private.public_key()))
        self._make_folder()
        public = {"keyid": signer.public_key.keyid, **signer.public_key.to_dict()}
        # The public half first: the key exists when its private file does, and is then complete.
        write_atomic(self._public_file(name), json.dumps(public, indent=1).encode() + b"\n")
        self._write_once(name, seal(private, passphrase))
        return signer

    def check_folder(self) -> None:
        """Raise HeirloomError if others can read the folder; it need not exist yet."""
        self._check_private(self.directory, "700")

    def check_free(self, name: str) -> None:
        """Raise HeirloomError if there is a key of that name."""
        check_name(name)
        if self._pem(name).exists():
            raise self._exists(name)

    def public(self, name: str) -> SSlibKey:
        """The public half of a key; HeirloomError if there is none."""
        check_name(name)
        path = self._public_file(name)
        if not path.exists():
            raise self._missing(name)
        try:
            fields = json.loads(path.read_bytes())
            key = Key.from_dict(fields.pop("keyid"), fields)
        except OSError as exc:
            raise os_error(exc, f"cannot read {path}") from exc
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise HeirloomError(f"{path} is no public key", "restore it from a copy") from exc
        if not isinstance(key, SSlibKey):
            raise HeirloomError(f"{path} is of an unknown kind: {key.keytype}")
        return key

    def private(self, name: str, passphrase: str) -> "PrivateKeyTypes":
        """Open a private key; errors as for `signer`."""
        check_name(name)
        self.check_folder()
        path = self._pem(name)
        if not path.exists():
            raise self._missing(name)
        self._check_private(path, "600")
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
            uri: As in "heirloom:root-1".
            secrets_handler: Gives the passphrase, asked by the name of the key.

        Raises:
            HeirloomError: No such key, wrong permissions, a wrong passphrase, or an unknown scheme.
        """
        name = self.name(uri)
        public, place = self.public(name), f"{SCHEME}:{self.directory.absolute() / name}"
        try:
            return _open(place, public, secrets_handler)
        except WrongPassphraseError:
            if not (isinstance(secrets_handler, Passphrases) and secrets_handler.ask_again(name)):
                raise
            return _open(place, public, secrets_handler)

    def test(self, name: str, secrets_handler: SecretsHandler) -> None:
        """Open a key, sign with it and verify; errors as for `signer`."""
        signer = self.signer(f"{SCHEME}:{name}", secrets_handler)
        payload = b"heirloom key test"
        signer.public_key.verify_signature(signer.sign(payload), payload)

    def has(self, uri: str) -> bool:
        """Whether the private key of a URI is here."""
        return self._pem(self.name(uri)).exists()

    def name(self, uri: str) -> str:
        """The name of the key in a URI; HeirloomError for a scheme that cannot be used."""
        scheme, _, name = uri.partition(":")
        if scheme != SCHEME:
            raise HeirloomError(f"cannot use the key {uri}", f"key URIs look like {SCHEME}:root-1")
        check_name(name)
        return name

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

    def _make_folder(self) -> None:
        try:
            if not self.directory.exists():
                self.directory.mkdir(mode=0o700, parents=True)
        except OSError as exc:
            raise os_error(exc, f"cannot make the key folder {self.directory}") from exc
        self.check_folder()

    def _write_once(self, name: str, data: bytes) -> None:
        """Write NAME.pem whole or not at all, and never over another one."""
        try:
            descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", suffix=".new", dir=self.directory)  # mode 0600
            try:
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(data)
                    stream.flush()
                    os.fsync(stream.fileno())
                # A link, unlike a rename, fails if the name is taken.
                os.link(temporary, self._pem(name))
            finally:
                with suppress(OSError):
                    Path(temporary).unlink()
        except FileExistsError as exc:
            raise self._exists(name) from exc
        except OSError as exc:
            raise os_error(exc, f"cannot write {self._pem(name)}") from exc

    def _check_private(self, path: Path, mode: str) -> None:
        with suppress(FileNotFoundError):
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise HeirloomError(
                    f"others can read {path}", f"run `chmod {mode} {path}`, and think about who may have"
                )

    def _pem(self, name: str) -> Path:
        return self.directory / f"{name}.pem"

    def _public_file(self, name: str) -> Path:
        return self.directory / f"{name}.pub.json"

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


def _open(uri: str, public: Key, secrets_handler: SecretsHandler) -> Signer:
    try:
        return Signer.from_priv_key_uri(uri, public, secrets_handler)
    except KeyMismatchError as exc:
        raise HeirloomError(f"{uri}.pub.json is not the public half of that key", "restore it from a copy") from exc


def _new_private(kind: str) -> "PrivateKeyTypes":
    if kind == ED25519:
        return ed25519.Ed25519PrivateKey.generate()
    if kind == ECDSA:
        return ec.generate_private_key(ec.SECP256R1())
    if kind == RSA:
        return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    raise UsageError(f"{kind!r} is no kind of key", f"known kinds: {', '.join(KINDS)}")


# One per run of the program, so that a person types a passphrase once however many roles are signed.
_shared = Passphrases()


def role_signers(project: Project, role: str, passphrases: Passphrases | None = None) -> list[Signer]:
    """Open the keys of a role that are on this machine.

    Args:
        project: Names them in [signing].
        role: As in "releases-RPI_PICO_W".
        passphrases: Where passphrases come from; shared by the whole run if None.

    Raises:
        HeirloomError: None is here, or one does not open.
    """
    uris = project.signing.get(role, [])
    if not uris:
        raise HeirloomError(f"no keys are named for the role {role}", "name them in [signing] of heirloom.toml")
    store = KeyStore(project.keys_dir())
    here = [uri for uri in uris if store.has(uri)]
    if not here:
        names = ", ".join(store.name(uri) for uri in uris)
        raise HeirloomError(
            f"no key of the role {role} is here: {names} should be in {store.directory}",
            "run this where the key is, or name its folder in HEIRLOOM_KEYS",
        )
    return [store.signer(uri, passphrases or _shared) for uri in here]
