"""``jetsonx verify``."""

from __future__ import annotations

import gc
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jetsonx.cli import options
from jetsonx.cli.artifacts import cannot_check, check_writable, write_file
from jetsonx.cli.context import Context

if TYPE_CHECKING:
    from jetsonx.verify.finding import Severity
    from jetsonx.verify.formats.render import Format
    from jetsonx.verify.profile import Profile
    from jetsonx.verify.report import Report

_FORMATS = ("text", "json", "sarif", "junit", "markdown")
_SEVERITIES = ("error", "warning", "note")
_file = click.Path(path_type=Path)


@click.command("verify")
@click.argument("what", nargs=-1, metavar="[WHAT]...")
@click.option("-t", "--target", "targets", multiple=True, metavar="TARGET", help="The Jetson that it has to run on.")
@click.option("--device", "devices", multiple=True, metavar="NAME|ADDRESS", help="A device to ask what runs there.")
@click.option("-C", "--directory", default=".", type=_file, help="The project.  [default: .]")
@click.option("--format", "style", type=click.Choice(_FORMATS), default="text", show_default=True)
@click.option("--output", type=_file, metavar="FILE", help="Write the report there instead of standard output.")
@click.option("--html", type=_file, metavar="FILE", help="Write it as a page with pictures of the sizes, too.")
@click.option("--fail-on", type=click.Choice(_SEVERITIES), default="error", show_default=True)
@click.option("--waivers", type=_file, metavar="FILE", help="What to live with.  [default: jetsonx-waivers.toml]")
@click.option("--baseline", type=_file, metavar="FILE", help="Count only findings that are not in there.")
@click.option("--write-baseline", type=_file, metavar="FILE", help="Write the findings there, and exit with 0.")
@click.option("--allow-minor", is_flag=True, help="Warn only about code for a lower SM of the generation (JX702).")
@click.option("--deep", is_flag=True, help="Look for device code in the whole of each file.")
@click.option("--hardening", is_flag=True, help="Judge RELRO, PIE, RPATH, BTI and the like, too.")
@click.option("--host-prefix", "host_prefixes", multiple=True, metavar="DIR", help="No file may name this directory.")
@click.option("--jit/--no-jit", default=True, show_default=True, help="Whether PTX may stand in for machine code.")
@click.option("--rules", "list_rules", is_flag=True, help="List the rules, and look at nothing.")
@click.option("--explain", "rule", metavar="RULE", help="Say what a rule means, and how to mend what it finds.")
@options.offline
@click.pass_obj
def command(
    context: Context,
    what: tuple[str, ...],
    targets: tuple[str, ...],
    devices: tuple[str, ...],
    directory: Path,
    style: Format,
    output: Path | None,
    html: Path | None,
    fail_on: Severity,
    waivers: Path | None,
    baseline: Path | None,
    write_baseline: Path | None,
    allow_minor: bool,
    deep: bool,
    hardening: bool,
    host_prefixes: tuple[str, ...],
    jit: bool,
    list_rules: bool,
    rule: str | None,
    offline: bool,
) -> None:
    """Say whether it will run on that Jetson, before it is shipped.

    WHAT is a file, a directory, a static library, a .whl, a .deb, oci:DIR (an OCI layout), docker-archive:FILE (docker
    save, compressed or not) or docker:IMAGE (from the engine); several are one report. Without WHAT, it is what the
    project's last build left in out. Without -t, the targets are the project's, else those of the image's label
    jetsonx.target.

    Exit status: 0 nothing as bad as --fail-on, 1 there is, 2 it could not be checked.

    \b
    jetsonx verify docker:app:1.0 -t orin-nano@36.4.3
    jetsonx verify dist/*.whl -t agx-orin@35.4.1 --format sarif --output verify.sarif
    jetsonx verify --explain JX702
    """
    if list_rules or rule is not None:
        for line in _about_rules(rule, style):
            context.console.out(line)
        return
    gc.disable()  # facts are hundreds of thousands of values without cycles: looking for some takes a fifth of the time
    with cannot_check():
        for path in (output, html, write_baseline):
            check_writable(path)
        from jetsonx.verify.command import Request, verify
        from jetsonx.verify.context import Options

        request = Request(
            what=what,
            targets=targets,
            profiles=tuple(_of_device(context, device) for device in devices),
            directory=directory,
            waivers=waivers,
            baseline=baseline,
            deep=deep,
            options=Options(
                allow_minor=allow_minor,
                jit=jit,
                hardening=hardening,
                host_prefixes=tuple(map(_absolute, host_prefixes)),
            ),
        )
        report = verify(request, context.effects(offline=offline))
        _show(context, report, style, output, html, fail_on)
        if write_baseline is not None:
            _write_baseline(context, report, write_baseline)
            return
    if any(_SEVERITIES.index(finding.severity) <= _SEVERITIES.index(fail_on) for finding in report.findings):
        raise click.exceptions.Exit(1)


def _of_device(context: Context, device: str) -> Profile:
    from jetsonx.device.profile import load_device_profile

    return load_device_profile(device, runner=context.runner, environ=os.environ)


def _absolute(directory: str) -> str:
    return str(Path(directory).absolute())


def _show(
    context: Context, report: Report, style: Format, output: Path | None, html: Path | None, fail_on: Severity
) -> None:
    from jetsonx.verify.formats.render import render

    colour = output is None and context.console.takes_colour
    text = render(report, style, fail_on=fail_on, colour=colour, everything=context.console.verbosity > 0)
    if output is None:
        context.console.out(text)
    else:
        from jetsonx.verify.formats.words import total

        write_file(output, f"{text}\n")
        context.console.say(f"{total(report)}: {output}")
    if html is not None:
        write_file(html, render(report, "html") + "\n")
        context.console.say(f"page: {html}")


def _write_baseline(context: Context, report: Report, path: Path) -> None:
    from jetsonx.verify.baseline import baseline_json

    value = baseline_json(report)
    write_file(path, json.dumps(value, indent=2) + "\n")
    context.console.say(f"{len(report.findings) + len(report.known)} findings written to {path}")


def _about_rules(rule: str | None, style: Format) -> list[str]:
    from jetsonx.verify.formats.rulebook import render_rule, render_rules, rule_json
    from jetsonx.verify.rulebook import load_rules

    rules = load_rules()
    if rule is not None and rule.upper() not in rules:
        from jetsonx.errors import ConfigError

        raise ConfigError(f"there is no rule {rule}", hint="jetsonx verify --rules lists them")
    chosen = [*rules.values()] if rule is None else [rules[rule.upper()]]
    if style == "json":
        return [json.dumps({"schema": 1, "rules": [rule_json(each) for each in chosen]}, indent=2)]
    return [*render_rules(chosen)] if rule is None else [*render_rule(chosen[0])]
