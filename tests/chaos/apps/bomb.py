"""Forks like a bomb, up to the number given; every process ignores the polite signals."""
import os
import signal
import sys
import time

for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
left = int(sys.argv[1])
while left > 1:
    if os.fork() == 0:
        left //= 2
        if left % 2:
            os.setsid()
    else:
        left -= left // 2
while True:
    time.sleep(1000)
