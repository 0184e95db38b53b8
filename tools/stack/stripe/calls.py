"""Which parameters each call allows: those that Stripe documents for API version 2026-10-28.endive, no others.

Those that the stand-in does not act upon are named and refused. A test compares the names with the SDK's types.
"""

from tools.stack.stripe.parameters import (
    Email,
    Flag,
    Hash,
    Integer,
    Kind,
    ListOf,
    Metadata,
    NotSimulated,
    Period,
    Retired,
    Text,
)


def _fields(**kinds: Kind) -> dict[str, Kind]:
    return kinds


def _refused(*names: str) -> dict[str, Kind]:
    return dict.fromkeys(names, NotSimulated())


_EXPAND = _fields(expand=ListOf(Text(), longest=20))
_PAGE = _EXPAND | _fields(
    limit=Integer(),
    starting_after=Text(),
    ending_before=Text(),
)
_CREATED = _fields(created=Period())
_TEXTS = _fields(
    description=Text(blank=True, longest=1000),
    metadata=Metadata(),
    receipt_email=Email(),
    statement_descriptor=Text(blank=True, longest=22),
    statement_descriptor_suffix=Text(blank=True, longest=22),
)
# Endive took it away: docs.stripe.com/changelog/endive/2026-09-30.
_RETIRED = _fields(
    payment_method_types=Retired(
        "payment_method_types_no_longer_supported",
        "payment_method_types is no longer supported on this API version. Use dynamic payment methods, "
        "excluded_payment_method_types or allowed_payment_method_types.",
    )
)
_TRANSFER = _refused("description", "metadata", "payment_data")

CREATE_INTENT = Hash(
    _EXPAND
    | _TEXTS
    | _RETIRED
    | _fields(
        amount=Integer(least=1),
        currency=Text(),
        application_fee_amount=Integer(least=0),
        automatic_payment_methods=Hash(
            _fields(enabled=Flag(), allow_redirects=Text(choices=("always", "never"))), required=("enabled",)
        ),
        capture_method=Text(choices=("automatic", "automatic_async")),
        confirm=Flag(),
        confirmation_method=Text(choices=("automatic",)),
        error_on_requires_action=Flag(),
        off_session=Flag(),
        on_behalf_of=Text(),
        payment_method=Text(),
        return_url=Text(),
        transfer_data=Hash(_fields(destination=Text(), amount=Integer(least=0)) | _TRANSFER, required=("destination",)),
        transfer_group=Text(),
        use_stripe_sdk=Flag(),
    )
    | _refused(
        "allowed_payment_method_types",
        "amount_details",
        "confirmation_token",
        "customer",
        "customer_account",
        "excluded_payment_method_types",
        "hooks",
        "mandate",
        "mandate_data",
        "payment_details",
        "payment_method_configuration",
        "payment_method_data",
        "payment_method_options",
        "radar_options",
        "setup_future_usage",
        "shipping",
    ),
    required=("amount", "currency"),
)
UPDATE_INTENT = Hash(
    _EXPAND
    | _TEXTS
    | _RETIRED
    | _fields(
        amount=Integer(least=1),
        currency=Text(),
        application_fee_amount=Integer(least=0),
        payment_method=Text(),
        transfer_data=Hash(_fields(amount=Integer(least=0)) | _TRANSFER),
        transfer_group=Text(),
    )
    | _refused(
        "allowed_payment_method_types",
        "amount_details",
        "capture_method",
        "customer",
        "customer_account",
        "excluded_payment_method_types",
        "hooks",
        "payment_details",
        "payment_method_configuration",
        "payment_method_data",
        "payment_method_options",
        "setup_future_usage",
        "shipping",
    )
)
CONFIRM_INTENT = Hash(
    _EXPAND
    | _RETIRED
    | _fields(
        error_on_requires_action=Flag(),
        off_session=Flag(),
        payment_method=Text(),
        receipt_email=Email(),
        return_url=Text(),
        use_stripe_sdk=Flag(),
    )
    | _refused(
        "allowed_payment_method_types",
        "amount_details",
        "amount_to_confirm",
        "capture_method",
        "confirmation_token",
        "excluded_payment_method_types",
        "hooks",
        "mandate",
        "mandate_data",
        "payment_details",
        "payment_method_data",
        "payment_method_options",
        "radar_options",
        "setup_future_usage",
        "shipping",
    )
)
CANCELLATION_REASONS = ("duplicate", "fraudulent", "requested_by_customer", "abandoned")
CANCEL_INTENT = Hash(_EXPAND | _fields(cancellation_reason=Text(choices=CANCELLATION_REASONS)))
RETRIEVE_INTENT = Hash(_EXPAND | _fields(client_secret=Text()))
LIST_INTENTS = Hash(_PAGE | _CREATED | _refused("customer", "customer_account"))

CREATE_PAYMENT_METHOD = Hash(
    _EXPAND
    | _fields(
        type=Text(choices=("card",)),
        card=Hash(
            _fields(
                number=Text(),
                exp_month=Integer(least=1),
                exp_year=Integer(least=1),
                cvc=Text(),
                token=Text(),
            )
            | _refused("networks")
        ),
        billing_details=Hash(
            _fields(
                email=Email(),
                name=Text(blank=True),
                phone=Text(blank=True),
                tax_id=Text(),
                address=Hash(
                    dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"), Text(blank=True))
                ),
            )
        ),
        metadata=Metadata(),
    )
    | _refused("allow_redisplay", "customer", "payment_method", "radar_options"),
    required=("type",),
)
LIST_PAYMENT_METHODS = Hash(
    _PAGE | _fields(type=Text(choices=("card",))) | _refused("allow_redisplay", "customer", "customer_account")
)
LIST_CHARGES = Hash(_PAGE | _CREATED | _fields(payment_intent=Text()) | _refused("customer", "transfer_group"))
SEARCH_CHARGES = Hash(_EXPAND | _fields(query=Text(), limit=Integer(), page=Text()), required=("query",))

CREATE_REFUND = Hash(
    _EXPAND
    | _fields(
        amount=Integer(least=1),
        charge=Text(),
        payment_intent=Text(),
        metadata=Metadata(),
        reason=Text(choices=("duplicate", "fraudulent", "requested_by_customer")),
        refund_application_fee=Flag(),
        reverse_transfer=Flag(),
    )
    | _refused("currency", "customer", "instructions_email", "origin")
)
UPDATE_REFUND = Hash(_EXPAND | _fields(metadata=Metadata()))
LIST_REFUNDS = Hash(_PAGE | _CREATED | _fields(charge=Text(), payment_intent=Text()))

LIST_DISPUTES = Hash(_PAGE | _CREATED | _fields(charge=Text(), payment_intent=Text()))

# Stripe demands neither; without them it opens a standard account, which the stand-in does not simulate.
CREATE_ACCOUNT = Hash(
    _EXPAND
    | _fields(
        business_profile=Hash(
            _fields(
                name=Text(blank=True),
                product_description=Text(blank=True),
                support_email=Email(),
                support_phone=Text(blank=True),
                support_url=Text(blank=True),
                url=Text(blank=True),
            )
            | _refused(
                "annual_revenue",
                "estimated_worker_count",
                "mcc",
                "minority_owned_business_designation",
                "monthly_estimated_revenue",
                "specified_commercial_transactions_act_url",
                "support_address",
            )
        ),
        capabilities=Hash(_fields(transfers=Hash(_fields(requested=Flag()), required=("requested",)))),
        controller=Hash(
            _fields(
                fees=Hash(_fields(payer=Text(choices=("application",)))),
                losses=Hash(_fields(payments=Text(choices=("application",)))),
                requirement_collection=Text(choices=("stripe",)),
                stripe_dashboard=Hash(_fields(type=Text(choices=("express",)))),
            ),
            required=("fees", "losses", "stripe_dashboard"),
        ),
        country=Text(),
        email=Email(),
        metadata=Metadata(),
    )
    | _refused(
        "account_token",
        "business_type",
        "company",
        "default_currency",
        "documents",
        "external_account",
        "groups",
        "individual",
        "settings",
        "tos_acceptance",
        "type",
    ),
    required=("capabilities", "controller"),
)
CREATE_ACCOUNT_LINK = Hash(
    _EXPAND
    | _fields(
        account=Text(),
        refresh_url=Text(),
        return_url=Text(),
        type=Text(choices=("account_onboarding",)),
    )
    | _refused("collect", "collection_options"),
    required=("account", "refresh_url", "return_url", "type"),
)

LIST_EVENTS = Hash(_PAGE | _CREATED | _fields(type=Text(), types=ListOf(Text(), longest=20), delivery_success=Flag()))
RETRIEVE = Hash(_EXPAND)
LIST_BALANCE_TRANSACTIONS = Hash(_PAGE | _CREATED | _refused("currency", "payout", "source", "type"))
