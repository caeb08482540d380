"""Where a device looks: the owner's place, those of the trusted root, those of the provisioning; with TLS and without.

Real servers on loopback, the whole client on MicroPython.
"""

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from client_server import ok
from client_world import NOW, Product
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tuf_repository import unix

UNCHANGED, CHANGED = 304, 200


@pytest.fixture
def product(product: Product) -> Product:
    product.release("1.0.0", 1)
    return product


@pytest.fixture
def context(tmp_path: Path) -> Callable[[datetime], ssl.SSLContext]:
    """A server's TLS with a certificate that nobody vouches for, of another host, until a day."""

    def make(until: datetime) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "elsewhere.example")])
        builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        lasting = builder.not_valid_before(until - timedelta(days=90)).not_valid_after(until)
        pem = lasting.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM) + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (tmp_path / "certificate.pem").write_bytes(pem)
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(tmp_path / "certificate.pem")
        return made

    return make


def test_the_owners_place_then_the_roots_then_the_provisioned_ones(product: Product, new_unit: Any) -> None:
    unit = new_unit(product, "http://c.example/", "http://d.example")
    assert unit.live(["owner", {"url": "http://own.example"}], ["places"]) == [
        ["http://own.example/", product.server.url, "http://c.example/", "http://d.example/"]
    ]
    assert unit.live(["owner", {"url": None}], ["places"])[0][0] == product.server.url


def test_the_places_of_a_new_root_are_the_devices_own(product: Product, new_unit: Any) -> None:
    """How a maker's successors bring devices along, although the provisioning names the maker's host only."""
    unit = new_unit(product)
    product.repository.root.unrecognized_fields["x-heirloom-urls"] = ["http://successor.example/", 5, None]
    product.live(NOW)
    unit.live(["install"])
    assert unit.live(["places"]) == [["http://successor.example/", product.server.url]]


def test_each_place_is_tried_in_its_turn(product: Product, new_unit: Any, serve: Any) -> None:
    """Nobody there, an error page, a captive portal, another product: then the one that has it."""
    broken = serve(lambda _: ok(b"oops", "", "500 Internal Server Error"))
    portal = serve(lambda _: ok(b"<html>log in</html>"))
    stranger = serve(lambda _: ok(b"", "", "404 Not Found"))
    product.repository.root.unrecognized_fields["x-heirloom-urls"] = [broken.url, portal.url, stranger.url]
    product.live(NOW)
    product.provisioned = product.newest_root()
    unit = new_unit(product)
    assert unit.live(["owner", {"url": "http://127.0.0.1:1/"}], ["install"]) == ["1.0.0"]
    assert broken.requests
    assert portal.requests
    assert stranger.requests


def test_a_place_that_holds_its_tongue_is_left_in_bounded_time(serve: Any, on_device: Any) -> None:
    silent = serve(lambda _: [30.0, b""])
    good = serve(lambda request: ok(b"here") if "timestamp.json " in request else ok(b"", "", "404 Not Found"))
    said = on_device("http_client", "metadata", "1000", "", "0", "timestamp.json", silent.url, good.url)
    assert '"text": "here"' in said


def test_files_of_one_moment_come_from_one_place(product: Product, new_unit: Any, serve: Any) -> None:
    """A place that answered stays the current one, whoever comes first on the list."""
    first = serve(lambda request: product.answer(request) if "1.root" in request else None)
    unit = new_unit(product)
    unit.live(["owner", {"url": first.url}], ["install"])
    asked = [request.split()[1] for request in first.requests]
    assert len(asked) <= 3, asked


@pytest.mark.parametrize("clock", [0, unix(NOW), unix(datetime(2036, 1, 1, tzinfo=UTC))])
def test_tls_needs_no_clock_and_no_authority(
    product: Product, new_unit: Any, serve: Any, context: Any, clock: int
) -> None:
    """It is privacy, not trust: a certificate that expired years ago serves as well as any."""
    private = serve(product.answer, context(datetime(2019, 1, 1, tzinfo=UTC)))
    product.server.answer = lambda _: None
    product.live(datetime(2036, 1, 1, tzinfo=UTC) if clock > unix(NOW) else NOW)
    unit = new_unit(product, private.url)
    steps = ["owner", {"tls_only": True}], ["clock", clock], ["install"], ["look_beside"]
    assert unit.live(*steps) == ["1.0.0", UNCHANGED]
    assert private.requests


def test_where_tls_fails_the_same_place_is_asked_without(product: Product, new_unit: Any) -> None:
    product.repository.root.unrecognized_fields["x-heirloom-urls"] = []
    product.live(NOW)
    product.provisioned = product.newest_root()
    https = product.server.url.replace("http:", "https:")
    unit = new_unit(product, https)
    assert unit.live(["install"], ["look_beside"]) == ["1.0.0", UNCHANGED]


def test_unless_the_owner_forbids_it(product: Product, new_unit: Any) -> None:
    product.repository.root.unrecognized_fields["x-heirloom-urls"] = []
    product.live(NOW)
    product.provisioned = product.newest_root()
    unit = new_unit(product, product.server.url.replace("http:", "https:"))
    (said,) = unit.live(["owner", {"tls_only": True}], ["install"])
    assert said.startswith("E_NETWORK: no place answers: https://"), said
    assert not any("GET" in request for request in product.server.requests)


def test_a_plain_place_is_not_asked_when_the_owner_wants_tls(product: Product, new_unit: Any) -> None:
    unit = new_unit(product)
    (said,) = unit.live(["owner", {"tls_only": True}], ["install"])
    assert "has no TLS, which the owner asks for" in said
    assert product.server.requests == []
