import gc
import re
from inspect import iscoroutinefunction

import pytest
from flask_openapi.models import Operation
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from web.app import BLUEPRINTS
from web.openapi import _Describer
from web.problems import MEDIA_TYPE, PROBLEMS

METHODS = {"get", "post", "put", "patch", "delete"}
PAGES = {blueprint.name for blueprint in BLUEPRINTS}


@pytest.fixture(scope="module")
def description(bare_app):
    return bare_app.test_client().get("/openapi.json").json


@pytest.fixture(scope="module")
def operations(description):
    return [
        (f"{method.upper()} {path}", operation)
        for path, item in description["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]


def test_is_valid_openapi_3_1(description):
    assert description["openapi"] == "3.1.0"
    assert [error.message for error in OpenAPIV31SpecValidator(description).iter_errors()] == []


def test_is_the_same_for_whoever_asks(app, client, log_in, description):
    assert client.get("/openapi.json").json == description


def test_leaves_only_itself_behind(bare_app, description):
    gc.collect()
    assert [found for found in gc.get_objects() if type(found) in (_Describer, Operation)] == []
    assert bare_app.api_doc == description


def test_no_view_is_a_coroutine_which_the_app_would_not_wait_for(bare_app):
    assert [name for name, view in bare_app.view_functions.items() if iscoroutinefunction(view)] == []


def test_describes_every_route(bare_app, description):
    described = {(method.upper(), path) for path, item in description["paths"].items() for method in item}
    for rule in bare_app.url_map.iter_rules():
        path = re.sub(r"<(?:[^<:]+:)?([^>]+)>", r"{\1}", rule.rule)
        routes = {(method, path) for method in rule.methods - {"HEAD", "OPTIONS"}}
        if rule.endpoint.partition(".")[0] in PAGES:
            assert not routes & described, f"{rule.rule} is a page"
        else:
            assert routes <= described, f"{rule.rule} is not described"


def test_every_operation_says_what_it_does_and_who_may(operations):
    for name, operation in operations:
        assert operation.get("summary"), name
        assert operation.get("description"), name
        assert operation["tags"] != ["default"], name
        assert "security" in operation, name


def test_operation_ids_are_unique(operations):
    ids = [operation["operationId"] for _, operation in operations]
    assert len(ids) == len(set(ids))


def test_every_operation_shows_a_success_and_its_problems(operations):
    for name, operation in operations:
        statuses = operation["responses"].keys()
        assert any(status.startswith(("2", "3")) for status in statuses), name
        assert {"429", "500", "503", "401"} <= statuses, name
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                content = response["content"][MEDIA_TYPE]
                assert content["schema"] == {"$ref": "#/components/schemas/ProblemDetails"}, (name, status)
                assert content["examples"], (name, status)
                assert {PROBLEMS[code].status for code in content["examples"]} == {int(status)}, (name, status)


def test_operations_that_read_a_body_show_what_bad_input_gets(operations):
    for name, operation in operations:
        if "application/json" in operation.get("requestBody", {}).get("content", {}):
            assert {"400", "413", "415", "422"} <= operation["responses"].keys(), name


def test_who_waits_is_told_how_long(operations):
    for name, operation in operations:
        for status in ("429", "503"):
            assert "Retry-After" in operation["responses"][status]["headers"], (name, status)


def test_what_is_created_says_where_it_is(operations):
    for name, operation in operations:
        if "201" in operation["responses"]:
            assert "Location" in operation["responses"]["201"].get("headers", {}), name


def test_every_request_body_has_an_example(description, operations):
    components = description["components"]["schemas"]
    bodies = {
        operation["requestBody"]["content"]["application/json"]["schema"].get("$ref", "").rpartition("/")[2]
        for _, operation in operations
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    }
    assert {name for name in bodies if name and not has_example(components, components[name])} == set()


def has_example(components, schema, seen=()):
    """Tell whether the body shows an example: one of its own, or one for each field that must be sent."""
    if name := schema.get("$ref", "").rpartition("/")[2]:
        return name in seen or has_example(components, components[name], (*seen, name))
    if {"examples", "example", "enum", "const", "format"} & schema.keys():
        return True
    required = [schema["properties"][name] for name in schema.get("required", [])]
    required += [schema["items"]] if "items" in schema else []
    return bool(required) and all(has_example(components, part, seen) for part in required)


def test_examples_are_true(description):
    resource = Resource.from_contents(description, default_specification=DRAFT202012)
    registry = Registry().with_resource("urn:api", resource)
    for name, schema in description["components"]["schemas"].items():
        reference = {"$ref": f"urn:api#/components/schemas/{name}"}
        validator = Draft202012Validator(reference, registry=registry, format_checker=FormatChecker())
        for example in schema.get("examples", []):
            assert [error.message for error in validator.iter_errors(example)] == [], name


def test_the_page_needs_nothing_from_outside(client):
    page = client.get("/docs")
    text = page.get_data(as_text=True)
    addresses = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert addresses
    assert not [address for address in addresses if address.startswith(("http", "//"))]
    assert "connect-src 'self'" in page.headers["Content-Security-Policy"]
    for address in addresses:
        if not address.startswith("data:"):
            with client.get(f"/{address}") as part:
                assert part.status_code == 200, address


def test_the_page_asks_no_validator(client):
    with client.get("/docs/assets/docs.js") as script:
        assert "validatorUrl: null" in script.get_data(as_text=True)
