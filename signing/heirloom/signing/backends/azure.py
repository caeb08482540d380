"""azurekms://VAULT.vault.azure.net/keys/NAME/VERSION: Azure Key Vault, P-256 keys. Credentials are the machine's."""

import re

from securesystemslib.signer import AzureSigner, SecretsHandler, Signer, SSlibKey

from heirloom.cli.errors import HeirloomError
from heirloom.signing.backends import Backend

_URI = re.compile(r"azurekms://([A-Za-z0-9-]+)\.vault\.azure\.net/keys/([A-Za-z0-9-]+)(?:/([A-Za-z0-9]+))?")


class AzureKeys(Backend):
    """Keys in Azure Key Vault."""

    where = "Azure Key Vault"
    example = "azurekms://VAULT.vault.azure.net/keys/NAME/VERSION"
    extra = "azure"

    def unreachable(self, uri: str) -> str | None:
        """Whether the URI is incomplete. Whether there are credentials is known only by using them."""
        self._parts(uri)
        return None

    def hint(self) -> str:
        """See `Backend.hint`."""
        return "it needs an Azure identity that is Key Vault Crypto User there: workload identity, or `az login`"

    def fetch(self, uri: str, secrets: SecretsHandler) -> tuple[str, SSlibKey]:
        """See `Backend.fetch`. Azure shows the newest version of a key, which must be the one that the URI names."""
        vault, name, version = self._parts(uri)
        full, public = AzureSigner.import_(vault, name)
        if version and self._parts(full)[2] != version:
            raise HeirloomError(
                f"{uri} is not the newest version of that key: {full} is", "import the newest under a name of its own"
            )
        return full, public

    def signer(self, uri: str, public: SSlibKey, secrets: SecretsHandler) -> Signer:
        """See `Backend.signer`."""
        if not self._parts(uri)[2]:
            raise HeirloomError(f"{uri} names no version of the key", f"as in {self.example}")
        return AzureSigner.from_priv_key_uri(uri, public)

    def _parts(self, uri: str) -> tuple[str, str, str]:
        match = _URI.fullmatch(uri)
        if match is None:
            raise HeirloomError(f"{uri} is no address of a key in Azure", f"as in {self.example}")
        return match[1], match[2], match[3] or ""


BACKEND = AzureKeys()
