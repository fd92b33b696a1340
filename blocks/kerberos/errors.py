"""What Kerberos says, by its numbers: what it means for us, and what a person can do about it.

The numbers below 128 are the protocol's own (RFC 4120, 7.5.9), which the KDC or the host sent; those above are
libkrb5's (krb5_err.et). Both are told as an offset from the base of its error table.
"""

from __future__ import annotations

from dataclasses import dataclass

BASE = -1765328384
"""ERROR_TABLE_BASE_krb5."""
EXPIRED, CLIENT_UNKNOWN, SERVICE_UNKNOWN, REVOKED, KEY_EXPIRED, PREAUTH_FAILED = 1, 6, 7, 18, 23, 24
BAD_INTEGRITY, TICKET_EXPIRED, TICKET_NOT_YET, SKEW, MODIFIED = 31, 32, 33, 37, 41
_NO_TYPE = 14
_REALM_UNKNOWN, _UNREACHABLE, _NOT_IN_KEYTAB, _NO_RESOLVE = 154, 156, 181, 220
_NO_DEFAULT_REALM = 224
_NO_FILE, _NOT_ALLOWED = 2, 13
FINAL = {EXPIRED, CLIENT_UNKNOWN, REVOKED, KEY_EXPIRED, PREAUTH_FAILED, BAD_INTEGRITY}
"""The KDC's word on a user and password; asking again changes nothing, and a few times more lock the account."""
UNREACHABLE = {_REALM_UNKNOWN, _UNREACHABLE, _NO_RESOLVE}
"""No domain controller could be asked: one that restarts is back in a while, and so is a DNS server."""


class KerberosError(Exception):
    """A call of a Kerberos library failed: ``stage`` is what was tried, ``code`` its number, ``words`` its own text."""

    def __init__(self, stage: str, code: int, words: str) -> None:
        self.stage, self.code, self.words = stage, code, words
        super().__init__(f"{stage}: {words} ({code})")

    @property
    def number(self) -> int:
        """The code as an offset in krb5's table; a code of another table (errno) as it is."""
        signed = (self.code & 0xFFFFFFFF) - (1 << 32) if self.code & 0x80000000 else self.code
        return signed - BASE if 0 <= signed - BASE < 256 else signed


class KerberosAbsent(Exception):  # noqa: N818 - the name says what is wrong
    """The Kerberos libraries are not on this machine."""


@dataclass(frozen=True)
class Meaning:
    """A cause and a fix, in the words of the error tree."""

    cause: str
    fix: str


CLOCK = "Compare the clocks of this machine, the domain controller and the host (w32tm /query /status); five minutes apart is too much."
SPN = (
    "The address in the estate must be a name that the domain knows the host by (setspn -L HOST lists them), not an "
    "alias or IP address; else set kerberos_name for this host."
)


def meaning(error: KerberosError, *, user: str, service: str) -> Meaning:
    """What ``error`` means for the login of ``user`` (name@REALM) with ``service`` (HTTP/name)."""
    realm = user.rpartition("@")[2]
    told = {
        CLIENT_UNKNOWN: Meaning(
            f"the domain {realm} knows no user {user}", "Check the user name: the account's name, then @ and the domain's."
        ),
        SERVICE_UNKNOWN: Meaning(f"the domain {realm} knows no service {service}", SPN),
        EXPIRED: Meaning(f"the account {user} has expired", "Extend it."),
        REVOKED: Meaning(f"the account {user} is disabled, locked or outside its hours", "Enable or unlock it."),
        KEY_EXPIRED: Meaning(f"the password of {user} has expired", "Set a new one, and save it in the credentials."),
        PREAUTH_FAILED: Meaning(f"the domain {realm} refuses the password or keytab of {user}", "Check it; it is not tried again, because accounts lock."),
        TICKET_EXPIRED: Meaning(f"the ticket of {user} has expired", "Run again; if it returns, compare the clocks."),
        TICKET_NOT_YET: Meaning(f"the ticket of {user} is not valid yet", CLOCK),
        SKEW: Meaning("the clocks differ too much for Kerberos", CLOCK),
        MODIFIED: Meaning(
            f"the host cannot read a ticket for {service}: that name belongs to another machine or account",
            "Check DNS (does the address lead to this host?) and the SPN (setspn -Q finds who has it).",
        ),
        _NO_TYPE: Meaning(
            f"{user}, the host and the domain have no encryption type in common",
            "Allow AES for the account (msDS-SupportedEncryptionTypes), or make the keytab anew.",
        ),
        _REALM_UNKNOWN: Meaning(f"no domain controller is known for {realm}", "Check DNS (_kerberos._tcp SRV records), or set krb5_config."),
        _UNREACHABLE: Meaning(f"no domain controller of {realm} answers", "Check that port 88 is open to it (TCP and UDP), and krb5_config."),
        _NO_RESOLVE: Meaning(f"the domain controllers of {realm} cannot be resolved", "Check DNS, or set krb5_config."),
        _NOT_IN_KEYTAB: Meaning(f"the keytab has no key for {user}", "Check the user name against klist -k FILE: case counts."),
        _NO_FILE: Meaning(f"a file is not there ({error.words})", "Check keytab and krb5_config in the credentials."),
        _NOT_ALLOWED: Meaning(f"a file may not be read ({error.words})", "Check the owner and mode of keytab and krb5_config."),
        _NO_DEFAULT_REALM: Meaning(f"{user} names no domain", "Write the user name as name@DOMAIN."),
    }  # fmt: skip
    told[BAD_INTEGRITY] = told[PREAUTH_FAILED]
    default = Meaning(
        f"Kerberos fails: {error.words}", f"Try kinit {user} on this machine; it was while {error.stage}."
    )
    return told.get(error.number, default)
