"""Programs that start in some root file systems and not in others, with what is to be predicted of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

SUITES = ("bullseye", "bookworm", "trixie")

HELLO = '#include <stdio.h>\nint main(void) { puts("ran"); return 0; }\n'
CALL = '#include <stdio.h>\nint f(void);\nint main(void) { if (f() == 7) puts("ran"); return 0; }\n'
G_BY_F = "int f(void); int g(void) { return f(); }\n"
H_BY_G = "int g(void); int h(void) { return g(); }\n"
CALL_G = CALL.replace("f()", "g()").replace("f(void)", "g(void)")
F = "int f(void) { return 7; }\n"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One call of the cross compiler: ``code`` becomes ``out``, a path below the case's directory in the root.

    "build/…" is outside of the root, "system/…" is the root's library directory. Of ``flags``, ``{lib}`` is the case's
    ``lib``, ``{build}`` the place outside, ``{case}`` its name, and ``{old}``, ``{new}`` are directories with the
    libraries of bullseye and of trixie.
    """

    out: str
    code: str = HELLO
    flags: str = ""
    language: str = "c"
    patch: Callable[[bytes], bytes] | None = None


@dataclass(frozen=True, kw_only=True)
class Case:
    """``app`` of these steps. ``fails``: by suite, the rule that is to say so; suites that are not named run it.

    ``words`` are in what the failing program or the loader says; "SIGILL" is the signal. ``features`` are those of the
    profile's CPU and ``cpu`` is QEMU's.
    """

    name: str
    steps: tuple[Step, ...]
    fails: Mapping[str, str] = field(default_factory=dict)
    words: str = ""
    suites: tuple[str, ...] = SUITES
    cpu: str = "max"
    features: frozenset[str] = frozenset({"lse", "fp16", "dotprod", "lrcpc", "i8mm", "sve"})
    env: Mapping[str, str] = field(default_factory=dict)


def app(code: str = HELLO, flags: str = "", **changes: object) -> Step:
    """The program: linked with bullseye's C library unless the flags say otherwise, so that all suites run it."""
    flags = flags if "libc.so.6" in flags or "-static" in flags else f"{flags} {OLD_C}"
    return Step(out="bin/app", code=code, flags=f"-Wl,-z,now -Wl,--allow-shlib-undefined {flags}", **changes)  # type: ignore[arg-type]


def lib(name: str, code: str = F, flags: str = "", out: str = "lib") -> Step:
    """A shared library with that soname."""
    return Step(out=f"{out}/{name}", code=code, flags=f"-shared -fPIC -nostdlib -Wl,-soname,{name} {flags}")


def everywhere(rule: str) -> dict[str, str]:
    return dict.fromkeys(SUITES, rule)


OLD_C = "{old}/libc.so.6 {old}/ld-linux-aarch64.so.1"
NEW_C = "{new}/libc.so.6 {new}/ld-linux-aarch64.so.1"
BESIDE = "-Wl,-rpath,$ORIGIN/../lib -Wl,--enable-new-dtags"
A57 = frozenset[str]()
NO_SVE = frozenset({"lse", "fp16", "dotprod", "lrcpc", "i8mm"})

MAP_1, MAP_2 = "V_1 { global: f; local: *; };", "V_1 { global: f; local: *; }; V_2 { global: g; } V_1;"


def repeated(instruction: str) -> str:
    """A program that runs the instruction thirty times, as real code would have more of its kind."""
    body = f".arch armv8.6-a+sve\\n.rept 30\\n{instruction}\\n.endr"
    clobbers = '"memory", "v0", "v1", "v2", "x1"'
    start = "#include <stdio.h>\nint main(void) {\n"
    return f'{start}  __asm__ volatile("{body}" ::: {clobbers});\n  puts("ran");\n  return 0;\n}}\n'


ATOMICS = """
#include <stdio.h>
static long a[6];
int main(void) {
  long sum = __atomic_fetch_add(&a[0], 1, 5) + __atomic_fetch_add(&a[1], 1, 5) + __atomic_fetch_or(&a[2], 1, 5);
  sum += __atomic_exchange_n(&a[3], 1, 5) + __atomic_fetch_xor(&a[4], 1, 5) + __atomic_fetch_add(&a[5], 2, 0);
  if (sum == 0) puts("ran");
  return 0;
}
"""

OPEN = """
#include <dlfcn.h>
#include <stdio.h>
int main(void) {
  if (!dlopen("LIBRARY", RTLD_NOW)) { fputs(dlerror(), stderr); return 1; }
  puts("ran");
  return 0;
}
"""
TLS = '__thread char big[4096] __attribute__((tls_model("initial-exec")));\nchar *f(void) { return big; }\n'
POINTERS = (
    "static int seven(void) { return 7; }\nint (*volatile table[2])(void) = {seven, seven};\n"
    "int f(void) { return table[1](); }\n"
)


def misaligned(data: bytes) -> bytes:
    """The alignment of every load segment made larger than what its place allows."""
    out = bytearray(data)
    start, step, count = int.from_bytes(out[32:40], "little"), 56, int.from_bytes(out[56:58], "little")
    for at in range(start, start + step * count, step):
        if out[at : at + 4] == b"\1\0\0\0":
            out[at + 48 : at + 56] = (1 << 21).to_bytes(8, "little")
    return bytes(out)


CASES = (
    Case(name="plain", steps=(app(),)),
    Case(name="static", steps=(app(flags="-static"),)),
    Case(
        name="glibc234",
        steps=(Step(out="bin/app"),),
        fails={"bullseye": "JX201"},
        words="version `GLIBC_2.34' not found",
    ),
    Case(
        name="glibc238",
        steps=(
            app(
                "#include <stdio.h>\n#include <stddef.h>\nsize_t strlcpy(char *, const char *, size_t);\n"
                'int main(void) { char t[4]; strlcpy(t, "ran", 4); puts(t); return 0; }\n',
                NEW_C,
            ),
        ),
        fails={"bullseye": "JX201", "bookworm": "JX201"},
        words="version `GLIBC_2.38' not found",
    ),
    Case(
        name="cxx",
        steps=(
            app(
                "#include <iostream>\n#include <string>\n"
                # crt1.o of today leaves constructors to a C library newer than bullseye's, so this one is called here
                'int main() { std::ios_base::Init init; std::string s = "ran"; std::cout << s << std::endl; }\n',
                "{old}/libstdc++.so.6 {old}/libc.so.6",
                language="c++",
            ),
        ),
    ),
    Case(
        name="cxx30",
        steps=(
            app(
                "#include <cstdio>\n#include <condition_variable>\n#include <mutex>\n"
                "int main(int n, char **) { std::mutex m; std::unique_lock<std::mutex> l(m); std::condition_variable c;"
                ' if (n > 9) c.wait(l); std::puts("ran"); }\n',
                "{new}/libstdc++.so.6 {old}/libc.so.6 {old}/libm.so.6 {old}/libpthread.so.0",
                language="c++",
            ),
        ),
        fails={"bullseye": "JX201"},
        words="version `GLIBCXX_3.4.30' not found",
    ),
    Case(
        name="cxx32",
        steps=(
            app(
                '#include <cstdio>\nextern "C" void _ZSt21ios_base_library_initv();\n'
                'int main() { _ZSt21ios_base_library_initv(); std::puts("ran"); }\n',
                "{new}/libstdc++.so.6 {old}/libc.so.6 {old}/libm.so.6 {old}/libpthread.so.0",
                language="c++",
            ),
        ),
        fails={"bullseye": "JX201", "bookworm": "JX201"},
        words="version `GLIBCXX_3.4.32' not found",
    ),
    # -- libraries -----------------------------------------------------------------------------------------------------
    Case(name="beside", steps=(lib("libbeside.so.1"), app(CALL, f"{{lib}}/libbeside.so.1 {BESIDE}"))),
    Case(name="insystem", steps=(lib("libinsystem.so.1", out="system"), app(CALL, "{system}/libinsystem.so.1"))),
    Case(
        name="missing",
        steps=(lib("libmissing.so.1", out="build"), app(CALL, "{build}/libmissing.so.1")),
        fails=everywhere("JX301"),
        words="libmissing.so.1: cannot open shared object file",
    ),
    Case(
        name="wrongpath",
        steps=(lib("libwrongpath.so.1"), app(CALL, "{lib}/libwrongpath.so.1 -Wl,-rpath,/opt/wrongpath/lib64")),
        fails=everywhere("JX301"),
        words="libwrongpath.so.1: cannot open shared object file",
    ),
    Case(
        name="byenv",
        steps=(lib("libbyenv.so.1"), app(CALL, "{lib}/libbyenv.so.1")),
        env={"LD_LIBRARY_PATH": "/opt/byenv/lib"},
    ),
    Case(
        name="runpathchain",
        steps=(
            lib("librunpathchain2.so"),
            lib("librunpathchain.so", G_BY_F, "{lib}/librunpathchain2.so"),
            app(
                CALL_G,
                f"{{lib}}/librunpathchain.so {BESIDE}",
            ),
        ),
        fails=everywhere("JX301"),
        words="librunpathchain2.so: cannot open shared object file",
    ),
    Case(
        name="rpathchain",
        steps=(
            lib("librpathchain2.so"),
            lib("librpathchain.so", G_BY_F, "{lib}/librpathchain2.so"),
            app(
                CALL_G,
                "{lib}/librpathchain.so -Wl,-rpath,$ORIGIN/../lib -Wl,--disable-new-dtags",
            ),
        ),
    ),
    Case(
        name="runpathstops",
        steps=(
            lib("librunpathstops2.so"),
            lib(
                "librunpathstops.so",
                G_BY_F,
                "{lib}/librunpathstops2.so -Wl,-rpath,/opt/runpathstops/none -Wl,--enable-new-dtags",
            ),
            app(
                CALL_G,
                "{lib}/librunpathstops.so -Wl,-rpath,$ORIGIN/../lib -Wl,--disable-new-dtags",
            ),
        ),
        fails=everywhere("JX301"),
        words="librunpathstops2.so: cannot open shared object file",
    ),
    Case(
        name="foreign",
        steps=(
            lib("libforeign.so.1", out="system"),
            app(CALL, f"{{system}}/libforeign.so.1 {BESIDE}"),
            Step(out="lib/libforeign.so.1", code=F, flags="-shared -fPIC -nostdlib", language="x86"),
        ),
    ),
    # -- symbols -------------------------------------------------------------------------------------------------------
    Case(
        name="lostsymbol",
        steps=(
            lib("liblostsymbol.so.1", out="build"),
            lib("liblostsymbol.so.1", "int other(void) { return 7; }\n"),
            app(CALL, f"{{build}}/liblostsymbol.so.1 {BESIDE}"),
        ),
        fails=everywhere("JX302"),
        words="undefined symbol: f",
    ),
    Case(
        name="weaksymbol",
        steps=(
            lib("libweaksymbol.so.1", "int other(void) { return 7; }\n"),
            app(
                "#include <stdio.h>\nint other(void);\nint f(void) __attribute__((weak));\n"
                'int main(void) { if (other() == 7 && !f) puts("ran"); return 0; }\n',
                f"{{lib}}/libweaksymbol.so.1 {BESIDE}",
            ),
        ),
    ),
    Case(
        name="oldversion",
        steps=(
            lib("liboldversion.so.1", F + "int g(void) { return 7; }\n", "-Wl,--version-script={MAP_2}", out="build"),
            lib("liboldversion.so.1", F, "-Wl,--version-script={MAP_1}"),
            app(CALL_G, f"{{build}}/liboldversion.so.1 {BESIDE}"),
        ),
        fails=everywhere("JX201"),
        words="version `V_2' not found",
    ),
    Case(
        name="shadowed",
        steps=(
            lib("libshadowed.so.1", F + "int g(void) { return 7; }\n", "-Wl,--version-script={MAP_2}", out="system"),
            lib(
                "libshadowed2.so",
                "int g(void); int h(void) { return g(); }\n",
                "{system}/libshadowed.so.1",
                out="system",
            ),
            lib("libshadowed.so.1", F, "-Wl,--version-script={MAP_1}"),
            app(
                "#include <stdio.h>\nint f(void); int h(void);\n"
                'int main(void) { if (f() + h()) puts("ran"); return 0; }\n',
                f"{{lib}}/libshadowed.so.1 {{system}}/libshadowed2.so {BESIDE}",
            ),
        ),
        fails=everywhere("JX201"),
        words="version `V_2' not found",
    ),
    # -- the file itself -----------------------------------------------------------------------------------------------
    Case(
        name="interpreter",
        steps=(app(flags="-Wl,-dynamic-linker,/lib/ld-gone.so.1"),),
        fails=everywhere("JX103"),
        words="ld-gone.so.1",
    ),
    Case(
        name="misaligned",
        steps=(
            Step(
                out="lib/libmisaligned.so.1",
                code=F,
                flags="-shared -fPIC -nostdlib -Wl,-soname,libmisaligned.so.1",
                patch=misaligned,
            ),
            app(CALL, f"{{lib}}/libmisaligned.so.1 {BESIDE}"),
        ),
        fails={"bullseye": "JX506"},
        words="not properly aligned",
    ),
    Case(
        name="relr",
        steps=(
            Step(out="build/f.o", code=POINTERS, flags="-c -fPIC"),
            Step(out="lib/librelr.so.1", language="lld", flags="-shared {RELR} -soname librelr.so.1 {build}/f.o"),
            app(CALL, f"{{lib}}/librelr.so.1 {BESIDE}"),
        ),
        fails={"bullseye": "JX202"},
        words="uncaught target signal",
    ),
    Case(
        name="statictls",
        steps=(
            Step(out="build/f.o", code=TLS, flags="-c -fPIC"),
            Step(out="lib/libstatictls.so.1", language="lld", flags="-shared -soname libstatictls.so.1 {build}/f.o"),
            app(OPEN.replace("LIBRARY", "libstatictls.so.1"), f"{{old}}/libdl.so.2 {BESIDE}"),
        ),
        fails=everywhere("JX508"),
        words="cannot allocate memory in static TLS block",
    ),
    Case(
        name="execstack",
        steps=(
            lib("libexecstack.so.1", flags="-Wl,-z,execstack"),
            app(OPEN.replace("LIBRARY", "libexecstack.so.1"), f"{{old}}/libdl.so.2 {BESIDE}"),
        ),
        suites=("trixie",),  # the rule is about glibc from 2.41 on
        fails={"trixie": "JX501"},
        words="cannot enable executable stack",
    ),
    # -- the CPU -------------------------------------------------------------------------------------------------------
    Case(
        name="lse",
        steps=(app(ATOMICS, "-O2 -march=armv8.2-a"),),
        cpu="cortex-a57",
        features=A57,
        fails=everywhere("JX601"),
        words="SIGILL",
    ),
    Case(name="lsemax", steps=(app(ATOMICS, "-O2 -march=armv8.2-a"),)),
    Case(name="outline", steps=(app(ATOMICS, "-O2"),), cpu="cortex-a57", features=A57),
    Case(
        name="sve",
        steps=(app(repeated("add z0.s, z0.s, z1.s")),),
        cpu="max,sve=off",
        features=NO_SVE,
        fails=everywhere("JX602"),
        words="SIGILL",
    ),
    Case(name="svemax", steps=(app(repeated("add z0.s, z0.s, z1.s")),)),
    Case(
        name="dotprod",
        steps=(app(repeated("sdot v0.4s, v1.16b, v2.16b")),),
        cpu="cortex-a57",
        features=A57,
        fails=everywhere("JX602"),
        words="SIGILL",
    ),
    Case(
        name="fp16",
        steps=(app(repeated("fadd v0.8h, v1.8h, v2.8h")),),
        cpu="cortex-a57",
        features=A57,
        fails=everywhere("JX602"),
        words="SIGILL",
    ),
    Case(
        name="lrcpc",
        steps=(app(repeated("ldapr x1, [sp]")),),
        cpu="cortex-a57",
        features=A57,
        fails=everywhere("JX602"),
        words="SIGILL",
    ),
)
