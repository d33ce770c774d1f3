"""The report as JSON values; report.schema.json says what is in it."""

from __future__ import annotations

from collections.abc import Iterator

from jetsonx.elf.facts import ElfFacts, FileFacts
from jetsonx.verify.finding import Finding, fingerprint
from jetsonx.verify.report import Input, Report, device_names

SCHEMA = 1


def report_json(report: Report) -> dict[str, object]:
    """The report as JSON values; ``schema`` counts up when a reader has to change."""
    return {
        "schema": SCHEMA,
        "verdict": report.verdict,
        "targets": list(report.targets),
        "profiles": [{"target": target, "source": source} for target, source in report.profiles],
        "inputs": [_input_json(each) for each in report.inputs],
        "findings": [finding_json(finding) for finding in report.findings],
        "waived": [
            {**finding_json(each.finding), "reason": each.reason, "expires": each.expiry or None}
            for each in report.waived
        ],
        "known": [finding_json(finding) for finding in report.known],
        "gone": [{"rule": gone.rule, "path": gone.path, "detail": gone.detail} for gone in report.gone],
        "files": [_file_json(file, each, report) for each in report.inputs for file in each.files],
        "rules": [rule.id for rule in report.rules],
        "unchecked": list(report.unchecked),
    }


def finding_json(finding: Finding) -> dict[str, object]:
    """One finding, with the fingerprint that baselines and other programs know it by."""
    return {
        "rule": finding.rule,
        "severity": finding.severity,
        "artifact": finding.artifact,
        "path": finding.path,
        "message": finding.message,
        "fix": finding.fix,
        "targets": list(finding.targets),
        "symbols": list(finding.symbols),
        "library": finding.library,
        "layer": finding.layer,
        "detail": finding.detail,
        "fingerprint": fingerprint(finding.rule, finding.path, finding.detail),
    }


def _input_json(each: Input) -> dict[str, object]:
    return {
        "name": each.name,
        "kind": each.kind,
        "digest": each.digest,
        "files": each.file_count,
        "size_bytes": each.size_bytes,
        "layers": [
            {
                "digest": layer.digest,
                "size_bytes": layer.size_bytes,
                "files_bytes": layer.files_bytes,
                "created_by": layer.created_by,
            }
            for layer in each.layers
        ],
    }


def _file_json(file: FileFacts, origin: Input, report: Report) -> dict[str, object]:
    facts: dict[str, object] = {"path": file.path, "kind": file.kind}
    if len(report.inputs) > 1:
        facts["artifact"] = origin.name
    if file.interpreter_line:
        facts["interpreter_line"] = file.interpreter_line
    if file.sha256:
        facts["sha256"] = file.sha256
    if file.reason:
        facts["reason"] = file.reason
    if file.elf is not None:
        facts |= _elf_json(file.elf)
    if file.members:
        facts["members"] = [{"name": name, "machine": elf.machine} for name, elf in file.members]
    if file.fatbins:
        facts["device"] = list(device_names(file))
        facts["fatbins"] = [
            {
                "offset": fatbin.offset,
                "has_kernels": fatbin.has_kernels,
                "is_relocatable": fatbin.is_relocatable,
                "is_outside": fatbin.is_outside,
                "entries": [
                    {
                        "kind": x.kind,
                        "name": x.name,
                        "isa": x.isa and f"{x.isa[0]}.{x.isa[1]}",
                        "size_bytes": x.size_bytes,
                        "toolkit": x.toolkit and f"{x.toolkit[0]}.{x.toolkit[1]}",
                    }
                    for x in fatbin.entries
                ],
            }
            for fatbin in file.fatbins
        ]
    return facts


def _elf_json(elf: ElfFacts) -> dict[str, object]:
    return {
        "machine": elf.machine,
        "bits": elf.bits,
        "type": elf.type,
        "interpreter": elf.interpreter,
        "soname": elf.soname,
        "needed": list(elf.needed),
        "rpath": elf.rpath,
        "runpath": elf.runpath,
        "versions": {library: list(versions) for library, versions in _versions_by_library(elf)},
        "is_stripped": elf.is_stripped,
    }


def _versions_by_library(elf: ElfFacts) -> Iterator[tuple[str, list[str]]]:
    for library in dict.fromkeys(need.library for need in elf.version_needs):
        yield library, [need.version for need in elf.version_needs if need.library == library]
