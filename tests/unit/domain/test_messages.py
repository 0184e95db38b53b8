from uuid import UUID

import pytest

from domain.messages import PARCELS, ConfirmPayment, OpenPayment, ServeTier, joint_payload, pack

IDS = [UUID(int=number) for number in range(1000)]


class TestPack:
    @pytest.mark.parametrize(
        ("orders", "each"), [(1, 1), (PARCELS, 1), (PARCELS + 1, 2), (2 * PARCELS, 2), (500, 63), (1000, 125)]
    )
    def test_what_is_shared_goes_into_a_few_parcels_of_even_size(self, orders, each):
        parcels = pack(OpenPayment(order_id) for order_id in IDS[:orders])
        assert len(parcels) <= PARCELS
        assert {len(parcel) for parcel in parcels[:-1]} <= {each}
        assert 1 <= len(parcels[-1]) <= each
        assert [message.order_id for parcel in parcels for message in parcel] == IDS[:orders]

    def test_everything_else_travels_alone_in_its_order(self):
        messages = [kind(order_id) for order_id in IDS[: 2 * PARCELS] for kind in (ServeTier, ConfirmPayment)]
        assert pack(messages) == [[message] for message in messages]

    def test_kinds_are_not_mixed(self):
        parcels = pack([OpenPayment(IDS[0]), ServeTier(IDS[1]), OpenPayment(IDS[2])])
        assert parcels == [[ServeTier(IDS[1])], [OpenPayment(IDS[0])], [OpenPayment(IDS[2])]]

    def test_nothing_makes_no_parcel(self):
        assert pack([]) == []


class TestPayload:
    def test_is_the_ids_as_text(self):
        assert ServeTier(IDS[1]).payload() == {"tier_id": str(IDS[1])}

    def test_of_a_shared_kind_is_a_list_even_of_one(self):
        assert OpenPayment(IDS[1]).payload() == {"order_ids": [str(IDS[1])]}
        assert joint_payload([OpenPayment(IDS[1]), OpenPayment(IDS[2])]) == {"order_ids": [str(IDS[1]), str(IDS[2])]}
