"""awskms:KEY: AWS KMS, where KEY is a key id, an alias or an ARN. boto3 finds the credentials."""

from securesystemslib.signer import AWSSigner, SecretsHandler, Signer, SSlibKey

from heirloom.cli.errors import HeirloomError
from heirloom.signing.backends import Backend


class AwsKeys(Backend):
    """Keys in AWS KMS."""

    where = "AWS KMS"
    example = "awskms:alias/release"
    extra = "aws"

    def unreachable(self, uri: str) -> str | None:
        """Whether boto3 finds no credentials or no region."""
        import boto3

        session = boto3.Session()
        if session.get_credentials() is None:
            return "there are no AWS credentials on this machine"
        return None if session.region_name or _region(uri) else "no AWS region is set"

    def hint(self) -> str:
        """See `Backend.hint`."""
        return (
            "it needs AWS_REGION, and credentials that may kms:GetPublicKey and kms:Sign: a role, or AWS_ACCESS_KEY_ID"
        )

    def fetch(self, uri: str, secrets: SecretsHandler) -> tuple[str, SSlibKey]:
        """See `Backend.fetch`."""
        return AWSSigner.import_(uri.partition(":")[2])

    def signer(self, uri: str, public: SSlibKey, secrets: SecretsHandler) -> Signer:
        """See `Backend.signer`."""
        return AWSSigner.from_priv_key_uri(uri, public)

    def explain(self, exc: Exception, uri: str) -> HeirloomError:
        """boto3's errors name the call and the reason, which is enough with the key."""
        response = getattr(exc, "response", {})
        code = response.get("Error", {}).get("Code", "") if isinstance(response, dict) else ""
        if code in ("NotFoundException", "NotFound"):
            return HeirloomError(f"AWS KMS has no key {uri.partition(':')[2]}", "check its id and AWS_REGION")
        return super().explain(exc, uri)


def _region(uri: str) -> str:
    parts = uri.partition(":")[2].split(":")
    return parts[3] if len(parts) > 3 and parts[0] == "arn" else ""


BACKEND = AwsKeys()
