"""``python -m lab``: an estate in a process of its own.

Prints one JSON line when everything answers (estate file, credentials file, audit file, control URL), then runs until
SIGTERM, SIGINT, ``POST /stop`` on the control URL, or (``--until-stdin-closes``) until its parent is gone.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from pathlib import Path

from lab.estate import PRESETS, Lab
from lab.faults import Fault, written
from lab.paper import WINRM_USER
from lab.winrm import Domain


def parse_fault(text: str) -> Fault:
    """A fault as people write it (``lab.faults``), for argparse, which shows what is wrong with it."""
    try:
        return written(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def main(arguments: list[str] | None = None) -> int:
    """Run a lab until told to stop; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lab", description="An EngageIP estate in a box, on loopback.")
    parser.add_argument("--dir", type=Path, required=True, help="an empty folder for everything the lab writes")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="acme")
    parser.add_argument("--speed", type=float, default=1.0, help="how much faster than real time durations pass")
    parser.add_argument("--seed", type=int, default=0, help="of everything random but the passwords")
    parser.add_argument(
        "--fault",
        type=parse_fault,
        action="append",
        default=[],
        help="'NAME [on SUBJECT] [times N] [chance P] [with {JSON}]', several times if need be",
    )
    parser.add_argument("--tap", action="store_true", help="record what the WinRM HTTP ports receive, in wire/")
    parser.add_argument("--keytab", type=Path, help="the hosts take Kerberos tickets for the services in this file")
    parser.add_argument("--principal", help="with --keytab: who of the realm is the WinRM user (name@REALM)")
    parser.add_argument("--until-stdin-closes", action="store_true", help="stop when the parent's end of stdin closes")
    chosen = parser.parse_args(arguments)
    if chosen.dir.exists() and any(chosen.dir.iterdir()):
        parser.error(f"{chosen.dir} is not empty: every lab starts in a folder of its own")
    domain = Domain(chosen.keytab.resolve(), {chosen.principal: WINRM_USER}) if chosen.keytab else None
    settings = {"speed": chosen.speed, "seed": chosen.seed, "tap": chosen.tap, "domain": domain}
    lab = Lab(PRESETS[chosen.preset], chosen.dir.resolve(), **settings)
    for fault in chosen.fault:
        lab.declare(fault)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: lab.request_stop())
    with lab:
        sys.stdout.write(json.dumps(lab.state()) + "\n")
        sys.stdout.flush()
        if chosen.until_stdin_closes:
            threading.Thread(target=_watch_stdin, args=(lab,), daemon=True).start()
        lab.stop_requested.wait()
    return 0


def _watch_stdin(lab: Lab) -> None:
    sys.stdin.buffer.read()
    lab.request_stop()


if __name__ == "__main__":
    sys.exit(main())
