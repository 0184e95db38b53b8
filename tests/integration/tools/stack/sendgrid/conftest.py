import pytest

from tests.fixtures.sendgrid import Receiver
from tools.stack.sendgrid.server import Options, SendGridStandIn


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def options(tmp_path, receiver):
    return Options(data=tmp_path, signing_key=tmp_path / "key.pem", webhook_url=receiver.url, api_key="SG.right")


@pytest.fixture
def standin(options):
    with SendGridStandIn(options) as standin:
        yield standin
