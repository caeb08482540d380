"""The rig signs: an attestation of what passed, and its signature under the releases role (DESIGN 4)."""

from dataclasses import dataclass
from pathlib import Path

from heirloom.cli.errors import HeirloomError
from heirloom.cli.project import Project
from heirloom.signing import attestation, endorse, rig, roles
from heirloom.signing.attestation import Results
from heirloom.signing.built import BuiltRelease
from heirloom.signing.endorse import SignedRole
from heirloom.signing.keys import KeyStore, role_signers
from heirloom.signing.passphrases import Passphrases
from heirloom.signing.repository import Repository


@dataclass(frozen=True)
class Attested:
    """A release that the rig stands behind.

    Attributes:
        file: With the statement; None when nothing was written.
        passed: How many tests passed.
        role: The releases role after the rig signed it; None when nothing was written.
    """

    board: str
    version: str
    sha256: str
    file: Path | None
    passed: int
    devices: list[str]
    role: SignedRole | None

    def sentence(self, dry_run: bool) -> str:
        """For people."""
        on = ", ".join(self.devices)
        tested = f"{self.version} for {self.board}: {self.passed} tests passed on {on}"
        if dry_run or self.role is None:
            return f"{tested}; would be attested"
        missing = self.role.threshold - self.role.signatures
        rest = f"{missing} more signatures are needed" if missing > 0 else "it can be published"
        return f"{tested}; attested and signed, {rest}"


def attest(
    project: Project,
    release: BuiltRelease,
    results: Results,
    key: str | None = None,
    *,
    passphrases: Passphrases,
    dry_run: bool = False,
) -> Attested:
    """Attest a built release, and sign the releases role of its board with the rig's key.

    Args:
        project: Names the keys.
        release: As it was tested.
        results: What came of it.
        key: Name or URI of the rig's key; the one that is here if None.
        passphrases: Where passphrases and PINs come from.
        dry_run: Check everything that needs no key, and write nothing.

    Raises:
        HeirloomError: The release did not pass or is damaged, the role has no rig key, or it is not here.
    """
    release.check()
    attestation.statement(release, results)
    repository = Repository(project.repository, KeyStore(project.keys_dir()).anchor())
    role = roles.releases_role(release.board)
    if not rig.keys_of(repository.targets().signed, role):
        raise HeirloomError(
            f"{role} has no rig key",
            "make one with `heirloom key new rig --rig`, and give it to the role: heirloom ceremony start --add-key",
        )
    names = [device.name for device in results.devices]
    about = release.board, release.version, release.sha256
    if dry_run:
        return Attested(*about, None, len(results.passed), names, None)
    chosen = [key] if key else _keys_here(project, repository, role)
    signers = role_signers(project, role, passphrases, chosen)
    file = None
    for signer in signers:
        file = attestation.attest(project, release, results, signer)
    signed = endorse.sign(project, release, passphrases=passphrases, only=chosen)
    return Attested(*about, file, len(results.passed), names, signed)


def _keys_here(project: Project, repository: Repository, role: str) -> list[str]:
    """The rig keys of the role that can be used on this machine, by URI."""
    store = KeyStore(project.keys_dir())
    found = [uri for uri in project.signing.get(role, []) if store.is_rig(uri) and store.has(uri)]
    if not found:
        rigs = ", ".join(keyid[:8] for keyid in sorted(rig.keys_of(repository.targets().signed, role)))
        raise HeirloomError(
            f"the rig's key of {role} ({rigs}) is not here", "run this on the rig, or name it with --key"
        )
    return found
