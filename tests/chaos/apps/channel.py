"""Misuses its end of the IPC channel: argv[1] says how."""
import os
import sys
import time

channel = int(os.environ["NODE_CHANNEL_FD"])
how = sys.argv[1]


def write(data):
    view = memoryview(data)
    while view:
        view = view[os.write(channel, view):]


def flood(line):
    end = time.time() + float(sys.argv[2])
    chunk = line * (65536 // len(line) + 1)
    while time.time() < end:
        write(chunk)


os.set_blocking(channel, True)
print("begins", flush=True)
if how == "garbage":
    for line in (b"\n\n\n", b"\xff\xfe\0\n", b"{}\n", b"[]\n", b"null\n", b"{\"cmd\":\n", b"[" * 100000 + b"\n",
                 b"\x02{}\n", b"\"\\ud800\"\n", b"1e999999\n"):
        write(line * 3)
elif how == "endless":
    for _ in range(int(sys.argv[2])):
        write(b"x" * 1048576)
elif how == "flood":
    flood(b'{"type":"process:msg","data":{"hello":1}}\n')
elif how == "flood-axm":
    flood(b'{"type":"axm:monitor","data":{"metric":{"value":1,"type":"x","agg_type":"avg"}}}\n')
elif how == "many-metrics":
    end = time.time() + float(sys.argv[2])
    number = 0
    while time.time() < end:
        number += 1
        write(b'{"type":"axm:monitor","data":{"metric%d":{"value":"%s"}}}\n' % (number, b"v" * 1000))
elif how == "cluster-lies":
    # Once it counts as started.
    time.sleep(2)
    for act in (b'"queryServer"', b'"listening"', b'"close"', b'"exitedAfterDisconnect"', b'"online"', b'"nonsense"', b"7"):
        for rest in (b"", b',"seq":1', b',"seq":-1,"address":7,"port":"x","addressType":99,"index":-1',
                     b',"seq":2,"address":null,"port":99999999,"addressType":4,"flags":-1,"backlog":-1,"index":0',
                     b',"key":"%s"' % (b"k" * 70000), b',"ack":99999,"accepted":true'):
            write(b'{"cmd":"NODE_CLUSTER","act":' + act + rest + b"}\n")
    write(b'{"cmd":"NODE_HANDLE_ACK"}\n' * 1000)
    write(b'{"cmd":"NODE_HANDLE","type":"net.Server"}\n' * 1000)
elif how == "closes":
    os.close(channel)
print("done", flush=True)
while True:
    time.sleep(1000)
