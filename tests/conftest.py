"""What every test has: real servers on demand, and a network that ends at the loopback."""

import ipaddress
import socket

import pytest
from xdist.scheduler import LoadScopeScheduling

SHARE_A_STACK = ("tests/e2e/", "tests/faults/")

# Its assertions show what they compared, as those of test files do.
pytest.register_assert_rewrite("tests.integration.domain.payments.story")
pytest_plugins = [f"tests.fixtures.{name}" for name in ("servers", "web", "stack", "network", "rabbitmq", "receiver")]


@pytest.fixture(scope="session", autouse=True)
def _loopback_only():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))
        yield


def _guarded(connect):
    def guarded(self, address):
        if self.family != socket.AF_UNIX and not _is_loopback(address[0]):
            raise PermissionError(f"Tests connect to the loopback only, not to {address[0]}.")
        return connect(self, address)

    return guarded


def _is_loopback(host):
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class ByFile(LoadScopeScheduling):
    """Keeps the tests of a file on one worker, and all that need the whole system on the one that runs it."""

    def _split_scope(self, nodeid):
        return "stack" if nodeid.startswith(SHARE_A_STACK) else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return ByFile(config, log)
