from uuid import UUID

import pytest
from sqlalchemy import select

from domain.models import AuditLog, AuditPersonalValue, User
from domain.rules.states import UserRole, VerificationStatus
from tests.factories import PromoterFactory, UserFactory

ME = "/api/v1/promoters/me"
PROFILE = {"company_name": "Northern Lights", "tax_id": "DE123", "country": "DE", "website": "https://lights.example"}


@pytest.fixture
def user(sessions):
    with sessions.begin() as session:
        return UserFactory(session=session)


@pytest.fixture
def admin(sessions, log_in):
    with sessions.begin() as session:
        return log_in(UserFactory(session=session, role=UserRole.ADMIN))


@pytest.fixture
def promoter(sessions):
    with sessions.begin() as session:
        return PromoterFactory(session=session)


class TestOpenProfile:
    def test_makes_the_user_a_promoter_who_waits_for_verification(self, log_in, user, sessions):
        answer = log_in(user).post(ME, json=PROFILE)
        assert answer.status_code == 201
        assert (answer.json["company_name"], answer.json["verification_status"]) == ("Northern Lights", "pending")
        with sessions() as session:
            assert session.get(User, user.id).role is UserRole.PROMOTER

    def test_keeps_personal_values_out_of_the_log_itself(self, log_in, user, sessions):
        log_in(user).post(ME, json=PROFILE)
        with sessions() as session:
            entries = session.scalars(select(AuditLog).order_by(AuditLog.id)).all()
            personal = session.scalars(select(AuditPersonalValue)).all()
        assert [entry.action for entry in entries] == ["user.promote", "promoter.create"]
        assert "DE123" not in str([entry.new_data for entry in entries])
        assert "lights" not in str([entry.new_data for entry in entries])
        assert {(value.field, value.new_value, value.subject_id) for value in personal} == {
            ("tax_id", "DE123", user.id),
            ("website", "https://lights.example", user.id),
        }

    def test_once_only(self, log_in, user):
        log_in(user).post(ME, json=PROFILE)
        answer = log_in(user).post(ME, json=PROFILE)
        assert (answer.status_code, answer.json["code"]) == (409, "profile-exists")

    def test_an_admin_stays_an_admin(self, admin, sessions):
        assert admin.post(ME, json=PROFILE).status_code == 201
        with sessions() as session:
            assert session.scalars(select(User.role)).all() == [UserRole.ADMIN]

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("website", "javascript:alert(1)"),
            ("country", "Germany"),
            ("verification_status", "verified"),
            ("fee_rate_bps", 0),
            ("stripe_account_id", "acct_1"),
        ],
    )
    def test_refuses_what_is_wrong_or_not_theirs_to_say(self, log_in, user, field, value):
        answer = log_in(user).post(ME, json={**PROFILE, field: value})
        assert answer.status_code == 422
        assert answer.json["errors"][0]["pointer"] == f"/{field}"


class TestOwnProfile:
    def test_is_404_for_whoever_has_none(self, log_in, user):
        assert log_in(user).get(ME).status_code == 404
        assert log_in(user).patch(ME, json={"city": "Bonn"}).status_code == 404

    def test_a_new_city_needs_no_new_verification(self, log_in, promoter):
        answer = log_in(promoter.user).patch(ME, json={"city": "Bonn", "description": None})
        assert (answer.json["city"], answer.json["verification_status"]) == ("Bonn", "verified")

    @pytest.mark.parametrize("change", [{"company_name": "Others"}, {"tax_id": "X"}, {"country": "FR"}])
    def test_another_identity_does(self, log_in, promoter, change):
        answer = log_in(promoter.user).patch(ME, json=change)
        assert (answer.json["verification_status"], answer.json["verified_at"]) == ("pending", None)
        assert log_in(promoter.user).get(ME).json["verification_status"] == "pending"


class TestVerification:
    def test_an_admin_verifies(self, admin, log_in, user, sessions):
        promoter_id = log_in(user).post(ME, json=PROFILE).json["id"]
        answer = admin.post(f"/api/v1/promoters/{promoter_id}/verify")
        assert (answer.status_code, answer.json["verification_status"]) == (200, "verified")
        with sessions() as session:
            entry = session.scalars(select(AuditLog).order_by(AuditLog.id.desc())).first()
        assert (entry.action, entry.old_data["verification_status"]) == ("promoter.verify", "pending")

    def test_twice_is_refused(self, admin, promoter):
        answer = admin.post(f"/api/v1/promoters/{promoter.id}/verify")
        assert (answer.status_code, answer.json["code"]) == (409, "conflict")

    def test_a_rejection_keeps_its_reason(self, admin, promoter, sessions):
        answer = admin.post(f"/api/v1/promoters/{promoter.id}/reject", json={"reason": "Not their number."})
        assert (answer.json["verification_status"], answer.json["verified_at"]) == ("rejected", None)
        with sessions() as session:
            assert session.scalars(select(AuditLog)).one().new_data["reason"] == "Not their number."

    def test_nobody_but_an_admin_may(self, log_in, promoter, user):
        for person in (promoter.user, user):
            answer = log_in(person).post(f"/api/v1/promoters/{promoter.id}/verify")
            assert (answer.status_code, answer.json["code"]) == (403, "forbidden")

    def test_an_admin_of_yesterday_may_not(self, admin, promoter, sessions):
        with sessions.begin() as session:
            for somebody in session.scalars(select(User).where(User.role == UserRole.ADMIN)):
                somebody.role = UserRole.USER
        assert admin.post(f"/api/v1/promoters/{promoter.id}/verify").status_code == 403

    @pytest.mark.parametrize("promoter_id", [UUID(int=1), "me-too", "%00"])
    def test_an_unknown_promoter_is_404(self, admin, promoter_id):
        assert admin.post(f"/api/v1/promoters/{promoter_id}/verify").status_code == 404

    def test_sets_the_fees(self, admin, promoter):
        path = f"/api/v1/promoters/{promoter.id}/terms"
        assert admin.put(path, json={"fee_rate_bps": 150, "fee_fixed": None}).json["fee_rate_bps"] == 150
        kept = {"fee_rate_bps": None, "fee_fixed": None, "returns_fees": False}
        assert admin.put(path, json=kept).json["returns_fees"] is False
        assert admin.put(path, json={"fee_rate_bps": None, "fee_fixed": None}).json["returns_fees"] is None
        assert admin.put(path, json={"fee_rate_bps": 10_001, "fee_fixed": 0}).status_code == 422
        assert admin.put(path, json={"fee_rate_bps": True, "fee_fixed": 0}).status_code == 422


class TestList:
    def test_pages_by_cursor(self, admin, sessions):
        with sessions.begin() as session:
            made = [str(PromoterFactory(session=session).id) for _ in range(5)]
        seen, cursor = [], None
        for _ in range(3):
            page = admin.get(
                "/api/v1/promoters", query_string={"limit": 2, **({"cursor": cursor} if cursor else {})}
            ).json
            seen += [item["id"] for item in page["items"]]
            cursor = page["next_cursor"]
        assert seen == made[::-1]
        assert cursor is None

    def test_filters_by_status(self, admin, sessions):
        with sessions.begin() as session:
            PromoterFactory(session=session)
            waiting = PromoterFactory(session=session, verification_status=VerificationStatus.PENDING)
        page = admin.get("/api/v1/promoters?verification_status=pending").json
        assert [item["id"] for item in page["items"]] == [str(waiting.id)]
