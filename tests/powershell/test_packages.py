"""Packages: nothing runs that was not approved, busy installers are waited for, and the version is the evidence."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lab.faults import Fault

pytestmark = [
    pytest.mark.lookalike,
    pytest.mark.telling("Find-LeftProcess", "Get-PackageVersion", "Install-Package", "Save-Package"),
]

CODE = "{2B6C0A0E-5E0C-4B55-9C7B-0D6E1B1C2A11}"
PRODUCT, VERSION = "Acme Provisioning Agent", "4.2.0"
PUBLISHER = 'CN="Acme Software, Inc.", O="Acme Software, Inc.", C=US'
SHARE, HERE = r"\\nas01\billing\packages", r"C:\Downloads"
STAGING = r"C:\ProgramData\EngageIPPatching\staging\packages"


def package(**more: Any) -> bytes:
    installs = {"product": PRODUCT, "key": CODE, "version": VERSION, **more.pop("installs", {})}
    told = {"installs": installs, "signer": PUBLISHER, **more}
    return b"MZ" + bytes(range(256)) + b"\n" + json.dumps(told).encode() + b"\n"


@pytest.fixture
def hosts(twin: Callable[..., Any]) -> Any:
    """A web server with nothing of Acme's, and a share and a folder for packages."""
    made = twin(name="web01", speed=2000)
    made.state("cim.json", lambda cim: cim.update(Win32_Process=[], Win32_QuickFixEngineering=[]))
    return made


def put(hosts: Any, file: str, data: bytes, source: str = HERE) -> dict[str, Any]:
    """Put a package where hosts find it, and say how it is installed."""
    folder = "unc/nas01/billing/packages" if source == SHARE else "C/Downloads"
    hosts.put(f"{folder}/{file}", data)
    return {
        "name": "Agent",
        "kind": file.rsplit(".", 1)[1],
        "source": rf"{source}\{file}",
        "sha256": hashlib.sha256(data).hexdigest(),
        "publisher": "Acme Software, Inc.",
        "probe": {"kind": "product", "name": PRODUCT},
    }


def install(hosts: Any, parameters: dict[str, Any], **secrets: str) -> Any:
    return hosts.call_job("Install-Package", parameters, secrets=secrets or None)


def fault(hosts: Any, engine: dict[str, Any], *faults: Fault) -> None:
    """Declare the same on both sides."""
    hosts.state_of_engine("packages.json", engine)
    for one in faults:
        hosts.lab.faults.declare(one)


def started(hosts: Any) -> list[str]:
    """The command lines that were run in the engine; the lab's trail must count as many."""
    log: Path = hosts.engine / "setup.log"
    lines = log.read_text().splitlines() if log.exists() else []
    trail = (
        [json.loads(line) for line in hosts.lab.audit.path.read_text().splitlines()]
        if hosts.lab.audit.path.exists()
        else []
    )
    assert len([event for event in trail if event["event"] == "package.start"]) == len(lines)
    return lines


def same_registry(hosts: Any) -> dict[str, Any]:
    first, second = hosts.json("registry.json")
    assert first == second
    return dict(first)


@pytest.mark.parametrize("source", [HERE, SHARE])
def test_an_msi_is_staged_checked_run_and_read_back(hosts: Any, source: str) -> None:
    """From wherever it comes it runs out of the protected folder, quietly, with a log; what is installed is the answer."""
    parameters = put(hosts, "agent setup.msi", package(), source) | {"arguments": ["ADDLOCAL=Agent"]}
    answer = install(hosts, parameters).agree("seconds")
    assert (answer["exit_code"], answer["versions_before"], answer["versions_after"]) == (0, [], [VERSION])
    assert answer["signer"] == "Acme Software, Inc."
    assert "MainEngineThread is returning 0" in answer["log_tail"]
    folder = rf"{STAGING}\{parameters['sha256']}"
    (line,) = started(hosts)
    assert line.casefold().startswith(r"c:\windows\system32\msiexec.exe ")
    assert line.endswith(rf'/i "{folder}\agent setup.msi" /qn /norestart /l*v "{folder}\msiexec.log" ADDLOCAL=Agent')
    same_registry(hosts)
    for side in hosts.files():
        assert not [file for file in side if file.endswith(".msi")], "the staged file is removed"


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("fix.msp", '/p "{}" /qn /norestart /l*v "{folder}\\msiexec.log"'),
        ("KB5034439.msu", '"{}" /quiet /norestart'),
        ("KB5034439.cab", '/online /add-package /packagepath:"{}" /quiet /norestart'),
        ("setup.exe", "setup.exe /S"),
        ("step.ps1", '-NoProfile -NonInteractive -ExecutionPolicy Bypass -File "{}" /S'),
    ],
)
def test_each_kind_is_run_as_it_wants(hosts: Any, file: str, line: str) -> None:
    """By msiexec, wusa, dism, itself, or powershell."""
    data = package(installs={"hotfix": "KB5034439"})
    if file.endswith(".ps1"):
        data = b"$null = 1\n# " + data.rstrip().rsplit(b"\n", 1)[1] + b"\n"
    parameters = put(hosts, file, data) | {"arguments": ["/S"] if "/S" in line else []}
    if "KB" in file:
        parameters["probe"] = {"kind": "hotfix", "name": "KB5034439"}
    answer = install(hosts, parameters).agree("seconds")
    assert answer["versions_after"] == (["KB5034439"] if "KB" in file else [VERSION])
    folder = rf"{STAGING}\{parameters['sha256']}"
    assert started(hosts)[0].endswith(line.format(rf"{folder}\{file}", folder=folder))


def test_busy_twice_then_in(hosts: Any) -> None:
    """1618 is waited for and tried again inside the same job; the last code counts, and each try is told."""
    fault(
        hosts,
        {"codes": [1618, 1618, 3010]},
        Fault("package.exit_code", on="Agent", with_={"codes": [1618, 1618, 3010]}),
    )
    parameters = put(hosts, "agent.msi", package()) | {"wait_codes": [1618], "wait_seconds": 5}
    answer = install(hosts, parameters).agree("seconds")
    assert [each["code"] for each in answer["tries"]] == [1618, 1618, 3010]
    assert (answer["exit_code"], answer["versions_after"]) == (3010, [VERSION])
    assert len(started(hosts)) == 3


def test_busy_for_ever_is_not_waited_for_ever(hosts: Any) -> None:
    """Where no time is left for another try the answer is what the installer said."""
    fault(hosts, {"codes": [1618, 1618]}, Fault("package.exit_code", on="Agent", with_={"codes": [1618, 1618]}))
    parameters = put(hosts, "agent.msi", package()) | {"wait_codes": [1618], "wait_seconds": 30, "deadline_seconds": 20}
    answer = install(hosts, parameters).agree("seconds")
    assert (answer["exit_code"], len(answer["tries"]), answer["versions_after"]) == (1618, 1, [])


def test_a_parent_that_exits_before_its_child(hosts: Any) -> None:
    """The child is waited for: the version is read when nothing of the installer runs any more."""
    fault(hosts, {"forks": 4}, Fault("package.forks", on="Agent", with_={"seconds": 20}))
    answer = install(hosts, put(hosts, "setup.exe", package())).agree("seconds")
    assert (answer["exit_code"], answer["running"], answer["versions_after"]) == (0, [], [VERSION])


def test_an_id_that_is_used_again_is_nobody_of_ours(hosts: Any) -> None:
    """Windows gives it to the next process, a service perhaps: neither that nor what it starts is waited for."""
    fault(hosts, {"forks": 2, "reused": True}, Fault("package.forks", on="Agent", with_={"seconds": 4}))
    parameters = put(hosts, "setup.exe", package()) | {"deadline_seconds": 5}
    answer = install(hosts, parameters).agree("seconds")
    assert (answer["exit_code"], answer["running"], answer["versions_after"]) == (0, [], [VERSION])


def test_what_still_runs_at_the_deadline_is_named_and_left_alone(hosts: Any) -> None:
    """Nothing is killed; there is no exit code, and the file stays for whoever still needs it."""
    fault(hosts, {"hangs": True}, Fault("package.hangs", on="Agent"))
    parameters = put(hosts, "setup.exe", package()) | {"deadline_seconds": 1}
    answer = install(hosts, parameters).agree("seconds", "id", "started")
    assert (answer["exit_code"], answer["trouble"], answer["versions_after"]) == (None, None, [])
    assert [each["name"] for each in answer["running"]] == ["setup"]
    assert all(any(file.endswith("setup.exe") for file in side) for side in hosts.files())


def test_what_its_installer_is_stands_beside_the_job(hosts: Any) -> None:
    """From its start on: who comes once the job was ended under it knows whom to wait for. At its end nothing is left."""
    fault(hosts, {"hangs": True}, Fault("package.hangs", on="Agent"))
    parameters = put(hosts, "setup.exe", package()) | {"deadline_seconds": 1}
    told = hosts.run_job("Install-Package", parameters)
    for side in (told.engine, told.lab):
        (noted,) = side["installer"]["processes"]
        (running,) = side["job"]["result"]["running"]
        assert (noted["id"], noted["name"]) == (running["id"], "setup")
        assert datetime.fromisoformat(noted["started"]).tzinfo is not None
    fault(hosts, {"unwatched": True}, Fault("package.hangs", on="Agent", with_={"watched": False}))
    lost = hosts.run_job("Install-Package", parameters, job_id="test.2")
    assert [[each["name"] for each in side["installer"]["processes"]] for side in (lost.engine, lost.lab)] == [
        ["setup"]
    ] * 2


def test_an_installer_that_nobody_could_watch_may_go_on(hosts: Any) -> None:
    """That the job has failed says nothing of the package: its process is named, and its file stays."""
    fault(hosts, {"unwatched": True}, Fault("package.hangs", on="Agent", with_={"watched": False}))
    answer = install(hosts, put(hosts, "setup.exe", package())).agree("seconds", "id", "started")
    assert (answer["exit_code"], answer["trouble"]) == (None, "No more handles are available.")
    assert [each["name"] for each in answer["running"]] == ["setup"]
    assert all(any(file.endswith("setup.exe") for file in side) for side in hosts.files())


def test_the_child_of_an_installer_that_has_ended_is_not_forgotten(hosts: Any) -> None:
    """The job loses sight of both: what was seen last may go on, and needs its file."""
    fault(
        hosts,
        {"forks": 4, "unwatched": True},
        Fault("package.forks", on="Agent", with_={"seconds": 3000, "watched": False}),
    )
    answer = install(hosts, put(hosts, "setup.exe", package())).agree("seconds", "id", "started")
    assert (answer["exit_code"], answer["trouble"]) == (None, "No more handles are available.")
    assert [each["name"] for each in answer["running"]] == ["setup.tmp"]
    assert all(any(file.endswith("setup.exe") for file in side) for side in hosts.files())


def test_a_file_that_is_held_fails_no_package(hosts: Any) -> None:
    """A virus scanner, or the program that was just installed: the installer has done its work."""
    parameters = put(hosts, "agent.msi", package())
    folder = hosts.engine / "C/ProgramData/EngageIPPatching/staging/packages" / parameters["sha256"]
    folder.mkdir(parents=True)
    # What cannot be deleted: a folder where the file would be made anew.
    (folder / "agent.msi").write_bytes(package())
    folder.chmod(0o500)
    try:
        answer = hosts.call_job("Install-Package", parameters).engine["value"]
    finally:
        folder.chmod(0o700)
    assert (answer["exit_code"], answer["trouble"], answer["versions_after"]) == (0, None, [VERSION])


def test_which_processes_still_run(hosts: Any) -> None:
    """By id and start: an id is used again by somebody else."""
    now = "2026-10-02T02:03:04.500Z"
    rows = [
        {"ProcessId": 77, "Name": "viewer.exe", "CreationDate": now},
        {"ProcessId": 4, "Name": "System", "CreationDate": None},
    ]
    hosts.state("cim.json", lambda cim: cim.update(Win32_Process=rows))
    ours = {"id": 77, "name": "viewer", "started": "2026-10-02T02:03:05.100Z"}
    others = ({**ours, "id": 78}, {**ours, "started": "2026-10-02T02:03:09.100Z"}, {**ours, "id": 4})
    assert hosts.run("Find-LeftProcess", {"processes": [ours, *others]}).agree() == {"running": [ours]}
    assert hosts.run("Find-LeftProcess", {"processes": []}).agree() == {"running": []}


def test_an_installer_that_lies(hosts: Any) -> None:
    """It says 0 and has installed nothing: the version says so."""
    fault(hosts, {"lies": True}, Fault("package.lies", on="Agent"))
    answer = install(hosts, put(hosts, "agent.msi", package())).agree("seconds")
    assert (answer["exit_code"], answer["versions_after"]) == (0, [])


def test_files_in_use_are_an_error_with_its_reason(hosts: Any) -> None:
    """1603, with the lines of the log that say why; with its pools stopped it goes in."""
    hosts.state("iis.json", lambda state: state.update(pools={"Portal": {"state": "Started"}}, sites={}))
    parameters = put(hosts, "agent.msi", package(in_use=["Portal"]))
    answer = install(hosts, parameters).agree("seconds")
    assert (answer["exit_code"], answer["versions_after"]) == (1603, [])
    assert answer["log_errors"][0].endswith("Error 1306. Another application has exclusive access to a file.")
    assert "Return value 3" in answer["log_errors"][1]
    hosts.state("iis.json", lambda state: state["pools"]["Portal"].update(state="Stopped"))
    assert install(hosts, parameters).agree("seconds")["versions_after"] == [VERSION]


@pytest.mark.parametrize("source", [HERE, SHARE])
def test_a_flipped_byte_never_runs(hosts: Any, source: str) -> None:
    """The message names the file, both hashes, and what to do; what was staged is gone."""
    parameters = put(hosts, "agent.msi", package(), source)
    put(hosts, "agent.msi", package().replace(b"MZ", b"MX"), source)
    failure = install(hosts, parameters).agree("line")
    assert failure["id"] == "PackageChanged"
    other = hashlib.sha256(package().replace(b"MZ", b"MX")).hexdigest()
    assert failure["message"].startswith(
        rf"{source}\agent.msi is not the file that was approved: its SHA-256 is {other}, approved is {parameters['sha256']}."
    )
    assert started(hosts) == []
    assert not [file for side in hosts.files() for file in side if file.endswith(".msi")]


def test_what_lies_staged_is_checked_as_well(hosts: Any) -> None:
    """A file in the staging folder that is not the package is fetched anew, one that is, is used."""
    parameters = put(hosts, "agent.msi", package())
    hosts.put(f"{STAGING[:1]}{STAGING[2:]}/{parameters['sha256']}/agent.msi".replace("\\", "/"), b"something else")
    assert install(hosts, parameters).agree("seconds")["versions_after"] == [VERSION]


@pytest.mark.parametrize(
    ("data", "status", "signer"),
    [
        (package(signer="CN=Acme Software, O=Contoso"), "Valid", "'Acme Software'"),
        (package(signer='CN=Contoso, O="Acme Software, Inc."'), "Valid", "'Contoso'"),
        (package(signer='OU="Acme Software, Inc.", O=Contoso'), "Valid", "nobody"),
        (package(signer='CN="ACME Software, Inc."'), "Valid", "'ACME Software, Inc.'"),
        (b"no package at all", "NotSigned", "nobody"),
    ],
)
def test_another_publisher_never_runs(hosts: Any, data: bytes, status: str, signer: str) -> None:
    """Equal, not merely contained, and the common name, not the organisation."""
    failure = install(hosts, put(hosts, "agent.msi", data)).agree("line")
    assert failure["id"] == "PackageSignature"
    assert (
        f"is not signed by 'Acme Software, Inc.': its signature is {status}, its signer {signer}. Nothing was run."
        in failure["message"]
    )
    assert started(hosts) == []


def test_unsigned_by_word_of_the_estate(hosts: Any) -> None:
    """Without a publisher the signature is not looked at; the hash always is."""
    parameters = put(hosts, "agent.msi", package(signer="CN=Contoso")) | {"publisher": ""}
    assert install(hosts, parameters).agree("seconds")["signer"] is None
    put(hosts, "agent.msi", package(signer="CN=Another"))
    assert install(hosts, parameters).agree("line")["id"] == "PackageChanged"


def test_a_file_that_is_gone_or_too_large(hosts: Any) -> None:
    """Both are said with the fix."""
    parameters = put(hosts, "agent.msi", package())
    assert install(hosts, parameters | {"source": rf"{HERE}\gone.msi"}).agree("line")["id"] == "PackageMissing"
    failure = install(hosts, parameters | {"largest": 100}).agree("line")
    assert (failure["id"], "more than 100 bytes" in failure["message"]) == ("PackageTooLarge", True)
    assert started(hosts) == []


def test_a_package_is_brought_ahead_of_its_install(hosts: Any, server: tuple[str, dict[str, Any]]) -> None:
    """It lies checked in the protected folder, nothing has run, and the install fetches nothing any more."""
    url, answers = server
    answers[SIGNED] = (200, package(), None)
    parameters = from_bucket(hosts)
    ahead = {name: parameters[name] for name in ("source", "sha256", "publisher")}
    answer = hosts.call_job("Save-Package", ahead, secrets={"source.url": url + SIGNED}).agree()
    assert answer == {
        "path": rf"{STAGING}\{parameters['sha256']}\agent.msi",
        "size": len(package()),
        "signer": "Acme Software, Inc.",
    }
    assert started(hosts) == []
    answers.clear()
    assert install(hosts, parameters, **{"source.url": url + SIGNED}).agree("seconds")["versions_after"] == [VERSION]


@pytest.mark.parametrize(
    ("data", "error"),
    [(package().replace(b"MZ", b"MX"), "PackageChanged"), (package(signer="CN=Contoso"), "PackageSignature")],
)
def test_what_must_not_run_shows_ahead_of_its_install(hosts: Any, data: bytes, error: str) -> None:
    """With the same words, and it does not stay."""
    parameters = put(hosts, "agent.msi", package() if error == "PackageChanged" else data)
    put(hosts, "agent.msi", data)
    ahead = {name: parameters[name] for name in ("source", "sha256", "publisher")}
    assert hosts.call_job("Save-Package", ahead).agree("line")["id"] == error
    assert not [file for side in hosts.files() for file in side if file.endswith(".msi")]


@pytest.mark.parametrize("below", ["", rf"\{'0' * 64}", rf"\{'0' * 64}\version.dll"])
def test_nothing_is_fetched_into_a_folder_of_others(hosts: Any, below: str) -> None:
    """An installer loads what lies beside it: whoever may write there would be SYSTEM."""
    put(hosts, "agent.msi", package())
    parameters = {"source": rf"{HERE}\agent.msi", "sha256": "0" * 64}
    hosts.put(f"C/ProgramData/EngageIPPatching/staging/packages/{'0' * 64}/version.dll", "evil")
    let_in = {STAGING + below: {"owner": "BA", "dacl": "AI(A;OICI;0x1301bf;;;BU)"}}
    hosts.state("acl.json", lambda acl: acl.update(let_in))
    refused = hosts.call_job("Save-Package", parameters).agree("line")
    assert refused["id"] == "FolderAccess"
    assert refused["message"].startswith(f"{STAGING}{below} lets others in")


# Downloads ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[tuple[str, dict[str, Any]]]:
    """A plain server as a bucket's presigned URL leads to; what it answers by path can be set."""
    answers: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body, length = answers.get(self.path, (404, b"no", None))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            if status == 302:
                self.send_header("Location", "/agent.msi?X-Amz-Signature=secret")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
            """Quiet."""

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{made.server_address[1]}", answers
    made.shutdown()
    made.server_close()


SIGNED = "/agent.msi?X-Amz-Signature=secret"


def from_bucket(hosts: Any) -> dict[str, Any]:
    return put(hosts, "agent.msi", package()) | {"source": "s3://acme-backups/packages/agent.msi"}


def test_a_package_out_of_a_bucket(hosts: Any, server: tuple[str, dict[str, Any]]) -> None:
    """The host pulls it by the presigned URL, which is a secret; it runs under the name of the object."""
    url, answers = server
    answers[SIGNED] = (200, package(), None)
    answer = install(hosts, from_bucket(hosts), **{"source.url": url + SIGNED}).agree("seconds")
    assert answer["versions_after"] == [VERSION]
    assert "secret" not in json.dumps(answer)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((403, b"<Error/>", None), "DownloadRefused"),
        ((404, b"<Error/>", None), "DownloadRefused"),
        ((302, b"", None), "DownloadRefused"),
        ((200, package()[:100], 5000), "DownloadFailed"),
        ((200, package(), 6 << 30), "PackageTooLarge"),
        ((200, package().replace(b"MZ", b"MX"), None), "PackageChanged"),
    ],
)
def test_downloads_that_fail(hosts: Any, server: tuple[str, dict[str, Any]], answer: Any, error: str) -> None:
    """A refusal, a redirect, a connection that breaks, too much, other bytes: told without the URL, and nothing runs."""
    url, answers = server
    answers[SIGNED] = answer
    both = install(hosts, from_bucket(hosts), **{"source.url": url + SIGNED})
    failure = both.agree("line", *(["message"] if error == "DownloadFailed" else []))
    assert failure["id"] == error
    for side in (both.engine, both.lab):
        assert "secret" not in side["error"]["message"]
        assert side["error"]["message"].startswith("s3://acme-backups/packages/agent.msi")
    assert started(hosts) == []


def test_nobody_answers(hosts: Any) -> None:
    """A port where nothing listens, through no proxy: named with what to look at."""
    both = install(hosts, from_bucket(hosts), **{"source.url": "http://127.0.0.1:9" + SIGNED})
    assert both.agree("line", "message")["id"] == "NoAnswer"
    # The engine's .NET has other words than 5.1's for the status in brackets.
    for side in (both.engine, both.lab):
        assert "agent.msi: http://127.0.0.1:9 does not answer WEB01 (" in side["error"]["message"]
    assert "(ConnectFailure)" in both.lab["error"]["message"]


# Versions -------------------------------------------------------------------------------------------------------------


def test_versions_are_read_from_where_products_keep_them(hosts: Any) -> None:
    """The uninstall registry of both bitnesses by name or code, files' own versions, text files, registry values, KBs."""

    def furnish(registry: dict[str, Any]) -> None:
        software = registry["HKLM"]["SOFTWARE"]
        software["Microsoft"]["Windows"] = {
            "CurrentVersion": {
                "Uninstall": {CODE: {"@": {"DisplayName": PRODUCT, "DisplayVersion": "4.1.0"}}, "Other": {"@": {}}}
            }
        }
        software["WOW6432Node"] = {
            "Microsoft": {
                "Windows": {
                    "CurrentVersion": {"Uninstall": {"X": {"@": {"DisplayName": PRODUCT, "DisplayVersion": "3.9"}}}}
                }
            }
        }
        software["Acme"] = {"@": {"Version": 7}}

    hosts.state("registry.json", furnish)
    hosts.state("cim.json", lambda cim: cim.update(Win32_QuickFixEngineering=[{"HotFixID": "KB5034439"}]))
    hosts.put("C/Program Files/Acme/Version.txt", "\ufeffEngageIP 8.5.23 build 7\r\n")
    hosts.put("C/Program Files/Acme/agent.dll", b'MZ\n{"file_version": [4, 1, 0, 77]}\n')
    text = r"C:\Program Files\Acme\Version.txt"
    for probe, found in (
        ({"kind": "product", "name": PRODUCT}, ["4.1.0", "3.9"]),
        ({"kind": "product", "name": CODE}, ["4.1.0"]),
        ({"kind": "product", "name": "Other"}, []),
        ({"kind": "product", "name": "Nobody's"}, []),
        ({"kind": "file", "name": r"C:\Program Files\Acme\agent.dll", "pattern": None}, ["4.1.0.77"]),
        ({"kind": "file", "name": text, "pattern": "EngageIP ([0-9.]+)"}, ["8.5.23"]),
        ({"kind": "file", "name": text, "pattern": "Version ([0-9.]+)"}, []),
        ({"kind": "file", "name": r"C:\gone.dll", "pattern": None}, []),
        ({"kind": "registry", "name": r"SOFTWARE\Acme", "value": "Version"}, ["7"]),
        ({"kind": "registry", "name": r"SOFTWARE\Acme", "value": "Build"}, []),
        ({"kind": "hotfix", "name": "KB5034439"}, ["KB5034439"]),
        ({"kind": "hotfix", "name": "KB1"}, []),
    ):
        assert hosts.run("Get-PackageVersion", {"probe": probe}).agree() == {"versions": found}, probe


def test_as_a_task(hosts: Any) -> None:
    """From start to job.json on both sides, with msiexec's log in the job's own folder."""
    parameters = put(hosts, "agent.msi", package())
    done = hosts.run_job("Install-Package", parameters)
    first, second = (side["job"]["result"] for side in (done.engine, done.lab))
    for one in (first, second):
        one |= {"seconds": 0, "tries": len(one["tries"])}
    assert first == second
    assert done.engine["installer"] == done.lab["installer"] == {"processes": []}
    assert first["log"] == r"C:\ProgramData\EngageIPPatching\jobs\test.1.Install-Package\msiexec.log"
    assert all(any(file.endswith("Install-Package/msiexec.log") for file in side) for side in hosts.files())
