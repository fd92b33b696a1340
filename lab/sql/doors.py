"""The ways into an instance: its socket, and the list of who is inside."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import TYPE_CHECKING

from lab.sql.certificate import server_context
from lab.sql.errors import SqlError
from lab.sql.server import Connection
from lab.sql.session import Session
from lab.sql.wire import Wire

if TYPE_CHECKING:
    from lab.sql.instance import SqlInstance

_FIRST_SESSION = 51


class Doors:
    """Listens, lets in, throws out. ``tls`` are a certificate and its key; without, it is self-signed."""

    def __init__(self, instance: SqlInstance, tls: tuple[str, str] | None) -> None:
        self._instance, self._tls = instance, tls
        self._lock = threading.RLock()
        self._listener: socket.socket | None = None
        self._connections: set[Wire] = set()
        self._sessions: dict[int, Session] = {}

    def open(self) -> None:
        """Listen, if nobody does yet."""
        with self._lock:
            if self._listener is not None:
                return
            context = server_context(self._instance.host, self._tls)
            self._listener = socket.create_server((self._instance.host.address, self._instance.port))
            threading.Thread(
                target=self._accept, args=(self._listener, context), name=f"{self._instance.host.name}-sql", daemon=True
            ).start()

    def close(self) -> None:
        """Refuse from now on; every connection is reset, every statement cut."""
        with self._lock:
            listener, self._listener = self._listener, None
            connections, self._connections = self._connections, set()
            sessions, self._sessions = self._sessions, {}
        if listener:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept()
            listener.close()
        for session in sessions.values():
            session.killed.set()
        for connection in connections:
            connection.reset()

    def _accept(self, listener: socket.socket, context: ssl.SSLContext) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Wire(client)
            with self._lock:
                if self._listener is not listener:
                    connection.reset()
                    return
                self._connections.add(connection)
            name = f"{self._instance.host.name}-tds"
            threading.Thread(target=self._serve, args=(connection, context), name=name, daemon=True).start()

    def _serve(self, connection: Wire, context: ssl.SSLContext) -> None:
        try:
            Connection(self._instance, connection, context).serve()
        finally:
            with self._lock:
                self._connections.discard(connection)

    # Sessions --------------------------------------------------------------------------------------------------------

    def sessions(self) -> list[Session]:
        """Everybody inside."""
        with self._lock:
            return list(self._sessions.values())

    def admit(
        self,
        user: str | None,
        password: str | None,
        database: str,
        *,
        remote: bool,
        client: str = "",
        program: str = "",
    ) -> Session:
        """A session for a login that the gate lets in; SqlError for others."""
        host = self._instance.host
        try:
            login, sysadmin, current = self._instance.gate.admit(user, password, database)
        except SqlError as refusal:
            host.event("sql.login", effect=False, user=user, database=database, number=refusal.number)
            raise
        with self._lock:
            spid = next(n for n in range(_FIRST_SESSION, 32767) if n not in self._sessions)
            session = Session(self._instance, spid, login, sysadmin, remote, current, client, program)
            self._sessions[spid] = session
        host.event("sql.login", effect=False, user=login, database=current, number=0)
        return session

    def leave(self, session: Session) -> None:
        """The session is over."""
        with self._lock:
            if self._sessions.get(session.spid) is session:
                del self._sessions[session.spid]
        session.close()

    def kill(self, session: Session) -> None:
        """End somebody's session at once."""
        session.killed.set()
        if session.on_kill:
            session.on_kill()
        with self._lock:
            self._sessions.pop(session.spid, None)
