"""What a registration may say, in its two forms, and that its secrets stay where they are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import PURE

from mcpgate.refusals import RegistrationRefused
from mcpgate.registry.registration import (
    Registration,
    Simple,
    read_registration,
    read_simple,
    replica_id,
    restored,
    shown,
    stored,
)
from mcpgate.values import grammar

URL = "http://127.0.0.1:3010"


def _full(**said: object) -> Registration:
    return read_registration(json.dumps({"url": URL, **said}).encode())


def _faults(**said: object) -> dict[str, str]:
    with pytest.raises(RegistrationRefused) as caught:
        _full(**said)
    return dict(caught.value.faults)


def _simple(**said: object) -> Simple:
    return read_simple(json.dumps({"name": "github-pm", "host": "127.0.0.1", "port": 3010, **said}).encode())


def _simple_faults(**said: object) -> dict[str, str]:
    with pytest.raises(RegistrationRefused) as caught:
        _simple(**said)
    return dict(caught.value.faults)


# --- the full form ------------------------------------------------------------------------------------------------


def test_a_url_is_enough() -> None:
    """Everything else has a default; the path follows the name of the server."""
    found = _full()
    assert (found.url, found.weight, found.ttl, found.endpoints) == (URL, 1, None, {"streamable-http": "/mcp"})
    assert found.path_of("files") == "/mcp/files"
    assert _full(path="/tools/files").path_of("files") == "/tools/files"


@pytest.mark.parametrize(("ttl", "expected_s"), [(45, 45.0), (1.5, 1.5), ("30s", 30.0), (0, 0.0), ("0s", 0.0), (None, None)])
def test_a_ttl_is_seconds_or_has_a_unit(ttl: object, expected_s: float | None) -> None:
    """Programs send numbers, people write 30s; 0 is for those who send no beats."""
    assert _full(ttl=ttl).ttl == expected_s


def test_all_faults_are_told_at_once() -> None:
    """Whoever registers mends everything in one go; each fault names its key."""
    assert _faults(
        url="http://127.1",
        weight=0,
        endpoints={"http": "/x", "sse": "x"},
        tags=["a", "b\nc"],
        protocol_versions=["2026"],
        ttl=100_000,
        deregister_critical_after="5",
        path="/mcp/discovery",
        title=3,
        meta={"a": 1},
    ) == {
        "url": "not an IPv4 address, expected four decimal numbers such as 127.0.0.1",
        "weight": "too small, expected at least 1",
        "endpoints.http": "an unknown word, expected 'streamable-http' or 'sse'",
        "endpoints.sse": "not an absolute path, expected it to start with a slash",
        "tags.1": "text with control characters or line ends, expected one plain line",
        "protocol_versions.0": "not the date of a version, expected one such as 2026-07-28",
        "ttl": "too large, expected at most 86400s",
        "deregister_critical_after": "a number without a unit, expected one such as 250ms, 30s, 5m or 1h",
        "path": "an address of the gateway itself, expected one that is not /mcp/discovery or below it",
        "title": "a number, expected text",
        "meta.a": "a number, expected text",
    }


@pytest.mark.parametrize(
    "url",
    [
        "gopher://127.0.0.1:6379/_X",
        "unix:/var/run/docker.sock",
        "http://2130706433/",
        "http://169\u3002254\u3002169\u3002254/",
        "http://user:pw@h/",
        "http://${HOST}:80",
        "http://h/${BASE}",
        "http://h/?q",
        "//h",
        "",
    ],
)
def test_an_address_that_could_mean_something_else_is_refused(url: str) -> None:
    """Other schemes, odd spellings of addresses, variables of the gateway's environment."""
    assert list(_faults(url=url)) == ["url"]


@pytest.mark.parametrize("path", ["/mcp/%61", "/mcp/a\0", "/mcp/a/", "/", "mcp", "/mcp/../x", "/.well-known/x", "/v0.1", "/mcp/${A}"])
def test_a_path_that_could_mean_something_else_is_refused(path: str) -> None:
    """Encoded and dotted paths, and those of the gateway itself."""
    assert list(_faults(path=path)) == ["path"]


def test_variables_are_only_text() -> None:
    """Nothing of the environment can be read by registering."""
    found = _full(title="${HOME}", meta={"a": "${PATH}"}, headers={"X-Key": "${SECRET}"})
    assert (found.title, found.meta, found.headers) == ("${HOME}", {"a": "${PATH}"}, {"X-Key": "${SECRET}"})


@pytest.mark.parametrize(
    ("headers", "where"),
    [
        ({"X-A": "1\r\nX-B: 2"}, "headers.X-A"),
        ({"Host": "evil"}, "headers.Host"),
        ({"Transfer-Encoding": "chunked"}, "headers.Transfer-Encoding"),
        ({"Authorization: Bearer t0ken": ""}, "headers.?"),
        ({"x-a": "1", "X-A": "2"}, "headers"),
    ],
)
def test_headers_cannot_break_the_request_to_the_replica(headers: dict[str, str], where: str) -> None:
    """No line ends, nothing that frames or routes; a key that may be a secret is not repeated."""
    assert list(_faults(headers=headers)) == [where]


@pytest.mark.parametrize(
    ("said", "where"),
    [
        ({"tags": ["a"] * 21}, "tags"),
        ({"protocol_versions": ["2026-07-28"] * 21}, "protocol_versions"),
        ({"meta": {str(number): "" for number in range(33)}}, "meta"),
        ({"meta": {"k": "v" * 513}}, "meta.k"),
        ({"meta": {"k" * 64: ""}}, "meta." + "k" * 64),
        ({"meta": {"": ""}}, "meta.?"),
        ({"headers": {f"X-{number}": "v" for number in range(33)}}, "headers"),
        ({"path": "/" + "a" * 500}, "path"),
        ({"url": "http://h/" + "a" * 2000}, "url"),
        ({"docs_url": "http://h/" + "a" * 2000}, "docs_url"),
        ({"title": "t" * 2001}, "title"),
        ({"endpoints": {"sse": "/" + "a" * 500}}, "endpoints.sse"),
    ],
)
def test_everything_has_a_bound(said: dict[str, object], where: str) -> None:
    """One registration cannot fill the memory."""
    faults = _faults(**said)
    assert list(faults) == [where]
    assert "at most" in faults[where] or "expected 1 to" in faults[where]


def test_one_more_than_allowed_is_one_too_many() -> None:
    """The bounds themselves are allowed."""
    found = _full(
        tags=["a"] * 20, meta={"k" * 63: "v" * 512} | {str(n): "" for n in range(31)}, path="/" + "a" * 499
    )
    assert (len(found.tags), len(found.meta), len(found.path or "")) == (20, 32, 500)


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("weigth", "unknown key, did you mean weight?"),
        ("stripPrefix", "unknown key, did you mean strip_prefix?"),
        ("name", "names stand in the address of the request"),
        ("host", "the address stands in url"),
        ("basePath", "the public path stands in path"),
        ("zzz", "unknown key, expected one of: "),
    ],
)
def test_an_unknown_key_is_a_fault_with_a_remedy(key: str, told: str) -> None:
    """A slip of the pen must not silently be a default."""
    faults = _faults(**{key: 1})
    assert list(faults) == [key]
    assert told in faults[key]


def test_without_a_url_nothing_is_registered() -> None:
    """The fault says what is missing."""
    with pytest.raises(RegistrationRefused) as caught:
        read_registration(b"{}")
    assert [where for where, _ in caught.value.faults] == ["url"]
    assert caught.value.faults[0][1].startswith("missing, expected: http or https address")


# --- secrets ------------------------------------------------------------------------------------------------------

SECRET = "s3cr3t-s3cr3t"


def test_secrets_are_never_shown() -> None:
    """Operators see which headers are set, not to what."""
    found = _full(headers={"X-Api-Key": SECRET, "Authorization": SECRET})
    told = shown(found, "files")
    assert told["headers"] == ["Authorization", "X-Api-Key"]
    assert told["path"] == "/mcp/files"
    assert SECRET not in json.dumps(told) + repr(found) + str(found) + found.model_dump_json()


def test_secrets_are_in_no_fault() -> None:
    """Whatever is wrong, no value is repeated, not even by the error's cause."""
    bodies: list[dict[str, Any]] = [
        {"url": SECRET, "headers": {"X-A": f"{SECRET}\n"}, "ttl": SECRET, "tags": SECRET, "meta": {"a": [SECRET]}},
        {"url": {"a": SECRET}, "headers": SECRET, "endpoints": {f"{SECRET} {SECRET}": SECRET}, "title": f"\n{SECRET}"},
    ]
    for body in bodies:
        with pytest.raises(RegistrationRefused) as caught:
            read_registration(json.dumps(body).encode())
        assert SECRET not in f"{caught.value.faults} {caught.value.text} {caught.value!r}"
        assert caught.value.__context__ is None


# --- the simple form ----------------------------------------------------------------------------------------------


def test_the_simple_form() -> None:
    """Five keys, as a registry of a few lines of JavaScript takes them."""
    found = read_simple(
        b'{"name":"GitHub Project Manager","version":"1.0.0","basePath":"/mcp/github-pm/","host":"localhost","port":3010}'
    )
    assert (found.server, found.replica) == ("github-project-manager", "localhost-3010")
    assert found.answered == {
        "name": "GitHub Project Manager",
        "version": "1.0.0",
        "basePath": "/mcp/github-pm",
        "host": "localhost",
        "port": 3010,
        "endpoint": "localhost:3010",
    }
    said = found.registration
    assert (said.url, said.path, said.title, said.version) == (
        "http://localhost:3010",
        "/mcp/github-pm",
        "GitHub Project Manager",
        "1.0.0",
    )
    # Nobody beats in this form, and nobody says which transport is spoken.
    assert (said.ttl, said.endpoints) == (0.0, {"streamable-http": "/mcp", "sse": "/sse"})


@pytest.mark.parametrize(
    ("name", "server", "title"),
    [
        ("github-pm", "github-pm", None),
        ("a--b._c", "a--b._c", None),
        ("GitHub", "github", "GitHub"),
        ("Calendar & Mail (beta)", "calendar-mail-beta", "Calendar & Mail (beta)"),
        (" A/B: c ", "a-b-c", "A/B: c"),
        ("Jira 9.2 - EU", "jira-9.2-eu", "Jira 9.2 - EU"),
    ],
)
def test_a_name_for_people_becomes_a_title_and_a_name(name: str, server: str, title: str | None) -> None:
    """A name that is one already stays."""
    found = _simple(name=name)
    assert (found.server, found.registration.title, found.answered["name"]) == (server, title, name)
    assert found.registration.path_of(found.server) == f"/mcp/{server}"


@pytest.mark.parametrize("name", ["", " ", "()", "x'); DROP TABLE upstreams;--", "a\nb", "a\0", "é", "${A}", "Discovery", "a" * 64, "A " * 101, 5])
def test_a_name_that_is_none_is_refused(name: object) -> None:
    """Quotes, semicolons, controls, nothing, what is taken, what is too long."""
    assert list(_simple_faults(name=name)) == ["name"]


@pytest.mark.parametrize(
    ("name", "base_path", "server"),
    [
        ("github-pm", "/mcp/v2/github-pm", "github-pm-v2"),
        ("github-pm", "/mcp/github-pm/v10", "github-pm-v10"),
        ("github-pm-v2", "/mcp/v2/github-pm", "github-pm-v2"),
        ("GitHub PM", "/v1/pm", "github-pm-v1"),
        ("github-pm", "/mcp/very/vx/v", "github-pm"),
    ],
)
def test_versions_of_a_path_are_servers_of_their_own(name: str, base_path: str, server: str) -> None:
    """So two versions of one server can be there at once."""
    assert _simple(name=name, basePath=base_path).server == server


def test_a_name_needs_room_for_its_version() -> None:
    """The fault says why a name that was fine is not."""
    assert _simple_faults(name="a" * 62, basePath="/v1/a") == {"name": "too long with the version of basePath behind it"}


@pytest.mark.parametrize("base_path", ["/", "", None])
def test_a_server_at_the_root_appears_under_its_name(base_path: str | None) -> None:
    """What servers send that do not know under which path they will appear."""
    assert _simple(basePath=base_path).answered["basePath"] == "/mcp/github-pm"


@pytest.mark.parametrize("base_path", ["mcp/x", "/mcp/x//", "/mcp/discovery/", "/mcp/%61", "/mcp/x?y", 7])
def test_a_base_path_that_is_none_is_refused(base_path: object) -> None:
    """By the rules for all paths."""
    assert list(_simple_faults(basePath=base_path)) == ["basePath"]


@pytest.mark.parametrize(
    ("host", "url", "replica"),
    [
        ("127.0.0.1", "http://127.0.0.1:3010", "127.0.0.1-3010"),
        ("MCP.Example.com", "http://mcp.example.com:3010", "mcp.example.com-3010"),
        ("::1", "http://[::1]:3010", "v6...1-3010"),
        ("[2001:DB8:0::5]", "http://[2001:db8::5]:3010", "v6.2001.db8..5-3010"),
        ("_x.local", "http://_x.local:3010", "host-7435d5fa6311-3010"),
    ],
)
def test_a_host_and_a_port_are_an_address_and_an_id(host: str, url: str, replica: str) -> None:
    """To register again is to be the same replica."""
    found = _simple(host=host)
    assert (found.registration.url, found.replica) == (url, replica)
    assert found == _simple(host=host)


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("http://h", "a URL"),
        ("h:80", "under port"),
        ("[::1]:80", "under port"),
        ("h/x", "not a host"),
        ("u@h", "user name"),
        ("127.1", "IPv4"),
        ("fe80::1%eth0", "not a host"),
        ("", "not a host"),
        (None, "nothing, expected text"),
    ],
)
def test_a_host_that_is_none_is_refused(host: object, told: str) -> None:
    """The fault says what was put there by mistake."""
    faults = _simple_faults(host=host)
    assert list(faults) == ["host"]
    assert told in faults["host"]


@pytest.mark.parametrize(("port", "expected"), [(1, 1), (65535, 65535), ("3010", 3010)])
def test_a_port_may_be_text(port: object, expected: int) -> None:
    """It often comes from an environment variable."""
    assert _simple(port=port).answered["port"] == expected


@pytest.mark.parametrize("port", [0, 65536, "x", "080", 1.5, None, True, -1])
def test_a_port_that_is_none_is_refused(port: object) -> None:
    """Nothing is guessed."""
    assert list(_simple_faults(port=port)) == ["port"]


@pytest.mark.parametrize(("version", "text"), [("1.4.0", "1.4.0"), (2, "2"), (1.5, "1.5"), (None, None)])
def test_a_version_may_be_a_number(version: object, text: str | None) -> None:
    """It is kept as text."""
    found = _simple(version=version)
    assert (found.registration.version, found.answered.get("version")) == (text, text)


def test_the_simple_form_takes_the_keys_of_the_full_one() -> None:
    """But for those that it says in its own way."""
    found = _simple(ttl="20s", weight=3, tags=["a"], title="T", headers={"X-A": SECRET}, endpoints={"sse": "/"}).registration
    assert (found.ttl, found.weight, found.tags, found.title, found.endpoints) == (20.0, 3, ("a",), "T", {"sse": "/"})
    assert found.headers == {"X-A": SECRET}
    faults = _simple_faults(url=URL, path="/x", hots="h")
    assert faults == {
        "url": "unknown key: the address stands in host and port, expected no url here",
        "path": "unknown key: the public path stands in basePath",
        "hots": "unknown key, did you mean host?",
    }


def test_all_faults_of_the_simple_form_are_told_at_once() -> None:
    """What is missing, too."""
    with pytest.raises(RegistrationRefused) as caught:
        read_simple(b'{"weight": 0}')
    assert [where for where, _ in caught.value.faults] == ["weight", "name", "host", "port"]


HOSTS = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?(\.[a-z]([a-z0-9_-]{0,61}[a-z0-9_])?){0,3}", fullmatch=True),
)


@PURE
@given(HOSTS, HOSTS, st.integers(1, 65535))
def test_every_address_has_an_id_of_its_own(one: str, other: str, port: int) -> None:
    """It can stand wherever names stand, and two addresses do not share one."""
    assert grammar.name(replica_id(one, port)) == replica_id(one, port)
    assert (replica_id(one, port) == replica_id(other, port)) == (one == other)


# --- kept ---------------------------------------------------------------------------------------------------------

LINES = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), max_size=30)
SAID = st.fixed_dictionaries(
    {"url": st.sampled_from([URL, "https://h/base/", "http://[::1]:1"])},
    optional={
        "weight": st.integers(1, 1000),
        "path": st.sampled_from(["/mcp/x", "/a/b"]),
        "endpoints": st.sampled_from([{"sse": "/sse"}, {"streamable-http": "/", "sse": "/e"}]),
        "strip_prefix": st.booleans(),
        "title": LINES,
        "version": LINES,
        "tags": st.lists(LINES, max_size=20),
        "protocol_versions": st.lists(st.dates().map(str), max_size=20),
        "meta": st.dictionaries(st.from_regex(r"[a-z]{1,63}", fullmatch=True), LINES, max_size=32),
        "headers": st.dictionaries(
            st.from_regex(r"x-[a-z]{1,9}", fullmatch=True).filter(lambda name: not name.startswith("x-forwarded-")),
            st.from_regex(r"[!-~]{0,20}", fullmatch=True),
            max_size=5,
        ),
        "ttl": st.sampled_from([0, 1, 0.0, 12.345, "250s", "1.5m", 86400]),
        "deregister_critical_after": st.floats(1, 7 * 86400),
    },
)


@PURE
@given(SAID)
def test_what_is_stored_comes_back(said: dict[str, object]) -> None:
    """With its secrets, and always as the same bytes."""
    found = _full(**said)
    assert restored(stored(found)) == found
    assert stored(restored(stored(found))) == stored(found)
    assert restored(stored(found)).headers == said.get("headers", {})


def test_what_another_version_stored_is_refused_not_guessed() -> None:
    """A key that this version does not know could change the meaning of the others."""
    kept = json.loads(stored(_full(headers={"X-A": SECRET})))
    with pytest.raises(ValueError, match="quota: unknown key") as caught:
        restored(json.dumps(kept | {"quota": SECRET}).encode())
    assert SECRET not in str(caught.value)
    with pytest.raises(ValueError, match="not JSON"):
        restored(b"")


# --- whatever comes -----------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=20),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=10), below, max_size=4),
    max_leaves=8,
)
KEYS = st.sampled_from([*Registration.model_fields, "name", "host", "port", "basePath", "x"])
VALUES = JSON | st.sampled_from(["x", "/x", "h", URL, "30s", 3010, "::1", "/v1/x", {"sse": "/x"}])
BODIES = st.one_of(
    st.binary(max_size=100),
    st.one_of(JSON, st.dictionaries(KEYS, VALUES, max_size=8)).map(lambda value: json.dumps(value).encode()),
)


@PURE
@given(BODIES)
def test_whatever_is_sent_is_taken_or_refused(body: bytes) -> None:
    """There is no third way, in either form; what is taken can be kept and shown."""
    for read in (read_registration, read_simple):
        try:
            found = read(body)
        except RegistrationRefused as refused:
            assert refused.faults
            assert all(where.isprintable() and what.isprintable() for where, what in refused.faults)
            continue
        registration = found.registration if isinstance(found, Simple) else found
        assert restored(stored(registration)) == registration
        json.dumps(shown(registration, "x"), allow_nan=False)
