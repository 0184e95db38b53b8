"""What `./dev run` does: the whole system on this machine, one purchase through it, and then it stays up.

The parts stand in `parts.py`; how they are kept alive stands in `supervisor.py`.
"""

import argparse
import asyncio
import signal
import sys
import time
import urllib.error
import urllib.request
from asyncio.subprocess import DEVNULL
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tools.stack import environment
from tools.stack.accounts import ACCOUNTS
from tools.stack.environment import REPLACES, ROOT
from tools.stack.folder import FolderError, claim
from tools.stack.leash import Leash, tether
from tools.stack.parts import local_parts
from tools.stack.plan import FLOWER_USER, PORTS, Plan, make_plan
from tools.stack.postgres import PostgresError
from tools.stack.schema import Schema
from tools.stack.supervisor import PartError, Supervisor
from tools.stack.valkey import ValkeyError

READY_SECONDS = 30.0


def say(sentence: str) -> None:
    """Tell the person; go on if nobody listens any more."""
    with suppress(OSError):
        print(sentence, flush=True)


def main(arguments: Sequence[str]) -> int:
    """Run the stack until it is told to stop; return the exit code."""
    options = _parse(arguments)
    folder = options.data.resolve()
    try:
        with claim(folder, fresh=options.fresh) as lock:
            environment.forget(folder)
            plan = make_plan(folder, options.port, say)
            return asyncio.run(_run(plan, Leash((lock.fileno(),)), demo=options.demo))
    except (FolderError, PostgresError, ValkeyError, OSError) as error:
        say(f"./dev run: {error}")
        return 1


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev run", description="Start Ticket Vendor on this machine.")
    parser.add_argument("--port", type=int, default=PORTS["web"], metavar="N", help="the web's port (8000); 0: any")
    parser.add_argument("--data", type=Path, default=ROOT / ".local", metavar="DIR", help="where state lives (.local)")
    parser.add_argument("--no-demo", dest="demo", action="store_false", help="no demo event and no demo purchase")
    parser.add_argument("--fresh", action="store_true", help="forget the state of earlier runs first")
    options = parser.parse_args(arguments)
    if not 0 <= options.port <= 65535:  # noqa: PLR2004 the size of the field in TCP
        parser.error("--port is a number from 0 to 65535")
    return options


async def _run(plan: Plan, leash: Leash, *, demo: bool) -> int:
    schema = Schema(plan.postgres, plan.folder)
    supervisor = Supervisor(local_parts(plan, schema), plan.folder / "logs", ROOT, leash, say)
    stopping = asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            supervisor.kill()
        else:
            say("\nstopping (once more to kill at once)")
            stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    life = asyncio.create_task(_live(plan, schema, supervisor, leash, demo=demo))
    order = asyncio.create_task(stopping.wait())
    await asyncio.wait({life, order}, return_when=asyncio.FIRST_COMPLETED)
    for task in (life, order):
        task.cancel()
    outcome = (await asyncio.gather(life, return_exceptions=True))[0]
    environment.forget(plan.folder)
    await supervisor.stop()
    if isinstance(outcome, PartError):
        say(f"\n{outcome}")
        return 1
    if isinstance(outcome, Exception):
        raise outcome
    say("stopped")
    return 0


async def _live(plan: Plan, schema: Schema, supervisor: Supervisor, leash: Leash, *, demo: bool) -> None:
    """Start everything, tell the person about it, and stay until cancelled; raise `PartError` if that fails."""
    began = time.monotonic()
    say(f"Ticket Vendor on this machine; its state and logs are in {plan.folder}")
    for name in sorted(plan.given):
        say(f"  {name:<16} yours, by {next(key for key, part in REPLACES.items() if part == name)}")
    await supervisor.start()
    await supervisor.unless_failing(_until_it_serves(plan))
    if "postgres" not in plan.given:
        schema.remember()
    environment.tell(plan.folder, plan.variables)
    say(f"all parts are up in {time.monotonic() - began:.1f} s")
    if demo and not plan.given & {"postgres", "stripe", "sendgrid"}:
        await supervisor.unless_failing(_buy(plan, leash))
    elif demo:
        say(f"\nno demo purchase: {' and '.join(sorted(plan.given - {'valkey'}))} is yours")
    say(_places(plan))
    say(f"ready: {plan.url('web')}")
    await supervisor.unless_failing(asyncio.Event().wait())


async def _until_it_serves(plan: Plan) -> None:
    """Return once the web finds its database and broker; raise `PartError` with its answer if it does not."""
    deadline = time.monotonic() + READY_SECONDS
    while problem := await asyncio.to_thread(_unready, f"{plan.url('web')}/readyz"):
        if time.monotonic() > deadline:
            raise PartError(f"web is not ready: {problem}")
        await asyncio.sleep(0.1)


def _unready(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310 our own address
            return ""
    except urllib.error.HTTPError as error:
        with error:
            return f"{error.code} {error.read().decode(errors='replace')}"
    except OSError as error:
        return str(error)


async def _buy(plan: Plan, leash: Leash) -> None:
    """Let the demo buy a ticket, in a process of its own; raise `PartError` if it does not get one."""
    say("\na purchase, over HTTP:")
    process = await asyncio.create_subprocess_exec(
        *tether([sys.executable, "-m", "tools.stack.demo", plan.url("web"), plan.url("sendgrid")]),
        cwd=ROOT,
        env=dict(plan.variables),
        stdin=DEVNULL,
        start_new_session=True,
    )
    leash.hold(process.pid)
    try:
        code = await process.wait()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        leash.release(process.pid)
    if code:
        raise PartError("The demo purchase did not end in a ticket; the logs of the parts tell more.")


def _places(plan: Plan) -> str:
    lines = []
    if "postgres" not in plan.given:
        lines += ["", f"accounts, all with the password {plan.secrets.password}"]
        lines += [f"  {account.email:<22} {account.says}" for account in ACCOUNTS]
    lines += ["", "addresses"]
    lines += [f"  API and its pages      {plan.url('web')}/docs"]
    lines += [f"  Flower                 {plan.url('flower')}  ({FLOWER_USER} / {plan.secrets.flower})"]
    if "sendgrid" not in plan.given:
        lines += [f"  mailbox                {plan.url('sendgrid')}  (SendGrid stand-in)"]
    if "stripe" not in plan.given:
        lines += [f"  payments and webhooks  {plan.url('stripe')}  (Stripe stand-in)"]
    lines += [f"  logs                   {plan.folder / 'logs'}", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
    sys.exit(130)
