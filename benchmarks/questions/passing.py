"""
What does it cost to find out who may pass: a token, the body, three limits? And what do a million clients cost?

Measured without sockets, in a process of its own with the garbage collector set as the gateway sets it, and compared
with reading the same body by Python's ``json``. All times are CPU times of the thread: what others do on this CPU does
not count as a stall. ``python -m benchmarks.questions.passing KEYS REQUESTS`` prints one round.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks import messages
from benchmarks.figures import Figure, Reading
from benchmarks.proc import ProcessTree
from mcpgate.policy.authn import Authenticator, Grant, TokenTable
from mcpgate.policy.authz import NamePatterns
from mcpgate.policy.buckets import Allowance, Buckets, MemoryLedger
from mcpgate.policy.issuers import Issuer, Issuers, IssuerTerms
from mcpgate.policy.keys import KeySet
from mcpgate.policy.limits import KeyPart, LimitPolicy
from mcpgate.policy.ratelimit import Limiter
from mcpgate.wire.bearer import bearer_token
from mcpgate.wire.calls import read_calls

KEYS = 1_000_000
REQUESTS = 5_000
KNOWN = Figure("known token and 3 limits", "x json", value_goal=1.0)
SIGNED = Figure("remembered JWT and 3 limits", "x json")
LIMITS = Figure("3 limits alone", "x json")
BODY = Figure("body, for rights and limits", "x json")
GROWTH = Figure("growth by a million keys", "MiB", value_goal=32.0)
STALL = Figure("longest stall among a million keys", "ms", value_goal=5.0)

_TIMEOUT_S = 120.0
_REPEATS = 9
_WALL_S = 1_800_000_000.0


class Crowd(NamedTuple):
    """
    What many keys did.

    :ivar stall_ms: the second-longest operation: one outlier is an interrupt.
    """

    kept_count: int
    grown_kib: int
    stall_ms: float


def measure() -> dict[Figure, Reading]:
    """Return one round; it takes ten seconds."""
    command = [sys.executable, "-m", "benchmarks.questions.passing", str(KEYS), str(REQUESTS)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=_TIMEOUT_S).stdout)
    crowd, json_us = Crowd(*found["crowd"]), found["json_us"]
    readings = {
        figure: Reading(found[name] / json_us, f"{found[name]:.2f} µs of {json_us:.2f}")
        for figure, name in ((KNOWN, "known_us"), (SIGNED, "signed_us"), (LIMITS, "limits_us"), (BODY, "body_us"))
    }
    readings[GROWTH] = Reading(crowd.grown_kib / 1024, f"{crowd.kept_count:,} kept")
    readings[STALL] = Reading(crowd.stall_ms)
    return readings


def crowd(count: int) -> Crowd:
    """Let so many clients come once each, none of whose buckets fills up again meanwhile."""
    ledger = MemoryLedger()
    buckets = Buckets(Allowance(1, 3600, 40), ledger)
    clock, longest_ns, second_ns = time.thread_time_ns, 0, 0
    # Not ru_maxrss, which a process inherits from the one that started it.
    tree = ProcessTree(os.getpid())
    tree.reset_peak()
    before_kib = tree.peak_kib()
    for number in range(count):
        key = b"16:=client-%08d,5:bench" % number
        start_ns = clock()
        buckets.take(key, 1, number)
        took_ns = clock() - start_ns
        if took_ns > second_ns:
            second_ns, longest_ns = sorted((took_ns, longest_ns))
    return Crowd(len(ledger), tree.peak_kib() - before_kib, second_ns / 1e6)


# --- one request ----------------------------------------------------------------------------------------------------


def per_request(count: int) -> dict[str, float]:
    """Return microseconds per request; every body is another, and no limit is reached. A head is worked out anew."""
    known = secrets.token_urlsafe(32).encode()
    grant = Grant("alice", frozenset(), frozenset({"*"}))
    issuer, signed = _issuer()
    authenticator = Authenticator(TokenTable([(sha256(known).hexdigest(), grant)]), Issuers([issuer]))
    toll = limiter().bind(b"203.0.113.7", "alice", "bench")
    moments_s = itertools.count(1e6, 1.0)

    calls = read_calls(messages.call(messages.FIRST_CALL)).calls

    def pass_with(token: bytes) -> Callable[[bytes], object]:
        value = b"Bearer " + token

        def run(body: bytes) -> object:
            authenticator.identify(bearer_token(value) or b"", _WALL_S)
            return toll.admit(calls, False, next(moments_s))

        return run

    ways: dict[str, Callable[[bytes], object]] = {
        "json_us": json.loads,
        "body_us": read_calls,
        "known_us": pass_with(known),
        "signed_us": pass_with(signed),
        "limits_us": lambda _: toll.admit(calls, False, next(moments_s)),
    }
    bodies = [messages.call(messages.FIRST_CALL + number) for number in range(count)]
    return {name: _cost_us(run, bodies) for name, run in ways.items()}


def _cost_us(run: Callable[[bytes], object], bodies: Sequence[bytes]) -> float:
    """Return the best of some repeats: whatever else the machine does only adds to it."""
    costs_s = []
    for _ in range(_REPEATS):
        start_s = time.thread_time()
        for body in bodies:
            run(body)
        costs_s.append(time.thread_time() - start_s)
    return min(costs_s) / len(bodies) * 1e6


def _issuer() -> tuple[Issuer, bytes]:
    """Return an issuer and a token that it has signed."""
    private = ec.generate_private_key(ec.SECP256R1())
    published = jwt.get_algorithm_by_name("ES256").to_jwk(private.public_key(), as_dict=True)
    keys = KeySet()
    keys.replace(json.dumps({"keys": [published]}).encode(), 0.0)
    terms = IssuerTerms("as", "https://as.example", ("https://gate.example",), servers=frozenset({"*"}))
    claims = {"iss": terms.issuer, "aud": terms.audiences[0], "sub": "alice", "exp": _WALL_S + 600}
    return Issuer(terms, keys), jwt.encode(claims, private, "ES256").encode()


def limiter() -> Limiter:
    """Return what a careful operator has: a limit for each principal, one for tools, one for addresses."""
    often = Allowance(20, 1, 40)
    return Limiter(
        [
            LimitPolicy("principal", (KeyPart.PRINCIPAL,), often),
            LimitPolicy(
                "tool",
                (KeyPart.PRINCIPAL, KeyPart.SERVER, KeyPart.TOOL),
                Allowance(5, 1, 10),
                methods=NamePatterns(["tools/call"]),
            ),
            LimitPolicy("address", (KeyPart.ADDRESS,), often),
        ]
    )


def main() -> None:
    """Print one round as JSON."""
    # As `mcpgate.process` does before it serves.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    keys, requests = map(int, sys.argv[1:])
    print(json.dumps({"crowd": crowd(keys), **per_request(requests)}))


if __name__ == "__main__":
    main()
