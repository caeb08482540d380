"""hv:NAME/VERSION: the transit engine of HashiCorp Vault or OpenBao, ed25519 keys. Uses VAULT_ADDR and VAULT_TOKEN."""

import os
import re
from base64 import b64decode
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.signer import SecretsHandler, Signer, SSlibKey, VaultSigner

from heirloom.cli.errors import HeirloomError
from heirloom.signing.backends import Backend

_URI = re.compile(r"hv:([A-Za-z0-9._-]+)(?:/([1-9][0-9]*))?")


class VaultKeys(Backend):
    """Keys in Vault."""

    where = "Vault"
    example = "hv:release/1"
    extra = "vault"

    def unreachable(self, uri: str) -> str | None:
        """Whether address or token are not given."""
        _parts(uri)
        if "VAULT_ADDR" not in os.environ:
            return "VAULT_ADDR does not say where Vault is"
        # The file is where `vault login` puts it.
        token = "VAULT_TOKEN" in os.environ or (Path.home() / ".vault-token").exists()
        return None if token else "there is no VAULT_TOKEN"

    def hint(self) -> str:
        """See `Backend.hint`."""
        return "it needs VAULT_ADDR, and VAULT_TOKEN with a policy to read transit/keys and update transit/sign"

    def fetch(self, uri: str, secrets: SecretsHandler) -> tuple[str, SSlibKey]:
        """See `Backend.fetch`. Without a version in the URI, the newest."""
        import hvac

        name, wanted = _parts(uri)
        data = hvac.Client().secrets.transit.read_key(name)["data"]
        if data["type"] != "ed25519":
            raise HeirloomError(f"{uri} is a key of type {data['type']}", "only ed25519 keys of Vault can be used")
        versions = data["keys"]
        version = wanted or max(versions, key=int)
        if version not in versions:
            raise HeirloomError(f"Vault has no version {version} of {name}", f"it has {', '.join(sorted(versions))}")
        public = Ed25519PublicKey.from_public_bytes(b64decode(versions[version]["public_key"]))
        return f"hv:{name}/{version}", SSlibKey.from_crypto(public)

    def signer(self, uri: str, public: SSlibKey, secrets: SecretsHandler) -> Signer:
        """See `Backend.signer`."""
        if not _parts(uri)[1]:
            raise HeirloomError(f"{uri} names no version of the key", f"as in {self.example}")
        return VaultSigner.from_priv_key_uri(uri, public)


def _parts(uri: str) -> tuple[str, str]:
    match = _URI.fullmatch(uri)
    if match is None:
        raise HeirloomError(f"{uri} is no key of Vault", f"as in {VaultKeys.example}")
    return match[1], match[2] or ""


BACKEND = VaultKeys()
