"""TDS 7.2 to 7.4 on a socket: PRELOGIN, TLS, LOGIN7, batches, RPC, transactions, ATTENTION ([MS-TDS])."""

from __future__ import annotations

import re
import ssl
import struct
import time
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lab.sql import tokens, wire
from lab.sql.encoding import Reader
from lab.sql.engine import Engine
from lab.sql.errors import Cancelled, ConnectionClosed, Message, SqlError
from lab.sql.output import Output, Rows
from lab.sql.phases import Phase
from lab.sql.values import Column

if TYPE_CHECKING:
    from lab.sql.instance import SqlInstance
    from lab.sql.session import Session

_PROCEDURES = {10: "sp_executesql", 11: "sp_prepare", 12: "sp_execute", 13: "sp_prepexec", 15: "sp_unprepare"}
_NOT_ENCRYPTED, _ENCRYPTED, _LOGIN_ONLY = 2, 3, 0
_NEWEST = 0x74000004
_BETWEEN_PROCEDURES = (0xFE, 0xFF)
_DECLARED = re.compile(r"@(\w+)\s+(?:AS\s+)?(\w+(?:\s*\([^)]*\))?)", re.IGNORECASE)
"""One parameter of a statement: its name and its type."""


class _Stream(Output):
    """Answers as tokens. The last DONE is held back, so that the final one carries no MORE."""

    def __init__(self, connection: wire.Wire, session: Session, token: int) -> None:
        self._wire, self._session, self._token = connection, session, token
        self._clock = session.instance.host.clock
        self._server = session.instance.server_name
        self._held = b""

    def _send(self, data: bytes, held: bytes = b"") -> None:
        if self._held or data:
            self._wire.send(wire.REPLY, self._held + data, last=False)
        self._held = held

    def message(self, what: Message) -> None:
        self._send(tokens.message(what, self._server))

    def rows(self, columns: Sequence[Column], rows: Rows) -> None:
        data = tokens.rows(columns, rows, self._token)
        self._send(data[:-13], data[-13:])

    def affected(self, count: int | None) -> None:
        status = tokens.MORE | (0 if count is None else tokens.COUNT)
        self._send(b"", tokens.done(status, count or 0, self._token))

    def database(self, new: str, old: str) -> None:
        self._send(tokens.database_changed(new, old, self._server))

    def wait(self, seconds: float) -> None:
        """Spend lab time with an ear on the wire; what has been said so far is out before."""
        self._send(b"")
        end = time.monotonic() + seconds / self._clock.speed
        while (left := end - time.monotonic()) > 0:
            if self._session.killed.is_set():
                raise ConnectionClosed
            if self._wire.attention(min(left, 0.05)):
                raise Cancelled

    def finish(self) -> None:
        """Close the answer of a batch: its last DONE says that no more follows."""
        held, self._held = self._held or tokens.done(tokens.MORE, 0, self._token), b""
        held = held[:1] + struct.pack("<H", struct.unpack("<H", held[1:3])[0] & ~tokens.MORE) + held[3:]
        self._wire.send(wire.REPLY, held)

    def returned(self, values: bytes, *, more: bool) -> None:
        """Close the answer of one procedure with what it returns; ``more`` of them are in the same request."""
        held, self._held = self._held, b""
        done = tokens.done(tokens.MORE if more else 0, 0, tokens.DONE_PROC)
        self._wire.send(wire.REPLY, held + b"\x79" + struct.pack("<I", 0) + values + done, last=not more)

    def fail(self, failure: SqlError, *, in_rpc: bool, more: bool = False) -> None:
        """Close the answer with errors."""
        held, self._held = self._held, b""
        errors = b"".join(tokens.message(one, self._server) for one in failure.messages)
        status = tokens.FAILED | (tokens.MORE if more else 0)
        done = tokens.done(status, 0, tokens.DONE_PROC if in_rpc else tokens.DONE)
        self._wire.send(wire.REPLY, held + errors + done, last=not more)


class Connection:
    """One client, from its first byte to its last."""

    def __init__(self, instance: SqlInstance, connection: wire.Wire, context: ssl.SSLContext) -> None:
        self._instance, self._wire, self._context = instance, connection, context
        self._prepared: dict[int, tuple[str, str]] = {}

    def serve(self) -> None:
        """Answer until the client goes, or the server does."""
        session = None
        try:
            session = self._login()
            if session is not None:
                self._engine = Engine(session)
                self._session = session
                while not session.killed.is_set():
                    self._answer(*self._wire.message())
        except (ConnectionClosed, OSError):
            pass
        except (ValueError, struct.error, IndexError):  # a client that breaks the protocol is cut off
            self._instance.host.event("sql.protocol_error", effect=False, traceback=traceback.format_exc())
        except Exception:  # noqa: BLE001 - a bug of the lab must show in the audit trail, and must not leave a client waiting
            self._instance.host.event("lab.bug", effect=False, traceback=traceback.format_exc())
        finally:
            if session is not None:
                self._instance.doors.leave(session)
            self._wire.reset()

    # Login -----------------------------------------------------------------------------------------------------------

    def _login(self) -> Session | None:
        instance = self._instance
        kind, body = self._wire.message()
        if kind != wire.PRELOGIN:
            return None
        while instance.phase is Phase.STALLING:  # the listener is there before anybody answers
            if self._wire.attention(0.02):
                return None
        encryption = self._prelogin(body)
        if encryption != _NOT_ENCRYPTED:
            self._wire.start_tls(self._context)
        kind, body = self._wire.message()
        if kind != wire.LOGIN7:
            return None
        if encryption == _LOGIN_ONLY:
            self._wire.stop_tls()
        return self._login7(body)

    def _prelogin(self, body: bytes) -> int:
        at, wanted = 0, _NOT_ENCRYPTED
        while body[at] != 0xFF:
            option, offset, _ = struct.unpack_from(">BHH", body, at)
            if option == 1:
                wanted = body[offset]
            at += 5
        major, minor, build = self._instance.build_numbers
        answer = {0: _LOGIN_ONLY, 1: 1, 2: _NOT_ENCRYPTED, 3: _ENCRYPTED}[wanted & 3]
        options = [
            (0, bytes([major, minor]) + struct.pack(">H", build) + b"\0\0"),
            (1, bytes([answer])),
            (2, b"\0"),
            (3, b""),
            (4, b"\0"),
        ]
        head, data, start = b"", b"", 5 * len(options) + 1
        for option, value in options:
            head += struct.pack(">BHH", option, start + len(data), len(value))
            data += value
        self._wire.send(wire.REPLY, head + b"\xff" + data)
        return answer

    def _login7(self, body: bytes) -> Session | None:
        version, packet = struct.unpack_from("<II", body, 4)

        def text(field: int, *, secret: bool = False) -> str:
            offset, length = struct.unpack_from("<HH", body, 36 + 4 * field)
            raw = body[offset : offset + 2 * length]
            if secret:  # nibbles swapped, then XOR: obscured, not encrypted
                raw = bytes((b ^ 0xA5) >> 4 | ((b ^ 0xA5) << 4) & 0xF0 for b in raw)
            return raw.decode("utf-16-le")

        user, program, database = text(1), text(3), text(8)
        instance = self._instance
        try:
            session = instance.doors.admit(
                user, text(2, secret=True), database, remote=True, client=text(0), program=program
            )
        except SqlError as refusal:
            errors = b"".join(tokens.message(one, instance.server_name) for one in refusal.messages)
            self._wire.send(wire.REPLY, errors + tokens.done(tokens.FAILED))
            return None
        self._wire.spid = session.spid
        size = min(max(packet or 4096, 512), 32767)
        ack = tokens.database_changed(session.database, "master", instance.server_name)
        ack += tokens.login_accepted(min(version, _NEWEST), instance.build_numbers, size)
        self._wire.send(wire.REPLY, ack + tokens.done())
        self._wire.use_packets_of(size)
        session.on_kill = self._wire.reset
        return session

    # Requests ----------------------------------------------------------------------------------------------------------

    def _answer(self, kind: int, body: bytes) -> None:
        token = tokens.DONE_IN_PROC if kind == wire.RPC else tokens.DONE
        stream = _Stream(self._wire, self._session, token)
        try:
            if kind == wire.BATCH:
                self._engine.batch(_without_headers(body).decode("utf-16-le"), {}, stream)
                stream.finish()
            elif kind == wire.RPC:
                self._call(Reader(_without_headers(body)), stream)
            elif kind == wire.TRANSACTION:
                self._transaction(_without_headers(body))
            elif kind == wire.ATTENTION:
                self._wire.send(wire.REPLY, tokens.done(tokens.ATTENTION))
            else:
                raise ConnectionClosed
        except SqlError as failure:
            stream.fail(failure, in_rpc=kind == wire.RPC)
        except Cancelled:
            self._wire.send(wire.REPLY, tokens.done(tokens.ATTENTION))

    def _call(self, request: Reader, stream: _Stream) -> None:
        """Run one procedure after another: an array of parameters comes as one request with an RPC for each row."""
        more = True
        while more:
            name, values = _procedure(request)
            more = bool(request)
            request.take(1)  # the flag between two of them
            try:
                stream.returned(self._run(name, values, stream), more=more)
            except SqlError as failure:
                stream.fail(failure, in_rpc=True, more=more)

    def _run(self, name: str, values: list[Any], stream: _Stream) -> bytes:
        """Run one procedure; what comes back are the tokens of the values that it returns."""
        tail, text, declared, given = b"", None, "", []
        match name.casefold():
            case "sp_executesql":
                text, declared, given = values[0], values[1] if len(values) > 1 else "", values[2:]
            case "sp_prepexec" | "sp_prepare":
                handle = len(self._prepared) + 1
                self._prepared[handle] = (values[2], values[1] or "")
                tail = tokens.return_handle(handle)
                if name.casefold() == "sp_prepexec":
                    text, declared, given = values[2], values[1] or "", values[3:]
            case "sp_execute":
                if values[0] not in self._prepared:
                    raise SqlError(Message(8179, 16, 1, f"Could not find prepared statement with handle {values[0]}."))
                (text, declared), given = self._prepared[values[0]], values[1:]
            case "sp_unprepare":
                pass
            case _:
                raise SqlError(Message(2812, 16, 62, f"Could not find stored procedure '{name}'."))
        if text is not None:
            types = {name.lower(): kind for name, kind in _DECLARED.findall(declared)}
            self._engine.batch(text, dict(zip(types, given, strict=False)), stream, types)
        return tail

    def _transaction(self, body: bytes) -> None:
        request = struct.unpack_from("<H", body)[0]
        descriptor = b"\x08" + struct.pack("<Q", 1000 + self._session.spid)
        changes = {5: ("BEGIN", tokens.environment(8, descriptor)), 7: ("COMMIT", tokens.environment(9, b"\0", descriptor)), 8: ("ROLLBACK", tokens.environment(10, b"\0", descriptor))}  # fmt: skip
        if request not in changes:
            raise SqlError(Message(4002, 16, 1, "The incoming tabular data stream (TDS) protocol stream is incorrect."))
        action, change = changes[request]
        self._engine.transaction(action)
        self._wire.send(wire.REPLY, change + tokens.done())


def _without_headers(body: bytes) -> bytes:
    size: Any = struct.unpack_from("<I", body)[0]
    return body[size:]


def _procedure(request: Reader) -> tuple[str, list[Any]]:
    """The name and the parameters of the next procedure in an RPC request."""
    length = request.number(2)
    name = _PROCEDURES.get(request.number(2), "") if length == 0xFFFF else request.take(2 * length).decode("utf-16-le")
    request.take(2)
    values = []
    while request and request.data[request.at] not in _BETWEEN_PROCEDURES:
        request.short_text()
        request.take(1)
        values.append(request.value())
    return name, values
