"""Large bodies, each way, one after another over one keep-alive connection."""

from __future__ import annotations

import socket
import zlib

from benchmarks import answers, messages
from benchmarks.harness import Subject
from benchmarks.load.requests import received_from
from benchmarks.peers.ground import PATH

_READ_BYTES = 256 * 1024


def bulk_request(subject: Subject, mebibytes: int) -> bytes:
    """Return what asks the upstream for a body of this size."""
    fields = subject.fields.decode()
    return f"GET {PATH}/big/{mebibytes} HTTP/1.1\r\nHost: 127.0.0.1:{subject.port}\r\n{fields}\r\n".encode()


def fetch_bulk(subject: Subject, mebibytes: int, count: int = 1) -> None:
    """
    Fetch so many large bodies through the subject and check each.

    :raises answers.BrokenAnswer: if one is not what the upstream sent.
    """
    request, expected = bulk_request(subject, mebibytes), messages.bulk_checksum(mebibytes)
    with subject.connect() as sock:
        for _ in range(count):
            sock.sendall(request)
            if (found := _checksum_of_body(sock, mebibytes * messages.MIB)) != expected:
                raise answers.BrokenAnswer(f"a body of {mebibytes} MiB came changed: {found:08x}, not {expected:08x}")


def _checksum_of_body(sock: socket.socket, size_bytes: int) -> int:
    received = b""
    while (parts := answers.split_head(received)) is None:
        received += received_from(sock)
    if b"\r\ncontent-length: %d\r\n" % size_bytes not in parts[0]:
        raise answers.BrokenAnswer(f"a body of {size_bytes} bytes was announced as {parts[0]!r}")
    checksum, left_bytes = zlib.crc32(parts[1]), size_bytes - len(parts[1])
    buffer = memoryview(bytearray(_READ_BYTES))
    while left_bytes > 0:
        count = sock.recv_into(buffer[: min(left_bytes, _READ_BYTES)])
        if not count:
            raise answers.BrokenAnswer(f"a body of {size_bytes} bytes came {left_bytes} bytes short")
        checksum = zlib.crc32(buffer[:count], checksum)
        left_bytes -= count
    return checksum


def send_bulk(subject: Subject, mebibytes: int, count: int = 1) -> None:
    """
    Send so many large bodies through the subject and check what the upstream says it received.

    :raises answers.BrokenAnswer: if that is not what was sent.
    """
    head = (
        f"POST {PATH}/sink HTTP/1.1\r\nHost: 127.0.0.1:{subject.port}\r\nContent-Type: application/json\r\n"
        f"{subject.fields.decode()}Content-Length: {mebibytes * messages.MIB}\r\n\r\n"
    ).encode()
    expected = b'{"counted_bytes": %d, "crc32": %d}' % (mebibytes * messages.MIB, messages.bulk_checksum(mebibytes))
    with subject.connect() as sock:
        for _ in range(count):
            sock.sendall(head)
            for _ in range(mebibytes):
                sock.sendall(messages.BLOCK)
            received = b""
            while (parts := answers.split_head(received)) is None or not parts[1].endswith(b"}"):
                received += received_from(sock)
            if parts[1] != expected:
                raise answers.BrokenAnswer(f"expected {expected!r} of the upstream, got {received!r}")
