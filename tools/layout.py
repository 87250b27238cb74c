#!/usr/bin/env python3
"""Finds out which functions of a program run, for the order in which the linker lays them out.

    layout.py PROGRAM SCRIPT

runs the shell script SCRIPT, with $PROGRAM in its environment, under ptrace: every function of PROGRAM, in every
process that SCRIPT and its children make of it, has a breakpoint at its beginning, which is taken away when it is hit.
Prints a linker script that puts these functions before all others: first those that stay, what both the daemon and the
keeper run, then each alone, then the commands; each in the order in which they were hit. PROGRAM must have symbols.
"""

import collections
import ctypes
import itertools
import os
import re
import signal
import subprocess
import sys

PTRACE_TRACEME, PTRACE_CONT, PTRACE_GETREGS, PTRACE_SETREGS, PTRACE_DETACH = 0, 7, 12, 13, 17
PTRACE_SETOPTIONS = 0x4200
# Fork, vfork, clone and exec are told; what they make is traced too.
OPTIONS = 0x2 | 0x4 | 0x8 | 0x10
EVENT_EXEC = 4
WALL = 0x40000000
RIP = 16
BREAKPOINT = b"\xcc"

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(request, pid, data=0):
    return libc.ptrace(request, pid, None, data)


class Registers(ctypes.Structure):
    _fields_ = [("words", ctypes.c_ulonglong * 27)]


class Program:
    def __init__(self, path):
        self.path = os.path.realpath(path)
        self.names = collections.defaultdict(list)
        for line in subprocess.check_output(["nm", "--defined-only", self.path], text=True).splitlines():
            address, kind, name = line.split(None, 2)
            if kind in "tTwW" and (name == "main" or name.startswith(("_ZN", "_R"))):
                self.names[int(address, 16)].append(name)
        # Of each address: when each role was there first.
        self.hit = collections.defaultdict(dict)
        self.clock = itertools.count()
        self.roles = {}

    def role(self, pid):
        """Which of its roles a process, or a thread of one, has."""
        if pid not in self.roles:
            with open(f"/proc/{pid}/cmdline") as line:
                word = line.read().split("\0")[1]
            self.roles[pid] = word if word in STAYING else "command"
        return self.roles[pid]

    def order(self):
        """The addresses, those of what stays together."""
        def place(address):
            roles = self.hit[address]
            staying = tuple(role for role in STAYING if role in roles)
            groups = [tuple(STAYING), ("daemon",), ("keeper",), ()]
            return groups.index(staying), min(roles[role] for role in staying or roles)
        return sorted(self.hit, key=place)

    def base(self, pid):
        """Where the first byte of the file is in memory."""
        with open(f"/proc/{pid}/maps") as maps:
            return next(int(line.split("-")[0], 16) for line in maps if line.rstrip().endswith(self.path))

    def plant(self, pid):
        base = self.base(pid)
        with open(f"/proc/{pid}/maps") as maps:
            parts = [line.split() for line in maps if line.rstrip().endswith(self.path)]
        (begin, end), = [map(lambda n: int(n, 16), part[0].split("-")) for part in parts if "x" in part[1]]
        with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
            memory.seek(begin)
            text = bytearray(memory.read(end - begin))
            original = {}
            for address in self.names:
                at = base + address - begin
                if 0 <= at < len(text):
                    original[base + address] = bytes(text[at:at + 1])
                    text[at:at + 1] = BREAKPOINT
            memory.seek(begin)
            memory.write(text)
        return base, original


def trace(program, script):
    child = os.fork()
    if child == 0:
        os.dup2(2, 1)
        ptrace(PTRACE_TRACEME, 0)
        os.execvpe("sh", ["sh", "-e", script], {**os.environ, "PROGRAM": program.path})
    os.waitpid(child, WALL)
    ptrace(PTRACE_SETOPTIONS, child, OPTIONS)
    ptrace(PTRACE_CONT, child)
    planted, known, status_of_script = None, {child}, None
    while True:
        try:
            pid, status = os.waitpid(-1, WALL)
        except ChildProcessError:
            return status_of_script
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            if pid == child:
                status_of_script = status
            continue
        stopped_by, event = os.WSTOPSIG(status), status >> 16
        if event == EVENT_EXEC:
            known.add(pid)
            program.roles.pop(pid, None)
            if os.readlink(f"/proc/{pid}/exe") == program.path:
                # The same for all: the tracer has switched randomisation off.
                planted = program.plant(pid)
            elif os.path.basename(os.readlink(f"/proc/{pid}/exe")) in WORKERS:
                ptrace(PTRACE_DETACH, pid)
                continue
            ptrace(PTRACE_CONT, pid)
        elif event or (stopped_by == signal.SIGSTOP and pid not in known):
            known.add(pid)
            ptrace(PTRACE_CONT, pid)
        elif stopped_by == signal.SIGTRAP and planted and step_over(program, pid, *planted):
            ptrace(PTRACE_CONT, pid)
        else:
            ptrace(PTRACE_CONT, pid, stopped_by)


def step_over(program, pid, base, original):
    registers = Registers()
    ptrace(PTRACE_GETREGS, pid, ctypes.byref(registers))
    address = registers.words[RIP] - 1
    if address not in original:
        return False
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(address)
        memory.write(original[address])
    program.hit[address - base].setdefault(program.role(pid), next(program.clock))
    registers.words[RIP] = address
    ptrace(PTRACE_SETREGS, pid, ctypes.byref(registers))
    return True


# The roles that are there all the time.
STAYING = ["daemon", "keeper"]
# What stands for an app: it is let go.
WORKERS = {"sleep", "node"}


def patterns(program):
    """Matches the sections of the functions that were hit: whatever hash the compiler gives them where that is clear,
    and also their copies, to which the linker's optimiser gives numbers."""
    without_hash = {name: re.sub(r"17h[0-9a-f]{16}E.*", "17h", name) for names in program.names.values() for name in names}
    count = collections.Counter(without_hash.values())
    for address in program.order():
        for name in program.names[address]:
            if name == "main":
                yield name
                continue
            short = without_hash[name]
            exact = re.sub(r"(E)(\.llvm)?\.[0-9]+$", r"\1", name)
            yield (short if count[short] == 1 else exact).replace("[", "?").replace("]", "?") + "*"


def main():
    path, script = sys.argv[1:]
    libc.personality(0x0040000)
    program = Program(path)
    status = trace(program, script)
    if status:
        sys.exit(f"the script failed: {status}")
    print("/* Made by `make layout`: the functions that the supervisor and its commands run, before all others, so that")
    print("   few pages of the program are in memory. Names that are not there any more do no harm. */")
    print("SECTIONS\n{\n  .text.first :\n  {")
    for one in dict.fromkeys(patterns(program)):
        # Cold ones are in sections with a word before the name.
        print(f"    *(.text.*{one})")
    print("  }\n}\nINSERT BEFORE .text;")
    print(f"{len(program.hit)} of {len(program.names)} functions", file=sys.stderr)


main()
