"""The functions of libkrb5 and libgssapi_krb5 that are used here, with their types (krb5.h, gssapi.h, gssapi_ext.h)."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, byref, c_char_p, c_int, c_int32, c_size_t, c_uint, c_uint32, c_void_p
from functools import cache
from typing import Any, Self

from blocks.kerberos.errors import KerberosAbsent, KerberosError


class _KeyBlock(Structure):
    _fields_ = (("magic", c_int32), ("enctype", c_int32), ("length", c_uint), ("contents", c_void_p))


class _Times(Structure):
    _fields_ = (("authtime", c_int32), ("starttime", c_int32), ("endtime", c_int32), ("renew_till", c_int32))


class _Data(Structure):
    _fields_ = (("magic", c_int32), ("length", c_uint), ("data", c_void_p))


class Creds(Structure):
    """``krb5_creds``: a ticket with its key."""

    _fields_ = (
        ("magic", c_int32),
        ("client", c_void_p),
        ("server", c_void_p),
        ("keyblock", _KeyBlock),
        ("times", _Times),
        ("is_skey", c_uint),
        ("ticket_flags", c_int32),
        ("addresses", c_void_p),
        ("ticket", _Data),
        ("second_ticket", _Data),
        ("authdata", c_void_p),
    )

    @property
    def ends(self) -> int:
        """When the ticket ends, in seconds since 1970: an unsigned number, good until 2106."""
        return int(self.times.endtime) & 0xFFFFFFFF


class Buffer(Structure):
    """``gss_buffer_desc``."""

    _fields_ = (("length", c_size_t), ("value", c_void_p))


class Oid(Structure):
    """``gss_OID_desc``."""

    _fields_ = (("length", c_uint32), ("elements", c_void_p))


class OidSet(Structure):
    """``gss_OID_set_desc``."""

    _fields_ = (("count", c_size_t), ("elements", POINTER(Oid)))


class Bindings(Structure):
    """``gss_channel_bindings_struct``."""

    _fields_ = (
        ("initiator_addrtype", c_uint32),
        ("initiator_address", Buffer),
        ("acceptor_addrtype", c_uint32),
        ("acceptor_address", Buffer),
        ("application_data", Buffer),
    )


class Iov(Structure):
    """``gss_iov_buffer_desc``."""

    _fields_ = (("type", c_uint32), ("buffer", Buffer))


class _StoreElement(Structure):
    _fields_ = (("key", c_char_p), ("value", c_char_p))


class Store(Structure):
    """``gss_key_value_set_desc``."""

    _fields_ = (("count", c_uint32), ("elements", POINTER(_StoreElement)))

    @classmethod
    def of(cls, key: bytes, value: bytes) -> Store:
        """A store of one element; ctypes keeps the element alive as long as the store."""
        return cls(1, (_StoreElement * 1)(_StoreElement(key, value)))


_P, _PP = c_void_p, POINTER(c_void_p)
_KRB5 = {
    "profile_init_path": (c_char_p, _PP),
    "profile_release": (_P,),
    "krb5_init_context": (_PP,),
    "krb5_init_context_profile": (_P, c_int32, _PP),
    "krb5_free_context": (_P,),
    "krb5_get_error_message": (_P, c_int32),
    "krb5_free_error_message": (_P, _P),
    "krb5_set_default_realm": (_P, c_char_p),
    "krb5_parse_name": (_P, c_char_p, _PP),
    "krb5_unparse_name": (_P, _P, _PP),
    "krb5_free_unparsed_name": (_P, _P),
    "krb5_free_principal": (_P, _P),
    "krb5_sname_to_principal": (_P, c_char_p, c_char_p, c_int32, _PP),
    "krb5_get_init_creds_opt_alloc": (_P, _PP),
    "krb5_get_init_creds_opt_free": (_P, _P),
    "krb5_get_init_creds_opt_set_forwardable": (_P, c_int),
    "krb5_get_init_creds_password": (_P, POINTER(Creds), _P, c_char_p, _P, _P, c_int32, c_char_p, _P),
    "krb5_get_init_creds_keytab": (_P, POINTER(Creds), _P, _P, c_int32, c_char_p, _P),
    "krb5_free_cred_contents": (_P, POINTER(Creds)),
    "krb5_free_creds": (_P, POINTER(Creds)),
    "krb5_get_credentials": (_P, c_uint32, _P, POINTER(Creds), POINTER(POINTER(Creds))),
    "krb5_kt_resolve": (_P, c_char_p, _PP),
    "krb5_kt_close": (_P, _P),
    "krb5_cc_new_unique": (_P, c_char_p, c_char_p, _PP),
    "krb5_cc_initialize": (_P, _P, _P),
    "krb5_cc_store_cred": (_P, _P, POINTER(Creds)),
    "krb5_cc_get_full_name": (_P, _P, _PP),
    "krb5_cc_get_principal": (_P, _P, _PP),
    "krb5_free_string": (_P, _P),
    "krb5_cc_destroy": (_P, _P),
}
_NOTHING = {
    "profile_release", "krb5_free_context", "krb5_free_error_message", "krb5_free_unparsed_name",
    "krb5_free_principal", "krb5_get_init_creds_opt_free", "krb5_get_init_creds_opt_set_forwardable",
    "krb5_free_cred_contents", "krb5_free_creds", "krb5_free_string",
}  # fmt: skip
_MINOR = POINTER(c_uint32)
_GSS = {
    "gss_import_name": (_MINOR, POINTER(Buffer), POINTER(Oid), _PP),
    "gss_release_name": (_MINOR, _PP),
    "gss_acquire_cred_from": (_MINOR, _P, c_uint32, POINTER(OidSet), c_int, POINTER(Store), _PP, _P, _P),
    "gss_release_cred": (_MINOR, _PP),
    "gss_init_sec_context": (
        _MINOR, _P, _PP, _P, POINTER(Oid), c_uint32, c_uint32, POINTER(Bindings), POINTER(Buffer), _P,
        POINTER(Buffer), POINTER(c_uint32), _P,
    ),
    "gss_delete_sec_context": (_MINOR, _PP, _P),
    "gss_wrap_iov": (_MINOR, _P, c_int, c_uint32, POINTER(c_int), POINTER(Iov), c_int),
    "gss_unwrap_iov": (_MINOR, _P, POINTER(c_int), POINTER(c_uint32), POINTER(Iov), c_int),
    "gss_release_iov_buffer": (_MINOR, POINTER(Iov), c_int),
    "gss_release_buffer": (_MINOR, POINTER(Buffer)),
    "gss_display_status": (_MINOR, c_uint32, c_int, POINTER(Oid), POINTER(c_uint32), POINTER(Buffer)),
}  # fmt: skip


@cache
def krb5() -> Any:
    """libkrb5; raises KerberosAbsent."""
    library = _load("libkrb5.so.3", _KRB5, c_int32)
    for name in _NOTHING:
        getattr(library, name).restype = None
    library.krb5_get_error_message.restype = c_void_p
    return library


@cache
def gss() -> Any:
    """libgssapi_krb5; raises KerberosAbsent."""
    return _load("libgssapi_krb5.so.2", _GSS, c_uint32)


def _load(name: str, functions: dict[str, Any], answer: Any) -> Any:
    reason = ""
    try:
        library = ctypes.CDLL(name)
        for function, arguments in functions.items():
            found = getattr(library, function)
            found.argtypes, found.restype = arguments, answer
    except (OSError, AttributeError) as error:
        reason = str(error)
    else:
        return library
    raise KerberosAbsent(reason)


class Krb5:
    """A krb5 context for one thread, from a krb5.conf of one's own or the machine's; a context manager."""

    def __init__(self, config: str | None = None) -> None:
        self._library = krb5()
        self.handle = c_void_p()
        if config is None:
            self.check(self._library.krb5_init_context(byref(self.handle)), "context")
            return
        profile = c_void_p()
        self.check(self._library.profile_init_path(config.encode(), byref(profile)), "config")
        code = self._library.krb5_init_context_profile(profile, 0, byref(self.handle))
        self._library.profile_release(profile)
        self.check(code, "context")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._library.krb5_free_context(self.handle)

    def call(self, function: str, *arguments: Any, stage: str = "") -> None:
        """Call ``function`` with this context; raises KerberosError, ``stage`` saying what was tried."""
        self.check(getattr(self._library, function)(self.handle, *arguments), stage or function)

    def free(self, function: str, *arguments: Any) -> None:
        """Call a function that releases something."""
        getattr(self._library, function)(self.handle, *arguments)

    def text(self, pointer: c_void_p, free: str) -> str:
        """The C string at ``pointer``, which is released with ``free``."""
        value = ctypes.string_at(pointer.value or 0).decode(errors="replace")
        self.free(free, pointer)
        return value

    def check(self, code: int, stage: str) -> None:
        """Raise what ``code`` says, with libkrb5's own words."""
        if code:
            pointer = c_void_p(self._library.krb5_get_error_message(self.handle, code))
            words = ctypes.string_at(pointer.value or 0).decode(errors="replace")
            self._library.krb5_free_error_message(self.handle, pointer)
            raise KerberosError(stage, code, words)


def text_of(buffer: Buffer) -> bytes:
    """The bytes of a buffer that GSS-API filled, which is released."""
    data = ctypes.string_at(buffer.value, buffer.length) if buffer.value else b""
    gss().gss_release_buffer(byref(c_uint32()), byref(buffer))
    return data
