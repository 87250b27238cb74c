"""Starts new processes at the very moment it is told to stop; they ignore signals and have sessions of their own."""
import os
import signal
import time


def stop(number, frame):
    for _ in range(5):
        if os.fork() == 0:
            os.setsid()
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if os.fork() > 0:
                os._exit(0)
            while True:
                time.sleep(1000)
    os._exit(0)


signal.signal(signal.SIGINT, stop)
signal.signal(signal.SIGTERM, stop)
print("ready", flush=True)
while True:
    time.sleep(1000)
