"""Who may call what, in one table: a route that is not listed here, or is marked otherwise, fails."""

import pytest

from web.auth import access_of
from web.rate_limits import UNLIMITED

ROUTES = """
GET    /                                           public
GET    /api/v1/admin/audit-log                     admin fresh
GET    /api/v1/admin/mail-suppressions             admin fresh
DELETE /api/v1/admin/mail-suppressions/<uuid:suppression_id> admin fresh
GET    /api/v1/admin/deleted                       admin fresh
POST   /api/v1/admin/events/<uuid:event_id>/restore admin fresh
GET    /api/v1/admin/mail-outbox                   admin fresh
GET    /api/v1/admin/mail-outbox/<uuid:mail_id>    admin fresh
POST   /api/v1/admin/mail-outbox/<uuid:mail_id>/replay admin fresh
GET    /api/v1/admin/users                         admin fresh
DELETE /api/v1/admin/users/<uuid:user_id>          admin fresh
POST   /api/v1/admin/users/<uuid:user_id>/erasure  admin fresh
GET    /api/v1/admin/users/<uuid:user_id>/export   admin fresh [accounts]
POST   /api/v1/admin/users/<uuid:user_id>/restore  admin fresh
GET    /api/v1/admin/webhook-inbox                 admin fresh
GET    /api/v1/admin/webhook-inbox/<uuid:webhook_event_id> admin fresh
POST   /api/v1/admin/webhook-inbox/<uuid:webhook_event_id>/replay admin fresh
GET    /api/v1/admin/users/<uuid:user_id>          admin fresh
PATCH  /api/v1/admin/users/<uuid:user_id>          admin fresh
POST   /api/v1/auth/me/erasure                     user [accounts]
GET    /api/v1/auth/me/export                      user [accounts]
POST   /api/v1/auth/login                          public [accounts]
POST   /api/v1/auth/logout                         user [accounts]
GET    /api/v1/auth/me                             user
PATCH  /api/v1/auth/me                             user
POST   /api/v1/auth/password/forgot                public [accounts]
POST   /api/v1/auth/password/reset                 public [accounts]
POST   /api/v1/auth/refresh                        public [accounts]
POST   /api/v1/auth/register                       public [accounts]
POST   /api/v1/auth/verify-email                   public [accounts]
POST   /api/v1/auth/verify-email/resend            user [accounts]
POST   /api/v1/check-ins                           admin+promoter+user fresh
POST   /api/v1/check-ins/<uuid:scan_id>/undo       admin+promoter+user fresh
DELETE /api/v1/codes/<uuid:code_id>                admin+promoter+user fresh
GET    /api/v1/codes/<uuid:code_id>                user
PATCH  /api/v1/codes/<uuid:code_id>                admin+promoter+user fresh
GET    /api/v1/events                              public
POST   /api/v1/events                              admin+promoter
DELETE /api/v1/events/<uuid:event_id>              user
GET    /api/v1/events/<uuid:event_id>              public
PUT    /api/v1/events/<uuid:event_id>              admin+promoter+user fresh
POST   /api/v1/events/<uuid:event_id>/cancel       admin+promoter fresh
POST   /api/v1/events/<uuid:event_id>/publish      user
GET    /api/v1/events/<uuid:event_id>/disputes     user
GET    /api/v1/events/<uuid:event_id>/event.ics    public
GET    /api/v1/events/<uuid:event_id>/statement    user
GET    /api/v1/events/<uuid:event_id>/codes        user
POST   /api/v1/events/<uuid:event_id>/codes        admin+promoter+user fresh
POST   /api/v1/events/<uuid:event_id>/codes/batch  admin+promoter+user fresh
GET    /api/v1/events/<uuid:event_id>/announcements user
POST   /api/v1/events/<uuid:event_id>/announcements user
GET    /api/v1/events/<uuid:event_id>/announcements/<uuid:announcement_id> user
POST   /api/v1/events/<uuid:event_id>/announcements/<uuid:announcement_id>/cancel user
GET    /api/v1/events/<uuid:event_id>/announcements/<uuid:announcement_id>/preview user
POST   /api/v1/events/<uuid:event_id>/announcements/<uuid:announcement_id>/send admin+promoter+user fresh
GET    /api/v1/events/<uuid:event_id>/mail         user
GET    /api/v1/events/<uuid:event_id>/mail/undeliverable user
GET    /api/v1/events/<uuid:event_id>/check-in-conflicts user
GET    /api/v1/events/<uuid:event_id>/door         user
GET    /api/v1/events/<uuid:event_id>/door-list    user
GET    /api/v1/events/<uuid:event_id>/analytics    user
GET    /api/v1/events/<uuid:event_id>/attendees    user
GET    /api/v1/events/<uuid:event_id>/attendees.csv  admin+promoter+user fresh
GET    /api/v1/events/<uuid:event_id>/attendees.xlsx admin+promoter+user fresh
GET    /api/v1/events/<uuid:event_id>/orders       user
GET    /api/v1/events/<uuid:event_id>/orders.csv   admin+promoter+user fresh
GET    /api/v1/events/<uuid:event_id>/orders.xlsx  admin+promoter+user fresh
GET    /api/v1/events/<uuid:event_id>/ticket-keys  public
GET    /api/v1/events/<uuid:event_id>/tiers        public
POST   /api/v1/events/<uuid:event_id>/tiers        admin+promoter+user fresh
GET    /api/v1/events/<uuid:event_id>/waitlist     user
POST   /api/v1/events/<uuid:event_id>/duplicate    user
POST   /api/v1/events/<uuid:event_id>/waitlist     user
GET    /api/v1/fairness/check.py                   public
GET    /api/v1/orders                              user
POST   /api/v1/orders                              user [orders]
GET    /api/v1/orders/<uuid:order_id>              user
POST   /api/v1/orders/<uuid:order_id>/approve      admin+promoter+user fresh
POST   /api/v1/orders/<uuid:order_id>/cancel       user
POST   /api/v1/orders/<uuid:order_id>/confirm      user [orders]
POST   /api/v1/orders/<uuid:order_id>/decline      admin+promoter+user fresh
POST   /api/v1/orders/<uuid:order_id>/refund       admin+promoter+user fresh
GET    /api/v1/orders/<uuid:order_id>/tickets.pdf  user
GET    /api/v1/promoters                           admin
POST   /api/v1/promoters/<uuid:promoter_id>/reject admin fresh
PUT    /api/v1/promoters/<uuid:promoter_id>/terms  admin fresh
POST   /api/v1/promoters/<uuid:promoter_id>/verify admin fresh
GET    /api/v1/promoters/me                        user
PATCH  /api/v1/promoters/me                        user
POST   /api/v1/promoters/me                        user
POST   /api/v1/promoters/me/payout-account         admin+promoter fresh [payout-accounts]
GET    /api/v1/promoters/me/team                   user
POST   /api/v1/promoters/me/team                   admin+promoter+user fresh
DELETE /api/v1/promoters/me/team/<uuid:member_id>  admin+promoter+user fresh
PATCH  /api/v1/promoters/me/team/<uuid:member_id>  admin+promoter+user fresh
GET    /api/v1/promoters/me/webhooks               user
POST   /api/v1/promoters/me/webhooks               admin+promoter+user fresh
DELETE /api/v1/promoters/me/webhooks/<uuid:webhook_id> admin+promoter+user fresh
GET    /api/v1/promoters/me/webhooks/<uuid:webhook_id> user
PATCH  /api/v1/promoters/me/webhooks/<uuid:webhook_id> admin+promoter+user fresh
GET    /api/v1/promoters/me/webhooks/<uuid:webhook_id>/deliveries user
POST   /api/v1/promoters/me/webhooks/<uuid:webhook_id>/deliveries/<uuid:delivery_id>/replay admin+promoter+user fresh [webhook-tests]
POST   /api/v1/promoters/me/webhooks/<uuid:webhook_id>/rotate-secret admin+promoter+user fresh
POST   /api/v1/promoters/me/webhooks/<uuid:webhook_id>/test admin+promoter+user fresh [webhook-tests]
GET    /api/v1/receipt-keys                        public
GET    /api/v1/teams                               user
GET    /api/v1/tickets                             user
GET    /api/v1/tickets/<uuid:ticket_id>            user
GET    /api/v1/tickets/<uuid:ticket_id>/qr.png     user
GET    /api/v1/tickets/<uuid:ticket_id>/qr.svg     user
GET    /api/v1/tickets/<uuid:ticket_id>/event.ics  user
GET    /api/v1/tickets/<uuid:ticket_id>/google-wallet user
GET    /api/v1/tickets/<uuid:ticket_id>/ticket.pdf user
GET    /api/v1/tickets/<uuid:ticket_id>/ticket.pkpass user
DELETE /api/v1/tiers/<uuid:tier_id>                user
PUT    /api/v1/tiers/<uuid:tier_id>                admin+promoter+user fresh
DELETE /api/v1/tickets/<uuid:ticket_id>/transfer   user
POST   /api/v1/tickets/<uuid:ticket_id>/transfer   admin+promoter+user fresh
GET    /api/v1/tiers/<uuid:tier_id>/availability   public
GET    /api/v1/tiers/<uuid:tier_id>/fairness       public
POST   /api/v1/tiers/<uuid:tier_id>/pause          user
POST   /api/v1/tiers/<uuid:tier_id>/drain          user
POST   /api/v1/tiers/<uuid:tier_id>/resume         user
GET    /api/v1/transfers                           user
GET    /api/v1/transfers/<uuid:transfer_id>        user
POST   /api/v1/transfers/<uuid:transfer_id>/accept admin+promoter+user fresh
POST   /api/v1/transfers/<uuid:transfer_id>/cancel user
POST   /api/v1/transfers/<uuid:transfer_id>/decline user
GET    /api/v1/waitlist                            user
DELETE /api/v1/waitlist/<uuid:entry_id>            user
GET    /api/v1/waitlist/<uuid:entry_id>            user
POST   /api/v1/waitlist/<uuid:entry_id>/accept     user
POST   /api/v1/waitlist/<uuid:entry_id>/decline    user
GET    /docs                                       public
GET    /docs/assets/<path:name>                    public [unlimited]
GET    /healthz                                    public [unlimited]
GET    /metrics                                    public [unlimited]
GET    /openapi.json                               public
GET    /orders/<uuid:order_id>                     public
GET    /orders/<uuid:order_id>/event.ics           public
GET    /orders/<uuid:order_id>/tickets.pdf         public
GET    /orders/<uuid:order_id>/tickets/<uuid:ticket_id>/google-wallet public
GET    /orders/<uuid:order_id>/tickets/<uuid:ticket_id>/ticket.pkpass public
GET    /pages/<path:name>                          public [unlimited]
GET    /payout-account/back                        public
GET    /payout-account/expired                     public
GET    /readyz                                     public [unlimited]
GET    /reset-password                             public
POST   /reset-password                             public [accounts]
GET    /transfers/<uuid:transfer_id>               public
POST   /transfers/<uuid:transfer_id>               public
GET    /unsubscribe/<uuid:mail_id>                 public
POST   /unsubscribe/<uuid:mail_id>                 public
GET    /verify-email                               public
POST   /verify-email                               public [accounts]
GET    /waitlist/<uuid:entry_id>/offer             public
POST   /waitlist/<uuid:entry_id>/offer             public
POST   /webhooks/sendgrid                          public [unlimited]
POST   /webhooks/stripe                            public [unlimited]
"""  # noqa: E501 one line per route


def read_table():
    lines = [line.split(maxsplit=2) for line in ROUTES.strip().splitlines()]
    return {(method, rule): mark for method, rule, mark in lines}


@pytest.fixture(scope="module")
def marks(bare_app):
    app = bare_app
    return {
        (method, rule.rule): describe(app.view_functions[rule.endpoint])
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }


def describe(view):
    access = access_of(view)
    if access.is_public:
        who = "public"
    elif access.roles:
        who = "+".join(sorted(access.roles)) + (" fresh" if access.fresh else "")
    else:
        who = "user"
    limit = getattr(view, "rate_limit", None)
    return f"{who} [{limit}]" if limit else who


def test_every_route_is_marked_as_the_table_says(marks):
    assert marks == read_table()


def test_only_what_harms_nobody_is_unlimited(marks):
    free = {rule for (_, rule), mark in marks.items() if UNLIMITED in mark}
    assert all(rule.startswith(("/docs/assets/", "/pages/", "/webhooks/")) or rule.count("/") == 1 for rule in free)


def test_strangers_change_nothing_without_a_secret_of_their_own(marks):
    changing = {rule for (method, rule), mark in marks.items() if method != "GET" and mark.startswith("public")}
    with_a_secret = (
        "/api/v1/auth/",
        "/webhooks/",
        "/verify-email",
        "/reset-password",
        "/waitlist/<uuid:entry_id>/offer",
        "/transfers/<uuid:transfer_id>",
        "/unsubscribe/<uuid:mail_id>",
    )
    assert {rule for rule in changing if not rule.startswith(with_a_secret)} == set()
