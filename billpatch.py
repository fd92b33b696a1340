"""The command line: it starts the flows and prints what they say.

Exit codes: 0 done; 1 stopped or failed; 2 the command line or the estate file is wrong; 3 portals stay closed, a
person is needed; 130 ended by Ctrl-C, after the estate was brought back.
"""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console

if TYPE_CHECKING:
    from deployments.local import Sandbox
    from model.outcome import Problem
    from tasks.report import Written

app = typer.Typer(
    epilog="Exit codes: 0 done; 1 stopped or failed; 2 the command line or the estate file is wrong; 3 portals stay "
    "closed, a person is needed; 130 ended by Ctrl-C.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode=None,
)
out = Console(highlight=False, emoji=False)
err = Console(stderr=True, highlight=False, emoji=False)

STATE = Path(os.environ.get("BILLPATCH_STATE", ".state"))
UI_PORT = 4200
FAILED, USAGE, NEEDS_A_PERSON, INTERRUPTED = 1, 2, 3, 130

Estate = Annotated[str, typer.Argument(help="Name of an estate in the estate store, or the path of its file.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read.")]
Preset = Annotated[
    Literal["acme", "everything", "farm", "gdr", "hooks", "packages", "rounds", "single"],
    typer.Option(help="Which estate the lab plays."),
]
Speed = Annotated[float, typer.Option(min=0.1, max=1000, help="How much faster than life the lab's time runs.")]


@app.callback()
def main() -> None:
    """Patch EngageIP Billing servers: backups that gate, updates, ordered reboots, checks, and a way back."""
    _quiet()


@app.command()
def check(
    estate: Estate,
    canary: Annotated[bool, typer.Option(help="Run a canary job on each host; without it nothing is touched.")] = True,
    as_json: Json = False,
) -> None:
    """Tell all that is wrong with an estate, and send its canaries.

    Reads the estate's file, logs in everywhere, looks at all that a night needs, and runs a canary on each host: a job
    that does what jobs do on a night. Patching refuses a host without one from the last 14 days (canary.max_age).
    """
    _ready(estate, as_json)
    from flows.check import check_estate

    state = _looked(check_estate, estate, as_json, canary=canary)
    cautions = [caution.model_dump(mode="json") for caution in state.result()]
    _print(state.message.splitlines(), {"message": state.message, "cautions": cautions}, as_json)


@app.command()
def plan(
    estate: Estate,
    scan: Annotated[bool, typer.Option("--scan", help="Ask each host for its updates first (a job on it).")] = False,
    as_json: Json = False,
) -> None:
    """Print what patching would do, in order; touches nothing.

    What is to be installed comes from the last scan on each host; how old that is stands at the end. --scan makes a
    new one first: that changes nothing, but holds the estate while it runs.
    """
    _ready(estate, as_json)
    from flows.plan import plan_estate

    foreseen = _looked(plan_estate, estate, as_json, scan=scan).result()
    _print(foreseen.lines(), foreseen.as_json(), as_json)


@app.command()
def download(estate: Estate, as_json: Json = False) -> None:
    """Download what the next night will install; installs nothing.

    Scans, and fetches the Windows updates that the policy admits, outside of the window: the night waits for none.
    """
    _ready(estate, as_json)
    from flows.download import download_updates

    state = _looked(download_updates, estate, as_json)
    titles = list(state.result())
    _print([state.message, *titles], {"message": state.message, "updates": titles}, as_json)


@app.command()
def patch(
    estate: Estate,
    change: Annotated[str | None, typer.Option(help="Number of the approved change.")] = None,
    attempt: Annotated[int, typer.Option(min=1, max=999, help="Raise it to try again what failed before.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look and plan only; touches nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Back up, install, restart in order, check, bring back.

    Runs of the same estate, change and attempt are the same run: what an earlier one began is gone on with, and
    nothing is installed twice. Ctrl-C ends it and brings the estate back.
    """
    _ready(estate, as_json)
    from flows.patch import patch_estate

    with _shown(as_json) as written:
        state = patch_estate(estate, change=change, attempt=attempt, dry_run=dry_run, return_state=True)
    if not written:
        _fail(_problems(state), as_json)
    if dry_run and not as_json and written[-1].report.plan:
        _print(written[-1].report.plan.lines(), {}, as_json)
    _end(written[-1], as_json)


@app.command()
def recover(estate: Estate, as_json: Json = False) -> None:
    """Bring an estate back after a run that died; needs no Prefect.

    Waits for an installation that still runs, and reopens what may be reopened. Exits 3 where portals must stay
    closed behind the maintenance page.
    """
    from model.outcome import Stopped
    from tasks.rescue import recover_directly

    with _shown(as_json) as written:
        try:
            recover_directly(estate)
        except Stopped as stopped:
            _fail(stopped.problems, as_json, USAGE if stopped.stage == "estate" else FAILED)
    _end(written[-1], as_json)


@app.command()
def lab(
    folder: Annotated[Path, typer.Option("--dir", help="Folder for all that the lab writes.")] = STATE,
    preset: Preset = "acme",
    speed: Speed = 20.0,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            help="'NAME [on SUBJECT] [times N] [chance P] [with {JSON}]', several times if need be: "
            "'sql.slow_recovery on EngageIP with {\"seconds\": 300}'."
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Of all that is left to chance: faults that may strike, and rows of data.")
    ] = 0,
) -> None:
    """Run an estate in a box to try things on, until Ctrl-C.

    It speaks the real protocols on loopback, with passwords, databases, portals and updates of its own.
    """
    with _sandbox(folder) as box:
        with err.status("starting the lab …"):
            box.start_lab(preset, speed, fault or [], seed)
        _facts(
            {
                "Estate": f"{box.estate}, {len(box.papers['hosts'])} hosts, {speed:g} times as fast as life",
                "Audit": _short(box.papers["audit"]),
                "Break it": _break(box),
                "Use it": f"export BILLPATCH_CREDENTIALS={box.papers['credentials']}",
                "": f"billpatch check {_short(box.papers['estate'])}",
                "End it": "Ctrl-C",
            }
        )
        box.watch()


@app.command()
def demo(speed: Speed = 60.0) -> None:
    """Patch the lab's estate before your eyes, and show the report."""
    with _sandbox(STATE) as box:
        with err.status("starting the lab and a Prefect server …"):
            box.start_prefect()
            box.start_lab("acme", speed)
            box.await_prefect()
        # This server ends with the demo; what it knows is shown by the next `billpatch ui`.
        box.environ["PREFECT_UI_URL"] = f"http://127.0.0.1:{UI_PORT}"
        # Processes of their own, as a user would start them: each has sent its last log line before the server goes.
        estate = _short(box.papers["estate"])
        code = box.run("billpatch", "check", estate) or box.run("billpatch", "patch", estate)
    out.print("That page opens while `make ui` runs, which starts Prefect on what this demo has left.", style="dim")
    raise typer.Exit(code)


@app.command()
def ui(
    speed: Speed = 20.0,
    preset: Preset = "acme",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the Prefect UI; 0 takes a free one.")] = UI_PORT,
) -> None:
    """Run Prefect's UI with the deployments and the lab, until Ctrl-C.

    Start the run yourself from its form, and watch it; a worker carries it out.
    """
    with _sandbox(STATE) as box:
        with err.status("starting the lab, a Prefect server and a worker (half a minute) …"):
            url = box.start_prefect(port)
            box.start_lab(preset, speed)
            box.await_prefect()
            box.deploy()
            box.start_worker()
        # Without a canary on its hosts the estate would not be patched.
        box.run("billpatch", "check", _short(box.papers["estate"]))
        _facts(
            {
                "Prefect": url,
                "Start": f"{url}/deployments → patch-estate → Run → Quick run",
                "Estate": _short(box.papers["estate"]),
                "Reports": _short(str(box.folder / "reports")),
                "Break it": _break(box),
                "End it": "Ctrl-C",
            }
        )
        box.watch()


# How the flows are started -------------------------------------------------------------------------------------------


def _quiet() -> None:
    """Prefect's own log lines belong into its UI; on this terminal the progress display speaks."""
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    # Without a server of its own Prefect starts one for the run, which takes its time on a small machine.
    os.environ.setdefault("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "true")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")


def _ready(estate: str, as_json: bool) -> None:
    """Read the estate and look for Prefect before anything is begun: Prefect's own client would wait for minutes."""
    from model.outcome import Problem, Stopped
    from tasks.run import prefect_problem, read_estate

    if problem := prefect_problem():
        _fail([Problem(problem)], as_json)
    try:
        read_estate(estate)
    except Stopped as stopped:
        _fail(stopped.problems, as_json, USAGE)


def _looked(flow: Any, estate: str, as_json: bool, **parameters: Any) -> Any:
    """The state of a flow that only looks, after it ended well."""
    with err.status("looking …"), _prefect_errors(as_json):
        state = flow(estate, **parameters, return_state=True)
    if not state.is_completed():
        _fail(_problems(state), as_json)
    return state


@contextmanager
def _shown(as_json: bool) -> Iterator[list[Written]]:
    """Progress on the screen while a run goes on; gives the list that its report will be in."""
    from report.screen import LiveNight
    from tasks import progress
    from tasks.report import on_report

    written: list[Written] = []
    on_report(written.append)
    with LiveNight(err if as_json else out) as night:
        unsubscribe = progress.subscribe(night.see)
        try:
            with _prefect_errors(as_json, written):
                yield written
        except KeyboardInterrupt:
            night.end(good=False)
            if written:
                _end(written[-1], as_json, INTERRUPTED)
            err.print("Ended by Ctrl-C, before anything was touched.")
            raise typer.Exit(INTERRUPTED) from None
        finally:
            unsubscribe()


@contextmanager
def _prefect_errors(as_json: bool, written: Sequence[Written] = ()) -> Iterator[None]:
    """Tell in one line that Prefect went away; where a report is ``written``, the work is done all the same."""
    import httpx
    from prefect.exceptions import PrefectException

    from model.outcome import Problem

    try:
        yield
    except typer.Exit:
        raise  # which Python takes for a RuntimeError
    except (httpx.HTTPError, PrefectException, RuntimeError) as error:
        if written:
            err.print("Prefect went away before it took the end of the run; the report is complete.", style="yellow")
            return
        said = f"Prefect does not do its part ({type(error).__name__}: {error})"
        _fail([Problem(f"{said}. Look at its server, then run this again; nothing was touched.")], as_json)


def _problems(state: Any) -> Sequence[Problem]:
    from model.outcome import Problem, Stopped

    found = state.result(raise_on_failure=False)
    return found.problems if isinstance(found, Stopped) else [Problem(state.message)]


# What is printed -----------------------------------------------------------------------------------------------------


def _end(written: Written, as_json: bool, code: int | None = None) -> NoReturn:
    """Print the report, and end with the code that its outcome means."""
    from blocks.prefect_api import prefect_api
    from report import render
    from report.screen import summary

    outcome = written.report.outcome
    if as_json:
        typer.echo(json.dumps(render.as_json(written.report), ensure_ascii=False))
    else:
        out.print(summary(written.report, _short(str(written.folder)) if written.folder else None))
    if code is None:
        code = NEEDS_A_PERSON if outcome.verdict == "half-open" else 0 if outcome.succeeded else FAILED
    if prefect_api() == "silent":
        # Its client would try for minutes to send what it has not sent yet.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    raise typer.Exit(code)


def _fail(problems: Sequence[Problem], as_json: bool, code: int = FAILED) -> NoReturn:
    """Tell every problem on a line of its own, and end."""
    if as_json:
        typer.echo(json.dumps({"ok": False, "problems": [each.message for each in problems]}, ensure_ascii=False))
    for each in () if as_json else problems:
        err.print(
            _fold(err, f"{'- ' if len(problems) > 1 else ''}{each.message}"), style="red", markup=False, soft_wrap=True
        )
    raise typer.Exit(code)


def _print(lines: Sequence[str], document: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"ok": True, **document}, ensure_ascii=False))
    for line in () if as_json else lines:
        out.print(_fold(out, line), markup=False, soft_wrap=True)


def _facts(facts: dict[str, str]) -> None:
    for name, value in facts.items():
        out.print(f"{name:<11}{value}", markup=False, soft_wrap=True)


def _fold(console: Console, line: str) -> str:
    """``line`` for a terminal of this width, its rest below its text; for a file it stays one line."""
    if not console.is_terminal or len(line) < console.width:
        return line
    indent = len(line) - len(line.lstrip(" -0123456789."))
    return textwrap.fill(
        line, console.width - 1, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )


def _short(path: str) -> str:
    """A path below the present folder without what leads to it."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def _break(box: Sandbox) -> str:
    return f"""curl -X POST {box.papers["control"]}/faults -d '{{"name": "backup.disk_full"}}'"""


@contextmanager
def _sandbox(folder: Path) -> Iterator[Sandbox]:
    """Processes of the lab, ended with the block; what does not start is told in one line."""
    from deployments.local import NotRunning, Sandbox

    try:
        with Sandbox(folder) as box:
            yield box
    except NotRunning as not_running:
        err.print(str(not_running), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


if __name__ == "__main__":
    app()
