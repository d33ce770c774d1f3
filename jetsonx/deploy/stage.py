"""One device's deployment: what is there is asked, the plan is made and judged, and the image is brought.

Nothing of what runs there is touched, and all of it may be repeated at any time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from jetsonx.catalog import Catalog
from jetsonx.console import Console, amount
from jetsonx.deploy.ask import probe_state
from jetsonx.deploy.built import Built
from jetsonx.deploy.checking import Checks
from jetsonx.deploy.kept import Kept
from jetsonx.deploy.options import choose_gpu, plan_files_release, plan_release, published
from jetsonx.deploy.order import Order
from jetsonx.deploy.pace import Backoff
from jetsonx.deploy.plan import DevicePlan, Transfer
from jetsonx.deploy.preflight import Load, Subject, failures, judge_load, judge_subject
from jetsonx.deploy.sources import Sources, choose_image
from jetsonx.deploy.state import RELEASE_LABEL, AppState, DeviceState
from jetsonx.deploy.transfer import Method, Receiver
from jetsonx.deploy.values import Release
from jetsonx.device.identify import Identity, identify
from jetsonx.device.judge import has_usable_python
from jetsonx.device.link import Link
from jetsonx.device.probe import probe_device
from jetsonx.device.registry import open_registry
from jetsonx.device.values import Device
from jetsonx.errors import DeviceError
from jetsonx.project.model import DeploySection
from jetsonx.rootfs.ssh import UnreachableError
from jetsonx.runner import Runner

if TYPE_CHECKING:  # what makes, sends and loads is imported when there is something to send
    from jetsonx.deploy.bundle import Prepared


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """What all devices of one deployment share."""

    order: Order
    sources: Sources
    catalog: Catalog
    checks: Checks
    kept: Kept
    runner: Runner
    environ: Mapping[str, str]
    encoding: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """A device that answered: what it is, and what it has."""

    name: str
    link: Link
    device: Device
    identity: Identity
    state: DeviceState

    @property
    def docker(self) -> tuple[str, ...]:
        """The words that start docker there."""
        return ("sudo", "-n", "docker") if self.state.by == "sudo" else ("docker",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A plan, and what it takes to carry it out: the bundle is made. ``prepared`` is None where there is nothing to do
    or the checks forbid it.
    """

    plan: DevicePlan
    built: Built
    prepared: Prepared | None


def reach(name: str, link: Link, shop: Shop) -> Reached:
    """Ask the device what it is and what it has, at once; `device list` then knows it, too. Raises DeviceError."""
    options = link.options()
    with ThreadPoolExecutor(max_workers=1) as pool:
        asked = pool.submit(probe_state, link)
        answer = probe_device(link.address, runner=shop.runner, environ=shop.environ, options=options)
        state = asked.result()
    if name:
        open_registry(shop.environ).remember(name, answer.said, answer.asked_s)
    device = answer.device
    return Reached(name=name, link=link, device=device, identity=identify(device, shop.catalog), state=state)


def make_ready(there: Reached, shop: Shop, *, method: Method | None = None) -> Ready:
    """Plan the deployment, judge it, and make what is to be sent. Nothing is changed on the device.

    Raises ConfigError when ``method`` or the order's is impossible there, or the image is damaged.
    """
    sources, order = shop.sources, shop.order
    device = there.device
    built = choose_image(sources.images, there.identity, device.l4t, shop.catalog)
    deploy = replace(sources.deploy, blue_green=sources.deploy.blue_green or order.is_blue_green)
    release = _plan_release(built, there, sources, deploy)
    app = there.state.apps.get(sources.app, AppState(name=sources.app))
    plan = DevicePlan(
        name=there.name,
        address=str(there.link.address),
        about=_about(there),
        image=built.path,
        release=release,
        running=_running(app),
        interrupted=app.unfinished.kind if app.unfinished and not app.holder else "",
    )
    if plan.is_current and not plan.interrupted:
        return Ready(plan=plan, built=built, prepared=None)
    subject = Subject(
        device=device,
        identity=there.identity,
        image=built.facts,
        release=release,
        state=there.state,
        gpu=choose_gpu(deploy, device),
        must_have_gpu=deploy.gpu != "none",
        wants_unit=deploy.unit,
        ports=published(deploy),
        verdict=shop.checks.verdict(built, there.identity, device),
    )
    checks = judge_subject(subject, shop.catalog)
    if failures(checks):
        return Ready(plan=replace(plan, checks=checks), built=built, prepared=None)
    with shop.encoding:  # of several devices with the same old image, the first makes the bundle
        prepared = _prepare(built, release, there, shop, method or order.method)
    transfer = _transfer(prepared)
    room = Load(bundle_bytes=transfer.send_bytes, layer_bytes=transfer.layer_bytes, form=release.form)
    plan = replace(plan, checks=(*checks, *judge_load(device, room)), transfer=transfer)
    return Ready(plan=plan, built=built, prepared=None if plan.failures else prepared)


def bring(ready: Ready, there: Reached, shop: Shop, console: Console, pause: Callable[[float], None]) -> Release:
    """Upload the image and load it there, over as many links as it takes; the release as the device's engine names it.

    ``pause`` waits for so many seconds. Raises DeviceError.
    """
    from jetsonx.deploy.bring import RecipeFailedError

    backoff = Backoff()
    while True:
        try:
            return _bring_once(ready, there, shop, console, pause)
        except RecipeFailedError as error:  # noqa: PERF203 - each try is an upload
            if shop.order.method == "recipe" or ready.plan.transfer is None or ready.plan.transfer.method != "recipe":
                raise
            console.warn(f"{error.message}; sending whole layers instead")
            ready = make_ready(there, shop, method="thin")
        except UnreachableError as error:
            if not shop.order.retries:
                raise
            console.say(f"{there.link.address.host}: the link broke ({error.message}); trying again")
            pause(backoff.pause_s())
            there, ready = _again(there, ready, shop)


def _bring_once(ready: Ready, there: Reached, shop: Shop, console: Console, pause: Callable[[float], None]) -> Release:
    prepared, release, link = ready.prepared, ready.plan.release, there.link
    if prepared is None:
        raise DeviceError(f"{link.address.host}: what it was asked about changed meanwhile", hint="run the same again")
    if prepared.bundle is None and release.form == "files":
        return release
    if prepared.bundle is None:
        return _tagged(prepared.plan.there, release, there)
    from jetsonx.deploy.bring import load_bundle, make_payload
    from jetsonx.deploy.sending import Parcel
    from jetsonx.deploy.upload import upload

    bundle, has_python = prepared.bundle, has_usable_python(there.device)
    upload(
        Parcel(path=bundle.path, sha256=bundle.sha256, size=bundle.size_bytes),
        link,
        console=console,
        has_python=has_python,
        bytes_per_s=shop.order.bytes_per_s,
        attempts=None if shop.order.retries else 1,
        sleep=pause,
    )
    if release.form == "files":
        make_payload(link, prepared, app=release.app)
        return release
    started = time.monotonic()
    identity = load_bundle(link, prepared, docker=there.docker, has_python=has_python)
    prepared.arrived(shop.kept)
    console.say(f"{link.address.host}: loaded, the same image, in {time.monotonic() - started:.1f} s")
    return replace(release, image_id=identity)


def _again(there: Reached, ready: Ready, shop: Shop) -> tuple[Reached, Ready]:
    """What is there now: a load may have come to its end although nobody heard of it."""
    try:
        now = reach(there.name, there.link, shop)
    except UnreachableError:
        return there, ready
    return now, make_ready(now, shop)


def _tagged(identity: str, release: Release, there: Reached) -> Release:
    """The image is there, and gets the release's name too."""
    done = there.link.run((*there.docker, "tag", identity, release.reference))
    if not done.ok:
        raise DeviceError(
            f"{there.link.address.host}: the image cannot be named {release.reference}", details=done.tail.strip()
        )
    return replace(release, image_id=identity)


def _plan_release(built: Built, there: Reached, sources: Sources, deploy: DeploySection) -> Release:
    if built.program is None:
        return plan_release(deploy, there.device, built.facts, app=sources.app, secrets=sources.secrets)
    return plan_files_release(
        deploy,
        there.state,
        built.facts,
        built.program,
        app=sources.app,
        env=sources.env,
        secrets=sources.secrets,
    )


def _prepare(built: Built, release: Release, there: Reached, shop: Shop, method: Method) -> Prepared:
    from jetsonx.deploy.bundle import prepare
    from jetsonx.deploy.files import prepare_files

    if built.program is None:
        return prepare(built.image, release.reference, _receiver(there), shop.kept, method)
    app = there.state.apps.get(release.app, AppState(name=release.app))
    return prepare_files(built, release.reference, app, shop.kept, _receiver(there), method)


def _transfer(prepared: Prepared) -> Transfer:
    plan = prepared.plan
    return Transfer(
        method=plan.method,
        send_bytes=prepared.bundle.size_bytes if prepared.bundle else 0,
        layer_bytes=plan.new_layers_bytes,
        why=plan.why,
        prices=plan.prices,
    )


def _receiver(there: Reached) -> Receiver:
    return Receiver(
        images=there.state.images,
        is_containerd=there.device.docker.has_containerd_store,
        has_python=has_usable_python(there.device),
    )


def _running(app: AppState) -> str:
    """The release that runs there and is well, as far as the engine knows."""
    current = app.current
    if current is None or current.state not in ("running", "placed") or current.health == "unhealthy":
        return ""
    return current.labels.get(RELEASE_LABEL, "")


def _about(there: Reached) -> str:
    device, target = there.device, there.identity.target
    what = target.name if target else device.system or device.machine
    docker = device.docker
    engine = f"Docker {docker.engine} with {docker.store}" if docker.by else "no Docker"
    free = f", {amount(docker.free_bytes)} free" if docker.free_bytes is not None else ""
    return f"{what}, {engine}{free}"
