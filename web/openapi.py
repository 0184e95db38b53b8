"""The API's description, finished: what flask-openapi knows of each view, and what every view has in common.

Access, problems and headers are added from the marks of the views, so that a blueprint only says what is its own.
"""

import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from threading import Lock
from typing import Annotated, Any

from flask_openapi import Info, OpenAPI, SecurityScheme
from pydantic import BaseModel, ConfigDict, Field

from web.addresses import API
from web.auth import Access, access_of
from web.nouns import Noun, View
from web.problems import MEDIA_TYPE, PROBLEMS, refuse_invalid

BEARER: list[dict[str, list[str]]] = [{"bearer": []}]
JSONObject = dict[str, Any]


class ProblemPointer(BaseModel):
    """One thing that is wrong, and where."""

    pointer: Annotated[str, Field(description="JSON pointer into the body; an argument of the query is /name.")]
    detail: str


class ProblemDetails(BaseModel):
    """A refusal (RFC 9457)."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:ticket-vendor:problem:validation-failed",
                    "title": "Something in the request is not right",
                    "status": 422,
                    "detail": "/items/0/quantity: Input should be greater than or equal to 1.",
                    "instance": f"{API}/orders",
                    "code": "validation-failed",
                    "errors": [
                        {
                            "pointer": "/items/0/quantity",
                            "detail": "Input should be greater than or equal to 1.",
                        }
                    ],
                }
            ]
        },
    )

    type: Annotated[str, Field(description="A URI made from the code.")]
    title: str
    status: int
    detail: str
    instance: str
    code: Annotated[str, Field(description="Stable: what programs decide by.")]
    errors: list[ProblemPointer] | None = None


def open_blueprint(noun: str, description: str) -> Noun:
    """Return a blueprint for one noun; its rules are written in full behind `API`, as `/orders/<uuid:order_id>`."""
    return Noun(noun, description, url_prefix=API)


def describes(
    *,
    problems: tuple[str, ...] = (),
    headers: Mapping[int, Mapping[str, str]] | None = None,
    request_headers: Mapping[str, tuple[str, bool]] | None = None,
    media_types: Mapping[int, str] | None = None,
) -> Callable[[View], View]:
    """Add to a view's description: codes of its problems, headers of its answers by status (name → meaning), headers of
    its requests (name → meaning, whether needed), and media types of answers that are not JSON.
    """  # noqa: D205 the imperative sentence is a long one

    def mark(view: View) -> View:
        view.description = {  # type: ignore[attr-defined]
            "problems": problems,
            "headers": headers or {},
            "request_headers": request_headers or {},
            "media_types": media_types or {},
        }
        return view

    return mark


class TicketVendor(OpenAPI):
    """The Flask app. Its description is made when first asked for, by an app of its own that is then forgotten.

    What flask-openapi gathers for it, and pydantic with it, would take some 5 MB of each process for good.
    """

    def __init__(self) -> None:
        super().__init__("web", doc_ui=False, static_folder=None, validation_error_callback=refuse_invalid)
        self._describing = Lock()
        self._description: bytes | None = None

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function as it is: none is a coroutine, which Flask would find out nine times a request."""
        return func

    @property
    def api_doc(self) -> JSONObject:
        """The description, parsed."""
        return dict(self.json.loads(self.describe()))

    def describe(self) -> bytes:
        """Return the description, as JSON: it is kept compressed, at a fifteenth of its size."""
        with self._describing:
            if self._description is None:
                nouns = (blueprint for blueprint in self.blueprints.values() if isinstance(blueprint, Noun))
                self._description = zlib.compress(self.json.dumps(_Describer(nouns).api_doc).encode())
        return zlib.decompress(self._description)


class _Describer(OpenAPI):
    """An app that serves nobody: it holds the nouns' routes for as long as their contract is written down."""

    def __init__(self, nouns: Iterable[Noun]) -> None:
        super().__init__(
            "web",
            info=info(),
            security_schemes=SECURITY_SCHEMES,
            doc_ui=False,
            static_folder=None,
            validation_error_model=ProblemDetails,
        )
        self.openapi_version = "3.1.0"
        for noun in nouns:
            self.register_api(noun.described())

    def generate_spec_json(self) -> None:
        """Add to what flask-openapi knows what every view has in common."""
        super().generate_spec_json()  # type: ignore[no-untyped-call]
        schemas = self.spec_json["components"]["schemas"]
        schemas |= _problem_schemas()
        for view, operation in self._operations():
            _finish(operation, access_of(view), getattr(view, "description", {}))

    def _operations(self) -> list[tuple[Any, JSONObject]]:
        found = []
        for rule in self.url_map.iter_rules():
            item = self.spec_json["paths"].get(re.sub(r"<(?:[^<:]+:)?([^>]+)>", r"{\1}", rule.rule), {})
            found += [
                (self.view_functions[rule.endpoint], item[method.lower()])
                for method in rule.methods or ()
                if method.lower() in item
            ]
        return found


def info() -> Info:
    """Return the head of the description, with every code that a client can meet."""
    lines = [f"| `{code}` | {kind.status} | {kind.title} |" for code, kind in PROBLEMS.items()]
    return Info(
        title="Ticket Vendor",
        version="1.0.0",
        summary="Sells event tickets through task queues: fair, fast, and never twice.",
        description="\n".join(
            [
                "A purchase is accepted at once (202) and decided in the order of arrival: poll it to see it move.",
                "Times are ISO 8601 in UTC. Money is an integer in minor units of its `currency`.",
                "Lists are paged by `limit` and `cursor`.",
                "",
                "Refusals are `application/problem+json` (RFC 9457). Programs decide by `code`:",
                "",
                "| code | status | meaning |",
                "|---|---|---|",
                *lines,
            ]
        ),
    )


SECURITY_SCHEMES: dict[str, SecurityScheme | dict[str, Any]] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": f"The `access_token` of `POST {API}/auth/login`; valid for 15 minutes.",
    }
}


def _problem_schemas() -> JSONObject:
    schema = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs"), "ProblemDetails": schema}


def _finish(operation: JSONObject, access: Access, description: JSONObject) -> None:
    operation["security"] = [] if access.is_public else BEARER
    for name, (meaning, needed) in description.get("request_headers", {}).items():
        operation.setdefault("parameters", []).append(
            {"name": name, "in": "header", "required": needed, "description": meaning, "schema": _header_schema(name)}
        )
    responses = operation["responses"]
    if MEDIA_TYPE not in responses.get("422", {}).get("content", {}):
        # flask-openapi puts its own form of a validation error everywhere.
        responses.pop("422", None)
    for code in [*_common_problems(operation, access), *description.get("problems", ())]:
        _add_problem(responses, code)
    for status, response in responses.items():
        if status in {"200", "201", "202"} and (media_type := description.get("media_types", {}).get(int(status))):
            response["content"] = {media_type: {"schema": {"type": "string", "format": "binary"}}}
        described = description.get("headers", {}).get(int(status), {})
        headers = {name: {"description": text, "schema": {"type": "string"}} for name, text in described.items()}
        if status in {"429", "503"}:
            headers["Retry-After"] = {"description": "Seconds to wait.", "schema": {"type": "integer"}}
        if headers:
            response.setdefault("headers", {}).update(headers)
    operation["responses"] = dict(sorted(responses.items()))


def _header_schema(name: str) -> JSONObject:
    return {"type": "string", **_HEADERS.get(name, {})}


_HEADERS: dict[str, JSONObject] = {
    "Idempotency-Key": {
        "pattern": '^"?[!#-Z^-~]{1,250}"?$',
        "examples": ["8e03978e-40d5-43dd-bc93-6894a57f9324"],
    },
    "Prefer": {"examples": ["wait=10"]},
    "If-None-Match": {"examples": ['W/"7-1"']},
}
"""Headers whose form is narrower than a text; a quoted key may hold a few characters more."""


def _common_problems(operation: JSONObject, access: Access) -> list[str]:
    codes = ["rate-limited", "internal-error", "unavailable", "busy"]
    # A token that is sent along is checked even where none is needed.
    codes += ["unauthenticated", "token-expired", "token-invalid"]
    if access.roles:
        codes.append("forbidden")
    places = {parameter["in"] for parameter in operation.get("parameters", ())}
    if "path" in places:
        codes.append("not-found")
    if "requestBody" in operation:
        codes += ["malformed-json", "malformed-request", "body-too-large", "unsupported-media-type"]
    if "query" in places or "requestBody" in operation:
        codes.append("validation-failed")
    return codes


def _add_problem(responses: JSONObject, code: str) -> None:
    kind = PROBLEMS[code]
    status = str(kind.status)
    response = responses.get(status)
    if response is None or MEDIA_TYPE not in response.get("content", {}):
        response = responses[status] = {
            "description": HTTPStatus(kind.status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}, "examples": {}}},
        }
    response["content"][MEDIA_TYPE]["examples"][code] = {
        "summary": kind.title,
        "value": {
            "type": f"urn:ticket-vendor:problem:{code}",
            "title": kind.title,
            "status": kind.status,
            "detail": kind.title + ".",
            "instance": f"{API}/…",
            "code": code,
        },
    }
