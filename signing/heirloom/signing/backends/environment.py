"""env:VARIABLE: a private key as PKCS#8 PEM in an environment variable, encrypted or not, for CI systems."""

import os
import re

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from securesystemslib.signer import CryptoSigner, SecretsHandler, Signer, SSlibKey

from heirloom.cli.errors import HeirloomError
from heirloom.signing.backends import Backend, wrong_key
from heirloom.signing.keyfile import open_sealed

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"


class EnvironmentKeys(Backend):
    """Keys in environment variables."""

    where = "the environment"
    example = "env:RELEASE_KEY"

    def unreachable(self, uri: str) -> str | None:
        """Whether the variable is not set."""
        variable = _variable(uri)
        return None if os.environ.get(variable) else f"the environment variable {variable} is not set"

    def hint(self) -> str:
        """See `Backend.hint`."""
        return "put the PEM file (PKCS#8) of the key into the variable"

    def fetch(self, uri: str, secrets: SecretsHandler) -> tuple[str, SSlibKey]:
        """The public half, which needs the private one: a passphrase may be asked for."""
        return uri, _public(_private(uri, secrets), uri)

    def signer(self, uri: str, public: SSlibKey, secrets: SecretsHandler) -> Signer:
        """See `Backend.signer`."""
        private = _private(uri, secrets)
        if _public(private, uri).keyval != public.keyval:
            raise wrong_key(uri, public)
        return CryptoSigner(private, public)


def _variable(uri: str) -> str:
    variable = uri.partition(":")[2]
    if not _VARIABLE.fullmatch(variable):
        raise HeirloomError(f"{uri} names no environment variable", f"as in {EnvironmentKeys.example}")
    return variable


def _private(uri: str, secrets: SecretsHandler) -> PrivateKeyTypes:
    variable = _variable(uri)
    # Some CI systems keep only one line: \n stands for a new one there.
    pem = os.environ[variable].replace("\\n", "\n").strip().encode() + b"\n"
    try:
        if _ENCRYPTED in pem:
            return open_sealed(pem, secrets(variable))
        return serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        if _ENCRYPTED in pem:
            raise HeirloomError(f"wrong passphrase for the key in {variable}", "or the variable is damaged") from exc
        raise HeirloomError(f"{variable} holds no private key in PEM (PKCS#8)", "copy the whole file into it") from exc


def _public(private: PrivateKeyTypes, uri: str) -> SSlibKey:
    try:
        return SSlibKey.from_crypto(private.public_key())
    except ValueError as exc:
        raise HeirloomError(f"{uri} is a key of a kind that devices do not verify", "make an ed25519 key") from exc


BACKEND = EnvironmentKeys()
