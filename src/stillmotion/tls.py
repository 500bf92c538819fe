"""A certificate authority for this machine alone, and the server certificate it signs.

fal's Python client speaks https only, so a local server needs a certificate that strict clients accept: Python with
VERIFY_X509_STRICT (the default from 3.13), OpenSSL, Node. The authority's name constraints limit it to the server's own
names: who trusts it trusts it for these and nothing else, even if its key is stolen.
"""

import contextlib
import fcntl
import os
import ssl
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

import certifi
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from stillmotion.errors import ConfigurationError

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")

CA_VALIDITY = timedelta(days=3650)
LEAF_VALIDITY = timedelta(days=397)  # Apple refuses more than 825 days under an authority of the user's own
RENEW_BEFORE = timedelta(days=30)
BACKDATED = timedelta(days=1)  # for clients whose clock is behind, as in virtual machines
LOCK_SECONDS = 30.0

# Where Linux distributions keep their roots when OpenSSL was built to look elsewhere (python.org and uv builds).
SYSTEM_ROOTS = (
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/pki/tls/certs/ca-bundle.crt"),
    Path("/etc/ssl/ca-bundle.pem"),
    Path("/etc/ssl/cert.pem"),
)


@dataclass(frozen=True, slots=True)
class LocalTls:
    """PEM files: the authority's certificate, the server's certificate and key, and the system's roots plus ours."""

    ca: Path
    certificate: Path
    key: Path
    bundle: Path
    names: tuple[str, ...] = LOCAL_NAMES
    roots: Path | None = None

    def renew(self) -> None:
        """Renews what is due; for servers that run for longer than a certificate is valid. Blocks: file access."""
        ensure_certificate(self.ca.parent, names=self.names, roots=self.roots)

    def server_context(self) -> ssl.SSLContext:
        """A context for a server that speaks HTTP/1.1 over TLS 1.2 or later."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(self.certificate, self.key)
        return context


def ensure_certificate(folder: Path, *, names: Sequence[str] = LOCAL_NAMES, roots: Path | None = None) -> LocalTls:
    """Makes in ``folder`` what is missing, damaged, expired or made for other names, and reuses what is good.

    The server's certificate is renewed 30 days before it ends or when ``names`` (DNS names and IP addresses) change;
    the authority is made anew when it ends, or when its constraints do not allow a name. ``roots`` is the file to take
    the system's roots from, such as the user's ``SSL_CERT_FILE``; one that is missing or our own bundle is passed over.

    Safe against other processes that do the same. Raises ConfigurationError for names that are none, and when the
    folder cannot be used.
    """
    wanted = _alternative_names(names)
    tls = LocalTls(
        ca=folder / "ca.pem",
        certificate=folder / "certificate.pem",
        key=folder / "key.pem",
        bundle=folder / "bundle.pem",
        names=tuple(names),
        roots=roots,
    )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        with _locked(folder / ".lock"):
            authority = _authority(folder / "ca.key", tls.ca, wanted)
            _leaf(tls, authority, wanted)
            _bundle(tls)
    except OSError as error:
        raise ConfigurationError(f"The TLS files in {folder} cannot be used: {error.strerror or error}.") from error
    return tls


def certified_names(folder: Path) -> tuple[str, ...]:
    """The names in ``folder``'s certificate; those of this machine alone where there is none that can be read."""
    try:
        leaf = x509.load_pem_x509_certificate((folder / "certificate.pem").read_bytes())
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return LOCAL_NAMES
    return tuple(str(name.value) for name in names)


@dataclass(frozen=True, slots=True)
class _Pair:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)


# The authority


def _authority(key: Path, certificate: Path, names: Sequence[x509.GeneralName]) -> _Pair:
    found = _load(certificate, key)
    if found is not None and _is_valid(found.certificate) and _allows(found.certificate, names):
        return found
    made = _make_authority(names)
    _write(key, _key_pem(made.key), mode=0o600)
    _write(certificate, made.certificate.public_bytes(Encoding.PEM))
    return made


def _make_authority(names: Sequence[x509.GeneralName]) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    # The serial number keeps two authorities of one user apart: clients look issuers up by name.
    serial = x509.random_serial_number()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Stillmotion local authority {serial % 0x10000:04x}")])
    builder = (
        x509.CertificateBuilder(subject_name=name, issuer_name=name, public_key=key.public_key(), serial_number=serial)
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + CA_VALIDITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_constraints(names), critical=True)
    )
    return _Pair(builder.sign(key, hashes.SHA256()), key)


def _constraints(names: Sequence[x509.GeneralName]) -> x509.NameConstraints:
    """Exactly these names. A kind of name that is absent must be excluded: what is not constrained is allowed."""
    permitted = [_constraint(name) for name in names]
    excluded: list[x509.GeneralName] = []
    if not any(isinstance(name, x509.DNSName) for name in names):
        excluded.append(x509.DNSName(""))
    if not any(isinstance(name, x509.IPAddress) for name in names):
        excluded += [x509.IPAddress(ip_network("0.0.0.0/0")), x509.IPAddress(ip_network("::/0"))]
    return x509.NameConstraints(permitted_subtrees=permitted, excluded_subtrees=excluded or None)


def _constraint(name: x509.GeneralName) -> x509.GeneralName:
    if isinstance(name, x509.IPAddress):
        return x509.IPAddress(ip_network(name.value))
    # A name in a constraint stands for everything below it as well.
    return x509.DNSName(name.value.removeprefix("*."))


def _allows(authority: x509.Certificate, names: Sequence[x509.GeneralName]) -> bool:
    try:
        constraints = authority.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return False
    return all(_constraint(name) in (constraints.permitted_subtrees or ()) for name in names)


# The server's certificate


def _leaf(tls: LocalTls, authority: _Pair, names: Sequence[x509.GeneralName]) -> None:
    found = _load(tls.certificate, tls.key)
    if found is not None and _is_good_leaf(found.certificate, authority, names):
        return
    made = _make_leaf(authority, names)
    _write(tls.key, _key_pem(made.key), mode=0o600)
    _write(tls.certificate, made.certificate.public_bytes(Encoding.PEM))


def _is_good_leaf(leaf: x509.Certificate, authority: _Pair, names: Sequence[x509.GeneralName]) -> bool:
    try:
        leaf.verify_directly_issued_by(authority.certificate)
        held = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return _is_valid(leaf) and list(held) == list(names)


def _make_leaf(authority: _Pair, names: Sequence[x509.GeneralName]) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    issuer = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        x509.CertificateBuilder(
            # With spaces, so that no client takes it for a host name and holds it against the constraints.
            subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Stillmotion local server")]),
            issuer_name=authority.certificate.subject,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
        )
        .not_valid_before(now - BACKDATED)
        .not_valid_after(min(now + LEAF_VALIDITY, authority.certificate.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
    )
    return _Pair(builder.sign(authority.key, hashes.SHA256()), key)


# Trust for clients


def _bundle(tls: LocalTls) -> None:
    roots = next(path for path in _roots_candidates(tls) if path.is_file() and path.resolve() != tls.bundle.resolve())
    content = roots.read_bytes().rstrip() + b"\n\n" + tls.ca.read_bytes()
    if not tls.bundle.is_file() or tls.bundle.read_bytes() != content:
        _write(tls.bundle, content)


def _roots_candidates(tls: LocalTls) -> Iterator[Path]:
    if tls.roots is not None:
        yield tls.roots
    yield Path(ssl.get_default_verify_paths().openssl_cafile)  # OpenSSL's own place, whatever the environment says
    yield from SYSTEM_ROOTS
    yield Path(certifi.where())


# Certificates and files


def _alternative_names(names: Sequence[str]) -> list[x509.GeneralName]:
    if not names:
        raise ConfigurationError("A certificate needs at least one host name.")
    return [_alternative_name(name) for name in dict.fromkeys(names)]


def _alternative_name(name: str) -> x509.GeneralName:
    try:
        address: IPv4Address | IPv6Address = ip_address(name)
    except ValueError:
        plain = name.removeprefix("*.")
        if not plain or len(name) > 253 or not all(c.isascii() and (c.isalnum() or c in "-.") for c in plain):
            raise ConfigurationError(f"{name!r} is neither a host name nor an IP address.") from None
        return x509.DNSName(name.lower())
    return x509.IPAddress(address)


def _key_usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _is_valid(certificate: x509.Certificate) -> bool:
    now = datetime.now(UTC)
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - RENEW_BEFORE


def _load(certificate: Path, key: Path) -> _Pair | None:
    """A certificate with its key; None when one is missing, is damaged or does not belong to the other."""
    try:
        loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
        private = load_pem_private_key(key.read_bytes(), password=None)
    except (FileNotFoundError, ValueError, TypeError):
        return None
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.public_key() != loaded.public_key():
        return None
    key.chmod(0o600)
    return _Pair(loaded, private)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Replaces a file as a whole; a key is never readable for others, not even while it is written."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds a lock that the system releases when its process ends, however it ends."""
    with path.open("a") as file:
        path.chmod(0o600)
        end = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
        yield
