import re
from typing import get_type_hints

import pytest
from uuid_utils.compat import uuid7

from domain.rules.states import UserRole
from tests.factories import OrderFactory, UserFactory, bound_to
from web.request_bodies import NESTING_MAX

ANSWERS = {NESTING_MAX + 1: 400, 200: 400, 300: 400, 1100: 400, 30_000: 400, 300_000: 413}
"""The last is over every limit, that of a gate's upload included."""


def nested(levels):
    """Return a JSON object of so many levels, in one of the shapes that they can have."""
    return '{"x":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"


def objects(levels):
    return '{"x":' * levels + "1" + "}" * levels


@pytest.fixture
def admin(log_in, sessions):
    with sessions.begin() as session:
        return log_in(UserFactory(session=session, role=UserRole.ADMIN))


def send(client, method, path, body, **headers):
    return client.open(path, method=method, data=body, content_type="application/json", headers=headers)


def routes_that_read_json(app):
    return [
        (method, re.sub("<[^>]+>", str(uuid7()), rule.rule))
        for rule in app.url_map.iter_rules()
        if "body" in get_type_hints(app.view_functions[rule.endpoint])
        for method in rule.methods - {"HEAD", "OPTIONS"}
    ]


class TestDepth:
    @pytest.mark.parametrize("levels", ANSWERS)
    def test_absurdly_nested_bodies_are_refused_by_every_route_that_reads_one(self, app, client, admin, levels):
        routes = routes_that_read_json(app)
        assert {("POST", "/api/v1/auth/login"), ("POST", "/api/v1/orders")} < set(routes)
        answers = {
            (method, path): (answer.status_code, answer.json["code"])
            for method, path in routes
            for answer in [send(admin, method, path, nested(levels), Idempotency_Key="k")]
        }
        code = "malformed-json" if ANSWERS[levels] == 400 else "body-too-large"
        assert answers == dict.fromkeys(routes, (ANSWERS[levels], code))

    @pytest.mark.parametrize("shape", [nested, objects])
    @pytest.mark.parametrize("path", ["/auth/register", "/auth/login", "/auth/password/forgot"])
    def test_strangers_are_told_how_deep_they_may_go(self, client, clean_database, path, shape):
        refused = send(client, "POST", f"/api/v1{path}", shape(NESTING_MAX + 1))
        assert (refused.status_code, refused.json["code"]) == (400, "malformed-json")
        assert refused.json["detail"] == "The body is not JSON: it is nested deeper than 64 levels."
        read = send(client, "POST", f"/api/v1{path}", shape(NESTING_MAX))
        assert (read.status_code, read.json["code"]) == (422, "validation-failed")
        assert "/x" in [error["pointer"] for error in read.json["errors"]]

    def test_many_brackets_beside_each_other_are_not_deep(self, client, clean_database):
        body = '{"x": [' + "[]," * 10_000 + "[]]}"
        assert send(client, "POST", "/api/v1/auth/login", body).status_code == 422

    @pytest.mark.parametrize("levels", [300, 1100, 30_000])
    def test_a_route_that_reads_no_body_minds_none_even_for_the_fingerprint(self, log_in, sessions, levels):
        with sessions.begin() as session, bound_to(session):
            order = OrderFactory()
            order_id, user = order.id, order.user
        path = f"/api/v1/orders/{order_id}/cancel"
        answer = send(log_in(user), "POST", path, nested(levels), Idempotency_Key="k")
        assert (answer.status_code, answer.json["reason"]) == (202, "buyer_cancelled")
