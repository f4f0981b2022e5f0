"""
A piece of plain Python of a fixed shape, to count other work in: what it costs depends on the interpreter alone.

It does what a gateway does all day (cutting heads, looking fields up, writing lines, small objects and calls), without
a library and without a socket. **Never change it**: every figure in ``allowed.json`` is a ratio to it.
"""

from __future__ import annotations

_FIELDS = "\r\n".join(f"Field-{number}: value of {number}" for number in range(12))
_HEAD = f"POST /mcp/{{}}/mcp HTTP/1.1\r\n{_FIELDS}\r\nContent-Length: 102\r\n\r\n".encode()


class _Request:
    __slots__ = ("fields", "method", "path")

    def __init__(self, method: bytes, path: bytes, fields: dict[bytes, bytes]) -> None:
        self.method = method
        self.path = path
        self.fields = fields

    @property
    def length(self) -> int:
        return int(self.fields.get(b"content-length", b"0"))


def _parsed(raw: bytes) -> _Request:
    first, *lines = raw[:-4].split(b"\r\n")
    method, path, _ = first.split(b" ")
    fields: dict[bytes, bytes] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        fields[name.lower()] = value.strip()
    return _Request(method, path, fields)


def _line(request: _Request, counts: dict[tuple[str, int], int]) -> str:
    key = (request.path.decode("latin-1"), request.length)
    counts[key] = counts.get(key, 0) + 1
    return f'{{"method":"{request.method.decode()}","path":"{key[0]}","bytes":{key[1]},"count":{counts[key]}}}'


def calibrate(count: int) -> int:
    """Do it so often; return how many letters were written."""
    counts: dict[tuple[str, int], int] = {}
    raw = [_HEAD.replace(b"{}", b"server-%d" % number) for number in range(8)]
    written = 0
    for number in range(count):
        request = _parsed(raw[number & 7])
        written += len(_line(request, counts))
    return written
