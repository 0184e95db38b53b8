"""A stand-in for SendGrid: takes mail from the real SDK, shows it in a mailbox page, and posts signed events.

Nothing leaves this machine. It is for development and tests, and says so wherever a person sees it.
"""
