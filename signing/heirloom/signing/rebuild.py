"""Rebuilding a release from its source: is it, byte for byte, what was signed?"""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from heirloom.cli.errors import HeirloomError
from heirloom.cli.project import Project
from heirloom.device.manifest import Manifest
from heirloom.signing import provenance
from heirloom.signing.build import board_model, compile_folder


@dataclass(frozen=True)
class Rebuilt:
    """How a rebuild compares with the release.

    Attributes:
        files: Number of files in the release.
        differing: Paths whose content is another one.
        missing: Paths that the release has and the rebuild has not.
        added: Paths that the rebuild has and the release has not.
        tools: Those of this machine whose version is not the recorded one: name to (recorded, here).
        recorded: Whether it is known what the release was built with.
    """

    board: str
    version: str
    files: int
    differing: list[str]
    missing: list[str]
    added: list[str]
    tools: dict[str, list[str]] = field(default_factory=dict)
    recorded: bool = False

    @property
    def is_same(self) -> bool:
        """Byte for byte."""
        return not (self.differing or self.missing or self.added)

    def check(self) -> None:
        """Raise HeirloomError, which names every file, unless it is the same."""
        if self.is_same:
            return
        kinds = {"differ": self.differing, "are missing": self.missing, "are only in the source": self.added}
        found = "; ".join(f"{what}: {', '.join(paths)}" for what, paths in kinds.items() if paths)
        raise HeirloomError(f"{self.version} for {self.board} is not what that source gives; {found}", self._advice())

    def _advice(self) -> str:
        if self.tools:
            others = ", ".join(f"{name} {recorded} (here {here})" for name, (recorded, here) in self.tools.items())
            return f"it was built with {others}: install that and try again"
        return "it is another source" if self.recorded else "with which tools it was built is not recorded here"


def rebuild(project: Project, manifest: Manifest, sha256: str, where: Path) -> Rebuilt:
    """Build a release again and compare.

    Args:
        project: Its boards, and what is recorded of its releases.
        manifest: Of the release, verified by the caller.
        sha256: Of that manifest, hexadecimal.
        where: A source folder, or a tar as an archive has it.

    Raises:
        HeirloomError: The source cannot be read or compiled.
    """
    board, micropython = board_model(project, manifest.board), manifest.firmware[2] if manifest.firmware else None
    with tempfile.TemporaryDirectory(prefix="heirloom-") as folder:
        if where.is_dir():
            built = compile_folder(where, board, micropython)
        else:
            provenance.unpack(where, Path(folder))
            built = compile_folder(Path(folder), board, micropython)
    signed = {path: (length, content) for path, length, content in manifest.files}
    rebuilt = {path: (length, content) for path, length, content in built.files}
    record = provenance.find(project.state_dir, manifest.board, manifest.version, sha256)
    installed = provenance.tools()
    known = record.tools if record else {}
    return Rebuilt(
        board=manifest.board,
        version=manifest.version,
        files=len(signed),
        differing=sorted(path for path in signed.keys() & rebuilt.keys() if signed[path] != rebuilt[path]),
        missing=sorted(signed.keys() - rebuilt.keys()),
        added=sorted(rebuilt.keys() - signed.keys()),
        tools={
            name: [known[name], installed.get(name, "none")] for name in known if known[name] != installed.get(name)
        },
        recorded=record is not None,
    )
