"""The API documentation at /docs: Swagger UI from files that BentoML installs, none from another server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bentoml._internal import server
from starlette.routing import BaseRoute

from bento.pages import files

if TYPE_CHECKING:
    from bento.model.recommender import Recommender

PAGE = Path(__file__).with_name("docs_page")
SWAGGER = Path(server.__file__).with_name("static_content")
FILES = ("swagger-ui.css", "swagger-ui-bundle.js")
POLICY = f"{files.POLICY}; style-src-attr 'unsafe-inline'"  # Swagger UI writes attributes, which can load nothing
PATHS: dict[str, Any] = {}  # the page is for people, so the OpenAPI document does not list it


def routes(service: Recommender) -> list[BaseRoute]:
    return [
        *files.routes(PAGE, index="/docs", others="/docs", policy=POLICY),
        *(files.file(SWAGGER / name, f"/docs/{name}") for name in FILES),
    ]
