"""``jetsonx builder``: other machines that build."""

from __future__ import annotations

import json
import os

import click

from jetsonx.cli import options
from jetsonx.cli.context import Context


@click.group("builder")
def command() -> None:
    """Build on ARM machines: Jetsons and servers with Docker, reached by ssh, and what else buildx can drive.

    `jetsonx build --engine docker --strategy native` sends builds there; so does plain docker buildx.
    """


@command.command()
@click.argument("host", required=False, metavar="[USER@HOST|vm:NAME]")
@click.option("--kubernetes", is_flag=True, help="A builder in the cluster that kubectl uses, by buildx's driver.")
@click.option("--remote", metavar="URL", help="A BuildKit that runs already, such as tcp://192.168.55.1:1234.")
@click.option("--name", default="", help="Name of the builder.  [default: jetsonx-HOST]")
@click.option(
    "--driver",
    type=click.Choice(["docker", "docker-container"]),
    default="docker",
    show_default=True,
    help="The BuildKit inside the engine there, or one of its own in a container.",
)
@click.option("--driver-opt", "driver_opts", multiple=True, metavar="NAME=VALUE", help="Passed on to buildx.")
@click.option(
    "--platform",
    type=click.Choice(["linux/arm64", "linux/amd64"]),
    default="linux/arm64",
    show_default=True,
    help="What it builds for.",
)
@click.option("--emulated", is_flag=True, help="Take a machine of another processor that has QEMU for this platform.")
@click.pass_obj
def add(
    obj: Context,
    host: str | None,
    kubernetes: bool,
    remote: str | None,
    name: str,
    driver: str,
    driver_opts: tuple[str, ...],
    platform: str,
    emulated: bool,
) -> None:
    """Make a builder node of the machine at USER@HOST, after checking that it can build.

    \b
    jetsonx builder add jetson@192.168.55.1
    jetsonx builder add ssh://jetson@orin.local:2222 --name orin
    jetsonx builder add arm@server --driver docker-container --name farm
    jetsonx builder add --remote tcp://buildkit.example:1234
    jetsonx builder add vm:dev                        # of jetsonx vm
    jetsonx builder add --kubernetes --driver-opt namespace=ci

    ssh has to get in by itself: with a key, and with the machine's own key known. With the --name of a builder that has
    no node for this platform yet, the node joins it; the driver docker has a builder for each machine. Prints the
    builder's name.
    """
    from jetsonx.engine.builder_change import add_node
    from jetsonx.engine.node_plan import build_words, plan_device, plan_elsewhere, plan_virtual
    from jetsonx.vm.place import PREFIX, open_places

    if sum(map(bool, (host, kubernetes, remote is not None))) != 1:
        raise click.UsageError("give one of USER@HOST, --kubernetes and --remote URL")
    if host and host.startswith(PREFIX):
        places = open_places(os.environ)
        places.check_running(host)
        request = plan_virtual(
            places.load(host)[0],
            driver="docker" if driver == "docker" else "docker-container",
            name=name,
            platform=platform,
            driver_opts=driver_opts,
        )
    elif host:
        request = plan_device(
            host,
            driver="docker" if driver == "docker" else "docker-container",
            name=name,
            platform=platform,
            driver_opts=driver_opts,
        )
    else:
        if remote == "":
            raise click.UsageError("--remote needs a URL")
        request = plan_elsewhere(remote or "", name=name, platform=platform, driver_opts=driver_opts)
    node = add_node(request, emulated=emulated, runner=obj.runner, console=obj.console, environ=os.environ)
    obj.console.out(node.builder)
    obj.console.say(f"use it: docker {' '.join(build_words(node))} --platform {platform} .")


@command.command("list")
@options.as_json
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.1, max=600),
    default=8.0,
    show_default=True,
    help="Seconds to wait for an answer; all are asked at once.",
)
@click.pass_obj
def list_nodes(obj: Context, as_json: bool, timeout_s: float) -> None:
    """List the builder nodes, those of jetsonx and of buildx, and ask each what it is and how long it takes to answer.

    ANSWER is the time from asking to the answer, login included.
    """
    from jetsonx.engine.builder_list import nodes_json, render_nodes
    from jetsonx.engine.builder_probe import probe_nodes
    from jetsonx.engine.builders import load_known
    from jetsonx.host.ask import Ask

    docker, known = load_known(obj.runner, os.environ)
    states = probe_nodes(Ask(obj.runner), docker, known, limit_s=timeout_s)
    lines = [json.dumps(nodes_json(states), indent=2)] if as_json else render_nodes(states)
    for line in lines:
        obj.console.out(line)


@command.command()
@click.argument("name")
@click.pass_obj
def remove(obj: Context, name: str) -> None:
    """Take back what `add` made under NAME: a builder, or one of its nodes. The machine may be off.

    Builders that jetsonx did not make are left alone. Images that were built stay in the engine of the machine.
    """
    from jetsonx.engine.builder_change import remove_nodes

    removed, stays = remove_nodes(name, runner=obj.runner, environ=os.environ)
    for node in removed:
        obj.console.out(f"removed {node.builder}" + (f"/{node.name}" if node.name != node.builder else ""))
    for line in stays:
        obj.console.warn(f"something may be left on the machine: {line}")
