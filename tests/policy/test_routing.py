"""Which path belongs to which server."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import PURE

from mcpgate.policy.routing import RouteTable

TABLE = RouteTable(
    {b"/mcp/x": "x", b"/mcp/x/deep/y": "y", b"/mcp/xy": "xy", b"/mcp/discovery": "own", b"/z": "z", b"/mcp/v1/x": "v1"}
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/mcp/x", "x"),
        (b"/mcp/x/", "x"),
        (b"/mcp/x/sse", "x"),
        (b"/mcp/x//sse", "x"),
        (b"/mcp/x/deep", "x"),
        (b"/mcp/x/deep/yy", "x"),
        (b"/mcp/x/deep/y", "y"),
        (b"/mcp/x/deep/y/sse", "y"),
        (b"/mcp/x/a/mcp/xy", "x"),
        (b"/mcp/xy", "xy"),
        (b"/mcp/xyz", None),
        (b"/mcp/X", None),
        (b"/mcp/v1/x/mcp", "v1"),
        (b"/mcp/v1", None),
        (b"/mcp/discovery", "own"),
        (b"/mcp/discovery/events", "own"),
        (b"/z/mcp/x", "z"),
        (b"/mcp", None),
        (b"/mcp/", None),
        (b"/", None),
        (b"//mcp/x", None),
        (b"/mcp//x", None),
        (b"", None),
        (b"*", None),
        (b"mcp/x", None),
    ],
)
def test_the_longest_path_at_a_segment_wins(path: bytes, expected: str | None) -> None:
    """`/mcp/x` is its own and everything below it, never `/mcp/xy`."""
    assert TABLE.find(path) == expected


@pytest.mark.parametrize(
    "path", [b"/mcp%2fx", b"/mcp/x%2fsse", b"/mcp/x;a", b"/mcp/%78", b"/mcp\\x", b"/mcp/x%5c", b"/mcp/x?"]
)
def test_nothing_is_decoded(path: bytes) -> None:
    """An escape or a parameter cannot lead to a server, nor out of one."""
    assert TABLE.find(path) is None
    assert TABLE.find(b"/mcp/x/" + path) == "x"


_segments = st.sampled_from([b"a", b"b", b"ab", b"", b"%2f", b"a;"])
_paths = st.lists(_segments, max_size=5).map(lambda parts: b"/" + b"/".join(parts))


@PURE
@given(prefixes=st.sets(_paths.filter(lambda path: path != b"/"), max_size=6), path=_paths)
def test_the_table_agrees_with_trying_every_path(prefixes: set[bytes], path: bytes) -> None:
    """The obvious way: of all that fit, the longest."""
    table = RouteTable({prefix: prefix for prefix in prefixes})
    fitting = [prefix for prefix in prefixes if path == prefix or path.startswith(prefix + b"/")]
    assert table.find(path) == max(fitting, key=len, default=None)
    assert len(table) == len(prefixes)
    assert set(table) == prefixes


class _Counted(bytes):
    """A path that counts how often it is searched and cut."""

    looks = 0

    def find(self, *where: Any) -> int:
        type(self).looks += 1
        return super().find(*where)

    def __getitem__(self, key: Any) -> Any:
        type(self).looks += 1
        return super().__getitem__(key)


@pytest.mark.parametrize(
    ("path", "expected"), [(b"/" * 16_384, None), (b"/mcp/x" + b"/" * 16_384, "x"), (b"/a" * 8192, None)]
)
def test_slashes_cost_nothing(path: bytes, expected: str | None) -> None:
    """Only as many segments are looked at as the deepest server has; a long path is no attack."""
    _Counted.looks = 0
    assert TABLE.find(_Counted(path)) == expected
    assert _Counted.looks <= 2 * 4


def test_an_empty_table_has_no_routes() -> None:
    """A gateway without servers answers 404."""
    empty: RouteTable[str] = RouteTable({})
    assert (empty.find(b"/"), empty.find(b"/mcp/x"), len(empty)) == (None, None, 0)


@pytest.mark.parametrize("path", [b"//", b"//x", b"//x/y", b"///"])
def test_the_root_is_only_itself(path: bytes) -> None:
    """Some readers drop the first of two slashes: what is guarded as `/x` must not be open as `//x`."""
    table = RouteTable({b"/": "root", b"/x": "guarded", b"/a/b/c": "deep"})
    assert table.find(b"/") == "root"
    assert table.find(path) is None


# --- changes --------------------------------------------------------------------------------------------------------


def test_a_change_makes_a_table_of_its_own() -> None:
    """The one before stays as it was; what is gone and comes again is there."""
    after = TABLE.changed([b"/mcp/x", b"/mcp/unknown"], {b"/mcp/new": "new"})
    assert (after.find(b"/mcp/x/sse"), after.find(b"/mcp/new/a"), after.find(b"/mcp/x/deep/y/a")) == (None, "new", "y")
    assert (TABLE.find(b"/mcp/x/sse"), TABLE.find(b"/mcp/new/a")) == ("x", None)
    assert TABLE.changed([b"/z"], {b"/z": "other"}).find(b"/z/a") == "other"
    assert sorted(after) == ["new", "own", "v1", "xy", "y", "z"]


_ROUTES = st.dictionaries(
    st.lists(st.sampled_from([b"a", b"b", b""]), min_size=1, max_size=4).map(lambda parts: b"/" + b"/".join(parts)),
    st.integers(),
    max_size=6,
)


@PURE
@given(_ROUTES, _ROUTES, st.lists(st.sampled_from([b"/a", b"/b", b"/a/b", b"/a/b/a", b"/b/b"]), max_size=3))
def test_a_table_that_was_changed_finds_what_a_new_one_would(
    first: dict[bytes, int], then: dict[bytes, int], gone: list[bytes]
) -> None:
    """Deeper or shallower, whatever came before."""
    changed = RouteTable(first).changed(gone, then)
    made = RouteTable({**{path: number for path, number in first.items() if path not in gone}, **then})
    for path in [*first, *then, *gone, b"/a/b/a/b/c", b"/b/x", b"/"]:
        assert changed.find(path) == made.find(path)
        assert changed.find(path + b"/x/y") == made.find(path + b"/x/y")
