"""Calls of kernels on one machine, made again by a driver in C on another.

    python -m tests.build.replay record --bundle BUNDLE DIRECTORY

writes to DIRECTORY the `calls` of a self-test's kernels, their `results`, and `driver.c`, which makes `results` of
`calls`. A call is the number of the kernel, then each argument: an int64, a double, or the length of a buffer and its
bytes. Its result is what is then in each buffer that is not constant, and what it returned.
"""

import argparse
import struct
from pathlib import Path

from flight import bundle
from flight.kernels.backend import Backend, put_in_use
from flight.kernels.binding import flat
from flight.kernels.registry import C_TYPES, KERNELS, header
from flight.selftest import run

MAX_CALLS = 40  # of each kernel
MAX_BYTES = 64 << 20


class Recorder(Backend):
    """A backend that writes down the first calls of each kernel."""

    def __init__(self, within, calls, results):
        super().__init__(within.name, within.address)
        self.within, self.calls, self.results = within, calls, results
        self.counts = dict.fromkeys((kernel.name for kernel in KERNELS), 0)

    def renewed(self):
        return put_in_use(self)

    def __getattr__(self, name):
        call = getattr(self.__dict__["within"], name)
        index, kernel = next((i, each) for i, each in enumerate(KERNELS) if each.name == name)

        def recorded(*arguments):
            self.counts[name] += 1
            if self.counts[name] > MAX_CALLS or self.calls.tell() > MAX_BYTES:
                return call(*arguments)
            values = list(flat(arguments))
            self.calls.write(struct.pack("<q", index))
            for parameter, value in zip(kernel.parameters, values, strict=True):
                if parameter.pointer:
                    self.calls.write(struct.pack("<q", value.nbytes) + value.tobytes())
                else:
                    self.calls.write(struct.pack("<d" if parameter.kind in ("float", "double") else "<q", value))
            returned = call(*arguments)
            for parameter, value in zip(kernel.parameters, values, strict=True):
                if parameter.pointer and not parameter.const:
                    self.results.write(value.tobytes())
            if kernel.returns != "void":
                self.results.write(struct.pack("<d" if kernel.returns in ("float", "double") else "<q", returned))
            return returned

        setattr(self, name, recorded)
        return recorded


def driver():
    """The driver's source."""
    cases = []
    for index, kernel in enumerate(KERNELS):
        read, given, write = [], [], []
        for i, each in enumerate(kernel.parameters):
            if each.pointer:
                read.append(f"a[{i}] = buffer(&n[{i}]);")
                given.append(f"(void *)a[{i}]")
                write.append(f"{'' if each.const else f'fwrite(a[{i}], 1, n[{i}], stdout); '}free(a[{i}]);")
            else:
                wide = "double" if each.kind in ("float", "double") else "int64_t"
                read.append(f"{wide} v{i}; get(&v{i}, 8);")
                given.append(f"({C_TYPES[each.kind]})v{i}")
        call = f"{kernel.symbol}({', '.join(given)});"
        if kernel.returns != "void":
            wide = "double" if kernel.returns in ("float", "double") else "int64_t"
            call = f"{wide} r = {call}"
            write.append("fwrite(&r, 8, 1, stdout);")
        cases.append(f"    case {index}: {{ {' '.join([*read, call, *write])} break; }}")
    return _DRIVER % {"cases": "\n".join(cases), "most": max(len(kernel.parameters) for kernel in KERNELS)}


_DRIVER = """#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "swath_kernels.h"

static void get(void *to, size_t n) { if (fread(to, 1, n, stdin) != n) exit(2); }

static void *buffer(int64_t *n) {
  get(n, 8);
  void *p = aligned_alloc(64, (size_t)(*n + 64) / 64 * 64);
  if (!p) exit(3);
  get(p, (size_t)*n);
  return p;
}

int main(void) {
  int64_t which, n[%(most)d];
  void *a[%(most)d];
  if (strcmp(swath_abi, SWATH_KERNELS_ABI)) return 4;
  while (fread(&which, 8, 1, stdin) == 1) {
    switch (which) {
%(cases)s
    default: return 5;
    }
  }
  return 0;
}
"""


def record(path, folder):
    """Write the three files, and the header."""
    within = bundle.load(path, None).kernels()
    with (folder / "calls").open("wb") as calls, (folder / "results").open("wb") as results:
        recorder = Recorder(within, calls, results)
        run(recorder)
    (folder / "driver.c").write_text(driver())
    (folder / "swath_kernels.h").write_text(header())
    if never := [name for name, count in recorder.counts.items() if not count]:
        raise SystemExit(f"no call of {', '.join(never)} was recorded")


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("what", choices=["record"])
    options.add_argument("folder", type=Path)
    options.add_argument("--bundle", type=Path, required=True)
    given = options.parse_args()
    record(given.bundle, given.folder)
