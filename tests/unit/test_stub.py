"""The stub libraries, read back by an ELF reader that is not ours."""

from __future__ import annotations

import io
from collections.abc import Mapping

import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.hash import ELFHashSection
from elftools.elf.sections import SymbolTableSection

from jetsonx.sysroot.stub import declared_functions, write_stub

HEADER = """
/* CUresult CUDAAPI cuCommented(int); */
#define cuMemAlloc                          cuMemAlloc_v2
#define cuMemcpyHtoD                        __CUDA_API_PTDS(cuMemcpyHtoD_v2)
#define cuStreamSync                        __CUDA_API_PTSZ(cuStreamSync)
CUresult CUDAAPI cuInit(unsigned int Flags);
__CUDA_DEPRECATED CUresult CUDAAPI cuDeviceGetProperties(CUdevprop *prop, CUdevice dev);
CUresult CUDAAPI cuMemAlloc(CUdeviceptr *dptr, size_t bytesize);
typedef CUresult (CUDAAPI *PFN_cuThing)(int);
"""


def test_declared_functions() -> None:
    assert sorted(declared_functions(HEADER, "cu")) == [
        "cuDeviceGetProperties",
        "cuInit",
        "cuMemAlloc",
        "cuMemAlloc_v2",
        "cuMemcpyHtoD_v2",
        "cuMemcpyHtoD_v2_ptds",
        "cuStreamSync",
        "cuStreamSync_ptsz",
    ]


def test_functions_that_return_text() -> None:
    header = "nvmlReturn_t DECLDIR nvmlInit_v2(void);\nconst DECLDIR char* nvmlErrorString(nvmlReturn_t result);\n"
    assert declared_functions(header, "nvml") == {"nvmlInit_v2": False, "nvmlErrorString": True}


@pytest.mark.parametrize("functions", [{}, {"cuInit": False}, {f"cuF{n}": n % 7 == 0 for n in range(700)}])
def test_an_elf_reader_reads_it(functions: Mapping[str, bool]) -> None:
    data = write_stub("libcuda.so.1", functions, 34)
    elf = ELFFile(io.BytesIO(data))
    assert (elf["e_machine"], elf["e_type"], elf.elfclass, elf.little_endian) == ("EM_AARCH64", "ET_DYN", 64, True)
    dynamic = elf.get_section_by_name(".dynamic")
    assert isinstance(dynamic, DynamicSection)
    assert [getattr(tag, "soname", None) for tag in dynamic.iter_tags("DT_SONAME")] == ["libcuda.so.1"]
    symbols = elf.get_section_by_name(".dynsym")
    assert isinstance(symbols, SymbolTableSection)
    assert {symbol.name for symbol in symbols.iter_symbols()} - {""} == set(functions)
    hashes = elf.get_section_by_name(".hash")
    assert isinstance(hashes, ELFHashSection)
    for name in functions:  # as the dynamic loader looks names up
        found = hashes.get_symbol(name)
        assert found is not None
        assert found.name == name
    assert hashes.get_symbol("cuNowhere") is None
    for segment in elf.iter_segments("PT_LOAD"):
        assert (segment["p_vaddr"] - segment["p_offset"]) % segment["p_align"] == 0


def test_the_code_answers() -> None:
    elf = ELFFile(io.BytesIO(write_stub("libx.so.1", {"xA": False, "xText": True}, 34)))
    text = elf.get_section_by_name(".text")
    assert text is not None
    code = text.data()
    assert code[:4] == bytes.fromhex("40048052")  # mov w0, #34
    assert code[4:8] == code[12:16] == bytes.fromhex("c0035fd6")  # ret
    assert code[16:].startswith(b"stub library")


def test_same_names_same_bytes() -> None:
    first = write_stub("a.so", {"b": False, "a": True}, 1)
    assert first == write_stub("a.so", {"a": True, "b": False}, 1)
    assert first != write_stub("a.so", {"a": True, "b": False}, 2)
