"""The web application: the repository for devices, a page for people, a health check for machines."""

from http import HTTPStatus
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, JSONResponse

from heirloom.server import overview, page
from heirloom.server.static import RepositoryFiles
from heirloom.signing.metadata import utc_now

_PAGE_HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def make_app(repository: Path) -> FastAPI:
    """The application for one repository.

    Args:
        repository: The folder with metadata/, targets/ and blobs/. It may appear, and change, while it is served.
    """
    app = FastAPI(title="Heirloom", openapi_url=None)

    @app.api_route("/", methods=["GET", "HEAD"], response_class=HTMLResponse)
    def index() -> HTMLResponse:
        return HTMLResponse(page.render(overview.read(repository)), headers=_PAGE_HEADERS)

    @app.api_route("/healthz", methods=["GET", "HEAD"])
    def healthz() -> JSONResponse:
        health = overview.health(repository, utc_now())
        status = HTTPStatus.OK if health["status"] == "ok" else HTTPStatus.SERVICE_UNAVAILABLE
        return JSONResponse(health, status, headers={"cache-control": "no-store"})

    app.mount("/", RepositoryFiles(repository))
    return app
