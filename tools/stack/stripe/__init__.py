"""The Stripe stand-in: a small stateful simulator on the loopback that the real SDK talks to.

No real money moves here. `app.py` shows what it answers, `cards.py` the test cards, `control.py` what can be
made to go wrong. It never imports the SDK: its shapes come from Stripe's documentation.
"""
