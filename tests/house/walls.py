"""A contract for import-linter: host code may use the device client's pure modules, and they only each other."""

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class PureModulesContract(Contract):
    """Imports of `package` from outside, and imports within the pure modules, end at pure modules.

    Options (in pyproject.toml): package; pure_modules, named relative to it; allowed_imports "a -> b", likewise.
    """

    package = fields.StringField()
    pure_modules = fields.SetField(subfield=fields.StringField())
    allowed_imports = fields.SetField(subfield=fields.StringField(), required=False)

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        pure = {f"{self.package}.{name}" for name in self.pure_modules}
        allowed = {tuple(f"{self.package}.{end}" for end in pair.split(" -> ")) for pair in self.allowed_imports or ()}
        broken = [
            (importer, imported)
            for imported in sorted(graph.modules)
            if self._inside(imported) and imported not in pure
            for importer in sorted(graph.find_modules_that_directly_import(imported))
            if (not self._inside(importer) or importer in pure) and (importer, imported) not in allowed
        ]
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for importer, imported in check.metadata["broken"]:
            output.print_error(f"{importer} imports {imported}, which is not one of the pure modules")

    def _inside(self, module: str) -> bool:
        return module == self.package or module.startswith(f"{self.package}.")
