"""
The rules of the house, read off the source: who may import whom, through which door, how large, under which names.

A rule that must be broken somewhere has a table of exceptions here, each with its reason; an exception that is not
needed any more is a failure, too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from tests import error_table
from tests.source import MODULES, ROOT, SOURCE, Function, Module, imports_of, ours

#: A room is a folder, or a module beside the folders: the rooms it may import, itself only if it says so.
MAY_IMPORT = {
    "errors": "",
    "refusals": "errors",
    "values": "values",
    "settings": "values settings",
    "wire": "wire errors",
    "exchange": "wire errors",
    "policy": "policy exchange wire errors",
    "catalog": "catalog settings values",
    "net": "net",
    "upstream": "upstream policy net settings values exchange wire refusals errors",
    "metrics": "metrics recent upstream exchange wire",
    "recent": "",
    "status": "metrics recent upstream exchange",
    "statustext": "",
    "loglines": "",
    "logsink": "",
    "accesslog": "exchange loglines",
    "eventlog": "loglines settings",
    "logs": "accesslog eventlog logsink settings",
    "tracing": "settings wire",
    "otel": "exchange settings wire",
    "recorder": "metrics recent upstream exchange wire errors",
    "telemetry": "metrics recorder status surroundings tracing policy settings",
    "registry": "registry joined_files upstream policy settings values refusals errors",
    "plan": "upstream exchange wire",
    "stages": "",
    "witness": "exchange wire",
    "announcement": "plan wire",
    "relay": "announcement witness stages plan upstream net exchange wire errors",
    "forwarding": "policy upstream exchange wire",
    "snapshot": "plan upstream policy exchange wire",
    "admission": "forwarding snapshot policy exchange wire errors",
    "decision": "admission forwarding snapshot plan policy upstream exchange wire errors",
    "holding": "exchange errors",
    "pipeline": "decision admission holding forwarding relay snapshot policy exchange wire errors",
    "resources": "admission snapshot upstream policy exchange wire",
    "downstream": (
        "downstream catalog forwarding pipeline registry metrics statustext policy net exchange settings values wire"
        " refusals errors"
    ),
    "surroundings": "recorder registry policy settings upstream",
    "entitlement": "policy settings",
    "assembly": "catalog entitlement snapshot upstream policy settings values wire",
    "admittance": "assembly entitlement snapshot surroundings upstream policy exchange settings wire",
    "lineup": "assembly snapshot upstream policy exchange settings errors",
    "directory": "downstream registry policy",
    "fleet": (
        "assembly directory downstream lineup metrics registry snapshot surroundings upstream policy net exchange settings"
        " refusals errors"
    ),
    "faults": "settings values",
    "joined_files": "faults",
    "config": "joined_files faults settings values",
    "revision": "settings",
    "service": (
        "admittance assembly directory entitlement lineup fleet metrics registry resources revision snapshot surroundings"
        " telemetry downstream pipeline upstream policy net exchange settings faults errors"
    ),
    "embed": "service surroundings registry recorder downstream upstream policy config settings",
    "demo": "demo",
    "process": "clients registry embed service assembly logs otel policy config faults settings values demo",
    "tap": "process config net",
    "testing": "service surroundings registry accesslog recorder upstream policy net exchange config settings",
    "clients": "values",
    "joining": "joining",
    "cli_register": "joining",
    "cli": "cli_register clients config faults settings values",
    "__main__": "cli",
}
#: Where a library may be imported. Twisted, and zope with it, is kept out of what only decides.
DOORS = {
    "klein": {"downstream"},
    "werkzeug": {"downstream"},
    "httptools": {"wire.http1"},
    "yaml": {"config"},
    "sqlite3": {"registry.database", "registry.store"},
    "pydantic": {"settings", "values", "faults", "config", "registry.registration", "registry.reading"},
    "msgspec": {
        *("wire.jsonrpc", "wire.calls", "wire.metadata", "wire.operation"),
        *("accesslog", "eventlog", "loglines", "downstream", "catalog", "fleet"),
    },
    "jwt": {"policy.issuers", "policy.keys"},
    "treq": {"upstream.fetch"},
    "opentelemetry": {"otel"},
    "requests": {"otel"},
    "twisted": {
        *("net", "upstream", "downstream", "assembly", "resources", "service", "eventlog", "logs"),
        *("registry.store", "registry.changes", "registry.attendance", "registry.polling", "registry.ports"),
        *("registry.registry", "registry.folder", "registry.following", "joining.loops"),
        *("embed", "process", "tap", "testing", "demo"),
    },
    "twisted.internet.reactor": {"process", "demo.__main__", "joining.loops"},
}
DOORS["zope"] = DOORS["twisted"]
#: The only rooms that may import something when a function runs: Twisted's reactor must be chosen before.
LATE = {"tap", "process", "demo.__main__", "joining.loops"}

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40
MAX_PARAMETERS = 5
MAX_NESTING = 3
LONG_FILES = {
    "downstream.connection": "one state machine; its parts read and write the same dozen attributes",
}
LONG_FUNCTIONS: dict[str, str] = {}
MANY_PARAMETERS = {
    "accesslog.AccessLog.__init__": "the parts of the process, handed in one by one in one place",
}

BANNED = set(re.findall(r"\w+", "manager handler processor engine helper util utils common misc base core data info"))
#: "data" is allowed where it means the data listener, as users say, and for what stands before ``dataReceived``.
NAMES = {"data_tree", "data_origins", "_data_snapshot", "take_data"}

#: Modules without a test file of their own name.
UNMIRRORED = {
    "__main__": "one line; test_cli calls what it calls",
    "tap": "tests/process starts it",
    "process": "tests/process starts it",
    "demo.__main__": "one line around demo.site",
    "upstream.ports": "interfaces only",
    "registry.ports": "interfaces only",
    "plan": "one value and the interface in it; test_relay and test_decision use them",
    "stages": "a table; test_relay walks it",
    "metrics.observed": "one value; test_sources and test_status look through it",
    "surroundings": "one value; every test with a gateway makes one",
    "net.memory": "the kit's transport: every story runs on it",
}


def is_in(module: Module, places: set[str]) -> bool:
    """Whether a module is one of the places, or lies in one."""
    return module.name in places or module.room in places


# --- imports -------------------------------------------------------------------------------------------------------


def test_every_room_imports_only_what_it_may() -> None:
    """An arrow that is not in the table is a decision, not an accident."""
    wrong = {
        f"{module.name} imports {imported}"
        for module in MODULES.values()
        for imported, _ in module.imports()
        if (target := ours(imported)) and MODULES[target].room not in MAY_IMPORT[module.room].split()
    }
    assert wrong == set()


def test_the_arrows_of_the_table_point_one_way() -> None:
    """There is an order of the rooms in which nothing points back."""
    TopologicalSorter({room: set(may.split()) - {room} for room, may in MAY_IMPORT.items()}).prepare()
    assert {module.room for module in MODULES.values()} - {""} == set(MAY_IMPORT)


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Inside a room either, except for types."""
    graph = {
        module.name: {target for imported, when in module.imports() if when == "always" and (target := ours(imported))}
        for module in MODULES.values()
    }
    TopologicalSorter({name: targets - {name} for name, targets in graph.items()}).prepare()


@pytest.mark.parametrize("library", DOORS)
def test_a_library_is_imported_through_its_door(library: str) -> None:
    """Whoever wants to replace one, or to know how it is used, looks in one place."""
    users = {
        module.name
        for module in MODULES.values()
        for imported, when in module.imports()
        if f"{imported}.".startswith(f"{library}.") and when != "types"
    }
    assert {name for name in users if not is_in(MODULES[name], DOORS[library])} == set()
    assert users, "nobody uses it: take it out of the table"


def test_imports_stand_at_the_top() -> None:
    """Except where the reactor must be chosen first."""
    late = {module.name for module in MODULES.values() for _, when in module.imports() if when == "late"}
    assert {name for name in late if not is_in(MODULES[name], LATE)} == set()


def test_what_twistd_imports_first_installs_no_reactor() -> None:
    """What `tap` imports at its top leads neither to Klein nor to the reactor; the plugin imports even less."""
    seen, todo = set(), ["tap"]
    while todo:
        module = MODULES[todo.pop()]
        for imported, when in module.imports():
            assert not imported.startswith(("klein", "twisted.internet.reactor")) or when != "always"
            target = ours(imported)
            if target and when == "always" and target not in seen:
                seen.add(target)
                todo.append(target)
    plugin = ast.parse((ROOT / "twisted" / "plugins" / "mcpgate_plugin.py").read_text())
    assert {name for name, _ in imports_of(plugin, "always")} == {"twisted.application.service.ServiceMaker"}


# --- sizes ---------------------------------------------------------------------------------------------------------


def test_files_are_short() -> None:
    """So that one can be read at a sitting."""
    long = {name for name, module in MODULES.items() if len(module.path.read_text().splitlines()) > MAX_FILE_LINES}
    assert long == set(LONG_FILES)


def test_functions_are_short() -> None:
    """Without their docstrings."""
    long = {
        name for module in MODULES.values() for name, node in module.functions() if _lines(node) > MAX_FUNCTION_LINES
    }
    assert long == set(LONG_FUNCTIONS)


def _lines(node: Function) -> int:
    assert node.end_lineno is not None
    length = node.end_lineno - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node) is not None and first.end_lineno is not None:
        length -= first.end_lineno - first.lineno + 1
    return length


def test_functions_have_few_parameters() -> None:
    """More than that is a value with a name of its own; only what has a name at the call does not count."""
    many = {
        name
        for module in MODULES.values()
        for name, node in module.functions()
        if len([a for a in [*node.args.posonlyargs, *node.args.args] if a.arg not in ("self", "cls")]) > MAX_PARAMETERS
    }
    assert many == set(MANY_PARAMETERS)


def test_functions_are_not_nested_deeply() -> None:
    """Loops, conditions and the like within each other."""
    deep = {name for module in MODULES.values() for name, node in module.functions() if _depth(node) > MAX_NESTING}
    assert deep == set()


def _depth(node: ast.AST) -> int:
    blocks = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.Match)
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.ClassDef):
            continue
        chained = isinstance(node, ast.If) and isinstance(child, ast.If) and child in node.orelse  # elif
        deepest = max(deepest, _depth(child) + (isinstance(child, blocks) and not chained))
    return deepest


# --- names and words -----------------------------------------------------------------------------------------------


def test_names_say_what_things_are() -> None:
    """Modules, classes and functions; methods that Twisted calls have its spelling and its words."""
    found = set()
    for module in MODULES.values():
        names = [module.name.rpartition(".")[2]]
        names += [node.name for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)]
        names += [
            node.name for _, node in module.functions() if node.name == node.name.lower() and node.name[:2] != "__"
        ]
        found |= {name for name in names if BANNED & set(_words(name))}
    assert found == NAMES


def _words(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)]


def test_whatever_is_public_says_what_it_promises() -> None:
    """Modules, classes and functions have a docstring."""
    silent = set()
    for module in MODULES.values():
        nodes = [module.tree, *(node for node in module.tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef))]
        for node in nodes:
            name = getattr(node, "name", "")
            if not name.startswith("_") and not ast.get_docstring(node) and module.path.read_text().strip():
                silent.add(f"{module.name}.{name}")
    assert silent == set()


# --- state ---------------------------------------------------------------------------------------------------------

_MUTATING = set(re.findall(r"\w+", "append add update setdefault pop popitem clear extend insert remove discard"))
_CACHES = {"cache", "lru_cache"}


def test_nothing_changes_that_belongs_to_a_module() -> None:
    """No ``global``, no cache on a function, and no function that writes into a table of its module."""
    found = [f"{module.name}: {what}" for module in MODULES.values() for what in _module_state(module)]
    assert found == []


def _module_state(module: Module) -> Iterator[str]:
    own = {name for node in module.tree.body for name in _bound(node)}
    for _, function in module.functions():
        hidden = {each.id for each in ast.walk(function) if isinstance(each, ast.Name) and _is_stored(each)}
        tables = own - hidden - {argument.arg for argument in ast.walk(function) if isinstance(argument, ast.arg)}
        for node in ast.walk(function):
            if isinstance(node, ast.Global):
                yield f"global {', '.join(node.names)}"
            elif isinstance(node, ast.Subscript) and _is_stored(node) and _named(node.value) in tables:
                yield f"{function.name} writes into {_named(node.value)}"
            elif isinstance(node, ast.Attribute) and node.attr in _MUTATING and _named(node.value) in tables:
                yield f"{function.name} changes {_named(node.value)}"
        yield from (f"{function.name} is cached" for each in function.decorator_list if _decorator(each) in _CACHES)


def _bound(node: ast.stmt) -> Iterator[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    yield from (target.id for target in targets if isinstance(target, ast.Name))


def _is_stored(node: ast.Name | ast.Subscript) -> bool:
    return isinstance(node.ctx, ast.Store | ast.Del)


def _named(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _decorator(node: ast.expr) -> str:
    target = node.func if isinstance(node, ast.Call) else node
    return target.attr if isinstance(target, ast.Attribute) else _named(target)


# --- beside the source ---------------------------------------------------------------------------------------------


def test_every_module_has_its_test_file() -> None:
    """Of the same name in the same place, so that nobody has to search."""
    missing = {
        name
        for name, module in MODULES.items()
        if module.path.name != "__init__.py"
        and not (ROOT / "tests" / module.path.relative_to(SOURCE).parent / f"test_{module.path.name}").exists()
    }
    assert missing == set(UNMIRRORED)


def test_every_folder_is_installed() -> None:
    """A package that setup.cfg does not name is there in the checkout, and nowhere else."""
    told = re.search(r"^packages =\n((?:    .*\n)+)", (ROOT / "setup.cfg").read_text(), re.M)
    assert told is not None
    folders = {path.parent.relative_to(SOURCE.parent) for path in SOURCE.rglob("__init__.py")}
    assert {".".join(folder.parts) for folder in folders} | {"twisted.plugins"} == set(told[1].split())


def test_tests_neither_wait_nor_look_away() -> None:
    """No patching, no skipping, no expected failures; only tests of real processes may sleep."""
    waiting = {"process", "interop", "benchmarks"}
    found = set()
    for path in (ROOT / "tests").rglob("*.py"):
        text = path.read_text("utf-8")
        place = path.relative_to(ROOT / "tests")
        if path != Path(__file__) and re.search(r"mock\.patch|monkeypatch|pytest\.skip|\.xfail|mark\.skip", text):
            found.add(f"{place} patches or skips")
        if place.parts[0] not in waiting and "time.sleep(" in text and path != Path(__file__):
            found.add(f"{place} sleeps")
    assert found == set()


def test_the_commands_of_the_readme_exist() -> None:
    """`make run`, `make test`, and whatever else the README and CI call."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    told = (ROOT / "README.md").read_text()
    assert {"run", "test"} <= set(re.findall(r"^\$ make ([a-z-]+)", told, re.M))
    called = re.findall(r"(?:`|^\$ |\n)make ([a-z-]+)", told + (ROOT / ".ci" / "run").read_text(), re.M)
    assert set(called) <= targets
    assert "make test" in (ROOT / ".ci" / "run").read_text()


# --- errors --------------------------------------------------------------------------------------------------------


def test_every_error_stands_in_the_manual() -> None:
    """docs/errors.md has the table that the classes make; if not: ``python -m tests.error_table``."""
    assert error_table.PAGE.read_text("utf-8") == error_table.page()


def test_a_reason_is_one_word_and_means_one_thing() -> None:
    """It is a label in logs and metrics, and what people search for."""
    reasons = [kind.reason for kind in error_table.all_errors()]
    assert len(set(reasons)) == len(reasons)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", reason) for reason in reasons)


def test_every_error_says_whose_it_is_and_what_to_read() -> None:
    """4xx is the client's, 502 and 504 the server's; each has a sentence of its own."""
    for kind in error_table.all_errors():
        usual = "upstream" if kind.status in (502, 504) else "gateway"
        expected = {2: "downstream", 4: "downstream"}.get(kind.status // 100, usual)
        assert kind.source == expected, kind
        assert "message" in vars(kind), kind
