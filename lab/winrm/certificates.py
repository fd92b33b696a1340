"""The lab's own certificate authority, and a certificate for each of its hosts."""

from __future__ import annotations

import hashlib
import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.winrm.tls import Tls

_UPN = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
_ANY_DATE = 0x200000  # X509_V_FLAG_NO_CHECK_TIME


class Authority:
    """Issues certificates; ``file`` is the PEM that a client has to trust."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named("Lab Root CA")
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        certificate = (
            _builder(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.file = folder / "ca.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self.der = certificate.public_bytes(serialization.Encoding.DER)

    def issue(self, name: str, address: str) -> tuple[Path, Path]:
        """The certificate and key files of a host; the certificate holds for its name and its address."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ipaddress.ip_address(address))])
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = (
            _builder(_named(name), self._name, key.public_key())
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(identifier, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        paths = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        paths[1].touch(mode=0o600)
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return paths

    def issue_client(self, upn: str, *, days: int = 365) -> tuple[str, str]:
        """A user's certificate and key as PEM texts; ``upn`` is what a host maps it by. Negative days: it has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        name = x509.SubjectAlternativeName([x509.OtherName(_UPN, b"\x0c" + bytes([len(upn.encode())]) + upn.encode())])
        certificate = (
            _builder(_named(upn.partition("@")[0]), self._name, key.public_key(), days)
            .add_extension(name, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(identifier, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()

    def write_client(self, upn: str) -> None:
        """Put a user's certificate and key beside the authority's, as ``client.pem`` and ``client.key``."""
        certificate, key = self.issue_client(upn)
        (self._folder / "client.pem").write_text(certificate)
        (self._folder / "client.key").touch(mode=0o600)
        (self._folder / "client.key").write_text(key)

    def tls(self, name: str, address: str, *, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> Tls:
        """A server's TLS context with a fresh certificate, and that certificate's hash for channel binding.

        Windows Server 2019 and older have no TLS 1.3. A client's certificate is asked for and need not come; of whom it
        is and whether it is still valid is WinRM's business, so OpenSSL is told not to look at its dates.
        """
        certificate, key = self.issue(name, address)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.maximum_version = newest
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(self.file)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.verify_flags |= _ANY_DATE
        context.post_handshake_auth = newest == ssl.TLSVersion.TLSv1_3
        der = ssl.PEM_cert_to_DER_cert(certificate.read_text())
        return Tls(context, hashlib.sha256(der).digest(), (self.der,))


def thumbprint(der: bytes) -> str:
    """A certificate's SHA-1 in capitals, as Windows shows it."""
    return hashlib.sha1(der).hexdigest().upper()  # noqa: S324 - it names, it does not protect


def upn_of(der: bytes) -> str:
    """The user principal name in a certificate's alternative names; empty where there is none."""
    try:
        names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ""
    found = [name.value for name in names.value if isinstance(name, x509.OtherName) and name.type_id == _UPN]
    return found[0][2:].decode() if found else ""


def valid_now(der: bytes) -> bool:
    """Whether a certificate's dates hold."""
    certificate = x509.load_der_x509_certificate(der)
    return certificate.not_valid_before_utc <= datetime.now(UTC) <= certificate.not_valid_after_utc


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int = 365
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now + timedelta(days=days))
    )
