"""Writes what no log expects: argv[1] says what."""
import os
import sys
import time

how = sys.argv[1]
if how == "endless":
    for _ in range(int(sys.argv[2])):
        os.write(1, b"x" * 1048576)
elif how == "bytes":
    os.write(1, bytes(range(256)) * 100 + b"\n")
    os.write(2, b"\xff\xfe\0\0" * 1000)
elif how == "flood":
    end = time.time() + float(sys.argv[2])
    chunk = b"a line that is written again and again\n" * 1000
    while time.time() < end:
        os.write(1, chunk)
os.write(2, b"\ndone\n")
while True:
    time.sleep(1000)
