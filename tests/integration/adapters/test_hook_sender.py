import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from adapters.hook_sender import HookSender
from domain.errors import PermanentVendorError, RetryableVendorError
from domain.ports import HookPost

HEADERS = {"content-type": "application/json", "webhook-id": "1"}
NAME = "hooks.example"


def post(url):
    return HookPost(url, HEADERS, b"{}")


@pytest.fixture
def sender():
    return HookSender(timeout=5, to_loopback=True)


@pytest.fixture
def resolve(monkeypatch):
    """Let every name resolve to these addresses, whatever it is, and count how often somebody asked."""
    asked = []

    def to(*addresses):
        def getaddrinfo(host, port, *_, **__):
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

        monkeypatch.setattr("adapters.hook_sender.socket.getaddrinfo", getaddrinfo)
        return asked

    return to


@pytest.fixture
def listener():
    """Return a server that speaks when the test lets it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


class TestAnswers:
    @pytest.mark.parametrize("status", [200, 410, 500])
    def test_the_status_is_returned_whatever_it_is(self, sender, receiver, status):
        receiver.answer = (status, {"content-length": "0"})
        assert sender.send(post(receiver.url)) == status
        ((path, headers, body),) = receiver.requests
        assert (path, body) == ("/hooks?from=vendor", b"{}")
        assert headers["host"] == f"127.0.0.1:{receiver.server_port}"
        assert headers["webhook-id"] == "1"

    def test_a_redirect_is_an_answer_and_not_followed(self, sender, receiver):
        receiver.answer = (302, {"location": receiver.url, "content-length": "0"})
        assert sender.send(post(receiver.url)) == 302
        assert len(receiver.requests) == 1

    def test_a_body_that_never_ends_is_not_waited_for(self, sender, receiver):
        receiver.answer = (200, {"content-length": "1000000"})
        assert sender.send(post(receiver.url)) == 200


class TestTrouble:
    def test_nobody_there(self, sender, listener):
        port = listener.getsockname()[1]
        listener.close()
        with pytest.raises(RetryableVendorError, match="ConnectionRefusedError"):
            sender.send(post(f"http://127.0.0.1:{port}/"))

    def test_what_speaks_no_http_did_not_answer(self, sender, listener):
        def talk():
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"220 mail.example ready\r\n\r\n")

        with running(talk), pytest.raises(RetryableVendorError, match="BadStatusLine"):
            sender.send(post(f"http://127.0.0.1:{listener.getsockname()[1]}/"))

    def test_one_who_trickles_is_hung_up_on(self, listener):
        """Each byte comes in time, so only a clock for the whole of it ends this."""
        ended = threading.Event()

        def trickle():
            connection, _ = listener.accept()
            with connection:
                try:
                    while not ended.wait(0.02):
                        connection.sendall(b"H")
                except OSError:
                    ended.set()

        began = time.monotonic()
        with running(trickle):
            with pytest.raises(RetryableVendorError, match="in time"):
                HookSender(timeout=0.3, to_loopback=True).send(post(f"http://127.0.0.1:{listener.getsockname()[1]}/"))
            assert time.monotonic() - began < 4
            assert ended.wait(5)


class TestWhere:
    @pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1", "::1"])
    def test_a_name_that_leads_inside_is_not_called(self, resolve, receiver, address):
        resolve(address)
        with pytest.raises(PermanentVendorError, match="public"):
            HookSender(timeout=5).send(post(f"https://{NAME}:{receiver.server_port}/"))
        assert receiver.requests == []

    def test_a_literal_inside_is_not_even_looked_up(self, resolve):
        asked = resolve("1.1.1.1")
        with pytest.raises(PermanentVendorError):
            HookSender(timeout=5).send(post("https://127.0.0.1/"))
        assert asked == []

    def test_a_name_is_resolved_once_and_of_its_addresses_only_allowed_ones_are_called(self, sender, resolve, receiver):
        asked = resolve("10.0.0.1", "127.0.0.1")
        assert sender.send(post(f"http://{NAME}:{receiver.server_port}/")) == 204
        assert asked == [NAME]
        assert receiver.requests[0][1]["host"] == f"{NAME}:{receiver.server_port}"

    def test_a_name_of_nobodys_may_come_to_be(self, sender, monkeypatch):
        def getaddrinfo(*_, **__):
            raise socket.gaierror(socket.EAI_NONAME, "unknown")

        monkeypatch.setattr("adapters.hook_sender.socket.getaddrinfo", getaddrinfo)
        with pytest.raises(RetryableVendorError, match="resolved"):
            sender.send(post(f"http://{NAME}/"))


class TestTLS:
    @pytest.fixture
    def certificate(self, tmp_path):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        path = tmp_path / "both.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
        return path

    @pytest.fixture
    def port(self, receiver, certificate):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
        return receiver.server_port

    def test_the_address_is_pinned_and_the_certificate_is_the_names(self, resolve, receiver, port, certificate):
        resolve("127.0.0.1")
        trusting = ssl.create_default_context(cafile=certificate)
        sender = HookSender(timeout=5, to_loopback=True, tls=trusting)
        assert sender.send(post(f"https://{NAME}:{port}/")) == 204
        with pytest.raises(RetryableVendorError, match="SSLCertVerificationError"):
            sender.send(post(f"https://other.example:{port}/"))
        with pytest.raises(RetryableVendorError, match="SSLCertVerificationError"):
            HookSender(timeout=5, to_loopback=True).send(post(f"https://{NAME}:{port}/"))
        assert len(receiver.requests) == 1


class running:  # noqa: N801 reads as a word
    """Run a function beside the block, and see that it ends."""

    def __init__(self, function):
        self._thread = threading.Thread(target=function)

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *_):
        self._thread.join(5)
        assert not self._thread.is_alive()
