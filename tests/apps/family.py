"""Starts descendants of every kind: a child, one in a session of its own, and a double-forked one. Prints their pids."""
import os
import signal
import sys
import time


def sleeper():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        time.sleep(1000)


def child(new_session=False, twice=False):
    read, write = os.pipe()
    if os.fork() == 0:
        if new_session:
            os.setsid()
        if twice and os.fork() > 0:
            os._exit(0)
        os.write(write, str(os.getpid()).encode() + b"\n")
        sleeper()
    line = os.read(read, 32)
    return int(line)


pids = [child(), child(new_session=True), child(new_session=True, twice=True)]
print(" ".join(map(str, pids)), flush=True)
if "crash" in sys.argv:
    os._exit(5)
signal.pause()
