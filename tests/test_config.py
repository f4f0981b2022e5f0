"""From a YAML file to settings, or to everything that is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgate.config import MAX_FILE_BYTES, ConfigFaults, Fault, check, load, parse
from mcpgate.settings import Settings

SMALLEST = "servers:\n  - name: a\n    upstreams: [{url: 'http://127.0.0.1:3010'}]\n"


def faults(text: str, environ: Mapping[str, str] | None = None, rundir: str = ".") -> list[str]:
    """The faults of a text, one line each."""
    with pytest.raises(ConfigFaults) as refused:
        parse(text, "g", environ or {}, rundir=rundir)
    return [str(fault) for fault in refused.value.faults]


def with_line(line: str) -> str:
    """A good configuration with one more line for its server."""
    return f"{SMALLEST}    {line}\n"


def test_one_server_with_one_url_is_complete() -> None:
    """Everything else has a default."""
    (server,) = parse(SMALLEST, "g", {}).servers
    assert (server.name, server.path, server.upstreams[0].url) == ("a", "/mcp/a", "http://127.0.0.1:3010")


def test_values_of_every_kind() -> None:
    """Durations, sizes, numbers, truth, lists and text come through as their types."""
    found = parse(
        with_line("strip_prefix: false")
        + "http: {max_body_bytes: 16MiB, max_header_bytes: 4096, header_timeout: 250ms, max_headers: 7}\n"
        + "logging: {sample_2xx: 0.5}\ntrusted_proxies: [10.0.0.0/8]\nlisten: [tcp:1, 'unix:/x']\n",
        "g",
        {},
    )
    assert (found.http.max_body_bytes, found.http.max_header_bytes, found.http.header_timeout) == (
        16 << 20,
        4096,
        0.25,
    )
    assert (found.http.max_headers, found.logging.sample_2xx, found.servers[0].strip_prefix) == (7, 0.5, False)
    assert found.listen == ("tcp:1", "unix:/x")


def test_every_fault_is_told_at_once_and_in_order() -> None:
    """One run shows all that is to be mended: syntax of values, unknown and doubled keys, names given twice."""
    text = (
        "http:\n"
        "  max_headrs: 5\n"
        "  header_timeout: 10\n"
        "servers:\n"
        "  - name: a\n"
        "    upstreams: [{url: ftp://h}]\n"
        "  - name: a\n"
        "    title: ${NOT_SET}\n"
        "    upstreams: [{url: 'http://h'}]\n"
        "    upstreams: []\n"
    )
    assert faults(text) == [
        "g:2:3: http.max_headrs: unknown key, did you mean max_headers?",
        "g:3:19: http.header_timeout: a number without a unit, expected one such as 250ms, 30s, 5m or 1h",
        "g:6:23: servers.0.upstreams.0.url: a URL with another scheme, expected http:// or https://",
        "g:7:11: servers.1.name: the same as in entry 0 of this list, expected another one",
        "g:8:12: servers.1.title: ${NOT_SET} without a value, expected it to be set, or ${NOT_SET:-default}",
        "g:10:5: servers.1.upstreams: a key given twice, expected it once; the first is in line 9",
    ]


def test_places_are_exact_in_nested_and_inline_values() -> None:
    """Line and column point at the value, or at the key where the key is wrong."""
    assert faults("admin: {tokens: [{id: ops, sha256: x, scopes: [red]}]}") == [
        "g:1:36: admin.tokens.0.sha256: not a SHA-256, expected 64 hexadecimal digits and never the token itself; "
        "make one with: mcpgate token new NAME; or hash the one there is: printf %s TOKEN | sha256sum",
        "g:1:48: admin.tokens.0.scopes.0: an unknown word, expected 'read', 'register' or 'write', "
        "did you mean read?",
    ]


def test_columns_count_characters() -> None:
    """Letters of two bytes and a byte order mark do not shift the column."""
    assert faults("{ä: 1, public_url: 5}")[-1].startswith("g:1:20: public_url: a number")


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "~", "null\n"])
def test_an_empty_file_is_a_fault(text: str) -> None:
    """Nothing at all is more likely a mistake than a wish."""
    (only,) = faults(text)
    assert only.endswith(":1: empty, expected at least a server with its upstream")


@pytest.mark.parametrize(("text", "kind"), [("- a\n", "a list"), ("hello\n", "text"), ("5", "a number")])
def test_a_file_that_is_no_mapping(text: str, kind: str) -> None:
    """A configuration consists of keys and values."""
    assert faults(text) == [f"g:1:1: {kind}, expected keys and values"]


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "True", "FALSE", "y", "1"])
def test_only_true_and_false_are_truth_values(word: str) -> None:
    """The words that YAML 1.1 took for truth values are text here, and refused where truth is due."""
    (only,) = faults(with_line(f"strip_prefix: {word}"))
    assert only.endswith("expected true or false")


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "1:30", "0x1F", "010", "1_000", "2026-11-22", "1e3", ".5"])
def test_what_yaml_1_1_took_for_other_things_is_text(word: str) -> None:
    """A country code, a time or a date in a title stays what was written."""
    assert parse(with_line(f"title: {word}"), "g", {}).servers[0].title == word


def test_a_number_where_text_is_due_must_be_quoted() -> None:
    """A version 1.10 would turn into 1.1; so it is refused rather than guessed."""
    assert faults(with_line("version: 1.10")) == [
        "g:4:14: servers.0.version: a number, expected text; put it in quotes"
    ]
    assert parse(with_line("version: '1.10'"), "g", {}).servers[0].version == "1.10"


def test_huge_numbers_are_text() -> None:
    """Digits without end are no number that anybody meant."""
    assert faults(f"http: {{max_headers: {'9' * 5000}}}") == [
        "g:1:21: http.max_headers: text, expected a whole number"
    ]


def test_keys_given_twice_are_refused_everywhere() -> None:
    """The second of two equal keys is told, at any depth, whatever its value is."""
    text = "http: {max_headers: 1, max_headers: {a: [b, {c: d}]}}\nhttp: 5\n"
    assert [line.partition(", expected")[0] for line in faults(text)] == [
        "g:1:24: http.max_headers: a key given twice",
        "g:2:1: http: a key given twice",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x 1\n", "an anchor"),
        ("listen: &x [tcp:1]\n", "an anchor"),
        ("&x listen: tcp:1\n", "a key with an anchor"),
        ("listen: *x\n", "an alias"),
        ("listen: !!str tcp:1\n", "a tag"),
        ("listen: !python/object:os.system {}\n", "a tag"),
        ("http: {<<: {max_headers: 5}}\n", "a merge key"),
        ("? [a, b]\n: 1\n", "a key that is not text"),
        ("{[a]: 1}\n", "a key that is not text"),
        ("? {a: b}\n: {c: [d]}\n", "a key that is not text"),
        ("listen: tcp:1\n---\nlisten: tcp:2\n", "a second document"),
        ('"a\\nb": 1\n', "a key with control characters"),
        ('listen: "a\x01"\n', "a control character"),
        ("listen: [tcp:1\n", "not valid YAML"),
        ("listen: 'tcp\n", "not valid YAML"),
        ("\tlisten: x\n", "not valid YAML"),
        ('listen: "\\q"\n', "not valid YAML"),
        ("a: b: c\n", "not valid YAML"),
        ("%YAML 3.0\n---\nlisten: tcp:1\n", "not valid YAML"),
        ("[" * 100_000, "nested too deeply"),
        ("x:\n" + "".join(" " * n + "- \n" for n in range(1, 40)), "nested too deeply"),
    ],
)
def test_yaml_that_has_no_place_here(text: str, message: str) -> None:
    """What a configuration does not need, or what is no YAML, is refused by name."""
    assert any(f": {message}" in line for line in faults(text))


def test_an_anchor_hides_no_other_fault() -> None:
    """What is refused for its form is still looked into."""
    assert [line.partition(" ")[2] for line in faults("&x\nlisen: 1\npublic_url: &y 5\n")] == [
        "an anchor, expected the value alone",
        "lisen: unknown key, did you mean listen?",
        "public_url: a number, expected text; put it in quotes",
        "public_url: an anchor, expected the value alone",
    ]


def test_aliases_are_never_followed() -> None:
    """A few lines that stand for millions of values cost no more than their own text."""
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{name}: &{name} [{','.join([f'*{former}'] * 9)}]\n" for former, name in zip("abcdef", "bcdefg", strict=True)
    )
    found = faults(bomb)
    assert len([line for line in found if "an alias" in line]) == 6 * 9
    assert len(found) == 6 * 9 + 7 + 7


def test_a_control_character_is_shown_with_its_place() -> None:
    """What an editor hides can be found."""
    assert faults("a: 1\nb: x\x00y\n") == ["g:2:5: a control character, expected text"]


def test_syntax_faults_name_the_place_and_keep_what_was_found_before() -> None:
    """What stands before a syntax error is still told."""
    found = faults("listen: &x tcp:1\nhttp: [\n")
    assert found[0] == "g:1:9: listen: an anchor, expected the value alone"
    assert found[1].startswith("g:3:1: not valid YAML")


def test_a_variable_in_braces_gets_a_hint() -> None:
    """Inside braces the braces of a variable end the value; that is hard to see."""
    hint = "put values with ${...} in quotes"
    assert hint in faults("servers: [{name: ${NAME}, upstreams: []}]\n")[0]
    assert hint not in faults("servers: [{name: a b: c, upstreams: []}]\n")[0]


def test_variables_are_filled_into_text() -> None:
    """A variable can be a part of a value, have a default, or be a number."""
    text = (
        SMALLEST.replace("3010'", "${PORT}'")
        + "    title: ${NOT_SET:-none} for $$5\nlisten: tcp:${PORT}\n"
        + "http: {max_headers: '${N}', header_timeout: '${T}'}\n"
        + "logging: {sample_2xx: '${P}'}\n"
    )
    found = parse(text, "g", {"PORT": "9000", "N": "7", "T": "3s", "P": "0.5"})
    assert (found.listen, found.servers[0].upstreams[0].url) == (("tcp:9000",), "http://127.0.0.1:9000")
    assert (found.servers[0].title, found.http.max_headers) == ("none for $5", 7)
    assert (found.http.header_timeout, found.logging.sample_2xx) == (3.0, 0.5)


def test_variables_are_not_filled_into_keys() -> None:
    """Names of keys are fixed."""
    assert faults("${K}: 1\n", {"K": "listen"})[0].startswith("g:1:1: ${K}: unknown key")


def test_a_filled_in_value_is_checked_and_not_shown() -> None:
    """A value from the environment obeys the same rules, and stays secret."""
    text = with_line("headers: {set: {X-Key: '${KEY}'}}")
    (only,) = faults(text, {"KEY": "s3cret\r\nX-Evil: 1"})
    assert only == (
        "g:4:28: servers.0.headers.set.X-Key: not a header value, expected visible ASCII without line ends and "
        "outer blanks"
    )


def test_a_required_variable_gives_its_message() -> None:
    """The message behind :? is the fault."""
    (only,) = faults("listen: ${PORT:?put PORT into the unit file}\n")
    assert only == "g:1:9: listen: ${PORT} without a value: put PORT into the unit file"


@pytest.mark.parametrize("text", ["demo:\n", "demo: {}\n", "demo: ~\n", "demo:\n  listen: unix:/run/demo\n"])
def test_the_key_demo_alone_asks_for_the_demo(text: str) -> None:
    """It is enough that the key is there, also with nothing but comments below it."""
    assert parse(text, "g", {}).demo is not None
    assert parse(SMALLEST, "g", {}).demo is None


@pytest.mark.parametrize("text", ["connections:\n", "connections:\n    #rate: 5/s\n", "{connections: }\n"])
def test_comments_alone_do_not_open_the_gate(text: str) -> None:
    """A part of the gate without lines is its default; whoever wants none says null."""
    assert parse(f"gate:\n  {text}", "g", {}).gate == Settings().gate
    assert parse("gate: {connections: null, unauthenticated: ~}\n", "g", {}).gate.connections is None
    assert parse("gate:\n", "g", {}).gate == Settings().gate
    assert faults("gate:\n  -\n  -\n") == ["g:2:3: gate: a list, expected keys and values"]


def test_loading_a_file(tmp_path: Path) -> None:
    """A file may start with a byte order mark and have any line ends."""
    path = tmp_path / "gate.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + SMALLEST.replace("\n", "\r\n").encode())
    assert load(str(path), {}) == parse(SMALLEST, "g", {})


def only_fault(path: Path) -> Fault:
    """The one fault of a file."""
    with pytest.raises(ConfigFaults) as refused:
        load(str(path), {})
    (fault,) = refused.value.faults
    return fault


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file and a directory are one clear fault that names the path."""
    assert str(only_fault(tmp_path / "no.yaml")) == f"{tmp_path}/no.yaml:1:1: cannot be read: No such file or directory"
    assert only_fault(tmp_path).text == "cannot be read: Is a directory"
    assert only_fault(tmp_path / "a\0b").text == "cannot be read: not a possible path"


def test_files_that_are_no_text(tmp_path: Path) -> None:
    """Another encoding and a file without end are one clear fault each."""
    path = tmp_path / "gate.yaml"
    path.write_bytes("listen: tcp:1\ntitle: caf\u00e9\n".encode("latin-1"))
    assert str(only_fault(path)) == f"{path}:2:11: not UTF-8, expected the file to be saved in it"
    path.write_bytes("listen: x\n".encode("utf-16"))
    assert only_fault(path).text.startswith("not UTF-8")
    path.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    assert only_fault(path).text == "too large, expected at most 1MiB"


def test_checking_a_file(tmp_path: Path) -> None:
    """A good file is counted, a bad one is told line by line; the status says which."""
    path = tmp_path / "gate.yaml"
    path.write_text(SMALLEST)
    assert check(str(path), {}) == (0, "OK: 1 server, 1 replica")
    path.write_text(SMALLEST + "  - name: b\n    upstreams: [{url: 'http://h'}]\n")
    assert check(str(path), {}, str(tmp_path)) == (0, "OK: 2 servers, 2 replicas")
    path.write_text("lisen: x\n")
    assert check(str(path), {}) == (
        1,
        f"{path}:1:1: lisen: unknown key, did you mean listen?\nmcpgate: 1 fault in {path}",
    )


SECRET = "s3cret-Zq9"
_FRAGMENTS = """servers:|name: |a|  |- |upstreams:|url: http://h|{|}|[|]|,|&a |*a|!!str |!x |${X}|${|$$|'|"|? |: |<<:
|---|...|%YAML 1.1|1:30|~|\t|é|# c|>|\\|\\u00e9|\x00|\x85|\ufeff|http:|demo:|listen: tcp:1|5|true|@|`|%|\r|\n"""
PIECES = st.sampled_from([*_FRAGMENTS.split("|"), "|", "\n"])
_DEFINED = [part["properties"] for part in Settings.model_json_schema()["$defs"].values()]
KEYS = st.sampled_from([*Settings.model_fields, *(key for keys in _DEFINED for key in keys)]) | st.text(max_size=4)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([SECRET, f"http://u:{SECRET}@h/", f"tcp:{SECRET}", f"${{X:-{SECRET}", "10s", "http://h:1", "/x"]),
)
TREES = st.recursive(
    VALUES, lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS, below, max_size=5), max_leaves=25
)


def outcome(text: str) -> Settings | str:
    """Settings, or all that is wrong, one line each."""
    try:
        return parse(text, "g", {"X": "x"})
    except ConfigFaults as refused:
        assert refused.faults
        lines = text.count("\n") + text.count("\r") + text.count("\x85") + text.count("\u2028") + text.count("\u2029")
        assert all(1 <= fault.line <= lines + 2 and fault.column >= 1 for fault in refused.faults)
        assert all(len(str(fault).splitlines()) == 1 for fault in refused.faults)
        return str(refused)


@given(st.text() | st.lists(PIECES, max_size=30).map("".join))
def test_any_text_gives_settings_or_faults(text: str) -> None:
    """Whatever stands in the file, there is no other error, and each fault is a line with a place."""
    assert outcome(text)


@given(TREES)
def test_any_values_give_settings_or_faults_and_stay_secret(tree: Any) -> None:
    """Any value at any key is taken or refused; no fault repeats a value."""
    found = outcome(json.dumps(tree))
    assert isinstance(found, Settings) or SECRET not in found
