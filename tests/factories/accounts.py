"""People, promoters, and their tokens. Everybody has the same password, and promoters are verified."""

import hashlib
from functools import cache

import factory
from uuid_utils.compat import uuid7

from adapters.password_hasher import PasswordHasher
from domain.models import AccountToken, Promoter, RefreshToken, TeamMember, User
from domain.rules.states import AccountTokenPurpose, StripeAccountState, TeamRight, UserRole, VerificationStatus
from tests.factories.base import RowFactory, from_now

PASSWORD = "correct horse battery staple"


@cache
def _password_hash():
    return PasswordHasher(rounds=4).hash(PASSWORD)


class UserFactory(RowFactory):
    class Meta:
        model = User

    email = factory.Sequence(lambda n: f"person-{n}@example.com")
    password_hash = factory.LazyFunction(_password_hash)
    first_name = "Ada"
    last_name = factory.Sequence(lambda n: f"Lovelace {n}")
    role = UserRole.USER
    email_verified = True
    email_verified_at = factory.LazyAttribute(lambda user: from_now(days=-1) if user.email_verified else None)


class PromoterFactory(RowFactory):
    class Meta:
        model = Promoter

    user = factory.SubFactory(UserFactory, role=UserRole.PROMOTER)
    company_name = factory.Sequence(lambda n: f"Concerts {n} Ltd")
    verification_status = VerificationStatus.VERIFIED
    verified_at = factory.LazyAttribute(
        lambda promoter: from_now(days=-1) if promoter.verification_status == VerificationStatus.VERIFIED else None
    )
    stripe_account_id = factory.Sequence(lambda n: f"acct_test{n}")
    stripe_account_state = factory.LazyAttribute(
        lambda promoter: StripeAccountState.READY if promoter.stripe_account_id else StripeAccountState.NONE
    )
    city = "Berlin"
    country = "DE"


class TeamMemberFactory(RowFactory):
    class Meta:
        model = TeamMember

    promoter_id = factory.LazyFunction(lambda: PromoterFactory().id)
    user = factory.SubFactory(UserFactory)
    rights = factory.LazyFunction(lambda: [TeamRight.SCAN])


class RefreshTokenFactory(RowFactory):
    class Meta:
        model = RefreshToken

    user_id = factory.LazyFunction(lambda: UserFactory().id)
    family_id = factory.LazyFunction(uuid7)
    expires_at = factory.LazyFunction(lambda: from_now(days=7))


class AccountTokenFactory(RowFactory):
    class Meta:
        model = AccountToken

    user_id = factory.LazyFunction(lambda: UserFactory().id)
    purpose = AccountTokenPurpose.VERIFY_EMAIL
    token_hash = factory.Sequence(lambda n: hashlib.sha256(f"account token {n}".encode()).hexdigest())
    expires_at = factory.LazyFunction(lambda: from_now(days=1))
