import pytest

from domain.rules.addresses import find_fault, is_loopback, is_public

PUBLIC = ["93.184.215.14", "1.1.1.1", "172.32.0.1", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e"]
NOT_PUBLIC = [
    *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
    *("169.254.169.254", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "198.18.0.1"),
    *("224.0.0.1", "240.0.0.1", "255.255.255.255", "203.0.113.9"),
    *(
        "::1",
        "::",
        "::ffff:10.0.0.1",
        "::ffff:93.184.215.14",
        "::127.0.0.1",
        "64:ff9b::a00:1",
        "fe80::1",
        "fe80::1%eth0",
    ),
    *("fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "2001::1", "2002:7f00:1::", "3fff::1"),
    *("", "localhost", "1.1.1", "0x7f.1"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_somebodys_on_the_internet_is_public(address):
    assert is_public(address)
    assert not is_loopback(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_everything_else_is_not(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.com/", "ftp://example.com/", "https:///x", "https://", "https://user@example.com/"),
        *("https://example.com/#part", "https://example.com:port/", "https://exämple.com/", "https://example.com/a b"),
        *(
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://localhost/",
            "https://a.localhost",
        ),
        *(
            "https://169.254.169.254/latest/meta-data/",
            "https://2130706433/",
            "https://10.0.0.8:8443/",
            "https://[fe80::1]/",
        ),
    ],
)
def test_an_address_that_cannot_be_right_is_refused_with_a_reason(url):
    assert str(find_fault(url, to_loopback=False)).endswith(".")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://hooks.example.com:8443/a/b?c=%C3%A9",
        "https://1.1.1.1/",
        "https://[2606:4700::1]/",
    ],
)
def test_public_addresses_are_allowed(url):
    assert find_fault(url, to_loopback=False) is None


def test_the_loopback_is_allowed_where_one_says_so_and_nothing_else():
    assert find_fault("http://127.0.0.1:8999/", to_loopback=True) is None
    assert find_fault("http://localhost:8999/", to_loopback=True) is None
    assert find_fault("http://[::1]/", to_loopback=True) is None
    assert find_fault("http://10.0.0.1/", to_loopback=True)
    assert find_fault("ftp://127.0.0.1/", to_loopback=True)
