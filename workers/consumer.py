"""Celery's consumer without its step for delayed tasks: over RabbitMQ it declares 28 queues for them, and none come."""

from celery.worker import consumer

DELAYED_DELIVERY = "celery.worker.consumer.delayed_delivery:DelayedDelivery"


class Consumer(consumer.Consumer):
    """Consumes at once or not at all (docs.celeryq.dev/en/stable/userguide/extending.html#blueprints)."""

    class Blueprint(consumer.Consumer.Blueprint):
        """The steps of starting."""

        default_steps = [step for step in consumer.Consumer.Blueprint.default_steps if step != DELAYED_DELIVERY]  # noqa: RUF012 as in the class above
