"""Currencies that Stripe charges in, their decimals and smallest charges (docs.stripe.com/currencies)."""

from tools.stack.stripe.errors import invalid

_CODES = """
usd aed afn all amd ang aoa ars aud awg azn bam bbd bdt bhd bif bmd bnd bob brl bsd bwp byn bzd cad cdf chf
clp cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq gyd hkd hnl htg huf idr
ils inr isk jmd jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mur
mvr mwk mxn myr mzn nad ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr
sek sgd shp sle sos srd std szl thb tjs tnd top try ttd twd tzs uah ugx uyu uzs vnd vuv wst xaf xcd xcg xof
xpf yer zar zmw
"""
SUPPORTED = frozenset(_CODES.split())
_NO_DECIMALS = frozenset(
    {"bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof", "xpf"}
)
_THREE_DECIMALS = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})
_SMALLEST = {
    "aed": 200, "aud": 50, "brl": 50, "cad": 50, "chf": 50, "czk": 1500, "dkk": 250, "eur": 50, "gbp": 30,
    "hkd": 400, "huf": 17500, "inr": 50, "jpy": 50, "mxn": 1000, "myr": 200, "nok": 300, "nzd": 50, "pln": 200,
    "ron": 200, "sek": 300, "sgd": 50, "thb": 1000, "usd": 50,
}  # fmt: skip
_LARGEST = 99_999_999
_SIGNS = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥"}


def spoken(amount: int, currency: str) -> str:
    """Return an amount of minor units as Stripe's messages write it."""
    decimals = 0 if currency in _NO_DECIMALS else 3 if currency in _THREE_DECIMALS else 2
    number = f"{amount / 10**decimals:,.{decimals}f}"
    sign = _SIGNS.get(currency)
    return f"{sign}{number}" if sign else f"{number} {currency.upper()}"


def checked_currency(currency: str) -> str:
    """Return the code in lower case; refuse one that Stripe does not charge in."""
    code = currency.lower()
    if code not in SUPPORTED:
        supported = ", ".join(sorted(SUPPORTED))
        message = f"Invalid currency: {code}. Stripe currently supports these currencies: {supported}"
        raise invalid(message, param="currency")
    return code


def check_amount(amount: int, currency: str) -> None:
    """Refuse an amount that Stripe would not charge."""
    least = _SMALLEST.get(currency, 1)
    if amount < least:
        message = f"Amount must be at least {spoken(least, currency)} {currency}"
        raise invalid(message, code="amount_too_small", param="amount")
    if amount > _LARGEST:
        message = f"Amount must be no more than {spoken(_LARGEST, currency)}"
        raise invalid(message, code="amount_too_large", param="amount")
