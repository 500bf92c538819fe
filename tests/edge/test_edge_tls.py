"""The local authority: what it makes, what it keeps, and what strict clients say."""

import os
import re
import shutil
import ssl
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from edge_process import PATIENCE, EdgeProcess

from requirements import need_program
from stillmotion.errors import ConfigurationError
from stillmotion.tls import LocalTls, ensure_certificate

PEM_FILES = ["ca.pem", "ca.key", "certificate.pem", "key.pem"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "tls"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def handshake(server: ssl.SSLContext, trust: Path, name: str) -> None:
    """A TLS handshake in memory, with a client as strict as Python 3.13; raises what the client raises."""
    client = ssl.create_default_context(cafile=str(trust))
    client.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(to_client, to_server, server_hostname=name), server.wrap_bio(to_server, to_client, True)]
    for _ in range(10):
        waiting = []
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                waiting.append(end)
        if not waiting:
            return
    raise AssertionError("the handshake does not end")


def sign(folder: Path, names: list[x509.GeneralName], days: float) -> ssl.SSLContext:
    """Puts a certificate of our authority, valid for so many days more, in the server's place."""
    key = ec.generate_private_key(ec.SECP256R1())
    authority = load(folder / "ca.pem")
    signer = load_pem_private_key((folder / "ca.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(
            subject_name=x509.Name([]), issuer_name=authority.subject, public_key=key.public_key(), serial_number=7
        )
        .not_valid_before(now - timedelta(days=300))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return LocalTls(folder, folder / "certificate.pem", folder / "key.pem", folder).server_context()


def names_of(tls: LocalTls) -> list[x509.GeneralName]:
    return list(load(tls.certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value)


def test_everything_is_made_and_private(folder: Path) -> None:
    tls = ensure_certificate(folder)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes.pop(".lock") == modes["key.pem"] == modes["ca.key"] == 0o600
    assert set(modes) == {*PEM_FILES, "bundle.pem"}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in ("localhost", "127.0.0.1", "::1"):
        handshake(tls.server_context(), tls.ca, name)
        handshake(tls.server_context(), tls.bundle, name)
    leaf = load(tls.certificate)
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc <= timedelta(days=825)


def test_what_is_good_is_kept(folder: Path) -> None:
    ensure_certificate(folder)
    before = contents(folder)
    (folder / "key.pem").chmod(0o644)
    folder.chmod(0o755)
    ensure_certificate(folder).renew()
    assert contents(folder) == before
    assert stat.S_IMODE((folder / "key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", PEM_FILES)
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "rubbish", "another's"])
def test_what_is_damaged_is_made_again(folder: Path, tmp_path: Path, name: str, damage: str) -> None:
    tls = ensure_certificate(folder)
    match damage:
        case "missing":
            (folder / name).unlink()
        case "empty":
            (folder / name).write_bytes(b"")
        case "truncated":
            (folder / name).write_bytes((folder / name).read_bytes()[:-60])
        case "rubbish":
            (folder / name).write_bytes(os.urandom(300))
        case _:
            ensure_certificate(tmp_path / "other")
            shutil.copy(tmp_path / "other" / name, folder / name)
    ensure_certificate(folder)
    handshake(tls.server_context(), tls.bundle, "localhost")


@pytest.mark.parametrize(("days", "kept"), [(31, True), (29, False), (-1, False)])
def test_a_certificate_is_renewed_before_it_ends(folder: Path, days: float, kept: bool) -> None:
    tls = ensure_certificate(folder)
    authority = tls.ca.read_bytes()
    sign(folder, names_of(tls), days)
    tls.renew()
    assert (load(tls.certificate).serial_number == 7) is kept
    assert tls.ca.read_bytes() == authority
    handshake(tls.server_context(), tls.ca, "localhost")


def test_an_authority_that_ended_is_replaced(folder: Path) -> None:
    tls = ensure_certificate(folder)
    key = load_pem_private_key((folder / "ca.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    old, now = load(tls.ca), datetime.now(UTC)
    builder = x509.CertificateBuilder(
        subject_name=old.subject, issuer_name=old.subject, public_key=key.public_key(), serial_number=7
    )
    builder = builder.not_valid_before(now - timedelta(days=9)).not_valid_after(now - timedelta(days=1))
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    tls.ca.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    tls.renew()
    assert load(tls.ca).serial_number not in (7, old.serial_number)
    handshake(tls.server_context(), tls.bundle, "localhost")


@pytest.mark.parametrize(
    ("names", "good", "bad"),
    [
        (["localhost", "127.0.0.1"], ["localhost", "127.0.0.1"], ["::1", "studio.lan"]),
        (["Studio.lan", "localhost"], ["studio.lan", "localhost"], ["127.0.0.1"]),
        (["fal.run", "queue.fal.run"], ["fal.run", "queue.fal.run"], ["rest.fal.ai", "localhost"]),
        (["127.0.0.1"], ["127.0.0.1"], ["localhost", "127.0.0.2"]),
    ],
)
def test_other_names_need_other_certificates(folder: Path, names: list[str], good: list[str], bad: list[str]) -> None:
    before = ensure_certificate(folder).certificate.read_bytes()
    tls = ensure_certificate(folder, names=names)
    assert tls.certificate.read_bytes() != before
    for name in good:
        handshake(tls.server_context(), tls.bundle, name)
    for name in bad:
        with pytest.raises(ssl.SSLCertVerificationError):
            handshake(tls.server_context(), tls.bundle, name)


@pytest.mark.parametrize("names", [["localhost", "127.0.0.1", "::1"], ["localhost"], ["127.0.0.1"]])
@pytest.mark.parametrize("victim", ["bank.example", "8.8.8.8", "127.0.0.2", "2001:db8::1"])
def test_the_authority_is_worth_nothing_elsewhere(folder: Path, names: list[str], victim: str) -> None:
    tls = ensure_certificate(folder, names=names)
    forged = ensure_certificate(folder.parent / "forger", names=[victim])
    server = sign(folder, names_of(forged), 90)  # with the stolen key of the authority
    with pytest.raises(ssl.SSLCertVerificationError, match=r"permitted subtree violation|excluded subtree violation"):
        handshake(server, tls.bundle, victim)


@pytest.mark.parametrize("names", [[], [""], ["a b"], ["https://localhost"], ["localhost:80"], ["*"], ["é.example"]])
def test_names_that_are_none_are_refused(folder: Path, names: list[str]) -> None:
    with pytest.raises(ConfigurationError):
        ensure_certificate(folder, names=names)
    assert not folder.exists()


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match=r"cannot be used"):
        ensure_certificate(tmp_path / "file")


def certificates(path: Path) -> list[bytes]:
    """The certificates of a PEM file as they stand there: cryptography warns of some roots that systems hold."""
    return re.findall(rb"-----BEGIN CERTIFICATE-----\n[^-]+-----END CERTIFICATE-----", path.read_bytes())


def test_the_bundle_is_the_systems_roots_and_ours(folder: Path, tmp_path: Path) -> None:
    tls = ensure_certificate(folder)
    ours = certificates(tls.ca)
    trust = ssl.create_default_context(cafile=str(tls.bundle))
    assert certificates(tls.bundle)[-1:] == ours
    assert trust.cert_store_stats()["x509_ca"] > 50  # the Mozilla list has some 140

    roots = tmp_path / "roots.pem"
    roots.write_bytes(Path(certifi.where()).read_bytes().rstrip())  # without a line end
    tls = ensure_certificate(folder, roots=roots)
    wanted = certificates(roots)
    assert certificates(tls.bundle) == [*wanted, *ours]

    roots.write_bytes(wanted[0])  # the system's roots change
    tls.renew()
    assert certificates(tls.bundle) == [wanted[0], *ours]


@pytest.mark.parametrize("roots", ["bundle.pem", "missing.pem"])
def test_roots_that_are_none_are_passed_over(folder: Path, roots: str) -> None:
    before = ensure_certificate(folder).bundle.read_bytes()
    assert ensure_certificate(folder, roots=folder / roots).bundle.read_bytes() == before


def test_processes_that_start_together_agree(folder: Path) -> None:
    program = (
        "import sys, pathlib, stillmotion.tls as t; "
        "tls = t.ensure_certificate(pathlib.Path(sys.argv[1])); "
        "print(hash((tls.ca.read_bytes(), tls.certificate.read_bytes(), tls.key.read_bytes())))"
    )
    command = [sys.executable, "-c", program, str(folder)]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONHASHSEED": "0"})
        for _ in range(4)
    ]
    answers = {process.communicate(timeout=PATIENCE)[0] for process in started}
    assert [process.returncode for process in started] == [0] * 4
    assert len(answers) == 1
    assert answers != {""}
    tls = ensure_certificate(folder)
    handshake(tls.server_context(), tls.bundle, "localhost")


# Real clients


def url(edge: EdgeProcess, host: str) -> str:
    return f"https://{host}:{edge.address(1)[1]}/"


def client(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.upper().endswith("_PROXY")}
    return subprocess.run(
        command, env={**clean, **environment}, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
class TestClients:
    def test_httpx(self, edge: EdgeProcess, tls_folder: Path, host: str) -> None:
        code = f"import httpx; print(httpx.get({url(edge, host)!r}).status_code)"
        trusting = client([sys.executable, "-c", code], SSL_CERT_FILE=str(tls_folder / "bundle.pem"))
        assert trusting.stdout == "200\n", trusting.stderr
        stranger = client([sys.executable, "-c", code], SSL_CERT_FILE=certifi.where())
        assert "CERTIFICATE_VERIFY_FAILED" in stranger.stderr

    def test_curl(self, edge: EdgeProcess, tls_folder: Path, host: str) -> None:
        command = [need_program("curl"), "--silent", "--show-error", "--noproxy", "*", "--cacert"]
        trusting = client([*command, str(tls_folder / "ca.pem"), url(edge, host)])
        assert '"scheme": "https"' in trusting.stdout, trusting.stderr
        assert client([*command, certifi.where(), url(edge, host)]).returncode == 60

    def test_node(self, edge: EdgeProcess, tls_folder: Path, host: str) -> None:
        code = f"fetch({url(edge, host)!r}).then(r => console.log(r.status), e => console.log(e.cause.code))"
        command = [need_program("node"), "-e", code]
        assert client(command, NODE_EXTRA_CA_CERTS=str(tls_folder / "ca.pem")).stdout == "200\n"
        assert client(command).stdout == "UNABLE_TO_VERIFY_LEAF_SIGNATURE\n"
