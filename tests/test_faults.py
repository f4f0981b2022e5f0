"""What is wrong with a configuration, in words and with its place."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mcpgate.faults import ConfigFaults, Fault, Mark, Places, explain
from mcpgate.settings import Settings
from mcpgate.values.quantities import WRITTEN


def told(tree: dict[str, Any], places: Places | None = None) -> dict[str, str]:
    """Path and text of each fault in a tree of values."""
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(tree, context=WRITTEN)
    return {fault.path: fault.text for fault in explain(caught.value, places or everywhere(tree))}


def everywhere(tree: Any) -> Places:
    """Places in which every value of a tree is known."""
    places = Places("gate.yaml")

    def walk(value: Any, path: tuple[str | int, ...]) -> None:
        places.values[path] = Mark(1, 1)
        below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for part, each in below:
            walk(each, (*path, part))

    walk(tree, ())
    return places


def test_a_fault_is_one_line() -> None:
    """File, line, column, path, and what is wrong."""
    assert str(Fault("gate.yaml", 3, 5, "http.x", "unknown key")) == "gate.yaml:3:5: http.x: unknown key"
    assert str(Fault("gate.yaml", 1, 1, "", "empty")) == "gate.yaml:1:1: empty"


def test_faults_are_listed_and_counted() -> None:
    """One line each, then how many there are."""
    one, two = Fault("g", 1, 1, "", "a"), Fault("g", 2, 1, "", "b")
    assert str(ConfigFaults((one,))) == "g:1:1: a\nmcpgate: 1 fault in g"
    assert str(ConfigFaults((one, two))).splitlines()[-1] == "mcpgate: 2 faults in g"


def test_a_fault_stands_at_the_nearest_value_that_is_written() -> None:
    """What is missing is shown where it should be."""
    places = Places("g", {(): Mark(1, 1), ("servers",): Mark(2, 3), ("servers", 0): Mark(3, 5)})
    assert str(places.fault(("servers", 0, "name"), "missing")) == "g:3:5: servers.0.name: missing"
    assert str(places.fault(("http",), "odd", Mark(9, 9))) == "g:9:9: http: odd"


@pytest.mark.parametrize(
    ("key", "shown"), [("a\nb", r"a\nb"), ("a\x1b[0m", r"a\x1b[0m"), ("k" * 100, "k" * 64 + "...")]
)
def test_strange_keys_stay_on_one_short_line(key: str, shown: str) -> None:
    """A key with a line end or a terminal code in it cannot disturb the list of faults."""
    assert Places("g").fault((key,), "unknown key").path == shown


def test_an_unknown_key_gets_the_nearest_known_one() -> None:
    """A slip of the pen is answered with the word that was meant."""
    assert told({"http": {"max_body_byte": 1}}) == {"http.max_body_byte": "unknown key, did you mean max_body_bytes?"}


@pytest.mark.parametrize("key", ["maxBodyBytes", "max-body-bytes", "MAX_BODY_BYTES"])
def test_other_spellings_are_understood_and_refused(key: str) -> None:
    """Whoever comes from JSON or from flags is told our spelling."""
    assert told({"http": {key: 1}})[f"http.{key}"] == "unknown key, did you mean max_body_bytes?"


def test_a_key_in_the_wrong_place_is_told_its_place() -> None:
    """A known key that stands too high or too low is sent where it belongs."""
    assert told({"header_timeout": "3s"}) == {
        "header_timeout": "unknown key here, did you mean http.header_timeout?"
    }


def test_an_unknown_key_with_no_near_one_gets_the_list() -> None:
    """Otherwise one learns which keys there are."""
    text = told({"drain": {"zzz": 1}})["drain.zzz"]
    assert text == "unknown key, expected one of: delay timeout"


def test_what_is_missing_is_described() -> None:
    """A required key is asked for with its description."""
    found = told({"servers": [{}]})
    assert set(found) == {"servers.0.name", "servers.0"}
    assert found["servers.0"] == "no upstreams, expected at least one entry, or replicas_may_register: true"
    assert found["servers.0.name"].startswith("missing, expected: Unique name")


@pytest.mark.parametrize(
    ("tree", "path", "text"),
    [
        ({"public_url": 5}, "public_url", "a number, expected text; put it in quotes"),
        ({"public_url": ["x"]}, "public_url", "a list, expected text"),
        ({"servers": {}}, "servers", "keys and values, expected a list"),
        ({"servers": None}, "servers", "nothing, expected a list"),
        ({"servers": ["x"]}, "servers.0", "text, expected keys and values"),
        ({"http": 5}, "http", "a number, expected keys and values"),
        (
            {"logging": {"format": "jsn"}},
            "logging.format",
            "an unknown word, expected 'auto', 'json' or 'text', did you mean json?",
        ),
        ({"logging": {"format": 5}}, "logging.format", "a number, expected 'auto', 'json' or 'text'"),
        ({"admin": {"tokens": "x"}}, "admin.tokens", "text, expected a list"),
    ],
)
def test_wrong_kinds_of_value(tree: dict[str, Any], path: str, text: str) -> None:
    """The kind of value that came, what was expected, and what was probably meant."""
    assert told(tree) == {path: text}


def test_the_section_of_a_dictionary_is_no_list_of_keys() -> None:
    """Where keys are free, a wrong one is told what keys may be."""
    tree = {"servers": [{"name": "a", "upstreams": [{"url": "http://h"}], "endpoints": {"see": "/x"}}]}
    assert told(tree) == {
        "servers.0.endpoints.see": "an unknown word, expected 'streamable-http' or 'sse', did you mean sse?"
    }


def test_below_a_free_key_there_are_known_ones() -> None:
    """A name that somebody chose does not hide what may stand below it."""
    tree = {"servers": [{"name": "a", "upstreams": [{"url": "http://h"}], "upstream_credentials": {"alice": {"sett": {}}}}]}
    assert told(tree) == {
        "servers.0.upstream_credentials.alice.sett": "unknown key, did you mean set?"
    }
    assert told({"gate": {"connections": {"burst": 1}}}) == {
        "gate.connections.rate": "missing, expected: How often in a second (50/s), a minute, an hour or a day."
    }


@pytest.mark.parametrize("key", ["token", "secret", "bearer", "key", "value", "Token", "api-key", "password"])
@pytest.mark.parametrize("part", ["auth", "admin"])
def test_a_token_in_clear_text_is_told_how_to_hash_it(part: str, key: str) -> None:
    """Under whatever key somebody would write it; the token itself is not repeated."""
    entry = {"id": "a", "sha256": "ab" * 32, "scopes": ["read"], key: "s3cret"}
    assert told({part: {"tokens": [entry]}}) == {
        f"{part}.tokens.0.{key}": "a token in clear text, expected only its hash, under sha256; make one with: "
        "mcpgate token new NAME; or hash the one there is: printf %s TOKEN | sha256sum"
    }


def test_a_shared_secret_of_an_issuer_is_told_what_to_use() -> None:
    """Signatures are checked with public keys."""
    entry = {"issuer": "https://idp", "audience": "gw", "jwks_url": "https://idp/keys", "secret": "s3cret"}
    (text,) = told({"auth": {"jwt": [entry]}}).values()
    assert text.startswith("a secret, expected none")


def test_entries_of_another_file_are_told_with_its_name() -> None:
    """What was joined is shown where it is written, with the path that it has there."""
    places, theirs = Places("g"), Places("t")
    places.values[("auth", "tokens", 0)] = Mark(2, 3)
    theirs.values.update({(): Mark(1, 1), (0,): Mark(1, 3), (0, "id"): Mark(1, 8), (1,): Mark(2, 3)})
    theirs.keys[(0, "id")] = Mark(1, 4)
    theirs.refused.add((0, "id"))
    places.join(("auth", "tokens"), 1, theirs)
    assert str(places.fault(("auth", "tokens", 0, "id"), "odd")) == "g:2:3: auth.tokens.0.id: odd"
    assert str(places.fault(("auth", "tokens", 1, "id"), "odd")) == "t:1:8: 0.id: odd"
    assert str(places.fault(("auth", "tokens", 2, "sha256"), "odd")) == "t:2:3: 1.sha256: odd"
    assert places.keys[("auth", "tokens", 1, "id")] == Mark(1, 4)
    assert places.is_refused(("auth", "tokens", 1, "id"))


def test_entries_of_several_files_are_told_each_with_its_own() -> None:
    """In a file a list may be everything, stand below a key, or there may be one entry and no list."""
    places = Places("g")
    for source, first, at in (("one", 1, None), ("none", 2, ()), ("two", 2, ("servers",))):
        theirs = Places(source)
        theirs.values.update({(): Mark(1, 1), ("name",): Mark(1, 7), ("servers", 1, "name"): Mark(2, 9)})
        theirs.keys[("servers", 0)] = Mark(5, 5)
        theirs.refused.add(("servers", 1, "name"))
        places.join(("servers",), first, theirs, at)
    assert str(places.fault(("servers", 0), "odd")) == "g:1:1: servers.0: odd"
    assert str(places.fault(("servers", 1, "name"), "odd")) == "one:1:7: name: odd"
    assert str(places.fault(("servers", 1), "odd")) == "one:1:1: odd"
    assert str(places.fault(("servers", 3, "name"), "odd")) == "two:2:9: servers.1.name: odd"
    assert places.keys[("servers", 2)] == Mark(5, 5)
    assert places.is_refused(("servers", 3, "name"))
    assert not places.is_refused(("servers", 2))


def test_faults_of_two_files_are_counted_together() -> None:
    """The last line names both; many are only counted."""
    faults = Fault("a", 1, 1, "", "x"), Fault("b", 1, 1, "", "x"), Fault("b", 2, 1, "", "x")
    assert str(ConfigFaults(faults)).splitlines()[-1] == "mcpgate: 3 faults in a and b"
    many = tuple(Fault(source, 1, 1, "", "x") for source in "abcd")
    assert str(ConfigFaults(many)).splitlines()[-1] == "mcpgate: 4 faults in 4 files"


def test_consequences_of_a_known_fault_are_left_out() -> None:
    """A variable that is not set is told once, not again as an empty value."""
    tree = {"public_url": "", "http": {"max_headers": "x"}}
    places = everywhere(tree)
    places.refused.add(("public_url",))
    assert set(told(tree, places)) == {"http.max_headers"}


def test_an_error_of_an_unknown_type_is_not_repeated_in_words() -> None:
    """A message that was not made for this could hold a value, so only its type is told."""
    refused = ValidationError.from_exception_data(
        "x", [{"type": "int_parsing", "loc": ("http",), "input": "s3cret"}]
    )
    (fault,) = explain(refused, Places("g"))
    assert fault.text == "not valid here (int_parsing)"
