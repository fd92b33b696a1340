"""A security context with one host (GSS-API, RFC 2743): the tokens that set it up, and the sealing of messages."""

from __future__ import annotations

import ctypes
from ctypes import byref, c_int, c_uint32, c_void_p, cast
from typing import Any

from blocks.kerberos.errors import KerberosError
from blocks.kerberos.library import Bindings, Buffer, Iov, Oid, OidSet, Store, gss, text_of
from blocks.kerberos.tickets import ServiceTicket

_DELEGATE, _MUTUAL, _REPLAY, _SEQUENCE, _SECRET, _WHOLE = 1, 2, 4, 8, 16, 32
_CONTINUE = 1
_ERRORS = 0xFFFF0000
_INITIATE = 1
_DATA, _HEADER, _PADDING, _ALLOCATE = 1, 2, 9, 0x00010000

_KEPT: list[bytes] = []
"""What the library points at for the life of the process."""


def _oid(der: bytes) -> Oid:
    _KEPT.append(der)
    return Oid(len(der), cast(ctypes.c_char_p(der), c_void_p))


_KRB5 = _oid(bytes.fromhex("2a864886f712010202"))
_PRINCIPAL = _oid(bytes.fromhex("2a864886f71201020201"))
_MECHANISMS = OidSet(1, ctypes.pointer(_KRB5))


class Context:
    """One context, for one connection and one thread at a time; ``close`` it."""

    def __init__(self, ticket: ServiceTicket, *, bindings: bytes | None = None, delegate: bool = False) -> None:
        """``bindings`` binds the login to a TLS channel (its ``tls-server-end-point``). Raises KerberosError."""
        self._gss = gss()
        self._handle, self._credential, self._target = c_void_p(), c_void_p(), c_void_p()
        self._flags = _MUTUAL | _REPLAY | _SEQUENCE | _SECRET | _WHOLE | (_DELEGATE if delegate else 0)
        self.complete, self.delegated = False, False
        self._bindings = None
        if bindings is not None:
            self._application_data = ctypes.create_string_buffer(bindings, len(bindings))
            data = Buffer(len(bindings), cast(self._application_data, c_void_p))
            self._bindings = ctypes.pointer(Bindings(0, Buffer(), 0, Buffer(), data))
        server, cache = ticket.server.encode(), ticket.cache.encode()
        name = _buffer(server)
        self._call("gss_import_name", byref(name), byref(_PRINCIPAL), byref(self._target), stage="naming the host")
        store = Store.of(b"ccache", cache)
        self._call(
            "gss_acquire_cred_from", None, 0xFFFFFFFF, byref(_MECHANISMS), _INITIATE, byref(store),
            byref(self._credential), None, None, stage="opening the tickets",
        )  # fmt: skip

    def step(self, token: bytes | None = None) -> bytes:
        """The next token for the host, after its last one; may be empty. Raises KerberosError."""
        incoming, outgoing, flags = _buffer(token or b""), Buffer(), c_uint32()
        major = self._call(
            "gss_init_sec_context", self._credential, byref(self._handle), self._target, byref(_KRB5), self._flags, 0,
            self._bindings, byref(incoming) if token else None, None, byref(outgoing), byref(flags), None,
            stage="logging in to the host",
        )  # fmt: skip
        self.complete = not major & _CONTINUE
        self.delegated = bool(flags.value & _DELEGATE)
        if self.complete and not flags.value & _SECRET:
            raise KerberosError("logging in to the host", 0, "the host does not seal messages")
        return text_of(outgoing)

    def seal(self, message: bytes) -> tuple[bytes, bytes]:
        """The sealed message, and the header that goes before it."""
        iov, _alive = _vector((_HEADER | _ALLOCATE, b""), (_DATA, message), (_PADDING | _ALLOCATE, b""))
        sealed = c_int()
        self._call("gss_wrap_iov", self._handle, 1, 0, byref(sealed), iov, 3, stage="sealing a message")
        try:
            if not sealed.value:
                raise KerberosError("sealing a message", 0, "it would go out readable")
            header, data, padding = (_bytes(iov[at]) for at in range(3))
            return data + padding, header
        finally:
            self._gss.gss_release_iov_buffer(byref(c_uint32()), iov, 3)

    def unseal(self, message: bytes, header: bytes) -> bytes:
        """The message that the host sealed; raises KerberosError where anybody has changed it."""
        iov, _alive = _vector((_HEADER, header), (_DATA, message), (_PADDING, b""))
        sealed = c_int()
        self._call("gss_unwrap_iov", self._handle, byref(sealed), None, iov, 3, stage="opening a sealed message")
        if not sealed.value:
            raise KerberosError("opening a sealed message", 0, "it was signed, and readable for everybody")
        return _bytes(iov[1])

    def close(self) -> None:
        """Release what the libraries hold; may be called twice."""
        minor = c_uint32()
        self._gss.gss_delete_sec_context(byref(minor), byref(self._handle), None)
        self._gss.gss_release_cred(byref(minor), byref(self._credential))
        self._gss.gss_release_name(byref(minor), byref(self._target))

    def _call(self, function: str, *arguments: Any, stage: str) -> int:
        minor = c_uint32()
        major = int(getattr(self._gss, function)(byref(minor), *arguments))
        if major & _ERRORS:
            raise KerberosError(stage, int(minor.value), self._words(major, minor.value))
        return major

    def _words(self, major: int, minor: int) -> str:
        said = []
        for kind, code in ((1, major), (2, minor)):
            buffer, more = Buffer(), c_uint32()
            if not self._gss.gss_display_status(
                byref(c_uint32()), code, kind, byref(_KRB5), byref(more), byref(buffer)
            ):
                said.append(text_of(buffer).decode(errors="replace"))
        return ": ".join(said)


def _buffer(data: bytes) -> Buffer:
    """A buffer over ``data``, which must stay alive as long."""
    return Buffer(len(data), cast(ctypes.c_char_p(data), c_void_p))


def _vector(*parts: tuple[int, bytes]) -> tuple[Any, list[Any]]:
    """A vector of buffers with copies of the parts (they are changed in place), and what keeps them alive."""
    copies = [ctypes.create_string_buffer(data, len(data)) if data else None for _, data in parts]
    vector = (Iov * len(parts))()
    for at, ((kind, data), copy) in enumerate(zip(parts, copies, strict=True)):
        vector[at].type = kind
        vector[at].buffer = Buffer(len(data), cast(copy, c_void_p) if copy is not None else None)
    return vector, copies


def _bytes(part: Any) -> bytes:
    return ctypes.string_at(part.buffer.value, part.buffer.length) if part.buffer.value else b""
