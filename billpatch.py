"""The command line: it starts the flows and prints what they say."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

app = typer.Typer(
    help="Patch EngageIP Billing servers: backups that gate, updates, ordered reboots, checks, and a way back.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode=None,
)
out = Console()
err = Console(stderr=True)

STATE = Path(os.environ.get("BILLPATCH_STATE", ".state"))
Estate = Annotated[str, typer.Argument(help="Name of an estate in the estate store, or the path of its file.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read.")]

NEEDS_A_PERSON = 3
"""Exit code where the portals stay behind the maintenance page."""


@app.command()
def check(estate: Estate, as_json: Json = False) -> None:
    """Read the estate's file, log in everywhere, tell everything that is wrong, at once. Touches nothing."""
    _prefect()
    from flows.check import check_estate

    _finish(check_estate(estate, return_state=True), as_json)


@app.command()
def plan(estate: Estate, as_json: Json = False) -> None:
    """Print what patching would do, in order, from the hosts' last scan. Touches nothing."""
    _prefect()
    from flows.plan import plan_estate

    _finish(plan_estate(estate, return_state=True), as_json)


@app.command()
def patch(
    estate: Estate,
    change: Annotated[str | None, typer.Option(help="Number of the approved change.")] = None,
    attempt: Annotated[int, typer.Option(min=1, help="Raise it to try again what failed under this change.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look and plan only.")] = False,
    as_json: Json = False,
) -> None:
    """Patch an estate: back up, install, restart in order, check, bring back."""
    _prefect()
    raise typer.Exit(_patch(estate, change=change, attempt=attempt, dry_run=dry_run, as_json=as_json))


@app.command()
def recover(estate: Estate, as_json: Json = False) -> None:
    """Bring an estate back after a run that died. Needs no Prefect; exits 3 where portals must stay closed."""
    _quiet_prefect()
    from tasks.rescue import recover_directly

    written = recover_directly(estate)
    _show(written, as_json)
    raise typer.Exit(_code(written))


@app.command()
def lab(
    folder: Annotated[Path, typer.Option("--dir", help="Folder of the lab.")] = STATE / "lab",
    preset: Annotated[str, typer.Option(help="acme, farm or single.")] = "acme",
    speed: Annotated[float, typer.Option(help="How much faster than life time runs.")] = 20.0,
    fault: Annotated[list[str] | None, typer.Option(help="name[:on[:times]], several times if need be.")] = None,
) -> None:
    """Start the embedded estate and leave it running; it prints where its estate file and credentials are."""
    arguments = ["--dir", str(folder), "--preset", preset, "--speed", str(speed)]
    for one in fault or []:
        arguments += ["--fault", one]
    raise typer.Exit(subprocess.run([sys.executable, "-m", "lab", *arguments], check=False).returncode)


@app.command()
def demo(speed: Annotated[float, typer.Option(help="How much faster than life time runs.")] = 60.0) -> None:
    """Start the lab and a Prefect server, patch the lab's estate, and show the report."""
    with ExitStack() as stack:
        with out.status("starting the lab and a Prefect server …"):
            papers = stack.enter_context(_lab("acme", speed))
            stack.enter_context(_prefect_server())
        # A process of its own, as a user would start it: it has sent its last log line before the server goes.
        done = subprocess.run([sys.executable, "-m", "billpatch", "patch", papers["estate"]], check=False)
    raise typer.Exit(done.returncode)


@app.command()
def ui(
    speed: Annotated[float, typer.Option(help="How much faster than life time runs.")] = 20.0,
    preset: Annotated[str, typer.Option(help="acme, farm or single.")] = "acme",
    port: Annotated[int, typer.Option(help="Port of the Prefect UI; 0 takes a free one.")] = 4200,
) -> None:
    """Leave a Prefect server with the deployments, a worker and the lab running, and print the address."""
    with ExitStack() as stack:
        with out.status("starting the lab, a Prefect server and a worker …"):
            papers = stack.enter_context(_lab(preset, speed))
            url = stack.enter_context(_prefect_server(port))
            _deploy()
            stack.enter_context(_process("worker", "prefect", "worker", "start", "--pool", "billpatch"))
        out.print(f"Prefect UI     {url}")
        out.print(f"Estate         {papers['estate']}")
        out.print("Start it       Deployments → patch-estate/acme-billing → Run → Quick run")
        out.print(f"Break it       curl -X POST {papers['control']}/faults -d '{{\"name\": \"backup.disk_full\"}}'")
        out.print("Ctrl-C ends everything.")
        try:
            signal.pause()
        except KeyboardInterrupt:
            out.print("ending …")


def _patch(estate: str, *, change: str | None, attempt: int, dry_run: bool, as_json: bool) -> int:
    from flows.patch import patch_estate
    from report.screen import LiveNight
    from tasks import progress
    from tasks.report import Written, on_report

    written: list[Written] = []
    on_report(written.append)
    with LiveNight(err if as_json else out) as night:
        unsubscribe = progress.subscribe(night.see)
        try:
            state = patch_estate(estate, change=change, attempt=attempt, dry_run=dry_run, return_state=True)
        finally:
            unsubscribe()
    if not written:
        err.print(state.message, style="red", markup=False)
        return 1
    _show(written[-1], as_json)
    return _code(written[-1])


def _show(written: Any, as_json: bool) -> None:
    from report import render
    from report.screen import summary

    if as_json:
        typer.echo(json.dumps(render.as_json(written.report), ensure_ascii=False))
    else:
        out.print(summary(written.report, str(written.folder) if written.folder else None))


def _code(written: Any) -> int:
    outcome = written.report.outcome
    if outcome.verdict == "half-open":
        return NEEDS_A_PERSON
    return 0 if outcome.succeeded else 1


def _finish(state: Any, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"ok": state.is_completed(), "message": state.message}, ensure_ascii=False))
    else:
        (out if state.is_completed() else err).print(state.message, markup=False, highlight=False)
    raise typer.Exit(0 if state.is_completed() else 1)


# Processes of the demo ----------------------------------------------------------------------------------------------


def _quiet_prefect() -> None:
    """Prefect's own log lines belong into its UI; on this terminal the progress display speaks."""
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")


def _prefect() -> None:
    _quiet_prefect()
    os.environ.setdefault("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "true")


@contextmanager
def _process(name: str, *command: str, stdin: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A program of this environment, its output in a log of the state folder; ended with the block."""
    STATE.mkdir(parents=True, exist_ok=True)
    program = str(Path(sys.executable).parent / command[0])
    with (STATE / f"{name}.log").open("wb") as log:
        process = subprocess.Popen([program, *command[1:]], stdin=stdin, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


@contextmanager
def _lab(preset: str, speed: float) -> Iterator[dict[str, Any]]:
    """The embedded estate, in its own process; sets the environment so that flows find its papers."""
    import shutil

    folder = STATE / "lab"
    shutil.rmtree(folder, ignore_errors=True)
    ready = folder.with_suffix(".json")
    ready.unlink(missing_ok=True)
    arguments = ["-m", "lab", "--dir", str(folder), "--preset", preset, "--speed", str(speed), "--until-stdin-closes"]
    process = subprocess.Popen([sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdin  # noqa: S101 - asked for above
    try:
        line = process.stdout.readline()
        if not line:
            err.print("The lab did not start; its own words are above.")
            raise typer.Exit(1)
        papers: dict[str, Any] = json.loads(line)
        estates = STATE / "estates"
        estates.mkdir(parents=True, exist_ok=True)
        shutil.copy(papers["estate"], estates / "acme-billing.yaml")
        os.environ["BILLPATCH_ESTATES"] = str(estates.resolve())
        os.environ["BILLPATCH_CREDENTIALS"] = str(Path(papers["credentials"]).resolve())
        os.environ["BILLPATCH_REPORTS"] = str((STATE / "reports").resolve())
        os.environ["BILLPATCH_POLL_SECONDS"] = "0.25"
        yield papers
    finally:
        process.stdin.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


@contextmanager
def _prefect_server(port: int = 0) -> Iterator[str]:
    """A Prefect server of this folder's own, never the one of the user's profile."""
    import httpx

    _quiet_prefect()
    port = port or _free_port()
    os.environ["PREFECT_HOME"] = str((STATE / "prefect").resolve())
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
    with _process("prefect", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)) as server:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and server.poll() is None:
            try:
                httpx.get(f"http://127.0.0.1:{port}/api/health", timeout=2).raise_for_status()
            except httpx.HTTPError:
                time.sleep(0.25)
            else:
                yield f"http://127.0.0.1:{port}"
                return
        err.print(f"The Prefect server did not start; see {STATE / 'prefect.log'} (is port {port} taken?).")
        raise typer.Exit(1)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _deploy() -> None:
    prefect = str(Path(sys.executable).parent / "prefect")
    file = Path(__file__).parent / "deployments" / "prefect.yaml"
    pool = [prefect, "work-pool", "create", "billpatch", "--type", "process", "--overwrite"]
    deploy = [prefect, "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
    for command in (pool, deploy):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            err.print(done.stdout + done.stderr, markup=False)
            raise typer.Exit(1)


if __name__ == "__main__":
    app()
