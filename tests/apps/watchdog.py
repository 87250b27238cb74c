"""Says that it is ready and, ten times a second, that it lives (sd_notify), until the file CONTROL/hang.PID is there."""
import faulthandler
import os
import signal
import socket
import time

faulthandler.register(signal.SIGUSR1)
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)


def say(what):
    notify.sendto(what, os.environ["NOTIFY_SOCKET"])


def hang_here():
    while True:
        time.sleep(60)


assert int(os.environ["WATCHDOG_USEC"]) > 0
say(b"READY=1")
while True:
    say(b"WATCHDOG=1")
    if os.path.exists(f"{os.environ['CONTROL']}/hang.{os.getpid()}"):
        hang_here()
    time.sleep(0.1)
