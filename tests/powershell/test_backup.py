"""The jobs of a backup: bytes that are real, hashes that are re-read, and one exact sentence for what went wrong."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from lab.faults import Fault
from lab.scripts.transfer import write_access

pytestmark = [
    pytest.mark.lookalike,
    pytest.mark.telling(
        "New-FolderArchive", "Measure-BackupFile", "Send-BackupFile", "Remove-BackupStaging", "Invoke-SqlStatement"
    ),
]

SOURCE, ZIP = r"C:\Work", r"C:\Staging\work.zip"
SHARE = r"\\nas01\billing"
PASSWORD = 'pa"ss€&\\n'
WRITTEN = 1_700_000_000  # an even second: ZIP counts in twos
DATA = bytes(range(256)) * 5000
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def hosts(twin: Callable[..., Any]) -> Any:
    """Make a host with working files, a folder that is a link, names of every kind."""
    made = twin()
    files = {
        "Scripts/rate.ps1": b"# rating\r\n",
        "Scripts/leer.log": b"",
        "CDR/2026-01.csv": b"1;2\r\n" * 40_000,
        "CDR/Müller & Söhne — €.txt": "€".encode("utf-16"),
        "cache/tmp/a.bin": b"x" * 100,
        "portal/app_offline.htm": b"closed",
    }
    for name, data in files.items():
        made.put(f"C/Work/{name}", data)
    for side in (made.engine, made.lab.folder):
        (side / "C/Work/empty/deep").mkdir(parents=True)
        (side / "C/Elsewhere").mkdir()
        (side / "C/Work/link").symlink_to(side / "C/Elsewhere", target_is_directory=True)
        (side / "unc/nas01/billing").mkdir(parents=True)
    made.put("C/Staging/ready.zip", DATA)
    return made


# Archives


def archives(hosts: Any) -> list[dict[str, bytes]]:
    """What is in the archive, on both sides."""
    both = []
    for side in (hosts.engine, hosts.lab.folder):
        with zipfile.ZipFile(side / "C/Staging/work.zip") as archive:
            assert archive.testzip() is None
            both.append({name: archive.read(name) for name in archive.namelist()})
    return both


def test_everything_in_a_folder_is_in_its_archive(hosts: Any) -> None:
    """Every byte under its name, empty folders too; not what would close a site, and nothing behind a link."""
    answer = hosts.call_job("New-FolderArchive", {"source": SOURCE + "\\", "destination": ZIP})
    result = answer.agree("sha256", "size")
    engine, lab = archives(hosts)
    assert engine == lab
    assert sorted(engine) == [
        "CDR/2026-01.csv",
        "CDR/Müller & Söhne — €.txt",
        "Scripts/leer.log",
        "Scripts/rate.ps1",
        "cache/tmp/a.bin",
        "empty/deep/",
        "portal/",
    ]
    assert (result["files"], result["links"]) == (5, [r"C:\Work\link"])
    for side, told in ((hosts.engine, answer.engine), (hosts.lab.folder, answer.lab)):
        data = (side / "C/Staging/work.zip").read_bytes()
        assert told["value"]["sha256"] == hashlib.sha256(data).hexdigest()
        assert told["value"]["size"] == len(data)
        assert sorted(path.name for path in (side / "C/Staging").iterdir()) == ["ready.zip", "work.zip"]


def test_times_and_long_paths_are_kept(hosts: Any) -> None:
    """A restore wants both: when a file was last written, and one whose path is longer than 260 characters."""
    deep = "/".join(["a" * 60] * 5) + "/deep.txt"
    hosts.put(f"C/Work/{deep}", b"deep")
    for side in (hosts.engine, hosts.lab.folder):
        os.utime(side / "C/Work/Scripts/rate.ps1", (WRITTEN, WRITTEN))
    hosts.call_job("New-FolderArchive", {"source": SOURCE, "destination": ZIP}).agree("sha256", "size")
    for side in (hosts.engine, hosts.lab.folder):
        with zipfile.ZipFile(side / "C/Staging/work.zip") as archive:
            assert archive.read(deep) == b"deep"
            assert archive.getinfo("Scripts/rate.ps1").date_time == time.localtime(WRITTEN)[:6]


@pytest.mark.parametrize(("exclude", "files"), [(["*.LOG"], 4), ([r"cache\*"], 4), (["CDR"], 3), (["*.csv", "tmp"], 3)])
def test_what_is_excluded(hosts: Any, exclude: list[str], files: int) -> None:
    """By name or by path below the folder, whatever the case."""
    parameters = {"source": SOURCE, "destination": ZIP, "exclude": exclude}
    assert hosts.call_job("New-FolderArchive", parameters).agree("sha256", "size")["files"] == files
    engine, lab = archives(hosts)
    assert engine == lab


def test_an_archive_inside_its_own_folder(hosts: Any) -> None:
    """Staging may lie below what is packed: the archive is not packed into itself, and an old one is replaced."""
    hosts.put("C/Work/work.zip", b"old")
    parameters = {"source": SOURCE, "destination": r"C:\Work\work.zip"}
    assert hosts.call_job("New-FolderArchive", parameters).agree("sha256", "size")["files"] == 5


def test_no_room(hosts: Any) -> None:
    """Refused before a byte is written, with what it needs and what there is."""
    hosts.state("drives.json", lambda drives: drives.update(C={"size": 10**9, "free": 150_000}))
    failure = hosts.call_job("New-FolderArchive", {"source": SOURCE, "destination": ZIP}).agree("line")
    assert failure["id"] == "NoRoom"
    assert "no space on C: for the archive of C:\\Work (needs 195.4 KB, has 146.4 KB)." in failure["message"]
    assert hosts.files("C/Staging") == (["ready.zip"], ["ready.zip"])


def test_no_folder(hosts: Any) -> None:
    """A folder that is not there is no empty backup."""
    parameters = {"source": r"D:\Gone", "destination": ZIP}
    assert hosts.call_job("New-FolderArchive", parameters).agree("line")["id"] == "FolderMissing"


def test_an_archive_as_a_task(hosts: Any) -> None:
    """From start to job.json on both sides, progress included."""
    done = hosts.run_job("New-FolderArchive", {"source": SOURCE, "destination": ZIP})
    first, second = done.engine, done.lab
    for one in (first, second):
        assert one["job"]["state"] == "succeeded", one
        one["job"]["result"] |= {"sha256": 0, "size": 0}
        one["progress"]["at"] = 0
    assert first["job"]["result"] == second["job"]["result"]
    assert first["progress"] == second["progress"]


def test_faults_of_the_lab(hosts: Any) -> None:
    """A disk that fills up, a locked file, a byte that changes: what the flows are tested with."""
    lab, parameters = hosts.lab, {"source": SOURCE, "destination": ZIP}
    lab.faults.declare(Fault("backup.disk_full", on=SOURCE, times=1, with_={"free": 10}))
    assert "has 10 bytes" in hosts.call_job("New-FolderArchive", parameters).lab["error"]["message"]
    lab.faults.declare(Fault("file.locked", on=r"C:\Work\CDR\2026-01.csv", times=1))
    live = hosts.call_job("New-FolderArchive", parameters | {"snapshot": False})
    assert live.lab["error"]["id"] == "FileUnreadable"
    lab.faults.declare(Fault("backup.flip_source", on=lab.name, times=1))
    value = hosts.call_job("New-FolderArchive", parameters).lab["value"]
    assert hashlib.sha256((lab.folder / "C/Staging/work.zip").read_bytes()).hexdigest() != value["sha256"]


# Stores


class Store(BaseHTTPRequestHandler):
    """Takes presigned PUTs as S3 does: checks the checksum, refuses a bad signature, forbids a key."""

    kept: dict[str, bytes]
    protocol_version = "HTTP/1.1"

    def handle_expect_100(self) -> bool:
        """Refuse, as some proxies before a store do: whoever asks before sending gets nowhere."""
        self.send_error(417)
        return False

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        wanted = self.headers.get("x-amz-checksum-sha256")
        have = base64.b64encode(hashlib.sha256(body).digest()).decode()
        status, answer = 200, b""
        if "denied" in self.path:
            status, answer = 403, b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        elif "sealed" in self.path and self.headers.get("x-amz-server-side-encryption") != "aws:kms":
            text = "<Error><Code>SignatureDoesNotMatch</Code><Message>A signed header is missing.</Message></Error>"
            status, answer = 403, text.encode()
        elif "odd" in self.path:
            status, answer = 502, b"<html>Bad Gateway</html>"
        elif wanted != have or "flipped" in self.path:
            text = "<Error><Code>BadDigest</Code><Message>The SHA256 you specified did not match.</Message></Error>"
            status, answer = 400, text.encode()
        else:
            self.kept[self.path] = body
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        if status == 200:
            self.send_header("ETag", '"abc"')
            self.send_header("x-amz-checksum-sha256", have)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Be silent."""


@pytest.fixture
def store() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Serve an object store on loopback: its address, and what it keeps."""
    kept: dict[str, bytes] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Here", (Store,), {"kept": kept}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", kept
    server.shutdown()
    server.server_close()


def send(*targets: dict[str, Any], sha256: str = SHA) -> dict[str, Any]:
    return {"source": r"C:\Staging\ready.zip", "sha256": sha256, "targets": list(targets)}


NAS = {"name": "nas-acme", "kind": "share", "path": rf"{SHARE}\acme\web01\ready.zip"}
CHECKSUM = {"x-amz-checksum-sha256": base64.b64encode(bytes.fromhex(SHA)).decode()}
S3 = {"name": "s3-acme", "kind": "s3", "path": "s3://acme/billing/ready.zip", "headers": CHECKSUM}
LOGIN = {"nas-acme.username": r"nas01\backup", "nas-acme.password": PASSWORD}


def test_to_every_store(hosts: Any, store: Any) -> None:
    """The bytes arrive beside what is there, are read back where they can be; the answer holds no part of a secret."""
    address, kept = store
    secrets = {**LOGIN, "s3-acme.url": f"{address}/acme/billing/ready.zip?X-Amz-Signature=geheim%2F1"}
    hosts.put("unc/nas01/billing/acme/earlier.zip", b"of another night")
    both = hosts.call_job("Send-BackupFile", send(NAS, S3), secrets=secrets)
    share, s3 = both.agree()["targets"]
    assert (share["status"], share["sha256"], share["size"]) == ("stored", SHA, len(DATA))
    assert (s3["status"], s3["sha256"], s3["http_status"], s3["etag"]) == ("stored", None, 200, '"abc"')
    assert base64.b64decode(s3["checksum"]).hex() == SHA
    assert list(kept.values()) == [DATA]
    for side in (hosts.engine, hosts.lab.folder):
        assert (side / "unc/nas01/billing/acme/web01/ready.zip").read_bytes() == DATA
    assert hosts.files("unc/nas01/billing") == (["acme/earlier.zip", "acme/web01/ready.zip"],) * 2
    assert "geheim" not in json.dumps([both.engine, both.lab])
    assert "pa" + '"ss' not in json.dumps([both.engine, both.lab])


def test_what_lies_there_already_is_not_sent_again(hosts: Any) -> None:
    """A second call after a crash finds the file by its hash; another file under the name is replaced."""
    for before in (DATA, b"something else"):
        hosts.put("unc/nas01/billing/acme/web01/ready.zip", before)
        assert hosts.call_job("Send-BackupFile", send(NAS), secrets=LOGIN).agree()["targets"][0]["status"] == "stored"
        for side in (hosts.engine, hosts.lab.folder):
            assert (side / "unc/nas01/billing/acme/web01/ready.zip").read_bytes() == DATA


def test_a_file_that_changed_is_sent_nowhere(hosts: Any) -> None:
    """The hash of the job that made it decides."""
    failure = hosts.call_job("Send-BackupFile", send(NAS, sha256="0" * 64), secrets=LOGIN).agree("line")
    assert failure["id"] == "SourceChanged"
    assert hosts.files("unc/nas01/billing") == ([], [])


def test_one_store_that_fails_does_not_stop_the_others(hosts: Any, store: Any) -> None:
    """A share that is not there, an object store that refuses: each with its own sentence."""
    address, kept = store
    lost = {**NAS, "name": "lost", "path": r"\\nas02\gone\ready.zip"}
    lost_too = {**NAS, "name": "lost-too", "path": r"\\nas02\gone\ready.zip"}
    secrets = {**LOGIN, "lost.username": "u", "lost.password": "p", "s3-acme.url": f"{address}/b/ready.zip?sig=1"}
    answer = hosts.call_job("Send-BackupFile", send(lost, lost_too, NAS, S3), secrets=secrets).agree()
    assert [target["status"] for target in answer["targets"]] == ["failed", "failed", "stored", "stored"]
    assert [target["error"] for target in answer["targets"][:2]] == ["The network path was not found"] * 2
    assert len(kept) == 1


def test_every_header_that_a_url_was_signed_with_is_sent(hosts: Any, store: Any) -> None:
    """Encryption is signed with the URL; without its header no store takes the object."""
    secrets = {"s3-acme.url": f"{store[0]}/acme/sealed?X-Amz-Signature=geheim"}
    sealed = {**S3, "headers": CHECKSUM | {"x-amz-server-side-encryption": "aws:kms"}}
    for target, status in ((sealed, "stored"), (S3, "failed")):
        answer = hosts.call_job("Send-BackupFile", send(target), secrets=secrets).agree()
        assert answer["targets"][0]["status"] == status


@pytest.mark.parametrize(
    ("key", "status", "words"),
    [
        ("denied", 403, "answered HTTP 403 AccessDenied: Access Denied"),
        ("flipped", 400, "answered HTTP 400 BadDigest: The SHA256 you specified did not match."),
        ("odd", 502, "answered HTTP 502"),
    ],
)
def test_what_an_object_store_refuses(hosts: Any, store: Any, key: str, status: int, words: str) -> None:
    """The store's own code and message, the address, and nothing of the URL's query."""
    secrets = {"s3-acme.url": f"{store[0]}/acme/{key}?X-Amz-Signature=geheim"}
    target = hosts.call_job("Send-BackupFile", send(S3), secrets=secrets).agree()["targets"][0]
    assert (target["status"], target["http_status"]) == ("failed", status)
    assert target["error"] == f"{store[0]} {words}"


def test_an_object_store_that_does_not_answer(hosts: Any) -> None:
    """Nobody listens: said with the address and where to look."""
    secrets = {"s3-acme.url": "http://127.0.0.1:9/acme/ready.zip?X-Amz-Signature=geheim"}
    both = hosts.call_job("Send-BackupFile", send(S3), secrets=secrets)
    both.agree("error")
    told = [side["value"]["targets"][0]["error"] for side in (both.engine, both.lab)]
    # A newer .NET than Windows' calls a refused connection UnknownError.
    said = "http://127.0.0.1:9 does not answer ({}). Check the route, the firewall and the name from this host."
    assert told == [said.format("UnknownError"), said.format("ConnectFailure")]


def test_a_kind_of_store_that_nobody_knows(hosts: Any) -> None:
    """Named, not ignored."""
    target = hosts.call_job("Send-BackupFile", send({**NAS, "kind": "ftp"})).agree()["targets"][0]
    assert target["error"] == "no such kind of store: 'ftp'"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault("store.unreachable", on=SHARE), "The network path was not found"),
        (Fault("store.denied", on=SHARE), "Access is denied"),
        (Fault("store.access_denied", on=NAS["path"]), "Access is denied"),
        (Fault("backup.flip_transit", on=SHARE), "is not what was sent"),
        (Fault("backup.flip_target"), "is not what was sent"),
    ],
)
def test_faults_of_a_share(hosts: Any, fault: Fault, words: str) -> None:
    """What the lab's share can do to a backup, and that nothing stays there under the file's name."""
    hosts.lab.faults.declare(fault)
    target = hosts.call_job("Send-BackupFile", send(NAS), secrets=LOGIN).lab["value"]["targets"][0]
    assert (target["status"], words in target["error"]) == ("failed", True)
    assert not list((hosts.lab.folder / "unc/nas01/billing").rglob("*.*"))


def test_a_share_lets_in_whom_it_knows(hosts: Any) -> None:
    """Without a log-in, or with a wrong one, the lab's share refuses; user names fold case."""
    write_access(hosts.lab.folder / "unc/nas01/billing", r"NAS01\backup", PASSWORD)
    refused = []
    for secrets in ({}, {**LOGIN, "nas-acme.password": "wrong"}, LOGIN):
        target = hosts.call_job("Send-BackupFile", send(NAS), secrets=secrets or None).lab["value"]["targets"][0]
        refused.append(target["error"])
    assert refused == ["Access is denied", "The user name or password is incorrect", None]


# Measuring, removing


@pytest.mark.parametrize("path", [r"C:\Staging\ready.zip", rf"{SHARE}\there.bak"])
def test_measuring(hosts: Any, path: str) -> None:
    """A file on a disk or on a share, read to its end; a changed byte is another hash."""
    hosts.put("unc/nas01/billing/there.bak", DATA)
    secrets = {"share.username": "u", "share.password": PASSWORD} if path.startswith("\\") else None
    answer = hosts.call_job("Measure-BackupFile", {"path": path}, secrets=secrets).agree()
    assert answer == {"path": path, "sha256": SHA, "size": len(DATA)}
    hosts.put("unc/nas01/billing/there.bak", DATA[:-1])
    hosts.put("C/Staging/ready.zip", DATA[:-1])
    answer = hosts.call_job("Measure-BackupFile", {"path": path}, secrets=secrets).agree()
    assert (answer["sha256"] != SHA, answer["size"]) == (True, len(DATA) - 1)


def test_measuring_what_is_not_there(hosts: Any) -> None:
    """An absent file is an error that names it."""
    assert hosts.call_job("Measure-BackupFile", {"path": r"C:\Staging\no.zip"}).agree("line")["id"] == "FileMissing"


def test_removing(hosts: Any) -> None:
    """Backup files of this host go; anything else is left alone, and said."""
    hosts.put("C/Staging/a.BAK", b"123")
    hosts.put("C/Staging/keep.exe", b"MZ")
    paths = [r"C:\Staging\a.BAK", r"C:\Staging\gone.zip", r"C:\Staging\keep.exe", rf"{SHARE}\x.zip", r"C:\a\..\x.zip"]
    answer = hosts.call_job("Remove-BackupStaging", {"paths": paths}).agree()
    assert answer["removed"] == [{"path": r"C:\Staging\a.BAK", "size": 3}]
    assert answer["absent"] == [r"C:\Staging\gone.zip"]
    assert [one["path"] for one in answer["failed"]] == paths[2:]
    assert hosts.files("C/Staging") == (["keep.exe", "ready.zip"],) * 2


# SQL

BACKUP = "BACKUP DATABASE [EngageIP] TO DISK = N'E:\\x.bak' WITH CHECKSUM"
SAID: dict[str, Any] = {
    BACKUP: {
        "messages": [
            [3211, 0, 1, "10 percent processed."],
            [3211, 0, 1, "Procesado: 100 por ciento."],
            [4035, 0, 1, "Processed 400 pages for database 'EngageIP'."],
            [3014, 0, 1, "BACKUP DATABASE successfully processed 402 pages."],
        ]
    },
    "BACKUP nowhere": {
        "messages": [
            [3201, 16, 1, "Cannot open backup device 'E:\\no\\x.bak'. Operating system error 3."],
            [3013, 16, 1, "BACKUP DATABASE is terminating abnormally."],
        ]
    },
    "BACKUP damaged": {
        "messages": [[3211, 0, 1, "10 percent processed."]],
        "fatal": [
            [3202, 17, 2, "Write on 'E:\\x.bak' failed: 112."],
            [3013, 16, 1, "BACKUP is terminating abnormally."],
        ],
    },
}


class SaidSql:
    """The lab's part ``sql`` with the same script, so that the job is what is compared and not T-SQL."""

    def run(self, statement: str, database: str, user: Any, password: Any, **how: Any) -> Any:
        from lab.sql.errors import Message, SqlError
        from lab.sql.output import Result

        assert database
        if user is not None and password != PASSWORD:
            raise SqlError(Message(18456, 14, 1, f"Login failed for user '{user}'."))
        script = SAID.get(statement, {"fatal": [[102, 15, 1, "Incorrect syntax."]]})
        told = [Message(*one) for one in script.get("messages", [])]
        for one in told:
            how["on_message"](one)
        result = Result(messages=[tuple(one) for one in told if one.severity <= 10])
        errors = [tuple(one) for one in told if one.severity > 10] + [tuple(one) for one in script.get("fatal", [])]
        if errors:
            failure = SqlError(*(Message(*one) for one in errors))
            result.errors = errors
            failure.result = result  # type: ignore[attr-defined]
            raise failure
        return result


@pytest.fixture
def sql(hosts: Any) -> Any:
    """Give the host a SQL Server that says what SAID has."""
    hosts.state("sqlclient.json", lambda state: state.update(logins={"svc_patching": PASSWORD}, statements=SAID))
    hosts.lab.parts["sql"] = SaidSql()
    return hosts


@pytest.mark.parametrize(
    ("statement", "messages", "errors"),
    [
        (BACKUP, [3211, 3211, 4035, 3014], []),
        ("BACKUP nowhere", [], [3201, 3013]),
        ("BACKUP damaged", [3211], [3202, 3013]),
        ("nonsense", [], [102]),
    ],
)
def test_all_that_a_statement_says(sql: Any, statement: str, messages: list[int], errors: list[int]) -> None:
    """Every message and every error in its order: 3013 alone says nothing of the cause."""
    parameters = {"server": ".", "statement": statement}
    answer = sql.call_job("Invoke-SqlStatement", parameters).agree("seconds")
    assert [one["number"] for one in answer["messages"]] == messages
    assert [one["number"] for one in answer["errors"]] == errors


@pytest.mark.parametrize(("password", "errors"), [(PASSWORD, []), ("wrong", [18456])])
def test_a_sql_login(sql: Any, password: str, errors: list[int]) -> None:
    """The password goes in as a credential, never in the connection string."""
    secrets = {"username": "svc_patching", "password": password}
    parameters = {"server": "sql01,1433", "statement": BACKUP, "database": "msdb", "trust_server_certificate": True}
    answer = sql.call_job("Invoke-SqlStatement", parameters, secrets=secrets).agree("seconds")
    assert [one["number"] for one in answer["errors"]] == errors
    if not errors:
        log = (sql.engine / "sqlclient.log").read_text()
        assert "svc_patching" in log
        assert "ss€" not in log
        assert "integrated security" not in log.casefold()


def test_progress_comes_from_the_statement(sql: Any) -> None:
    """As a task: the percentage of message 3211, whatever its language, is in progress.json."""
    done = sql.run_job("Invoke-SqlStatement", {"server": ".", "statement": BACKUP})
    first, second = done.engine["progress"], done.lab["progress"]
    assert (first["percent"], first["message"]) == (100, "Procesado: 100 por ciento.")
    assert first | {"at": ""} == second | {"at": ""}
