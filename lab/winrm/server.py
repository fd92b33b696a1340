"""WinRM as a part of a host: its two listeners, its shells, and what a shutdown and a boot do to them."""

from __future__ import annotations

import threading

from lab.host import Host
from lab.winrm.accounts import Accounts
from lab.winrm.http import Endpoint, Listener
from lab.winrm.processes import Program
from lab.winrm.service import Service
from lab.winrm.shells import Quotas, Shells
from lab.winrm.tap import WireTap
from lab.winrm.tls import Tls

HTTP_PORT = 5985
HTTPS_PORT = 5986
_LOOK_SECONDS = 0.05


class WinRM:
    """The WinRM service of ``host``; ``program`` runs the command lines, ``tap`` records what port 5985 receives.

    Faults it knows, by name, each ``on`` a host, most with the setting ``action`` (``Create``, ``Command``, ``Send``,
    ``Receive``, ``Signal``, ``Delete``) that limits them to one kind of request:
    ``winrm.refuse_logon`` (401 to right credentials), ``winrm.drop`` (the request is carried out, its answer lost),
    ``winrm.fault`` (``code``, ``text``, ``wmi``), ``winrm.stall`` (``seconds`` of silence before the request is
    carried out), ``winrm.close_connections`` (the connection ends right after an answer, as an idle one does),
    ``winrm.kill_connections`` (``every`` so many real seconds, 2 unless said, all connections that live are cut, whatever
    goes on over them; what runs in the shells goes on). And those of logons: ``winrm.cut_logon`` (the
    connection ends right after the challenge), ``winrm.credssp_disabled``,
    ``winrm.clock_skew`` (a Kerberos ticket is refused for the host's clock), ``winrm.certificate_revoked`` (403 to a
    client's certificate).
    """

    def __init__(
        self,
        host: Host,
        accounts: Accounts,
        program: Program,
        *,
        tls: Tls | None = None,
        quotas: Quotas | None = None,
        tap: WireTap | None = None,
    ) -> None:
        self._host = host
        self._accounts = accounts
        self._tls = tls
        self.tap = tap
        self.shells = Shells(quotas or Quotas(), host.clock)
        self._service = Service(host, self.shells, program)
        self._lock = threading.Lock()
        self._listeners: list[Listener] = []
        self._ended = threading.Event()

    def boot(self) -> None:
        """Listen; does nothing where it already does."""
        with self._lock:
            if not self._listeners:
                self.shells.accepting = True
                self._ended = threading.Event()
                killer = threading.Thread(target=self._kill_connections, args=(self._ended,), daemon=True)
                killer.name = f"{self._host.name}-winrm-killer"
                killer.start()
                self._listeners.append(self._listen(HTTP_PORT, None))
                if self._tls is not None:
                    self._listeners.append(self._listen(HTTPS_PORT, self._tls))

    def shutdown(self) -> None:
        """Stop listening, cut every connection, end every shell."""
        with self._lock:
            self._ended.set()
            listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener.close()
        self.shells.end_all()

    def service(self, name: str, started: bool) -> None:
        """The service manager started or stopped a service; only one of them lives here."""
        if name.casefold() == "winrm":
            (self.boot if started else self.shutdown)()

    def _kill_connections(self, ended: threading.Event) -> None:
        while not ended.wait(_LOOK_SECONDS):
            fault = self._host.faults.strike("winrm.kill_connections", self._host.name)
            if fault is not None:
                with self._lock:
                    cut = sum(listener.cut_all() for listener in self._listeners)
                if cut:
                    self._host.event("winrm.connections_killed", effect=False, connections=cut)
                ended.wait(float(fault.get("every", 2)))

    def _listen(self, port: int, tls: Tls | None) -> Listener:
        return Listener(port, Endpoint(self._host, self._accounts, self._service, tls, self.tap))
