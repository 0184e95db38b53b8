import re
from datetime import timedelta

import pytest
from sqlalchemy import select, update
from uuid_utils.compat import uuid7

from domain.models import AuditLog, RefreshToken, User
from domain.rules.states import UserRole
from tests.factories import (
    AuditLogFactory,
    AuditPersonalValueFactory,
    EventFactory,
    PromoterFactory,
    RefreshTokenFactory,
    UserFactory,
)

USERS = "/api/v1/admin/users"
DELETED = "/api/v1/admin/deleted"
LOG = "/api/v1/admin/audit-log"


@pytest.fixture
def boss(sessions):
    with sessions.begin() as session:
        return UserFactory(session=session, role=UserRole.ADMIN, first_name="Grace", last_name="Hopper")


@pytest.fixture
def admin(log_in, boss):
    return log_in(boss)


@pytest.fixture
def user(sessions):
    with sessions.begin() as session:
        return UserFactory(session=session, first_name="Blaise", last_name="Pascal_100%")


class TestUsers:
    @pytest.mark.parametrize("words", ["pasc", "BLAISE PAS", "_100%", "ise"])
    def test_are_found_by_a_part_of_their_name(self, admin, user, words):
        page = admin.get(USERS, query_string={"q": words}).json
        assert [item["id"] for item in page["items"]] == [str(user.id)]

    @pytest.mark.parametrize("words", ["%", "_x", "nobody"])
    def test_wildcards_are_letters(self, admin, boss, words):
        assert admin.get(USERS, query_string={"q": words}).json["items"] == []

    def test_are_filtered_by_role_newest_first(self, admin, boss, user):
        assert [item["id"] for item in admin.get(USERS).json["items"]] == [str(user.id), str(boss.id)]
        assert [item["role"] for item in admin.get(f"{USERS}?role=admin").json["items"]] == ["admin"]

    def test_show_how_far_a_promoters_verification_is(self, admin, user, sessions):
        with sessions.begin() as session:
            waiting = PromoterFactory(session=session, verification_status="pending")
            PromoterFactory(session=session)
        (item,) = admin.get(f"{USERS}?verification=pending").json["items"]
        assert item["promoter"] == {
            "id": str(waiting.id),
            "company_name": waiting.company_name,
            "verification_status": "pending",
        }
        assert admin.get(f"{USERS}/{user.id}").json["promoter"] is None

    def test_never_show_hashes(self, admin, user):
        assert "hash" not in admin.get(f"{USERS}/{user.id}").get_data(as_text=True)

    def test_are_not_for_others(self, log_in, user):
        for path in (USERS, f"{USERS}/{user.id}", LOG):
            assert log_in(user).get(path).status_code == 403

    @pytest.mark.parametrize(
        ("query", "pointer"),
        [
            ("limit=0", "/limit"),
            ("limit=101", "/limit"),
            ("limit=many", "/limit"),
            ("cursor=x", "/cursor"),
            ("cursor=WzFd", "/cursor"),
            ("q=%00", "/q"),
            ("role=king", "/role"),
            ("colour=red", "/colour"),
        ],
    )
    def test_arguments_are_checked(self, admin, query, pointer):
        answer = admin.get(f"{USERS}?{query}")
        assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, pointer)


class TestChangeUser:
    def test_sets_a_role_and_writes_it_down(self, admin, user, boss, sessions):
        answer = admin.patch(f"{USERS}/{user.id}", json={"role": "promoter"})
        assert (answer.status_code, answer.json["role"], answer.json["is_active"]) == (200, "promoter", True)
        with sessions() as session:
            entry = session.scalars(select(AuditLog)).one()
        assert (entry.actor_id, entry.action) == (boss.id, "user.change")
        assert (entry.old_data, entry.new_data) == ({"role": "user"}, {"role": "promoter"})

    def test_closing_an_account_ends_its_log_ins(self, admin, user, sessions):
        with sessions.begin() as session:
            RefreshTokenFactory(session=session, user_id=user.id)
        admin.patch(f"{USERS}/{user.id}", json={"is_active": False})
        with sessions() as session:
            assert session.scalars(select(RefreshToken.revoked_at)).one() is not None

    @pytest.mark.parametrize("change", [{"role": "user"}, {"is_active": False}])
    def test_the_last_admin_stays_one(self, admin, boss, sessions, change):
        answer = admin.patch(f"{USERS}/{boss.id}", json=change)
        assert (answer.status_code, answer.json["code"]) == (409, "last-admin")
        with sessions.begin() as session:
            UserFactory(session=session, role=UserRole.ADMIN)
        assert admin.patch(f"{USERS}/{boss.id}", json=change).status_code == 200

    @pytest.mark.parametrize(
        "change", [{"email": "x@example.com"}, {"role": "king"}, {"is_active": "yes"}, {"role": None}]
    )
    def test_refuses_the_rest(self, admin, user, change):
        assert admin.patch(f"{USERS}/{user.id}", json=change).status_code == 422

    def test_a_deleted_user_is_404(self, admin, user, sessions):
        with sessions.begin() as session:
            session.execute(update(User).where(User.id == user.id).values(deleted_at=User.created_at))
        assert admin.get(f"{USERS}/{user.id}").status_code == 404
        assert admin.patch(f"{USERS}/{user.id}", json={"role": "promoter"}).status_code == 404


class TestDeleted:
    def test_users_come_back_as_they_were_without_their_log_ins(self, admin, boss, user, sessions):
        with sessions.begin() as session:
            RefreshTokenFactory(session=session, user_id=user.id)
        path = f"{USERS}/{user.id}"
        assert admin.delete(path).status_code == 204
        assert [admin.get(path).status_code, admin.delete(path).status_code] == [404, 404]
        (deleted,) = admin.get(f"{DELETED}?kind=user").json["items"]
        assert (deleted["id"], deleted["name"]) == (str(user.id), f"Blaise Pascal_100% <{user.email}>")

        assert [admin.post(f"{path}/restore").status_code for _ in range(2)] == [200, 200]
        assert admin.get(path).json["first_name"] == "Blaise"
        assert admin.get(f"{DELETED}?kind=user").json["items"] == []
        with sessions() as session:
            assert session.scalars(select(RefreshToken.revoked_at)).one() is not None
            entries = session.execute(select(AuditLog.action, AuditLog.actor_id).order_by(AuditLog.id)).all()
        assert entries == [("user.delete", boss.id), ("user.restore", boss.id)]

    def test_a_user_whose_address_is_taken_stays_deleted(self, admin, user, sessions):
        admin.delete(f"{USERS}/{user.id}")
        with sessions.begin() as session:
            UserFactory(session=session, email=user.email.upper())
        answer = admin.post(f"{USERS}/{user.id}/restore")
        assert (answer.status_code, answer.json["code"]) == (409, "email-taken")

    def test_the_last_admin_is_not_deleted(self, admin, boss):
        assert admin.delete(f"{USERS}/{boss.id}").json["code"] == "last-admin"

    def test_events_come_back_too(self, admin, log_in, sessions):
        with sessions.begin() as session:
            event = EventFactory(session=session)
        assert log_in(event.promoter.user).delete(f"/api/v1/events/{event.id}").status_code == 204
        assert [item["name"] for item in admin.get(f"{DELETED}?kind=event").json["items"]] == [event.title]
        restored = [admin.post(f"/api/v1/admin/events/{event.id}/restore") for _ in range(2)]
        assert [(answer.status_code, answer.json["status"]) for answer in restored] == [(200, "cancelled")] * 2
        assert log_in(event.promoter.user).get(f"/api/v1/events/{event.id}").json["slug"] == event.slug

    def test_what_never_was_is_404(self, admin, boss):
        for path in (f"/api/v1/admin/users/{uuid7()}/restore", f"/api/v1/admin/events/{boss.id}/restore"):
            assert admin.post(path).status_code == 404


def test_nothing_here_is_for_anybody_else(bare_app, client, log_in, sessions):
    routes = [
        (method, re.sub("<[^>]+>", str(uuid7()), rule.rule))
        for rule in bare_app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if rule.rule.startswith("/api/v1/admin/")
    ]
    assert len(routes) >= 16
    with sessions.begin() as session:
        promoter = PromoterFactory(session=session).user
        user = UserFactory(session=session)
    for who, status in ((client, 401), (log_in(user), 403), (log_in(promoter), 403)):
        answers = [who.open(path, method=method, json={} if method == "PATCH" else None) for method, path in routes]
        assert {answer.status_code for answer in answers} == {status}


class TestAuditLog:
    def test_is_searched_by_actor_entity_action_and_time(self, admin, user, sessions):
        with sessions.begin() as session:
            entries = [
                AuditLogFactory(session=session, action=f"event.act_{letter}", actor_id=user.id) for letter in "ab"
            ]
            AuditLogFactory(session=session, action="event.act_a")
        first, second = entries

        def found(**wanted):
            return [item["id"] for item in admin.get(LOG, query_string=wanted).json["items"]]

        assert found(actor_id=user.id) == [str(second.id), str(first.id)]
        assert found(actor_id=user.id, action="event.act_a") == [str(first.id)]
        assert found(entity_type=first.entity_type, entity_id=first.entity_id) == [str(first.id)]
        with sessions() as session:
            at = session.get(AuditLog, first.id).at
        assert found(since=(at + timedelta(days=1)).isoformat()) == []
        assert found(until=at.isoformat()) == []
        assert len(found(since=at.isoformat())) == 3

    def test_is_searched_by_noun_request_address_and_subject(self, admin, user, sessions):
        with sessions.begin() as session:
            refund = AuditLogFactory(session=session, action="order.refund", request_id="r-1", ip="2001:db8::1")
            update_ = AuditLogFactory(session=session, action="user.update", request_id="r-2", ip="192.0.2.7")
            AuditPersonalValueFactory(session=session, audit_log_id=update_.id, subject_id=user.id)

        def found(**wanted):
            return [item["id"] for item in admin.get(LOG, query_string=wanted).json["items"]]

        assert found(action="order.") == found(request_id="r-1") == found(ip="2001:DB8:0::1") == [str(refund.id)]
        assert found(action="user.") == found(subject_id=user.id) == found(ip="192.0.2.7") == [str(update_.id)]
        assert found(action="order.", request_id="r-2") == []
        assert found(entity_id=refund.entity_id) == [str(refund.id)]

    def test_shows_personal_values_where_they_belong(self, admin, user, log_in):
        log_in(user).patch("/api/v1/auth/me", json={"first_name": "Étienne"})
        entry = admin.get(f"{LOG}?action=user.update").json["items"][0]
        assert entry["new_data"] == {"first_name": "personal"}
        assert entry["personal"] == [{"field": "first_name", "old_value": "Blaise", "new_value": "Étienne"}]

    def test_pages_by_cursor(self, admin, sessions):
        with sessions.begin() as session:
            made = [str(AuditLogFactory(session=session).id) for _ in range(3)]
        first = admin.get(f"{LOG}?limit=2").json
        second = admin.get(f"{LOG}?limit=2&cursor={first['next_cursor']}").json
        assert [item["id"] for item in first["items"] + second["items"]] == made[::-1]
        assert second["next_cursor"] is None

    @pytest.mark.parametrize(
        "query", ["since=yesterday", "since=2026-01-01T00:00:00", "since=0001-01-01T00:00:00%2B14:00"]
    )
    def test_times_need_an_offset_and_a_sensible_year(self, admin, query):
        answer = admin.get(f"{LOG}?{query}")
        assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, "/since")
