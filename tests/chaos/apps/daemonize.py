"""What old daemons do: the process that was started ends at once, a grandchild goes on."""
import os
import time

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True:
            time.sleep(1000)
    os._exit(0)
os._exit(0)
