"""The client's modules as a device gets them: what is always loaded together is one module, and constants are literals.

Every .mpy file repeats its names and constants, and every import costs code and heap (docs/adr/0008). So the
modules of the verification core, small and readable as sources, go to a device as a single one. What it does is
unchanged, and so are the names of functions in tracebacks. Pure; the same for the same sources.
"""

import ast
import builtins
from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from heirloom.cli.errors import HeirloomError

PACKAGE = "heirloom.device"

#: What a device gets as one module, each after those that it imports; the last one gives the name.
BUNDLES = (
    (
        *("jsonscan", "canonical", "timebound", "notes", "roles", "keys", "download", "trust", "target", "delegation"),
        "tuf",
    ),
)

# A module that makes CPython look like MicroPython, where the compiler knows most of it, and modules have the rest.
_COMPAT = "compat"
_STOCK = {"collect": "gc", "loads": "json"}
# The operands of bytecode are numbers of names, and those of the first 128 names take one byte. More than this many
# would push out others that are used as often: found by trying.
_HOT_NAMES = 88
_INTERNED = 10  # longest string literal that counts as a name

_Constants = dict[str, dict[str, ast.expr]]  # by module and name


def bundle(sources: Mapping[str, str]) -> dict[str, str]:
    """The sources of the modules to compile for a device.

    Args:
        sources: Name of each module of the client to its source.

    Returns:
        The same, without the modules that became part of another.

    Raises:
        HeirloomError: Two modules of a bundle use one name for two things, or import each other in a way that cannot be
            followed.
    """
    trees = {name: ast.parse(source, name) for name, source in sources.items() if name != _COMPAT}
    constants = {name: dict(_constants(tree)) for name, tree in trees.items()}
    home = {part: parts[-1] for parts in BUNDLES for part in parts if part in trees}
    keywords = {
        node.arg for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg
    }
    trees = {name: _Rewriter(name, constants, home, keywords).visit(tree) for name, tree in trees.items()}
    for parts in BUNDLES:
        merged = _merged({part: trees.pop(part) for part in parts if part in trees})
        trees[parts[-1]] = merged
    return {name: ast.unparse(ast.fix_missing_locations(tree)) for name, tree in trees.items()}


def _constants(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """The constants of a module: names in capitals that are given a literal, perhaps in const()."""
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name.isupper():
                match value:
                    case ast.Call(func=ast.Name(id="const"), args=[inner]):
                        value = inner
                if _is_literal(value):
                    yield name, value


def _is_literal(value: ast.expr) -> bool:
    try:
        found = ast.literal_eval(value)
    except ValueError:
        return False
    return isinstance(found, int | str | bytes | tuple)


class _Rewriter(ast.NodeTransformer):
    """Makes one module fit for the device; in a part of a bundle also for standing beside the others."""

    def __init__(self, name: str, constants: _Constants, home: Mapping[str, str], keywords: Collection[str]) -> None:
        self._name = name
        self._constants = constants
        self._home = home
        self._keywords = keywords
        self._literals: dict[str, ast.expr] = {}  # what to put for a name
        if name in home:
            self._literals = {own: ast.Name(_private(own), ast.Load()) for own in constants[name]}

    def visit_Module(self, node: ast.Module) -> ast.Module:
        node.body = [kept for kept in node.body if not _is_for_the_host(kept)]
        self.generic_visit(node)
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        """A constant of a bundle becomes one that MicroPython's compiler puts in where it is used."""
        self.generic_visit(node)
        match node.targets:
            case [ast.Name(id=name)] if name in self._literals and isinstance(node.value, ast.expr):
                value = self._constants[self._name][name]
                return ast.Assign([ast.Name(_private(name), ast.Store())], _call("const", self.visit(value)))
        return node

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._literals.get(node.id, node) if isinstance(node.ctx, ast.Load) else node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        if self._name in self._home and not _is_native(node):
            _number_parameters(node, self._keywords)
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | list[ast.ImportFrom] | None:
        """Drops what is a literal by now or stands in the same module, and follows the rest to where it went."""
        module = node.module or ""
        if module == f"{PACKAGE}.{_COMPAT}":
            return [ast.ImportFrom(_STOCK[alias.name], [alias], 0) for alias in node.names if alias.name in _STOCK]
        if module == PACKAGE:
            node.names = [alias for alias in node.names if not self._is_known(alias)]
        elif module.startswith(PACKAGE + "."):
            part = module.removeprefix(PACKAGE + ".")
            node.names = [alias for alias in node.names if not self._is_found(part, alias)]
            node.module = f"{PACKAGE}.{self._home.get(part, part)}"
        return node if node.names else None

    def _is_known(self, alias: ast.alias) -> bool:
        """Whether it is a module of MicroPython that has a stand-in here; no part can be imported as a whole."""
        if alias.name == _COMPAT:
            return True
        if alias.name in self._home:
            raise HeirloomError(f"{self._name} imports the module {alias.name}", "import names out of it")
        return False

    def _is_found(self, part: str, alias: ast.alias) -> bool:
        own = self._home.get(part)
        together = own is not None and own == self._home.get(self._name)
        literal = self._constants.get(part, {}).get(alias.name)
        if literal is not None:
            self._literals[alias.asname or alias.name] = (
                ast.Name(_private(alias.name), ast.Load()) if together else literal
            )
            return True
        if together and alias.asname:
            raise HeirloomError(f"{self._name} imports {alias.name} as {alias.asname}", "import it by its own name")
        return together


def _is_for_the_host(node: ast.stmt) -> bool:
    """Whether a statement means nothing to a device: docstrings and types."""
    match node:
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Assign(targets=[ast.Name(id="TYPE_CHECKING" | "__all__")]):
            return True
    return False


def _is_native(function: ast.FunctionDef) -> bool:
    return bool(function.decorator_list) and "viper" in ast.unparse(function.decorator_list[0])


def _number_parameters(function: ast.FunctionDef, keywords: Collection[str]) -> None:
    """Gives parameters names that all functions share, for MicroPython keeps those names; nobody sees them.

    keywords: names that some call passes arguments by.
    """
    inner = [node for statement in function.body for node in ast.walk(statement)]
    if any(isinstance(node, ast.FunctionDef | ast.Lambda) for node in inner):
        return  # which may use them, too
    parameters = {parameter.arg: parameter for parameter in function.args.args if parameter.arg not in keywords}
    short = {name: f"_{number}" for number, name in enumerate(parameters)}
    for name, parameter in parameters.items():
        parameter.arg = short[name]
    for node in inner:
        if isinstance(node, ast.Name):
            node.id = short.get(node.id, node.id)


def _private(name: str) -> str:
    return name if name.startswith("_") else f"_{name}"


def _call(function: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(function, ast.Load()), list(arguments), [])


def _merged(parts: Mapping[str, ast.Module]) -> ast.Module:
    """One module of several."""
    body: list[ast.stmt] = []
    meanings: dict[str, str] = {}  # of each name: the import that it comes from, or the part that has it
    for part, tree in parts.items():
        for node in tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                node.names = [alias for alias in node.names if _is_new(meanings, *_imported(node, alias), part)]
                if not node.names:
                    continue
            for name in () if isinstance(node, ast.Import | ast.ImportFrom) else _assigned(node):
                _is_new(meanings, name, part, part)
            body.append(node)
    module = ast.Module(body, [])
    return ast.Module([_hot(module), *body], [])


def _is_new(meanings: dict[str, str], name: str, meaning: str, part: str) -> bool:
    """Notes what a name means in a bundle; whether it meant nothing before."""
    if hasattr(builtins, name) or meanings.get(name, meaning) != meaning:
        raise HeirloomError(f"{part} gives {name} a second meaning in its bundle", "give one of the two another name")
    is_new = name not in meanings
    meanings[name] = meaning
    return is_new


def _imported(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> tuple[str, str]:
    """The name that an import makes, and what it means."""
    module = node.module if isinstance(node, ast.ImportFrom) else ""
    return alias.asname or alias.name, f"from {module} import {alias.name}"


def _assigned(node: ast.stmt) -> list[str]:
    """The names that another statement of a module gives a meaning."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    return [name.id for name in ast.walk(node) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)]


def _hot(module: ast.Module) -> ast.stmt:
    """Code that is compiled to nothing, but gives the names that are used most the first numbers."""
    count = Counter(name for name in _names(module) if len(name) <= _INTERNED)
    # By name where the count is equal, so that the order is the same everywhere.
    hot = sorted(count, key=lambda name: (-count[name], name))[:_HOT_NAMES]
    names = [ast.Constant(name) for name in hot]
    return ast.While(ast.Constant(True), [ast.Break(), ast.Expr(_call("len", *names))], [])


def _names(node: ast.AST) -> Iterator[str]:
    """Each use of a name that the bytecode makes, roughly: attributes, parameters, short strings, functions."""
    match node:
        case ast.FunctionDef() if _is_native(node):
            return
        case ast.Attribute(attr=name) | ast.arg(arg=name) | ast.FunctionDef(name=name) | ast.Constant(value=str(name)):
            yield name
    for field, value in ast.iter_fields(node):
        if field not in ("annotation", "returns"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _names(child)
