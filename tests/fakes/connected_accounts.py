"""Connected accounts in memory."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from domain.errors import PermanentVendorError
from domain.ports import Account, OnboardingLink
from tests.fakes.payment_events import FakePaymentEvents

STATES = {
    "ready": {
        "details_submitted": True,
        "can_take_payments": True,
        "can_be_paid_out": True,
        "disabled_reason": None,
    },
    "restricted": {
        "details_submitted": True,
        "can_take_payments": False,
        "can_be_paid_out": False,
        "disabled_reason": "requirements.past_due",
    },
    "pending": {
        "details_submitted": False,
        "can_take_payments": False,
        "can_be_paid_out": False,
        "disabled_reason": "requirements.past_due",
    },
}


class FakeConnectedAccounts(FakePaymentEvents):
    """Keeps `accounts` by id, and in `links` what each link was asked for."""

    def __init__(self, webhook_secret):
        super().__init__(webhook_secret)
        self.accounts = {}
        self.links = {}

    def change_account(self, account_id, state):
        """Let an account be ready, restricted or pending from now on."""
        self.accounts[account_id] = replace(self.accounts[account_id], **STATES[state])
        self.add_event("account.updated", {"object": "account", "id": account_id}, account=account_id)
        return self.accounts[account_id]

    def open_account(self, request, idempotency_key):
        def open_it():
            account = Account(f"acct_fake{next(self._numbers)}", **STATES["pending"])
            self.accounts[account.id] = account
            return account

        return self.accounts[self._once("open_account", idempotency_key, request, open_it).id]

    def find_account(self, account_id):
        def find():
            if account_id not in self.accounts:
                raise PermanentVendorError("That account is not ours to see.", code="account_invalid")
            return self.accounts[account_id]

        return self._once("find_account", None, None, find)

    def link_account(self, account_id, *, return_url, refresh_url):
        def link():
            if account_id not in self.accounts:
                raise PermanentVendorError("That account is not connected.", code="invalid_request_error")
            made = OnboardingLink(
                f"https://onboarding.example/{next(self._numbers)}", datetime.now(UTC) + timedelta(minutes=5)
            )
            self.links[made.url] = {"account_id": account_id, "return_url": return_url, "refresh_url": refresh_url}
            return made

        return self._once("link_account", None, None, link)

    def _check_destination(self, destination):
        account = self.accounts.get(destination.account_id) if destination else None
        if account and not account.can_take_payments:
            message = "The destination needs the transfers capability."
            raise PermanentVendorError(message, code="insufficient_capabilities_for_transfer")
