import json
import logging
import subprocess
import sys

from adapters.logs import bind_request_id, current_request_id, forget_context
from tools.stack.environment import ROOT

PROGRAM = """
import logging, structlog
from adapters.logs import bind_request_id, set_up_logs

set_up_logs("INFO", process="payments")
bind_request_id("r-1")
structlog.get_logger().info("order.held", order_id="o-1")
structlog.get_logger().debug("too.fine")
logging.getLogger("granian").warning("from a library: %s", 7)
logging.getLogger("kombu").info("noise")
try:
    1 / 0
except ZeroDivisionError:
    structlog.get_logger().exception("task.failed")
"""


def test_every_line_is_json_with_process_time_level_and_request_id():
    command = [sys.executable, "-c", PROGRAM]
    output = subprocess.run(command, check=True, timeout=30, cwd=ROOT, capture_output=True, text=True).stdout
    own, library, failure = (json.loads(line) for line in output.splitlines())
    for line in (own, library, failure):
        assert (line["process"], line["request_id"]) == ("payments", "r-1")
        assert line["timestamp"].endswith("Z")
    assert (own["event"], own["level"], own["order_id"]) == ("order.held", "info", "o-1")
    assert (library["event"], library["level"], library["logger"]) == ("from a library: 7", "warning", "granian")
    assert "ZeroDivisionError" in failure["exception"]


def test_the_request_id_of_a_context_is_known_until_it_is_forgotten():
    forget_context()
    assert current_request_id() is None
    bind_request_id("r-2")
    assert current_request_id() == "r-2"
    forget_context()
    assert current_request_id() is None
    assert logging.getLogger().name == "root"
