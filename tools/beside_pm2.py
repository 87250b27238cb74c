#!/usr/bin/env python3
"""Does to PM2 what the chaos suite does to rpm, and tells what becomes of it.

For the column "PM2" of docs/SPECIFICATION.md. Each deed has a home of its own; processes are found by it, and ended by pid.

    RPM_TEST_DEPS=... tools/beside_pm2.py [word ...]
"""

import glob
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.join(HERE, "..", "tests")
PM2 = os.path.join(os.environ["RPM_TEST_DEPS"], "node_modules", ".bin", "pm2")


def app(name):
    """The path of one of the small apps of the tests."""
    for place in ("chaos/apps", "apps"):
        path = os.path.join(TESTS, place, name)
        if os.path.exists(path):
            return path
    raise SystemExit(f"{name} is missing")


class Stage:
    """A PM2 with a home of its own."""

    def __init__(self):
        self.home = tempfile.mkdtemp(prefix="pm2-")
        self.scratch = tempfile.mkdtemp(prefix="beside-")
        self.mounted = False

    def run(self, *args, wait=60, **more):
        env = dict(os.environ, PM2_HOME=self.home, NO_COLOR="1", **more.pop("env", {}))
        return subprocess.run([PM2, *args], env=env, capture_output=True, text=True, timeout=wait, **more)

    def spawn(self, *args):
        env = dict(os.environ, PM2_HOME=self.home)
        return subprocess.Popen([PM2, *args], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def list(self):
        # Where it had to start a daemon, it says so on standard output, too.
        for line in reversed(self.run("jlist").stdout.splitlines()):
            if line.startswith(("[{", "[]")):
                return json.loads(line)
        return []

    def pids(self, name):
        return [one["pid"] for one in self.list() if one["name"] == name and one["pid"]]

    def daemon(self):
        return int(self.read("pm2.pid"))

    def read(self, name):
        with open(os.path.join(self.home, name), errors="replace") as file:
            return file.read()

    def path(self, name):
        return os.path.join(self.home, name)

    def processes(self):
        """Everything that has this home in its environment."""
        found = []
        for path in glob.glob("/proc/[0-9]*/environ"):
            try:
                with open(path, "rb") as file:
                    if f"PM2_HOME={self.home}".encode() in file.read().split(b"\0"):
                        found.append(int(path.split("/")[2]))
            except OSError:
                pass
        return found

    def clear(self):
        try:
            self.run("kill", wait=20)
        except subprocess.TimeoutExpired:
            pass
        for pid in self.processes():
            end(pid, signal.SIGKILL)
        if self.mounted:
            subprocess.run(["umount", "-l", self.home], check=False)
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.rmtree(self.scratch, ignore_errors=True)


def end(pid, number=signal.SIGKILL):
    try:
        os.kill(pid, number)
    except OSError:
        pass


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def until(what, within=15):
    limit = time.time() + within
    while not what() and time.time() < limit:
        time.sleep(0.05)
    return what()


def daemon_killed(stage):
    """kill -9 of the daemon"""
    stage.run("start", app("http.js"), "--name", "web", "-i", "2", env={"PORT": str(free_port())})
    stage.run("start", app("idle.sh"), "--name", "idle")
    workers, other = stage.pids("web"), stage.pids("idle")
    end(stage.daemon())
    time.sleep(2)
    left = [pid for pid in workers if alive(pid)], [pid for pid in other if alive(pid)]
    listed = len(stage.list())
    return (f"{len(left[0])} of {len(workers)} Node workers and {len(left[1])} of {len(other)} shell apps live on; "
            f"the next daemon lists {listed} apps")


def killed_in_start(stage):
    """kill -9 of the daemon during a start of three, ten times"""
    outcomes = []
    for turn in range(10):
        stage.run("ping")
        command = stage.spawn("start", app("idle.sh"), "--name", "new", "-i", "3")
        time.sleep(0.2 + turn * 0.03)
        end(stage.daemon())
        command.wait(timeout=60)
        time.sleep(1)
        running = [pid for pid in stage.processes() if b"idle.sh" in cmdline(pid) or b"sleep" in cmdline(pid)]
        listed = len(stage.list())
        outcomes.append((len(running), listed))
        for pid in running:
            end(pid)
        stage.run("delete", "all")
    return f"running and listed, each time: {outcomes}"


def cmdline(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def killed_in_save(stage):
    """the client killed during `save`, which writes the list, forty times"""
    for number in range(20):
        stage.run("start", app("idle.sh"), "--name", f"app-{number}", "--no-autostart")
    stage.run("save")
    torn = 0
    for turn in range(40):
        command = stage.spawn("save")
        time.sleep(0.25 + turn * 0.01)
        end(command.pid)
        command.wait()
        try:
            torn += len(json.loads(stage.read("dump.pm2"))) != 20
        except (ValueError, OSError):
            torn += 1
    return f"{torn} of 40 times the list was torn, empty or gone"


def list_damaged(stage):
    """a saved list that is cut, with a good backup"""
    stage.run("start", app("idle.sh"), "--name", "a")
    stage.run("save", "--force")
    stage.run("save", "--force")
    stage.run("delete", "a")
    whole = stage.read("dump.pm2")
    with open(stage.path("dump.pm2"), "w") as file:
        file.write(whole[: len(whole) // 2])
    done = stage.run("resurrect")
    return f"exit code {done.returncode}; {len(stage.pids('a'))} of 1 apps are back"


def both_damaged(stage):
    """both copies of the saved list damaged"""
    stage.run("start", app("idle.sh"), "--name", "a")
    for name in ("dump.pm2", "dump.pm2.bak"):
        with open(stage.path(name), "w") as file:
            file.write("garbage")
    done = stage.run("resurrect")
    there = [name for name in ("dump.pm2", "dump.pm2.bak") if os.path.exists(stage.path(name))]
    return f"exit code {done.returncode}; files that are left: {there}"


def full_disk(stage):
    """a full disk under the home: `save`, then room again"""
    stage.run("kill")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", stage.home], check=False).returncode:
        return "not run: nothing can be mounted here"
    stage.mounted = True
    stage.run("start", app("idle.sh"), "--name", "a")
    stage.run("save")
    before = stage.read("dump.pm2")
    filler = stage.path("filler")
    with open(filler, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    stage.run("start", app("idle.sh"), "--name", "b")
    done = stage.run("save")
    torn = stage.read("dump.pm2") if os.path.exists(stage.path("dump.pm2")) else ""
    try:
        kept = f"{len(json.loads(torn))} apps"
    except ValueError:
        kept = f"{len(torn)} bytes that are no list"
    os.unlink(filler)
    return f"`save` leaves with {done.returncode}; the list of {len(json.loads(before))} is then {kept}"


def innocent(stage):
    """pid files that name somebody else"""
    stage.run("ping")
    end(stage.daemon())
    time.sleep(0.5)
    child = subprocess.Popen(["sleep", "1000"])
    with open(stage.path("pm2.pid"), "w") as file:
        file.write(str(child.pid))
    stage.run("kill", wait=60)
    time.sleep(1)
    lives = child.poll() is None
    child.kill()
    child.wait()
    return "left alone" if lives else "the innocent is killed"


def links(stage):
    """a link planted where a log will be"""
    victim = os.path.join(stage.scratch, "victim")
    with open(victim, "w") as file:
        file.write("untouched")
    os.makedirs(stage.path("logs"), exist_ok=True)
    os.symlink(victim, stage.path("logs/says-out.log"))
    os.symlink(victim, stage.path("dump.pm2"))
    stage.run("start", app("deaf.sh"), "--name", "says")
    time.sleep(1)
    with open(victim) as file:
        log = file.read() != "untouched"
    stage.run("save", "--force")
    with open(victim) as file:
        saved = "deaf.sh" in file.read()
    return f"log written through the link: {yes(log)}; list written through it: {yes(saved)}"


def yes(what):
    return "yes" if what else "no"


def family(stage):
    """an app whose grandchild is a daemon of its own; then `delete`"""
    stage.run("start", app("daemonize.py"), "--name", "family", "--interpreter", "python3")
    time.sleep(2)
    stage.run("delete", "family")
    time.sleep(3)
    left = [pid for pid in stage.processes() if b"daemonize" in cmdline(pid)]
    return f"{len(left)} processes are left"


def deaf(stage):
    """an app that ignores every signal: how long another one's stop takes meanwhile"""
    stage.run("start", app("deaf.sh"), "--name", "deaf", "--kill-timeout", "5000")
    stage.run("start", app("idle.sh"), "--name", "other")
    first = stage.spawn("stop", "deaf")
    time.sleep(0.5)
    begun = time.time()
    stage.run("stop", "other")
    took = time.time() - begun
    first.wait(timeout=60)
    return f"{took:.1f} s"


def fifty(stage):
    """fifty apps that exit at once, for 20 s"""
    script = os.path.join(stage.scratch, "exits.sh")
    with open(script, "w") as file:
        file.write("#!/bin/sh\nexit 1\n")
    os.chmod(script, 0o755)
    config = os.path.join(stage.scratch, "eco.json")
    with open(config, "w") as file:
        json.dump({"apps": [{"name": f"x{n}", "script": script, "exp_backoff_restart_delay": 100,
                             "max_restarts": 1000000} for n in range(50)]}, file)
    stage.run("start", config)
    pid = stage.daemon()
    ticks = lambda: sum(map(int, open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[11:13]))
    before, begun = ticks(), time.time()
    slowest = 0
    while time.time() - begun < 20:
        at = time.time()
        stage.run("jlist")
        slowest = max(slowest, time.time() - at)
    share = (ticks() - before) / os.sysconf("SC_CLK_TCK") / (time.time() - begun)
    return f"{share * 100:.1f} % of a core with a list at a time; the slowest list {slowest * 1000:.0f} ms"


def modes(stage):
    """who else may read the home, and talk to the daemon"""
    stage.run("start", app("idle.sh"), "--name", "a", env={"SECRET": "hunter2"})
    stage.run("save")
    mode = lambda name: oct(stat.S_IMODE(os.stat(stage.path(name)).st_mode))
    readable = "hunter2" in stage.read("dump.pm2")
    return (f"home {mode('.')}, socket {mode('rpc.sock')}, list {mode('dump.pm2')}, "
            f"log {mode('logs/a-out.log')}; the shell's secret in the list: {yes(readable)}")


def hostile(stage):
    """garbage, a huge length and a client that never reads, on the daemon's socket"""
    stage.run("start", app("idle.sh"), "--name", "a")
    before = stage.daemon()
    rss = lambda: int([line for line in open(f"/proc/{before}/status") if line.startswith("VmRSS")][0].split()[1])
    memory = rss()
    told = []
    for name, content in (("garbage", os.urandom(65536)), ("length", b"\x11\xff\xff\xff\xff" + bytes(1 << 20))):
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(stage.path("rpc.sock"))
                client.sendall(content)
                time.sleep(1)
        except OSError as error:
            told.append(f"{name}: {error}")
        told.append(f"daemon alive after {name}: {yes(alive(before))}")
    if alive(before):
        told.append(f"{(rss() - memory) / 1024:.1f} MiB more")
    return "; ".join(told)


def boot(stage):
    """a power cut with a web app and a stopped one, then `resurrect`, twice"""
    stage.run("start", app("http.js"), "--name", "web", "-i", "2", env={"PORT": str(free_port())})
    stage.run("start", app("idle.sh"), "--name", "stopped")
    stage.run("stop", "stopped")
    stage.run("save")
    for pid in stage.processes():
        end(pid)
    time.sleep(1)
    stage.run("resurrect")
    first = {one["name"]: one["pm2_env"]["status"] for one in stage.list()}, len(stage.list())
    stage.run("resurrect")
    return f"after one {first}; after two {len(stage.list())} are listed, {len(stage.pids('web'))} run"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


DEEDS = [daemon_killed, killed_in_start, killed_in_save, list_damaged, both_damaged, full_disk, innocent, links, family,
         deaf, fifty, modes, hostile, boot]


def main():
    words = sys.argv[1:]
    for deed in DEEDS:
        if words and not any(word in deed.__name__ for word in words):
            continue
        stage = Stage()
        try:
            told = deed(stage)
        except Exception as error:  # What goes wrong is part of the picture.
            told = f"failed: {error!r}"
        finally:
            stage.clear()
        print(f"{deed.__name__} ({deed.__doc__}): {told}", flush=True)


if __name__ == "__main__":
    main()
