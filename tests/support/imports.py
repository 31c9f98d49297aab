"""What the modules of a package import of one another and of others, read from their text and never run."""

import ast
import graphlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Package:
    """A package by its folder; modules are named in full, by `package.zone.module`."""

    folder: Path

    @property
    def name(self):
        return self.folder.name

    def files(self):
        return sorted(self.folder.rglob("*.py"))

    def module(self, path):
        """Return a file's full module name."""
        parts = path.relative_to(self.folder).with_suffix("").parts
        return ".".join([self.name, *parts[: -1 if parts[-1] == "__init__" else None]])

    def has(self, name):
        """Say whether a name is a module or package of this one."""
        parts = name.split(".")
        path = self.folder.joinpath(*parts[1:])
        return parts[0] == self.name and (path.with_suffix(".py").is_file() or (path / "__init__.py").is_file())

    def imports(self, path):
        """Return the full name of every module that a file imports anywhere, however it does."""
        found = []
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = self._base(node, path)
                names = [f"{base}.{alias.name}" for alias in node.names]
                found += [name if self.has(name) else base for name in names]
            elif isinstance(node, ast.Call) and _called(node) in {"import_module", "__import__"}:
                found.append(_constant(node, path))
        return found

    def circle(self):
        """Return the modules of a circle of imports, the first one again at its end, or nothing where there is none.

        Also imports inside functions and for the sake of types count: whoever reads one module has to read them all.
        """
        graph = {self.module(path): {name for name in self.imports(path) if self.has(name)} for path in self.files()}
        try:
            graphlib.TopologicalSorter(graph).prepare()
        except graphlib.CycleError as error:
            return error.args[1]
        return []

    def _base(self, node, path):
        """Return the absolute name of what stands behind `from`."""
        if not node.level:
            return node.module or ""
        package = (self.module(path) + (".x" if path.name == "__init__.py" else "")).split(".")
        return ".".join([*package[: -node.level], *filter(None, [node.module])])


def _called(call):
    """Return the last part of a called function's name."""
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def _constant(call, path):
    name = call.args[0]
    assert isinstance(name, ast.Constant), f"{path}:{call.lineno}: an import by a computed name cannot be checked"
    return name.value
