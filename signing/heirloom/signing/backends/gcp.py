"""gcpkms:NAME: Google Cloud KMS, where NAME is the full name of a key version. Credentials are the machine's."""

import re

from securesystemslib.signer import GCPSigner, SecretsHandler, Signer, SSlibKey

from heirloom.cli.errors import HeirloomError
from heirloom.signing.backends import Backend

_NAME = re.compile(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+/cryptoKeyVersions/[0-9]+")


class GoogleKeys(Backend):
    """Keys in Google Cloud KMS."""

    where = "Google Cloud KMS"
    example = "gcpkms:projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/1"
    extra = "gcp"

    def unreachable(self, uri: str) -> str | None:
        """Whether the URI is incomplete. Whether there are credentials is known only by using them."""
        if not _NAME.fullmatch(uri.partition(":")[2]):
            raise HeirloomError(f"{uri} is no full name of a key version", f"as in {self.example}")
        return None

    def hint(self) -> str:
        """See `Backend.hint`."""
        return "it needs Google credentials with roles/cloudkms.signerVerifier: workload identity, or a key file"

    def fetch(self, uri: str, secrets: SecretsHandler) -> tuple[str, SSlibKey]:
        """See `Backend.fetch`."""
        return GCPSigner.import_(uri.partition(":")[2])

    def signer(self, uri: str, public: SSlibKey, secrets: SecretsHandler) -> Signer:
        """See `Backend.signer`."""
        return GCPSigner.from_priv_key_uri(uri, public)


BACKEND = GoogleKeys()
