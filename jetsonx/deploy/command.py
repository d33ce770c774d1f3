"""``jetsonx deploy`` without its command line: every device is made ready first, then they are switched in waves."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from jetsonx.catalog import load_catalog
from jetsonx.console import Console
from jetsonx.deploy import control
from jetsonx.deploy.board import Board
from jetsonx.deploy.checking import Checks
from jetsonx.deploy.fleet import plan_waves
from jetsonx.deploy.history import append_history, history_file
from jetsonx.deploy.kept import Kept
from jetsonx.deploy.order import Order
from jetsonx.deploy.outcome import Outcome
from jetsonx.deploy.plan import DevicePlan
from jetsonx.deploy.report import check_outcome, render_outcome
from jetsonx.deploy.sources import Sources, load_sources
from jetsonx.deploy.stage import Ready, Shop, bring, make_ready, reach
from jetsonx.deploy.values import Release
from jetsonx.device.link import Link, open_link
from jetsonx.device.registry import open_registry
from jetsonx.effects import Effects
from jetsonx.errors import ConfigError, DeviceError, JetsonxError
from jetsonx.rootfs.ssh import Address, UnreachableError

T = TypeVar("T")
Status = Literal["deployed", "current", "planned", "refused", "off", "failed", "rolled-back", "skipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How the deployment to one device ended.

    ``current``: the release ran there already; ``refused``: the checks forbid it; ``off``: it did not answer, and the
    next deployment brings it up to date; ``skipped``: others had failed before it was its turn.
    """

    name: str
    address: str
    status: Status
    plan: DevicePlan | None = None
    outcome: Outcome | None = None
    error: JetsonxError | None = None

    @property
    def title(self) -> str:
        """The device for a person."""
        return self.name or self.address

    @property
    def ok(self) -> bool:
        """True when nothing is left to be done there."""
        return self.status in ("deployed", "current", "planned")


class _Job:
    """The deployment to one device on its way; only one thread works on it at a time.

    ``is_alone``: how it ended is for the caller to say, with all that is known.
    """

    def __init__(self, name: str, address: Address, link: Link, console: Console, *, is_alone: bool) -> None:
        self.address = address
        self.link = link
        self.console = console
        self.release: Release | None = None
        self.result = Result(name=name, address=str(address), status="skipped")
        self._is_alone = is_alone

    def end(
        self, status: Status, said: str = "", *, error: JetsonxError | None = None, outcome: Outcome | None = None
    ) -> None:
        """Note how it ended."""
        self.result = replace(self.result, status=status, error=error, outcome=outcome)
        if not self._is_alone:
            words = said or (error.message if error else "")
            self.console.say(f"{status}: {words}" if words else status)


def deploy(order: Order, effects: Effects, environ: Mapping[str, str]) -> tuple[Result, ...]:
    """Deploy, or plan it, and say for each device how that ended, in the order they were named.

    Raises ConfigError for what is wrong before a device is asked.
    """
    sources = load_sources(order, effects.store)
    places = _places(order, sources, environ)
    shop = Shop(
        order=order,
        sources=sources,
        catalog=load_catalog(),
        checks=Checks(order.directory, effects),
        kept=Kept(effects.store),
        runner=effects.runner,
        environ=environ,
    )
    if len(sources.images) == 1 and shop.kept.find(sources.images[0].image.id) is None:
        # Of several, the device says which; and of one that was deployed before there is a verdict, most likely.
        shop.checks.expect(sources.images[0])
    board = Board(effects.console, [name or str(address) for name, address in places]) if len(places) > 1 else None
    with contextlib.ExitStack() as stack:
        jobs = [
            _Job(
                name,
                address,
                stack.enter_context(open_link(address, runner=effects.runner, environ=environ)),
                board.row(name or str(address), host=address.host) if board else effects.console,
                is_alone=board is None,
            )
            for name, address in places
        ]
        _side_by_side(lambda job, pause: _stage(job, shop, pause), jobs, order.jobs)
        if not order.is_dry_run:
            _switch_in_waves(jobs, shop)
    return tuple(job.result for job in jobs)


def _places(order: Order, sources: Sources, environ: Mapping[str, str]) -> tuple[tuple[str, Address], ...]:
    words = order.devices or sources.deploy.devices
    if not words:
        raise ConfigError(
            "nothing says where to deploy to",
            hint="jetsonx deploy USER@HOST, or a name of jetsonx device list, or deploy.devices in jetsonx.toml",
        )
    return open_registry(environ).select(words)


def _stage(job: _Job, shop: Shop, pause: Callable[[float], None]) -> None:
    try:
        there = reach(job.result.name, job.link, shop)
        ready = make_ready(there, shop)
        if ready.plan.interrupted and not shop.order.is_dry_run:
            _recover(job, ready, shop)
            there = reach(job.result.name, job.link, shop)
            ready = make_ready(there, shop)
        job.result = replace(job.result, plan=ready.plan)
        if ready.plan.failures:
            job.end("refused", "; ".join(line.finding.found for line in ready.plan.failures))
        elif shop.order.is_dry_run:
            job.end("planned")
        elif ready.prepared is None:
            job.end("current", f"{ready.plan.release.id} runs there already")
        else:
            job.release = bring(ready, there, shop, job.console, pause)
    except UnreachableError as error:
        job.end("off", f"{error.message}; the next deployment brings it up to date", error=error)
    except JetsonxError as error:
        job.end("failed", error=error)


def _recover(job: _Job, ready: Ready, shop: Shop) -> None:
    outcome = control.carry_out(
        job.link, control.make_request("recover", ready.plan.release.app, form=ready.plan.release.form)
    )
    _remember(job, ready.plan.release.app, outcome, shop)
    job.console.warn(f"a {ready.plan.interrupted} that had been interrupted was recovered: {outcome.recovered}")
    check_outcome(outcome, what="the recovery")


def _switch_in_waves(jobs: Sequence[_Job], shop: Shop) -> None:
    """Switch those that are ready; what failed so far counts, but for devices that are off."""
    rollout = shop.order.rollout
    for wave in plan_waves([job for job in jobs if job.release is not None], rollout):
        failed = sum(job.result.status in ("refused", "failed", "rolled-back") for job in jobs)
        if len(jobs) > 1 and failed >= rollout.max_failures:
            for job in wave:
                job.end("skipped", f"{failed} failed before its turn; the image is there, and the old release runs on")
            continue
        try:
            _side_by_side(lambda job, _: _switch(job, shop), wave, shop.order.jobs)
        except KeyboardInterrupt:
            for job in (job for job in wave if job.result.status == "skipped"):
                job.console.err(f"the switch of {job.result.title} goes on there; jetsonx status says how it ended")
            raise


def _switch(job: _Job, shop: Shop) -> None:
    release = job.release
    if release is None:
        raise TypeError(job.address)
    outcome: Outcome | None = None
    try:
        outcome = control.carry_out(
            job.link,
            control.make_request("switch", release.app, release=release),
            on_step=lambda step: job.console.say(f"switch: {step}"),
            on_trouble=lambda error: job.console.say(f"{error.message}; trying again, it goes on there by itself"),
        )
        _remember(job, release.app, outcome, shop)
        check_outcome(outcome, what=f"the switch of {job.result.title}")
    except JetsonxError as error:
        is_back = outcome is not None and outcome.ending == "rolled-back"
        job.end("rolled-back" if is_back else "failed", error=error, outcome=outcome)
        return
    job.end("deployed", f"{release.id}, {render_outcome(outcome)}", outcome=outcome)


def _remember(job: _Job, app: str, outcome: Outcome, shop: Shop) -> None:
    if outcome.history:
        append_history(history_file(job.address, app, shop.environ), outcome.history)


def _side_by_side(work: Callable[[_Job, Callable[[float], None]], None], jobs: Sequence[_Job], at_once: int) -> None:
    """Do the work for each job, some at once. A single one is done here, so that Ctrl-C ends it where it is.

    The threads of several are daemons: what they wait for may take for ever, and Ctrl-C must not.
    """
    stop = threading.Event()

    def pause(seconds: float) -> None:
        if stop.wait(seconds):
            raise DeviceError("interrupted")

    if len(jobs) == 1:
        work(jobs[0], pause)
        return
    waiting: queue.SimpleQueue[_Job] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    faults: list[BaseException] = []

    def serve() -> None:
        with contextlib.suppress(queue.Empty):
            while not stop.is_set():  # a fault is raised again where somebody sees it
                job = waiting.get_nowait()
                try:
                    work(job, pause)
                except BaseException as error:
                    faults.append(error)
                    return

    threads = [threading.Thread(target=serve, daemon=True) for _ in range(min(at_once, len(jobs)))]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while thread.is_alive():
                thread.join(0.2)
    finally:
        stop.set()
    if faults:
        raise faults[0]
