import pytest
from sqlalchemy import select

from domain.models import AuditLog, RefreshToken, User
from domain.rules.states import OrderStage, UserRole
from tests.factories import PASSWORD, OrderFactory, RefreshTokenFactory, UserFactory

ME = "/api/v1/auth/me"


@pytest.fixture
def user(rows):
    user = UserFactory(email="Zenobia@example.com")
    RefreshTokenFactory(user_id=user.id)
    UserFactory(role=UserRole.ADMIN)
    rows.commit()
    return user


@pytest.fixture
def admin(rows, log_in):
    admin = UserFactory(role=UserRole.ADMIN)
    rows.commit()
    return log_in(admin)


class TestExport:
    def test_is_a_file_of_ones_own_data(self, user, log_in, sessions):
        answer = log_in(user).get(f"{ME}/export")
        assert answer.status_code == 200
        assert answer.headers["Content-Disposition"] == f"attachment; filename=personal-data-{user.id}.json"
        assert answer.headers["Cache-Control"] == "private, no-store"
        assert answer.json["tables"]["users"][0]["email"] == "Zenobia@example.com"
        with sessions() as session:
            entry = session.scalars(select(AuditLog)).one()
        assert (entry.action, entry.actor_id) == ("user.export", user.id)

    def test_is_there_for_an_admin_too(self, user, admin):
        answer = admin.get(f"/api/v1/admin/users/{user.id}/export")
        assert answer.json["user_id"] == str(user.id)
        assert admin.get(f"/api/v1/admin/users/{'0' * 8}-0000-7000-8000-{'0' * 12}/export").status_code == 404


class TestErasure:
    def test_needs_the_password(self, user, log_in, sessions):
        answer = log_in(user).post(f"{ME}/erasure", json={"password": "a wrong guess"})
        assert (answer.status_code, answer.json["code"]) == (401, "invalid-credentials")
        with sessions() as session:
            assert session.get(User, user.id).erased_at is None

    def test_ends_everything(self, user, log_in, client, sessions):
        me = log_in(user)
        assert me.post(f"{ME}/erasure", json={"password": PASSWORD}).status_code == 204
        assert me.get(ME).status_code == 404
        assert me.post(f"{ME}/erasure", json={"password": PASSWORD}).status_code == 404
        logging_in = client.post("/api/v1/auth/login", json={"email": user.email, "password": PASSWORD})
        assert logging_in.json["code"] == "invalid-credentials"
        with sessions() as session:
            assert session.scalars(select(RefreshToken)).all() == []

    def test_frees_the_address(self, user, log_in, client):
        log_in(user).post(f"{ME}/erasure", json={"password": PASSWORD})
        again = {"email": user.email, "password": PASSWORD, "first_name": "Zenobia", "last_name": "Again"}
        assert client.post("/api/v1/auth/register", json=again).status_code == 201

    def test_waits_for_an_order(self, rows, user, log_in):
        OrderFactory(user=user, stage=OrderStage.AWAITING_PAYMENT)
        rows.commit()
        answer = log_in(user).post(f"{ME}/erasure", json={"password": PASSWORD})
        assert (answer.status_code, answer.json["code"]) == (409, "erasure-too-early")

    def test_is_there_for_an_admin_and_final(self, user, admin):
        path = f"/api/v1/admin/users/{user.id}"
        assert [admin.post(f"{path}/erasure").status_code for _ in range(2)] == [204, 204]
        answer = admin.post(f"{path}/restore")
        assert (answer.status_code, answer.json["code"]) == (409, "user-erased")
        (deleted,) = admin.get("/api/v1/admin/deleted?kind=user").json["items"]
        assert (deleted["is_erased"], "Zenobia" in deleted["name"]) == (True, False)
