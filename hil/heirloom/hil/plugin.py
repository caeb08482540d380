"""The pytest plugin: fixtures that bring a maker's application to devices, simulated, emulated or physical.

It is loaded with every pytest of an environment that has Heirloom, so it imports nothing but pytest until a fixture of
it is used.
"""

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from heirloom.hil.drivers import Resource
    from heirloom.hil.rig.attacker import Attacker
    from heirloom.hil.rig.device import Device
    from heirloom.hil.rig.product import Product, Release
    from heirloom.hil.rig.server import Server
    from heirloom.hil.rig.session import Session

_RESOURCE = "heirloom_resource"
_SESSION = pytest.StashKey["Session"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options."""
    group = parser.getgroup("heirloom", "Heirloom: updates on devices")
    group.addoption("--heirloom-rig", metavar="FILE", help="A rig; its devices are used. Default: HEIRLOOM_RIG.")
    group.addoption(
        "--heirloom-driver",
        action="append",
        metavar="DRIVER[:BOARD]",
        help="sim, rp2040, esp32 or serial; may be repeated. Of a rig only such devices, else one of each board.",
    )
    group.addoption("--heirloom-project", metavar="FOLDER", help="The maker's project. Default: as heirloom finds it.")
    group.addoption(
        "--heirloom-release",
        metavar="VERSION",
        help="product.candidate() is this release, as it was built: its manifest can be attested.",
    )
    group.addoption(
        "--heirloom-published",
        metavar="PLACE",
        help="The repository whose stable channel is what the field runs: folder or URL. Default: the project's.",
    )


def pytest_configure() -> None:
    """The asserts of the life-cycle suite are explained as those of any test."""
    pytest.register_assert_rewrite("heirloom.hil.suite")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let go of servers and locks."""
    session = config.stash.get(_SESSION, None)
    if session is not None:
        session.close()


def _session(config: pytest.Config) -> "Session":
    from heirloom.hil.rig.session import Session

    if _SESSION not in config.stash:
        config.stash[_SESSION] = Session.of_options(
            rig=config.getoption("--heirloom-rig"),
            asked=config.getoption("--heirloom-driver") or [],
            project=config.getoption("--heirloom-project"),
            published=config.getoption("--heirloom-published"),
            wanted=config.getoption("--heirloom-release"),
        )
    return config.stash[_SESSION]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that uses a device runs once on each."""
    if _RESOURCE not in metafunc.fixturenames:
        return
    from heirloom.cli.errors import HeirloomError

    try:
        resources = _session(metafunc.config).resources()
    except HeirloomError as exc:
        raise pytest.UsageError(f"{exc.message}; {exc.advice}" if exc.advice else exc.message) from exc
    metafunc.parametrize(_RESOURCE, resources, indirect=True, scope="session", ids=[one.name for one in resources])


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Iterator[None]:
    """Trouble of the rig in the middle of a test says nothing about the release: an error, not a failure."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if call.when == "call" and call.excinfo is not None and _is_trouble(call.excinfo.value):
        # A failure in the phase "setup" is what pytest calls an error.
        report.when = "setup"
        report.sections.append(("rig trouble", "This says nothing about the release."))


def _is_trouble(exc: BaseException | None) -> bool:
    errors = sys.modules.get("heirloom.cli.errors")  # who never loaded it cannot have raised it
    return errors is not None and isinstance(exc, errors.RigTrouble)


@pytest.fixture(scope="session")
def heirloom_session(request: pytest.FixtureRequest) -> "Session":
    """What the tests of this run share: the rig, products, servers."""
    return _session(request.config)


@pytest.fixture(scope="session")
def heirloom_resource(request: pytest.FixtureRequest) -> "Resource":
    """The device that a test runs on, as data. Skips when this machine cannot drive it."""
    from heirloom.hil.drivers import unavailable_reason

    resource: Resource = request.param
    if reason := unavailable_reason(resource):
        pytest.skip(reason)
    return resource


@pytest.fixture
def product(heirloom_session: "Session", heirloom_resource: "Resource", tmp_path: "Path") -> "Product":
    """A throwaway product, shaped as the maker's: own keys, own repository; `product.release(version, app)`."""
    return heirloom_session.founded(heirloom_resource).copy(tmp_path / "product")


@pytest.fixture
def _heirloom_results(
    heirloom_resource: "Resource", product: "Product", record_testsuite_property: "Callable[[str, object], None]"
) -> "Iterator[None]":
    """What `heirloom hil attest` needs to know, for junit.xml."""
    from heirloom.hil.results import properties
    from heirloom.signing.attestation import TestedDevice

    yield
    if product.tested:
        device = TestedDevice(heirloom_resource.name, heirloom_resource.driver, heirloom_resource.board)
        for name, value in properties(product.tested, [device], "heirloom"):
            record_testsuite_property(name, value)


@pytest.fixture
def server(heirloom_session: "Session", heirloom_resource: "Resource", product: "Product") -> "Iterator[Server]":
    """Where the device looks for updates; `server.folder = None` and nobody answers."""
    found = heirloom_session.server(heirloom_resource)
    found.folder, found.attack = product.repository_dir, None
    yield found
    found.folder, found.attack = None, None


@pytest.fixture
def attacker(server: "Server") -> "Iterator[Attacker]":
    """Somebody between the device and the server."""
    from heirloom.hil.rig.attacker import Attacker

    made = Attacker(server)
    yield made
    made.leave()


@pytest.fixture
def device(
    heirloom_session: "Session",
    heirloom_resource: "Resource",
    product: "Product",
    server: "Server",
    tmp_path: "Path",
    _heirloom_results: None,
) -> "Iterator[Device]":
    """A device of the product, switched off: blank if it is an emulated or simulated one."""
    with heirloom_session.device(heirloom_resource, server, product, tmp_path / "device") as made:
        yield made


@pytest.fixture
def published(heirloom_session: "Session", heirloom_resource: "Resource", product: "Product") -> "Release":
    """What the field runs: the release that is on the stable channel now, published anew in the throwaway product.

    Skips when the maker has not published anything for that board.
    """
    content = heirloom_session.published(heirloom_resource)
    if isinstance(content, str):
        pytest.skip(content)
    version, files = content
    return product.release(version, files)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Which rig is used, when one is named."""
    rig: Any = config.getoption("--heirloom-rig")
    return [f"heirloom rig: {rig}"] if rig else []
