"""Where the API's addresses begin; webhooks, probes and pages lie outside of it."""

API = "/api/v1"
