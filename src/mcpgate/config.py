"""
From a YAML file to :class:`~mcpgate.settings.Settings`, or to everything that is wrong with the file.

The order is read, compose, fill in, validate; nothing is opened for use before everything is valid. Values
are composed from YAML events here rather than by the library, because then each value keeps its line and
column, and because much of YAML has no place in a configuration: anchors and aliases (a few lines could stand
for gigabytes), tags, merge keys, several documents, a key given twice. Plain scalars are read as in YAML 1.2:
only ``true`` and ``false`` are booleans, only decimal digits are numbers; ``on``, ``1:30``, ``0x1F`` and
``010`` are text.

``${VAR}`` is filled in here, in values that are text. What stands in other files, such as ``auth.tokens_file`` or those
in the folder ``registry.files``, is joined before the whole is validated (``joined_files.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from functools import partial
from typing import Any, Final, NamedTuple, NoReturn

import yaml
from pydantic import ValidationError

from mcpgate.faults import ConfigFaults, Fault, Mark, Path, Places, explain
from mcpgate.joined_files import join_files, join_snippets, why_unreadable
from mcpgate.settings import Settings
from mcpgate.values import grammar
from mcpgate.values.quantities import WRITTEN, kind_of

__all__ = ["ConfigFaults", "Fault", "check", "load", "parse"]

#: A thousand servers take about 200 KiB; what is larger is not a configuration.
MAX_FILE_BYTES: Final = 1 << 20
#: servers, entry, upstreams, entry, tls, ca_file: six levels are in use.
MAX_DEPTH: Final = 16

# libyaml's parser gives the same events 20 times as fast; PyYAML is also published without it.
_PARSER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"-?[0-9]{1,17}\.[0-9]{1,17}")
_WORDS: Final[Mapping[str, bool | None]] = {"true": True, "false": False, "null": None, "~": None, "": None}
# YAML 1.2 section 5.1, without the byte order mark, which has been taken off.
_NOT_YAML = re.compile(r"[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def load(path: str, environ: Mapping[str, str], *, rundir: str = ".") -> Settings:
    """
    Read a configuration file.

    :param path: where the file is; also how faults name it.
    :param environ: what ``${VAR}`` may name.
    :param rundir: the folder that relative paths in the file start from.
    :raises ConfigFaults: with every fault that could be found, in the order of the file.
    """
    return parse(_read(path), path, environ, rundir=rundir)


def _read(path: str) -> str:
    """
    The text of a YAML file.

    :raises ConfigFaults: with the one fault of a file that cannot be read or is no text.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as refused:
        raise _lone_fault(path, f"cannot be read: {why_unreadable(refused)}")
    if len(content) > MAX_FILE_BYTES:
        raise _lone_fault(path, f"too large, expected at most {grammar.size_text(MAX_FILE_BYTES)}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as refused:
        readable = content[: refused.start].decode("utf-8-sig", "replace")
        raise _lone_fault(path, "not UTF-8, expected the file to be saved in it", _end_of(readable))


def parse(text: str, source: str, environ: Mapping[str, str], *, rundir: str = ".") -> Settings:
    """
    The same for text that is already here; ``source`` is how faults name it.

    :raises ConfigFaults: with every fault that could be found, in the order of the text.
    """

    def compose(root: _Root, path: str) -> tuple[Any, Places, list[Fault]]:
        theirs = _Composer(Places(path), environ, root)
        return theirs.compose(_read(path)), theirs.places, theirs.faults

    composer = _Composer(Places(source), environ, _WHOLE)
    faults, settings = composer.faults, None
    tree = composer.compose(text)
    if tree is not None:
        _understand_blanks(tree, composer.blank)
        snippets = join_snippets(tree, composer.places, rundir, partial(compose, _SNIPPET))
        faults.extend(snippets.faults)
        faults.extend(join_files(tree, composer.places, rundir, partial(compose, _TOKENS)))
        try:
            settings = Settings.model_validate(tree, context={**WRITTEN, "snippets": snippets.origins})
        except ValidationError as refused:
            faults.extend(explain(refused, composer.places))
    if settings is None or faults:
        raise ConfigFaults(tuple(sorted(set(faults))))
    return settings


def _understand_blanks(tree: dict[str, Any], blank: Set[Path]) -> None:
    """Keys with nothing but comments below them, where that is not what ``null`` is."""
    if tree.get("demo", "absent") is None:
        # The key alone asks for the demo.
        tree["demo"] = {}
    gate = tree.get("gate")
    if isinstance(gate, dict):
        # Whoever wants no gate says null.
        tree["gate"] = {key: value for key, value in gate.items() if ("gate", key) not in blank}


def check(path: str, environ: Mapping[str, str], rundir: str = ".") -> tuple[int, str]:
    """
    What ``-t`` and ``mcpgate check`` say about a file.

    :returns: exit status 0 and one line that counts servers and replicas, for stdout; or 1 and all faults
        with a line that counts them, for stderr. The text has no line end.
    """
    try:
        settings = load(path, environ, rundir=rundir)
    except ConfigFaults as refused:
        return 1, str(refused)
    replicas = sum(len(server.upstreams) for server in settings.servers)
    return 0, f"OK: {_counted(len(settings.servers), 'server')}, {_counted(replicas, 'replica')}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _lone_fault(source: str, text: str, mark: Mark | None = None) -> ConfigFaults:
    return ConfigFaults((Places(source).fault((), text, mark),))


def _end_of(text: str) -> Mark:
    """The place behind the last character."""
    return Mark(text.count("\n") + 1, len(text) - (text.rfind("\n") + 1) + 1)


class _Root(NamedTuple):
    """What a whole file must be."""

    kind: type | tuple[type, ...]
    expected: str
    if_empty: str


_WHOLE = _Root(dict, "keys and values", "at least a server with its upstream")
_TOKENS = _Root(list, "a list", "a list of tokens, which may be []")
_SNIPPET = _Root((list, dict), "a list of servers, or one of them", "a list of servers, which may be []")


class _Stop(Exception):
    """Nothing behind this fault can be read."""


class _Composer:
    """
    Builds plain values from YAML events, noting where each stands.

    What YAML allows and a configuration does not is noted as a fault and skipped, so that the rest is still
    checked.

    :ivar blank: where a key stands and no value.
    """

    def __init__(self, places: Places, environ: Mapping[str, str], root: _Root) -> None:
        self._root = root
        self.places = places
        self.faults: list[Fault] = []
        self.blank: set[Path] = set()
        self._environ = environ
        self._events: Iterator[Any] = iter(())

    def compose(self, text: str) -> Any:
        """The value of the one document in the text, or None with at least one fault noted."""
        try:
            strange = _NOT_YAML.search(text)
            if strange:
                self._stop("a control character, expected text", _end_of(text[: strange.start()]))
            self._events = iter(yaml.parse(text, Loader=_PARSER))
            return self._document()
        except yaml.YAMLError as broken:
            self.faults.append(self.places.fault((), *_syntax(broken, text)))
        except (ValueError, OverflowError):
            # PyYAML's own parser lets these through for escapes such as "\UFFFFFFFF".
            self.faults.append(self.places.fault((), "not valid YAML: an impossible escape"))
        except _Stop:
            pass
        return None

    def _document(self) -> Any:
        next(self._events)  # the start of the stream
        opening = next(self._events)
        root = None
        if not isinstance(opening, yaml.StreamEndEvent):
            root = self._value(next(self._events), ())
            next(self._events)  # the end of the document
            following = next(self._events)
            if not isinstance(following, yaml.StreamEndEvent):
                self._stop("a second document, expected one", _mark(following))
        if root is None and not self.faults:
            self._stop(f"empty, expected {self._root.if_empty}")
        if not isinstance(root, self._root.kind) and root is not None:
            self._stop(f"{kind_of(root)}, expected {self._root.expected}", self.places.values[()])
        return root

    def _value(self, event: Any, path: Path) -> Any:
        mark = _mark(event)
        self.places.values[path] = mark
        if len(path) > MAX_DEPTH:
            self._stop(f"nested too deeply, expected at most {MAX_DEPTH} levels", mark)
        if isinstance(event, yaml.AliasEvent):
            return self._refuse(path, "an alias, expected the value itself")
        if event.anchor is not None:
            self.faults.append(self.places.fault(path, "an anchor, expected the value alone"))
        if event.tag is not None:
            self.faults.append(self.places.fault(path, "a tag, expected the value alone"))
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(path)
        return self._keys_and_values(path)

    def _list(self, path: Path) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            found.append(self._value(event, (*path, len(found))))
        return found

    def _keys_and_values(self, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if self._is_new_key(event, path, found):
                below = (*path, event.value)
                self.places.keys[below] = _mark(event)
                found[event.value] = self._value(next(self._events), below)
            else:
                self._skip(next(self._events))
        return found

    def _is_new_key(self, event: Any, path: Path, found: Mapping[str, Any]) -> bool:
        objection = _key_objection(event)
        if not isinstance(event, yaml.ScalarEvent):
            self._skip(event)
            below = path
        else:
            below = (*path, event.value)
            if not objection and event.value in found:
                line = self.places.keys[below].line
                objection = f"a key given twice, expected it once; the first is in line {line}"
        if objection:
            self.faults.append(self.places.fault(below, objection, _mark(event)))
        return not objection

    def _skip(self, event: Any) -> None:
        """Pass over one value whatever it holds."""
        depth = 0
        while True:
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth == 0:
                return
            event = next(self._events)

    def _scalar(self, event: Any, path: Path) -> Any:
        text = str(event.value)
        is_plain = event.implicit[0]
        if is_plain and not text:
            self.blank.add(path)
        if is_plain and text in _WORDS:
            return _WORDS[text]
        if is_plain and _INTEGER.fullmatch(text):
            return int(text)
        if is_plain and _FLOAT.fullmatch(text):
            return float(text)
        return self._text(text, path)

    def _text(self, text: str, path: Path) -> str:
        try:
            text.encode()
            return grammar.substitute(text, self._environ)
        except UnicodeEncodeError:
            self._refuse(path, "text with half a character, expected whole ones")
        except ValueError as objection:
            self._refuse(path, str(objection))
        return ""

    def _refuse(self, path: Path, text: str) -> None:
        """Note a fault of a value that cannot be had, so that what follows from that is not told as well."""
        self.faults.append(self.places.fault(path, text))
        self.places.refused.add(path)

    def _stop(self, text: str, mark: Mark | None = None) -> NoReturn:
        self.faults.append(self.places.fault((), text, mark))
        raise _Stop


def _mark(event: Any) -> Mark:
    return Mark(event.start_mark.line + 1, event.start_mark.column + 1)


def _key_objection(event: Any) -> str:
    """Why a key cannot be one, whatever it says; empty if it can."""
    if not isinstance(event, yaml.ScalarEvent):
        return "a key that is not text, expected a plain word"
    if event.anchor is not None or event.tag is not None:
        return "a key with an anchor or tag, expected the key alone"
    if event.value == "<<":
        return "a merge key, expected the keys themselves"
    return "" if event.value.isprintable() else "a key with control characters, expected a plain word"


def _syntax(broken: yaml.YAMLError, text: str) -> tuple[str, Mark | None]:
    if not isinstance(broken, yaml.MarkedYAMLError):
        return "not valid YAML", None
    at = broken.problem_mark or broken.context_mark
    # What stands in quotes may come from the file, unless it is a single character or the name of a token.
    problem = re.sub(r"'([^'<]{2,})'", "...", broken.problem or "broken")
    in_braces = "flow mapping" in (broken.context or "") and "${" in text
    hint = "; put values with ${...} in quotes inside braces" if in_braces else ""
    return f"not valid YAML: {problem}{hint}", Mark(at.line + 1, at.column + 1) if at else None
