"""Reading commands as the shell would."""

import re

DIFFERS = {"--hostname", "-s", "--db", "--port", "--host", "--address", "--workers-kill-timeout"}
"""Names, ports and folders; and how long the web may take to stop."""


def options_of(arguments):
    """Return the options among a command's arguments, each with its value, or with nothing."""
    found = {}
    for word, following in zip(arguments, [*arguments[1:], "-"], strict=True):
        if re.match(r"--?[A-Za-z]", word):
            name, has_value, value = word.partition("=")
            found[name] = value if has_value else (None if following.startswith("-") else following)
    return {name: value for name, value in found.items() if name not in DIFFERS}
