"""Keys that are not files of ours: on a token, in a cloud, in the environment. One private module for each kind.

A key is named by a URI whose scheme chooses the module. The signers are securesystemslib's; what is added here is
what people need around them: whether the key can be used on this machine, its public half, and errors in words.
Every module imports without the extra that it needs.
"""

import importlib
import logging
from abc import ABC, abstractmethod
from typing import ClassVar

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, SecretsHandler, Signature, Signer, SSlibKey

from heirloom.cli import extras
from heirloom.cli.errors import HeirloomError
from heirloom.signing.kinds import usable

# securesystemslib writes what it logs to stderr, beside our sentence about the same; --debug shows the traceback.
logging.getLogger("securesystemslib").handlers.clear()

# scheme of the URI -> module here
_MODULES = {
    "hsm": "token",
    "awskms": "aws",
    "gcpkms": "gcp",
    "azurekms": "azure",
    "hv": "vault",
    "env": "environment",
}
SCHEMES = tuple(_MODULES)


class Backend(ABC):
    """One kind of key.

    Attributes:
        where: What holds such keys, for messages.
        example: A URI.
        extra: The extra of the distribution that it needs; empty for none.
    """

    where: ClassVar[str]
    example: ClassVar[str]
    extra: ClassVar[str] = ""

    def missing(self, uri: str) -> str | None:
        """Why the key cannot be used on this machine, or None. Quick, and asks nobody for a secret."""
        if self.extra and (absent := extras.missing(self.extra)):
            return f"{self.where} needs {absent[0]}, which is not installed"
        return self.unreachable(uri)

    def advice(self) -> str:
        """What to do when a key is missing."""
        if self.extra and extras.missing(self.extra):
            return extras.advice_for(extras.missing(self.extra)[0])
        return self.hint()

    @abstractmethod
    def unreachable(self, uri: str) -> str | None:
        """As `missing`, with the extra installed."""

    @abstractmethod
    def hint(self) -> str:
        """What a machine needs for such keys, as advice."""

    @abstractmethod
    def fetch(self, uri: str, secrets: SecretsHandler) -> tuple[str, SSlibKey]:
        """The full URI and the public half, from where the key is."""

    @abstractmethod
    def signer(self, uri: str, public: SSlibKey, secrets: SecretsHandler) -> Signer:
        """A signer with that key."""

    def explain(self, exc: Exception, uri: str) -> HeirloomError:
        """What a person is told about an error of the library behind this."""
        reason = str(exc).strip().partition("\n")[0] or type(exc).__name__
        return HeirloomError(f"cannot use the key {uri}: {reason}", self.hint())


class CheckedSigner(Signer):
    """A signer that verifies what it signed, so that a wrong key behind a URI is told where it happens.

    Args:
        signer: Does the work.
        backend: Of its kind.
        uri: Of the key.
    """

    def __init__(self, signer: Signer, backend: Backend, uri: str) -> None:
        self._signer = signer
        self._backend = backend
        self._uri = uri

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> "CheckedSigner":
        """Open the key behind a URI of any kind in SCHEMES.

        Raises:
            HeirloomError: It is not here, does not open, or is of a kind that devices do not verify.
        """
        backend = _usable_backend(priv_key_uri)
        public = usable(public_key, priv_key_uri)
        if secrets_handler is None:
            raise ValueError(f"{priv_key_uri} needs a secrets handler")
        try:
            return cls(backend.signer(priv_key_uri, public, secrets_handler), backend, priv_key_uri)
        except HeirloomError:
            raise
        except Exception as exc:
            raise backend.explain(exc, priv_key_uri) from exc

    @property
    def public_key(self) -> Key:
        """The public half."""
        return self._signer.public_key

    def sign(self, payload: bytes) -> Signature:
        """Sign and verify.

        Raises:
            HeirloomError: The key refused, or is another one than its public half says.
        """
        try:
            signature = self._signer.sign(payload)
        except HeirloomError:
            raise
        except Exception as exc:
            raise self._backend.explain(exc, self._uri) from exc
        try:
            self.public_key.verify_signature(signature, payload)
        except UnverifiedSignatureError as exc:
            raise wrong_key(self._uri, self.public_key) from exc
        return signature


def wrong_key(uri: str, expected: Key) -> HeirloomError:
    """The error about a URI behind which is another key than expected."""
    return HeirloomError(
        f"the key behind {uri} is not {expected.keyid[:8]}, the one that is known for it",
        "it was replaced there, or the URI names another key: correct the URI, or import the new key under a new name",
    )


def backend(uri: str) -> Backend:
    """The backend of a URI; HeirloomError for a scheme that cannot be used."""
    module = _MODULES.get(uri.partition(":")[0])
    if module is None:
        raise HeirloomError(
            f"cannot use the key {uri}", f"key URIs look like heirloom:root-1; other kinds: {', '.join(SCHEMES)}"
        )
    found: Backend = importlib.import_module(f"{__name__}.{module}").BACKEND
    return found


def is_backend(uri: str) -> bool:
    """Whether the key is none of our files."""
    return uri.partition(":")[0] in _MODULES


def fetch(uri: str, secrets: SecretsHandler) -> tuple[str, SSlibKey]:
    """The full URI and the public half of a key, from where it is.

    Args:
        uri: With a scheme of SCHEMES.
        secrets: Asked when it does not show even that without a PIN or passphrase.

    Raises:
        HeirloomError: It is not here, or is of a kind that devices do not verify.
    """
    found = _usable_backend(uri)
    try:
        full, public = found.fetch(uri, secrets)
    except HeirloomError:
        raise
    except Exception as exc:
        raise found.explain(exc, uri) from exc
    return full, usable(public, uri)


def _usable_backend(uri: str) -> Backend:
    found = backend(uri)
    if reason := found.missing(uri):
        raise HeirloomError(f"the key {uri} is not here: {reason}", found.advice())
    return found
