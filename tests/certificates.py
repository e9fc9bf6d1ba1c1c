"""Certificates for servers: right ones, and ones that a careful client must refuse."""

import os
import shutil
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SERVER_USER = "nobody"
DAY = timedelta(days=1)


class Authority:
    """Signs certificates for servers; its own stands in `certificate`, a PEM file."""

    def __init__(self, place: Path, name: str = "authority") -> None:
        self.place = place
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = place / f"{name}.crt"
        builder = self._builder(self.name, DAY).public_key(self.key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.certificate.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        self.certificate.chmod(0o644)  # servers read it as another user, whatever the umask

    def issue(self, host: str, valid_for: timedelta = DAY) -> tuple[Path, Path]:
        """Return files with a certificate for one host name or address, and its key, which servers can read."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        names = x509.SubjectAlternativeName([_general_name(host)])
        builder = self._builder(subject, valid_for).public_key(key.public_key()).add_extension(names, critical=False)
        certificate, secret = self.place / f"{host}.crt", self.place / f"{host}.key"
        certificate.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        certificate.chmod(0o644)
        secret.touch(mode=0o600)
        if os.geteuid() == 0:  # the server will not be root
            shutil.chown(secret, SERVER_USER)
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate, secret

    def server_side(self, host: str, valid_for: timedelta = DAY) -> ssl.SSLContext:
        """Return what a server that calls itself so terminates TLS with; a negative validity is over already."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(host, valid_for))
        return context

    def _builder(self, subject: x509.Name, valid_for: timedelta) -> x509.CertificateBuilder:
        until = datetime.now(UTC) + valid_for
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .serial_number(x509.random_serial_number())
            .not_valid_before(until - 2 * DAY)
            .not_valid_after(until)
        )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
