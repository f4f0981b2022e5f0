"""The files in etc/: they run as shipped, and say what the code says."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from mcpgate.cli import Surroundings, main
from mcpgate.config import load, parse
from mcpgate.faults import Path as KeyPath
from mcpgate.settings import DemoSettings, Settings
from mcpgate.values.quantities import Duration, Size

ETC = Path(__file__).parent.parent / "etc"
SAMPLE = (ETC / "gate.yaml").read_text(encoding="utf-8")
#: The sample with every setting in use: # right before a key or a dash is taken away.
IN_USE = re.sub(r"^( *)#(?=[a-z][a-z0-9_]*:|- )", r"\1", SAMPLE, flags=re.MULTILINE)

#: What stands in a file that the sample names, where it matters.
CONTENTS = {"tokens_file": "[]\n", "keys_file": "k" * 32}


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The sample with every setting in use, beside the files that it names."""
    rundir = tmp_path_factory.mktemp("run")
    (rundir / "etc").mkdir()
    (rundir / "var").mkdir()
    (rundir / "etc" / "servers.d").mkdir()
    for key, value in re.findall(r"(\w+_file): *(\{[^}]*\}|\S+)", IN_USE):
        for name in re.findall(r"(?:etc|var)/[\w.-]+", value):
            (rundir / name).write_text(CONTENTS.get(key, "content\n"))
    return parse(IN_USE, "gate.yaml", {}, rundir=str(rundir))


def test_the_sample_runs_as_shipped() -> None:
    """One server: the built-in demo, on loopback, both transports."""
    found = load(str(ETC / "gate.yaml"), {})
    (server,) = found.servers
    assert (server.name, server.upstreams[0].url) == ("demo", "http://127.0.0.1:8710")
    assert server.endpoints == {"streamable-http": "/mcp", "sse": "/sse"}
    assert found.demo == DemoSettings()


def test_the_sample_changes_no_default_but_the_demo() -> None:
    """Whoever starts from the sample starts from the defaults."""
    found = load(str(ETC / "gate.yaml"), {})
    assert found.model_copy(update={"servers": (), "demo": None}) == Settings()


def test_editors_are_pointed_to_the_schema() -> None:
    """The first line makes editors complete and check the file."""
    assert SAMPLE.splitlines()[0] == "# yaml-language-server: $schema=gate.schema.json"


def sections(value: BaseModel, path: KeyPath = ()) -> Iterator[tuple[KeyPath, BaseModel]]:
    """Every section of settings, with its path."""
    yield path, value
    for name in type(value).model_fields:
        found = getattr(value, name)
        below = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, tuple) else ()
        for part, each in (*below, (None, found)):
            if isinstance(each, BaseModel):
                yield from sections(each, (*path, name) if part is None else (*path, name, part))


def default_of(section: BaseModel, name: str) -> Any:
    """The default of a field; PydanticUndefined where one must be given or it follows from others."""
    field = type(section).model_fields[name]
    if field.default_factory_takes_validated_data:
        return PydanticUndefined
    return field.get_default(call_default_factory=True)


def test_the_sample_has_every_key(complete: Settings) -> None:
    """No key of the settings is missing from the sample, in use or as a comment."""
    keys = {(type(section), name) for _, section in sections(complete) for name in section.model_fields_set}
    known = {(type(section), name) for _, section in sections(complete) for name in type(section).model_fields}
    assert keys == known


def has_default(value: Any) -> bool:
    """Whether there is a default that can be shown; a section shows those of its keys."""
    return value not in (None, (), {}) and value is not PydanticUndefined


def test_the_sample_shows_the_defaults(complete: Settings) -> None:
    """Each commented value is the one that holds without it, unless the line says that there is none."""
    shipped = dict(sections(load(str(ETC / "gate.yaml"), {})))
    for path, section in sections(complete):
        for name in section.model_fields_set:
            default, shown = default_of(section, name), getattr(section, name)
            is_in_use = path in shipped and name in shipped[path].model_fields_set
            if has_default(default) and not isinstance(default, BaseModel) and not is_in_use:
                assert shown == default, f"{path} {name}"


def keys_in(node: yaml.Node | None, path: KeyPath = ()) -> Iterator[tuple[KeyPath, int]]:
    """Every key below a node, with the index of its line."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*path, key.value), key.start_mark.line
            yield from keys_in(value, (*path, key.value))
    if isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from keys_in(value, (*path, index))


def comment_on(lines: list[str], index: int) -> str:
    """The comment in a line, and those right above it."""
    found = lines[index].partition(" # ")[2]
    while index and re.match(r" *# ", lines[index - 1]):
        index -= 1
        found = f"{lines[index]} {found}"
    return found


def test_every_key_is_explained(complete: Settings) -> None:
    """Where a key first stands there is a comment, which names the unit, and says if there is no default."""
    lines, whole = SAMPLE.splitlines(), dict(sections(complete))
    explained: set[tuple[type[BaseModel], str]] = set()
    for path, index in keys_in(yaml.compose(IN_USE, Loader=yaml.SafeLoader)):
        section = whole.get(path[:-1])
        name = str(path[-1])
        if section is None or isinstance(getattr(section, name), BaseModel) or (type(section), name) in explained:
            continue
        explained.add((type(section), name))
        comment = comment_on(lines, index)
        field = type(section).model_fields[name]
        assert comment, path
        assert "duration" in comment or not any(isinstance(each, Duration) for each in field.metadata), path
        assert "bytes" in comment or not any(isinstance(each, Size) for each in field.metadata), path
        assert has_default(default_of(section, name)) or "default" in comment.lower(), path


def test_the_schema_is_what_the_code_says() -> None:
    """The committed schema is the output of `mcpgate schema`, byte for byte."""
    stdout = io.StringIO()
    assert main(["schema"], Surroundings({}, stdout, io.StringIO(), bytes)) == 0
    assert (ETC / "gate.schema.json").read_text(encoding="utf-8") == stdout.getvalue()
