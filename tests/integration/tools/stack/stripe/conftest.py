import threading

import pytest

from tests.fixtures.stripe_standin import SECRET, Receiver, sdk
from tools.stack.stripe.server import running


@pytest.fixture(scope="module")
def receiver_server():
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def receiver(receiver_server):
    receiver_server.statuses, receiver_server.received = [], []
    return receiver_server


@pytest.fixture
def standin(receiver):
    with running(webhook_url=receiver.url, webhook_secret=SECRET) as server:
        yield server


@pytest.fixture
def api(standin):
    return sdk(standin)
