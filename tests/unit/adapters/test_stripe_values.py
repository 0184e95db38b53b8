import pytest

from adapters.stripe_values import intent_params
from domain.ports import Destination
from tests.fixtures.payments import asking


@pytest.mark.parametrize(("fee", "sent"), [(300, {"application_fee_amount": 300}), (0, {})])
def test_a_fee_is_sent_only_where_there_is_one(fee, sent):
    params = intent_params(asking(destination=Destination("acct_promoter", fee)))
    assert params["transfer_data"] == {"destination": "acct_promoter"}
    assert {name: params[name] for name in ("application_fee_amount",) if name in params} == sent
