"""The source of the gateway, read as text and syntax: its modules, what they import, their functions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "mcpgate"
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One source file."""

    path: Path

    @cached_property
    def name(self) -> str:
        """As it is imported, below the package; the package itself has none."""
        parts = self.path.relative_to(SOURCE).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax."""
        return ast.parse(self.path.read_text("utf-8"))

    @cached_property
    def room(self) -> str:
        """The first part of its name."""
        return self.name.partition(".")[0]

    def imports(self) -> Iterator[tuple[str, str]]:
        """What it imports, in full, and when: ``always``, ``late`` (in a function) or ``types``."""
        yield from imports_of(self.tree, "always")

    def functions(self) -> Iterator[tuple[str, Function]]:
        """All functions and methods, with their dotted names."""
        yield from _functions(self.tree, self.name)


MODULES = {module.name: module for module in map(Module, sorted(SOURCE.rglob("*.py")))}


def imports_of(node: ast.AST, when: str) -> Iterator[tuple[str, str]]:
    """What stands below a node; see `Module.imports`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, when) for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            yield from ((f"{child.module}.{alias.name}", when) for alias in child.names)
        elif isinstance(child, Function):
            yield from imports_of(child, "late")
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from imports_of(child, "types")
        else:
            yield from imports_of(child, when)


def _functions(node: ast.AST, name: str) -> Iterator[tuple[str, Function]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            yield f"{name}.{child.name}", child
            yield from _functions(child, f"{name}.{child.name}")
        elif isinstance(child, ast.ClassDef):
            yield from _functions(child, f"{name}.{child.name}")


def ours(imported: str) -> str | None:
    """The module of ours that an import names, if it is one."""
    if not imported.startswith("mcpgate."):
        return None
    below = imported.removeprefix("mcpgate").lstrip(".")
    while below and below not in MODULES:
        below = below.rpartition(".")[0]
    return below
