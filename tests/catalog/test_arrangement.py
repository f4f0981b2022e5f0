"""The servers as discovery arranges them: sorted, in families, with pieces that outlive what does not concern them."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given
from tests.catalog.arranging import Shown, arrange, everybody, servers, shown
from tests.strategies import PURE

from mcpgate.catalog.arrangement import Item, Json, filled
from mcpgate.catalog.names import Publisher


def _told(item: Item[Shown], is_latest: bool) -> Json:
    return {"name": item.entry.settings.name, "latest": is_latest}


def test_servers_stand_in_the_order_of_their_names() -> None:
    """Wherever they come from."""
    found = arrange(shown("b"), shown("a.b"), shown("a"))
    assert [item.entry.settings.name for item in found.by_name] == ["a", "a.b", "b"]
    assert [item.label for item in found.by_label] == ["a", "a.b", "b"]


def test_a_path_lies_below_servers() -> None:
    """At whole segments, the outer one first."""
    found = arrange(shown("a", path="/a"), shown("b", path="/a/b"), shown("c", path="/a/bc"))
    assert [item.label for item in found.around("/a/b/mcp")] == ["a", "b"]
    assert [item.label for item in found.around("/a/b")] == ["a"]
    for path in ("", "/", "a", "/x/y", "/ab/c"):
        assert list(found.around(path)) == []


def test_versioned_paths_make_one_family() -> None:
    """With the plain path in it, if there is one; the newest is the newest that one may see."""
    found = arrange(
        shown("pm"),
        shown("pm-old", path="/mcp/v1/pm"),
        shown("pm-new", path="/mcp/v2/pm"),
        shown("other"),
    )
    family = found.versions("pm", everybody)
    assert [item.entry.settings.name for item in family] == ["pm-new", "pm-old", "pm"]
    assert [item.version for item in family] == ["2.0.0", "1.0.0", "0.0.0"]
    assert [found.is_latest(item, everybody) for item in family] == [True, False, False]

    def is_not_new(entry: Shown) -> bool:
        return entry.settings.name != "pm-new"

    assert found.is_latest(family[1], is_not_new)
    assert found.versions("pm", is_not_new) == family[1:]
    assert found.versions("nobody", everybody) == []


def test_a_name_is_a_stronger_right_than_a_path() -> None:
    """A family that would be called like a server elsewhere is none, nor the second of two with one label."""
    found = arrange(shown("pm", path="/elsewhere"), shown("pm-1", path="/mcp/v1/pm"), shown("pm-2", path="/mcp/v2/pm"))
    assert [(item.label, item.family) for item in found.by_name] == [("pm", ""), ("pm-1", ""), ("pm-2", "")]
    found = arrange(shown("one", path="/mcp/v1/a.b"), shown("two", path="/mcp/v1/a/b"))
    assert sorted(item.label for item in found.by_name) == ["a.b", "two"]


def test_versions_of_a_family_differ() -> None:
    """If two servers say the same, the older one has its name behind it."""
    found = arrange(shown("a", path="/mcp/v1/x", version="1.0"), shown("b", path="/mcp/v2/x", version="1.0"))
    assert [item.version for item in found.versions("x", everybody)] == ["1.0", "1.0+a"]


def test_a_piece_is_kept_until_its_server_changes() -> None:
    """A change costs what it changes: the object of another's piece is the same."""
    entries = [shown("a"), shown("b"), shown("c")]
    before = arrange(*entries)
    pieces = [item.piece(_told, True) for item in before.by_name]
    assert json.loads(pieces[0]) == {"name": "a", "latest": True}
    after = arrange(entries[0], replace(entries[1], status="down"), replace(entries[2]), before=before)
    again = [item.piece(_told, True) for item in after.by_name]
    assert [new is old for new, old in zip(again, pieces, strict=True)] == [True, False, True]
    assert after.by_name[0] is before.by_name[0]


def test_a_new_version_changes_the_others_of_its_family() -> None:
    """Their labels may be others now, so their pieces are made anew."""
    alone = shown("pm", path="/tools/pm")
    before = arrange(alone)
    assert before.by_name[0].label == "pm"
    after = arrange(alone, shown("pm2", path="/tools/v2/pm"), before=before)
    assert {item.label for item in after.by_name} == {"tools.pm"}
    assert arrange(alone, before=after).by_name[0].label == "pm"


@PURE
@given(servers(), servers())
def test_what_is_kept_is_what_would_be_made(first: list[Shown], second: list[Shown]) -> None:
    """An arrangement does not depend on the one before, and nobody has another's label or version."""
    fresh, kept = arrange(*second), arrange(*second, before=arrange(*first))
    assert [item[:6] for item in kept.by_label] == [item[:6] for item in fresh.by_label]
    identities = [(item.label, item.version) for item in fresh.by_label]
    assert len(set(identities)) == len(second)
    assert [item.key for item in fresh.by_label] == sorted(item.key for item in fresh.by_label)


def test_marks_become_what_they_stand_for() -> None:
    """As JSON writes it: a host with a quote in it breaks nothing."""
    template = b'["\x7fO/x","\x7fP/x","\x7fD"]'
    assert json.loads(filled(template, 'http://a"b', Publisher("c\\d", "e"), "f")) == ['http://a"b/x', "c\\d/x", "e"]
