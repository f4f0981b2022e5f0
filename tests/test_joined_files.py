"""The files that a configuration names."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgate.config import MAX_FILE_BYTES, ConfigFaults, parse
from mcpgate.faults import Fault, Mark, Places
from mcpgate.joined_files import MAX_KEYS_FILE_BYTES, MAX_SNIPPETS, join_snippets
from mcpgate.settings import ServerSettings, Settings

SMALLEST = "servers:\n  - name: a\n    upstreams: [{url: 'http://127.0.0.1:3010'}]\n"
TOKENS = "auth: {tokens_file: tokens.yaml}\n"
CLEAR = "mcpg_0123456789-in-the-clear"


def with_line(line: str) -> str:
    """A good configuration with one more line for its server."""
    return f"{SMALLEST}    {line}\n"


def read(text: str, rundir: Path) -> Settings:
    """Settings from a text, with files of a run directory."""
    return parse(text, "g", {"HASH": "ef" * 32}, rundir=str(rundir))


def faults(text: str, rundir: Path) -> list[str]:
    """The faults of a text, one line each, without the run directory before its files."""
    with pytest.raises(ConfigFaults) as refused:
        read(text, rundir)
    return [str(fault).replace(f"{rundir}/", "") for fault in refused.value.faults]


def entry(name: str, digit: str) -> str:
    """An entry of a list of tokens, on a line of its own."""
    return f'- {{id: {name}, sha256: "{digit * 64}"}}\n'


def test_header_values_come_from_files(tmp_path: Path) -> None:
    """A secret in a file ends up where one in the configuration would, without the line end of the file."""
    (tmp_path / "key").write_text("s3cret\n")
    text = with_line("headers: {set: {A: b}, set_file: {X-Key: key}}")
    assert read(text, tmp_path).servers[0].headers.set == {"A": "b", "X-Key": "s3cret"}
    only = with_line("headers: {set_file: {X-Key: ./key}}")
    assert read(only, tmp_path).servers[0].headers.set == {"X-Key": "s3cret"}


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ("{set_file: {X-Key: gone}}", "servers.0.headers.set_file.X-Key: a file that cannot be read: No such file"),
        ("{set_file: {X-Key: .}}", "a file that cannot be read: Is a directory"),
        ("{set_file: {X-Key: empty}}", "an empty or too large file"),
        ("{set_file: {X-Key: large}}", "an empty or too large file"),
        ("{set_file: {X-Key: two}}", "servers.0.headers.set.X-Key: not a header value"),
        ("{set_file: {Host: key}}", "a header that the gateway itself writes"),
        ("{set: {x-key: a}, set_file: {X-Key: key}}", "a header that is given already"),
        ("{set_file: {X-Key: 5}}", "a number, expected text"),
        ('{set_file: {X-Key: "a\\0b"}}', "not a possible path"),
        ("{set: 5, set_file: {X-Key: key}}", "servers.0.headers.set: a number, expected keys and values"),
    ],
)
def test_header_files_that_cannot_be_used(headers: str, text: str, tmp_path: Path) -> None:
    """Each way in which a secret's file can be wrong is told, with the place in the configuration."""
    (tmp_path / "key").write_text("k")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "two").write_text("s3cret\nX-Evil: 1\n")
    (tmp_path / "large").write_text("x" * 20000)
    found = faults(with_line(f"headers: {headers}"), tmp_path)
    assert len(found) == 1 or "0b" in headers
    assert text in found[0]
    assert found[0].startswith("g:4:")
    assert "s3cret" not in "".join(found)


def test_certificate_files_must_be_there(tmp_path: Path) -> None:
    """Files are looked for in the run directory before anything starts."""
    tls = "{ca_file: ca.pem, cert_file: c.pem, key_file: gone.pem, server_name: h}"
    text = SMALLEST.replace("{url: 'http://127.0.0.1:3010'}", f"{{url: 'https://h', tls: {tls}}}")
    for key, name in (("ca_file", "ca.pem"), ("cert_file", "c.pem"), ("key_file", "gone.pem")):
        missing = f"servers.0.upstreams.0.tls.{key}: a file that cannot be read: No such file"
        assert any(missing in line for line in faults(text, tmp_path))
        (tmp_path / name).write_text("x")
    assert read(text, tmp_path).servers[0].upstreams[0].tls is not None


def test_credentials_of_principals_come_from_files(tmp_path: Path) -> None:
    """As headers for everybody do; and a fault names the place of the same kind."""
    (tmp_path / "key").write_text("Bearer s3cret\n")
    head = "auth: {tokens: [{id: alice, sha256: '" + "ab" * 32 + "'}]}\n"
    text = head + with_line("upstream_credentials: {alice: {set: {A: b}, set_file: {Authorization: key}}}")
    (server,) = read(text, tmp_path).servers
    assert server.upstream_credentials["alice"].set == {"A": "b", "Authorization": "Bearer s3cret"}
    (only,) = faults(text.replace("key}", "gone}"), tmp_path)
    assert only.startswith("g:5:75: servers.0.upstream_credentials.alice.set_file.Authorization: a file that cannot")


def test_tokens_come_from_a_file(tmp_path: Path) -> None:
    """They are joined to those of the configuration, and may hold variables like these."""
    (tmp_path / "tokens.yaml").write_text("# who may pass\n" + entry("bob", "b") + "- {id: eve, sha256: '${HASH}'}\n")
    here = f"auth:\n  tokens_file: tokens.yaml\n  tokens:\n    {entry('alice', 'a')}"
    assert [each.id for each in read(here + SMALLEST, tmp_path).auth.tokens] == ["alice", "bob", "eve"]
    found = read(TOKENS + SMALLEST, tmp_path).auth.tokens
    assert [(each.id, each.sha256) for each in found] == [("bob", "b" * 64), ("eve", "ef" * 32)]


def test_a_file_of_tokens_may_have_none(tmp_path: Path) -> None:
    """The last one can be taken out."""
    (tmp_path / "tokens.yaml").write_text("[]\n")
    found = read(TOKENS + SMALLEST, tmp_path)
    assert found.auth.tokens == ()
    assert found.auth_of(found.servers[0]) == "required"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "tokens.yaml:1:1: empty, expected a list of tokens, which may be []"),
        ("id: a\n", "tokens.yaml:1:1: keys and values, expected a list"),
        (CLEAR, "tokens.yaml:1:1: text, expected a list"),
        ("- &x {}\n", "tokens.yaml:1:3: 0: an anchor, expected the value alone"),
        ("- [\n", "tokens.yaml:2:1: not valid YAML"),
        ("---\n---\n", "tokens.yaml:2:1: a second document, expected one"),
        (entry("a", "a") + "- {idd: b}", "tokens.yaml:2:4: 1.idd: unknown key, did you mean id?"),
        (entry("a", "a") + "- {id: b, id: c}", "tokens.yaml:2:11: 1.id: a key given twice, expected it once"),
        (entry("a", "a") + "- {id: b}", "tokens.yaml:2:3: 1.sha256: missing, expected: SHA-256 of the token"),
        (entry("a", "a") + "- {id: b, sha256: '${NONE}'}", "tokens.yaml:2:19: 1.sha256: ${NONE} without a value"),
        (f"- {{id: b, sha256: {CLEAR}}}", "tokens.yaml:1:19: 0.sha256: not a SHA-256, expected 64 hexadecimal"),
        (f"- {{id: b, token: {CLEAR}}}", "tokens.yaml:1:11: 0.token: a token in clear text, expected only its hash"),
        (f"- {CLEAR}", "tokens.yaml:1:3: 0: text, expected an entry with id and sha256, and never the token itself"),
        ("- {id: b, sha256: '" + "b" * 64 + "', expires: 5}", "tokens.yaml:1:96: 0.expires: a number, expected a date"),
    ],
)
def test_faults_in_a_file_of_tokens(content: str, expected: str, tmp_path: Path) -> None:
    """They name that file, the place in it and the path in it; and never a token."""
    (tmp_path / "tokens.yaml").write_text(content)
    here = f"auth:\n  tokens_file: tokens.yaml\n  tokens:\n    {entry('alice', '1')}"
    for text in (TOKENS + SMALLEST, here + SMALLEST):
        found = faults(text, tmp_path)
        assert any(line.startswith(expected) for line in found), found
        assert all(line.startswith("tokens.yaml:") for line in found)
        assert CLEAR not in str(found)


def test_tokens_of_both_places_are_told_apart(tmp_path: Path) -> None:
    """A name given twice is told with the place of the other."""
    here = f"auth:\n  tokens_file: tokens.yaml\n  tokens:\n    {entry('alice', 'a')}    {entry('bob', 'b')}"
    (tmp_path / "tokens.yaml").write_text(entry("eve", "c") + entry("bob", "d") + entry("eve", "e"))
    assert faults(here + SMALLEST, tmp_path) == [
        "tokens.yaml:2:8: 1.id: the same as in g:5, expected another one",
        "tokens.yaml:3:8: 2.id: the same as in entry 0 of this list, expected another one",
    ]
    doubled = here + f"    {entry('bob', 'f')}"
    (tmp_path / "tokens.yaml").write_text("[]")
    (only,) = faults(doubled + SMALLEST, tmp_path)
    assert only == "g:6:12: auth.tokens.2.id: the same as in entry 1 of this list, expected another one"


def test_a_file_of_tokens_that_is_no_text(tmp_path: Path) -> None:
    """What cannot be opened is a fault where it is named, what cannot be read one of the file itself."""
    (only,) = faults(TOKENS + SMALLEST, tmp_path)
    assert only.startswith("g:1:21: auth.tokens_file: a file that cannot be read: No such file or directory")
    (tmp_path / "tokens.yaml").write_bytes(b"- {id: \xff}")
    assert faults(TOKENS + SMALLEST, tmp_path) == ["tokens.yaml:1:8: not UTF-8, expected the file to be saved in it"]


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        ("{tokens_file: 5}", ["g:1:21: auth.tokens_file: a number, expected text; put it in quotes"]),
        ("{tokens: 5, tokens_file: tokens.yaml}", ["g:1:16: auth.tokens: a number, expected a list"]),
        (
            "{tokens_file: '${NONE}'}",
            ["g:1:21: auth.tokens_file: ${NONE} without a value, expected it to be set, or ${NONE:-default}"],
        ),
    ],
)
def test_what_is_wrong_beside_a_file_is_told_once(auth: str, expected: list[str], tmp_path: Path) -> None:
    """Nothing is joined to what is no list, and no file is looked for whose name is not known."""
    (tmp_path / "tokens.yaml").write_text(entry("a", "a"))
    assert faults(f"auth: {auth}\n{SMALLEST}", tmp_path) == expected


def test_keys_of_sessions_come_from_a_file(tmp_path: Path) -> None:
    """One in each line; blank lines and the ends of lines do not count."""
    (tmp_path / "keys").write_bytes(b"b" * 32 + b"\r\n\n" + b"c" * 40)
    text = "sessions: {keys: ['" + "a" * 32 + "'], keys_file: keys}\n" + SMALLEST
    assert read(text, tmp_path).sessions.keys == ("a" * 32, "b" * 32, "c" * 40)
    assert read("sessions: {keys_file: keys}\n" + SMALLEST, tmp_path).sessions.keys == ("b" * 32, "c" * 40)


def test_faults_in_a_file_of_keys(tmp_path: Path) -> None:
    """The line is told, the key is not."""
    text = "sessions: {keys_file: keys}\n" + SMALLEST
    (tmp_path / "keys").write_text("a" * 32 + "\n\nshort\n" + "é" * 32)
    assert faults(text, tmp_path) == [
        "keys:3:1: 1: too short for a key, expected at least 32 random characters",
        "keys:4:1: 2: not a key, expected visible ASCII characters without blanks",
    ]
    for content in (b"", b"\n\n", b"k" * (MAX_KEYS_FILE_BYTES + 1)):
        (tmp_path / "keys").write_bytes(content)
        (only,) = faults(text, tmp_path)
        assert only.startswith("g:1:23: sessions.keys_file: an empty or too large file")
    (tmp_path / "keys").unlink()
    assert "No such file" in faults(text, tmp_path)[0]
    assert faults("sessions: {keys: 5, keys_file: keys}\n" + SMALLEST, tmp_path)[0].startswith("g:1:18: sessions.keys")


def test_a_file_of_public_keys_must_be_there(tmp_path: Path) -> None:
    """What is in it is looked at when it is used."""
    text = "auth: {jwt: [{issuer: 'https://idp', audience: gw, jwks_file: jwks.json}]}\n" + SMALLEST
    (only,) = faults(text, tmp_path)
    assert only.startswith("g:1:63: auth.jwt.0.jwks_file: a file that cannot be read: No such file")
    (tmp_path / "jwks.json").write_text("{}")
    assert read(text, tmp_path).auth.jwt[0].jwks_file == "jwks.json"


# --- the folder of servers -------------------------------------------------------------------------------------------

FOLDER = "registry: {files: servers.d}\n"
NAME = ServerSettings.model_fields["name"].description


def upstream(name: str, rest: str = "") -> str:
    """A server in braces."""
    return f"{{name: {name}, upstreams: [{{url: 'http://127.0.0.1:3010'}}]{rest}}}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for files with servers."""
    folder = tmp_path / "servers.d"
    folder.mkdir()
    return folder


def test_servers_come_from_the_files_of_a_folder(folder: Path) -> None:
    """In each of the three forms, in the order of the names, behind those of the configuration; variables work."""
    (folder / "30.yaml").write_text("name: d\ntitle: '${HASH}'\nupstreams: [{url: 'http://127.0.0.1:3010'}]\n")
    (folder / "20.yml").write_text(f"servers:\n  - {upstream('c')}\n")
    (folder / "10.yaml").write_text(f"- {upstream('b1')}\n- {upstream('b2')}\n")
    for name in ("15.yaml~", ".15.yaml", "15.json", "15.yaml.bak"):
        (folder / name).write_text("not read: [")
    (folder / "25.yaml").mkdir()
    found = read(FOLDER + SMALLEST, folder.parent).servers
    assert [server.name for server in found] == ["a", "b1", "b2", "c", "d"]
    assert found[-1].title == "ef" * 32
    assert [server.name for server in read(FOLDER, folder.parent).servers] == ["b1", "b2", "c", "d"]


def test_a_folder_without_files_is_fine_and_so_is_a_file_without_servers(folder: Path) -> None:
    """The last server may be taken out; a file must say that this is meant, though."""
    assert len(read(FOLDER + SMALLEST, folder.parent).servers) == 1
    (folder / "a.yaml").write_text("[]\n")
    (folder / "b.yaml").write_text("servers: []\n")
    assert len(read(FOLDER + SMALLEST, folder.parent).servers) == 1
    (folder / "c.yaml").write_text("# all of it commented out\n")
    (only,) = faults(FOLDER + SMALLEST, folder.parent)
    assert only == "servers.d/c.yaml:1:1: empty, expected a list of servers, which may be []"


def test_faults_in_files_of_servers_name_file_line_and_path_there(folder: Path) -> None:
    """Whichever form a file has, and however many files come before it."""
    (folder / "1.yaml").write_text("[]\n")
    (folder / "2.yaml").write_text(f"- {upstream('b')}\n- {upstream('c', ', titel: x')}\n")
    (folder / "3.yaml").write_text("upstreams:\n  - {url: ftp://h}\n")
    (folder / "4.yaml").write_text(f"servers:\n  - {upstream('d')}\n  - name: E\n    upstreams: 5\n")
    (folder / "5.yaml").write_text("name: f\nupstreams: [{url: 'http://h'}]\npath: ${NOT_SET}\n")
    assert faults(FOLDER + SMALLEST, folder.parent) == [
        "servers.d/2.yaml:2:58: 1.titel: unknown key, did you mean title?",
        f"servers.d/3.yaml:1:1: name: missing, expected: {NAME}",
        "servers.d/3.yaml:2:11: upstreams.0.url: a URL with another scheme, expected http:// or https://",
        "servers.d/4.yaml:3:11: servers.1.name: not a name, expected a-z 0-9 . _ - with a letter or digit at both ends",
        "servers.d/4.yaml:4:16: servers.1.upstreams: a number, expected a list",
        "servers.d/5.yaml:3:7: path: ${NOT_SET} without a value, expected it to be set, or ${NOT_SET:-default}",
    ]


def test_a_server_given_twice_is_found_across_files(folder: Path) -> None:
    """By name or by path, with the place of the first; within one file as everywhere."""
    (folder / "1.yaml").write_text(f"- {upstream('b')}\n- {upstream('c', ', path: /mcp/a')}\n")
    (folder / "2.yaml").write_text(upstream("b", ", path: /other"))
    (folder / "3.yaml").write_text(f"- {upstream('d')}\n- {upstream('d', ', path: /d2')}\n")
    assert faults(FOLDER + SMALLEST, folder.parent) == [
        "servers.d/1.yaml:2:64: 1.path: the same as in g:3, expected another one",
        "servers.d/2.yaml:1:8: name: the same as in servers.d/1.yaml:1, expected another one",
        "servers.d/3.yaml:2:10: 1.name: the same as in entry 0 of this list, expected another one",
    ]


def test_files_of_servers_may_name_files(folder: Path) -> None:
    """Header values, for instance; relative to the run directory like all others."""
    (folder.parent / "key").write_text("s3cret\n")
    (folder / "1.yaml").write_text(upstream("b", ", headers: {set_file: {X-Key: key}}"))
    assert read(FOLDER + SMALLEST, folder.parent).servers[1].headers.set == {"X-Key": "s3cret"}
    (folder.parent / "key").unlink()
    (only,) = faults(FOLDER + SMALLEST, folder.parent)
    assert only.startswith("servers.d/1.yaml:1:84: headers.set_file.X-Key: a file that cannot be read: No such file")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("5\n", "1:1: a number, expected a list of servers, or one of them"),
        ("- [\n", "2:1: not valid YAML"),
        ("- 5\n", "1:3: 0: a number, expected keys and values"),
        ("servers: 5\n", "1:10: servers: not a list, expected a list of servers, which may be []"),
        ("servers: []\nlimits: []\n", "2:1: limits: unknown key beside servers, expected nothing else"),
        ("name: b\n---\nname: c\n", "2:1: a second document, expected one"),
        ("upstreams: &b 5\n", "1:1: name: missing, expected: "),
        ("name: \udc80\n", "1:7: not UTF-8"),
    ],
)
def test_files_that_hold_no_servers(folder: Path, text: str, told: str) -> None:
    """Each is told with its place; the others are read all the same."""
    (folder / "1.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))
    (folder / "2.yaml").write_text(upstream("b", ", titel: x"))
    first, *_, last = faults(FOLDER + SMALLEST, folder.parent)
    assert first.startswith(f"servers.d/1.yaml:{told}")
    assert last == "servers.d/2.yaml:1:56: titel: unknown key, did you mean title?"


def test_what_cannot_be_read_is_no_file_of_servers(folder: Path) -> None:
    """A pipe, which would never end; a link that leads nowhere; one that is too large."""
    os.mkfifo(folder / "1.yaml")
    (folder / "2.yaml").symlink_to("gone")
    (folder / "3.yaml").write_text("#" * (MAX_FILE_BYTES + 1))
    assert faults(FOLDER + SMALLEST, folder.parent) == [
        "servers.d/1.yaml:1:1: not a file, expected one with servers",
        "servers.d/2.yaml:1:1: cannot be read: No such file or directory",
        "servers.d/3.yaml:1:1: too large, expected at most 1MiB",
    ]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("gone", "a folder that cannot be read: No such file or directory; relative paths start at the run directory"),
        ("plain", "a folder that cannot be read: Not a directory; relative paths start at the run directory"),
        ("${NOT_SET}", "${NOT_SET} without a value, expected it to be set, or ${NOT_SET:-default}"),
        ("5", "a number, expected text; put it in quotes"),
    ],
)
def test_folders_that_cannot_be_used(tmp_path: Path, value: str, told: str) -> None:
    """Each way is told once, at the key."""
    (tmp_path / "plain").touch()
    assert faults(f"registry:\n  files: {value}\n{SMALLEST}", tmp_path) == [f"g:2:10: registry.files: {told}"]


def test_a_folder_has_no_more_files_than_a_bound(folder: Path) -> None:
    """Else somebody named the wrong one; none of them is read."""
    for name in ("1.yaml", "2.yaml", "3.yaml"):
        (folder / name).write_text("[5]")
    places = Places("g", {("registry", "files"): Mark(1, 19)})
    tree = {"registry": {"files": str(folder)}, "servers": []}
    joined = join_snippets(tree, places, ".", lambda path: ([], Places(path), []), most=2)
    assert [fault.text for fault in joined.faults] == ["a folder with 3 files, expected at most 2"]
    assert joined.origins == {}
    assert MAX_SNIPPETS == 10_000


def test_it_is_known_which_file_a_server_comes_from(folder: Path) -> None:
    """By its name; not those of the configuration itself."""
    tree = {"registry": {"files": "servers.d"}, "servers": [{"name": "a"}]}
    values = {
        "1.yaml": [{"name": "b"}, {"name": 5}, 5],
        "2.yaml": {"name": "c"},
        "3.yaml": {"servers": [{"name": "d"}]},
    }
    for name in values:
        (folder / name).touch()

    def compose(path: str) -> tuple[object, Places, list[Fault]]:
        return values[os.path.basename(path)], Places(path), []

    joined = join_snippets(tree, Places("g"), str(folder.parent), compose)
    files = {name: os.path.basename(path) for name, path in joined.origins.items()}
    assert files == {"b": "1.yaml", "c": "2.yaml", "d": "3.yaml"}


def test_servers_that_are_no_list_are_the_only_fault(folder: Path) -> None:
    """What the files hold has no place to go."""
    (folder / "1.yaml").write_text(upstream("b"))
    assert faults(FOLDER + "servers: 5\n", folder.parent) == ["g:2:10: servers: a number, expected a list"]


#: What a file may say, and the paths of the faults in it.
_FORMS = {
    "[]": [],
    "servers: []": [],
    "- 5": ["0"],
    "- 5\n- 5\n": ["0", "1"],
    "servers: [5, 5]": ["servers.0", "servers.1"],
    "{upstreams: 5, name: A}": ["upstreams", "name"],
}


@given(st.lists(st.sampled_from(list(_FORMS)), max_size=6))
def test_every_fault_is_told_in_its_own_file(texts: list[str]) -> None:
    """However files with and without entries follow each other."""
    with TemporaryDirectory() as rundir:
        for number, text in enumerate(texts):
            Path(rundir, f"{number}.yaml").write_text(text)
        told = faults("registry: {files: .}\nservers: [5]\n", Path(rundir))
    places = {":".join((line.split(":")[0], line.split(":")[3].strip())) for line in told}
    expected = {f"./{number}.yaml:{path}" for number, text in enumerate(texts) for path in _FORMS[text]}
    assert places == expected | {"g:servers.0"}
