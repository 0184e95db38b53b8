import pytest
from uuid_utils.compat import uuid7

from domain.hook_secrets import written
from domain.messages import DeliverWebhook
from domain.models import WebhookDelivery, WebhookEndpoint
from domain.rules.states import DeliveryStatus, TeamRight, UserRole
from tests.factories import (
    PromoterFactory,
    TeamMemberFactory,
    UserFactory,
    WebhookDeliveryFactory,
    WebhookEndpointFactory,
)
from web.services import Services

HOOKS = "/api/v1/promoters/me/webhooks"
WISH = {"url": "https://hooks.example.com/vendor", "types": ["order.refunded", "order.confirmed"]}


def told(answer):
    return answer.status_code, answer.json["code"]


@pytest.fixture
def services(services):
    """Be a platform that strangers use: no address of this machine is one of an endpoint."""
    strict = services.settings.model_copy(update={"webhooks_to_loopback": False})
    return Services(strict, services.sessions, services.hasher, services.clock)


@pytest.fixture
def endpoint(rows, promoter):
    endpoint = WebhookEndpointFactory(promoter_id=promoter.id)
    rows.commit()
    return endpoint


class TestEndpoints:
    def test_its_secret_is_shown_once_and_lies_nowhere(self, seller, sessions, services, promoter):
        answer = seller.post(HOOKS, json=WISH)
        made = answer.json
        assert (answer.status_code, answer.headers["Location"]) == (201, f"{HOOKS}/{made['id']}")
        assert answer.headers["Cache-Control"] == "private, no-store"
        secret = made.pop("secret")
        assert (made["url"], made["types"]) == (WISH["url"], ["order.confirmed", "order.refunded"])
        assert (made["promoter_id"], made["is_enabled"]) == (str(promoter.id), True)
        assert seller.get(HOOKS).json == {"items": [made]}
        assert seller.get(answer.headers["Location"]).json == made
        with sessions() as session:
            row = session.get_one(WebhookEndpoint, made["id"])
            assert secret == written(services.hook_secrets.secret(row.secret_id, row.secret_kid))
            kept = [value for value in vars(row).values() if isinstance(value, str) and len(value) > 2]
            assert not [value for value in kept if value in secret or secret in value]

    @pytest.mark.parametrize(
        ("changes", "pointer"),
        [
            ({"url": "http://hooks.example.com/"}, "/url"),
            ({"url": "https://169.254.169.254/latest"}, "/url"),
            ({"url": "https://127.0.0.1/"}, "/url"),
            ({"url": "hooks"}, "/url"),
            ({"types": []}, "/types"),
            ({"types": ["webhook.test"]}, "/types/0"),
        ],
    )
    def test_what_is_wrong_is_pointed_at(self, seller, endpoint, changes, pointer):
        for answer in (seller.post(HOOKS, json=WISH | changes), seller.patch(f"{HOOKS}/{endpoint.id}", json=changes)):
            assert told(answer) == (422, "validation-failed")
            assert answer.json["errors"][0]["pointer"].startswith(pointer)

    def test_there_are_ten_at_most_and_deleted_ones_do_not_count(self, rows, seller, promoter):
        first, *_ = [WebhookEndpointFactory(promoter_id=promoter.id) for _ in range(10)]
        rows.commit()
        assert told(seller.post(HOOKS, json=WISH)) == (409, "too-many-webhooks")
        assert seller.delete(f"{HOOKS}/{first.id}").status_code == 204
        assert told(seller.get(f"{HOOKS}/{first.id}")) == (404, "not-found")
        assert seller.post(HOOKS, json=WISH).status_code == 201
        assert len(seller.get(HOOKS).json["items"]) == 10

    def test_it_is_disabled_and_enabled(self, seller, endpoint):
        address = f"{HOOKS}/{endpoint.id}"
        changed = seller.patch(address, json={"is_enabled": False}).json
        assert (changed["is_enabled"], changed["disabled_reason"]) == (False, "promoter")
        assert told(seller.post(f"{address}/test")) == (409, "webhook-disabled")
        changed = seller.patch(address, json={"is_enabled": True, "types": ["event.cancelled"]}).json
        assert (changed["is_enabled"], changed["disabled_at"], changed["types"]) == (True, None, ["event.cancelled"])

    def test_a_rotation_shows_a_new_secret_and_how_long_the_old_one_lives(self, seller, endpoint):
        first, second = (seller.post(f"{HOOKS}/{endpoint.id}/rotate-secret").json for _ in range(2))
        assert first["secret"].startswith("whsec_")
        assert first["secret"] != second["secret"]
        assert second["previous_secret_until"] > second["created_at"]


class TestDeliveries:
    def test_a_test_message_is_sent_and_seen(self, seller, endpoint, announced):
        answer = seller.post(f"{HOOKS}/{endpoint.id}/test")
        assert (answer.status_code, answer.json["type"], answer.json["status"]) == (202, "webhook.test", "pending")
        assert [str(message.delivery_id) for message in announced if isinstance(message, DeliverWebhook)] == [
            answer.json["id"]
        ]
        assert seller.get(f"{HOOKS}/{endpoint.id}/deliveries").json["items"] == [answer.json]

    def test_pages_follow_their_cursor_newest_first(self, rows, seller, endpoint):
        made = [str(WebhookDeliveryFactory(endpoint_id=endpoint.id).id) for _ in range(3)]
        WebhookDeliveryFactory()
        rows.commit()
        address = f"{HOOKS}/{endpoint.id}/deliveries"
        first = seller.get(address, query_string={"limit": 2}).json
        rest = seller.get(address, query_string={"limit": 2, "cursor": first["next_cursor"]}).json
        assert [item["id"] for item in first["items"] + rest["items"]] == made[::-1]

    def test_what_ended_is_replayed_under_its_id(self, rows, seller, endpoint, announced, sessions):
        ended = {"status": DeliveryStatus.FAILED, "attempts": 10, "response_status": 500, "error": "It answered 500."}
        delivery = WebhookDeliveryFactory(endpoint_id=endpoint.id)
        other = WebhookDeliveryFactory()
        for name, value in {**ended, "next_attempt_at": None}.items():
            setattr(delivery, name, value)
        rows.commit()
        address = f"{HOOKS}/{endpoint.id}/deliveries"
        answer = seller.post(f"{address}/{delivery.id}/replay")
        assert (answer.status_code, answer.json["id"], answer.json["attempts"]) == (202, str(delivery.id), 0)
        assert announced == [DeliverWebhook(delivery.id)]
        with sessions() as session:
            assert session.get_one(WebhookDelivery, delivery.id).status is DeliveryStatus.PENDING
        assert told(seller.post(f"{address}/{other.id}/replay")) == (404, "not-found")


class TestWhoMay:
    @pytest.mark.parametrize(
        ("method", "path", "body", "done"),
        [
            ("get", "?promoter_id={promoter}", None, 200),
            ("post", "?promoter_id={promoter}", WISH, 201),
            ("get", "/{endpoint}", None, 200),
            ("patch", "/{endpoint}", {"types": ["event.published"]}, 200),
            ("post", "/{endpoint}/rotate-secret", None, 200),
            ("post", "/{endpoint}/test", None, 202),
            ("get", "/{endpoint}/deliveries", None, 200),
            ("post", "/{endpoint}/deliveries/{delivery}/replay", None, 202),
            ("delete", "/{endpoint}", None, 204),
        ],
    )
    def test_managers_and_admins_may(self, rows, client, log_in, promoter, endpoint, method, path, body, done):
        team = {"promoter_id": promoter.id}
        others = [right for right in TeamRight if right is not TeamRight.MANAGE]
        sells = TeamMemberFactory(**team, rights=others).user
        people = [UserFactory(), PromoterFactory().user, sells]
        manages = TeamMemberFactory(**team, rights=[TeamRight.MANAGE]).user
        admin = UserFactory(role=UserRole.ADMIN)
        delivery = WebhookDeliveryFactory(endpoint_id=endpoint.id)
        again = WebhookEndpointFactory(promoter_id=promoter.id)
        its = WebhookDeliveryFactory(endpoint_id=again.id)
        rows.commit()

        def ask(who, hook=endpoint, what=delivery):
            address = HOOKS + path.format(promoter=promoter.id, endpoint=hook.id, delivery=what.id)
            return who.open(address, method=method.upper(), json=body).status_code

        assert [ask(who) for who in (client, *map(log_in, people))] == [401, 404, 404, 403]
        assert [ask(log_in(manages)), ask(log_in(admin), again, its)] == [done, done]

    def test_an_admin_says_whose(self, rows, log_in):
        admin = UserFactory(role=UserRole.ADMIN)
        rows.commit()
        assert told(log_in(admin).get(HOOKS)) == (404, "not-found")
        assert told(log_in(admin).get(HOOKS, query_string={"promoter_id": uuid7()})) == (404, "not-found")
