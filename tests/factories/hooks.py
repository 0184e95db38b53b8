"""Endpoints of outgoing webhooks, and what they are told."""

import factory
from uuid_utils.compat import uuid7

from domain.models import WebhookDelivery, WebhookEndpoint
from domain.rules.states import WebhookType
from tests.factories.accounts import PromoterFactory
from tests.factories.base import RowFactory


class WebhookEndpointFactory(RowFactory):
    class Meta:
        model = WebhookEndpoint

    promoter_id = factory.LazyFunction(lambda: PromoterFactory().id)
    url = "https://harbour.example/hooks"
    types = factory.LazyFunction(lambda: [kind.value for kind in WebhookType if kind is not WebhookType.WEBHOOK_TEST])
    secret_id = factory.LazyFunction(uuid7)
    secret_kid = "local"


class WebhookDeliveryFactory(RowFactory):
    class Meta:
        model = WebhookDelivery

    endpoint_id = factory.LazyFunction(lambda: WebhookEndpointFactory().id)
    type = WebhookType.WEBHOOK_TEST
    data = factory.LazyFunction(dict)
