import socket

import pytest

from tools.stack.ports import HOST, Port, is_open


@pytest.fixture
def somebody():
    with socket.socket() as server:
        server.bind((HOST, 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_free_port_is_kept_until_it_is_released():
    port = Port(0)
    assert not port.was_taken
    second = Port(port.number)
    assert second.number != port.number
    second.release()
    port.release()
    assert not is_open(port.number)
    again = Port(port.number)
    assert not again.was_taken
    again.release()


def test_a_taken_port_is_replaced_by_a_free_one(somebody):
    port = Port(somebody)
    assert port.was_taken
    assert port.number != somebody
    port.release()
