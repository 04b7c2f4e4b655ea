"""Two nodes of a Ray cluster on this machine, each in a network namespace of its own, joined by a pair of veth."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

BIN = Path(sys.executable).parent
NODES = {"rm-a": "10.77.0.1", "rm-b": "10.77.0.2"}
ADDRESS = "10.77.0.1:6399"
ENVIRONMENT = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}


def why_not() -> str:
    """Why there can be no such cluster here; empty where there can."""
    if not shutil.which("ip") or os.geteuid() != 0:
        return "needs root and the command ip"
    made = subprocess.run(["ip", "netns", "add", "rm-try"], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "del", "rm-try"], capture_output=True)
    return made.stderr.strip()


def inside(node, *command):
    """A command to run on a node."""
    return ["ip", "netns", "exec", node, *map(str, command)]


def start(node):
    """Start Ray on a node, in the foreground of a process that is returned."""
    where = ["--head", "--port=6399", "--include-dashboard=false"] if node == "rm-a" else [f"--address={ADDRESS}"]
    ray = [BIN / "ray", "start", *where, f"--node-ip-address={NODES[node]}", "--num-cpus=1", "--block"]
    ray += ["--object-store-memory=100000000"]
    return subprocess.Popen(
        inside(node, *ray),
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def kill(process):
    """Kill all of a node: the processes of its namespace."""
    node = next(name for name in NODES if name in process.args)
    pids = subprocess.run(["ip", "netns", "pids", node], capture_output=True, text=True).stdout.split()
    subprocess.run(["kill", "-9", *pids], capture_output=True)
    process.wait()


@contextlib.contextmanager
def two_nodes():
    """Lend the processes of two nodes by name."""
    link = ["ip link add veth-a netns rm-a type veth peer name veth-b netns rm-b"]
    for node, address in NODES.items():
        own = f"ip -n {node}"
        link += [f"{own} addr add {address}/24 dev veth-{node[-1]}", f"{own} link set veth-{node[-1]} up"]
        link += [f"{own} link set lo up"]
        hosts = Path("/etc/netns") / node / "hosts"
        hosts.parent.mkdir(parents=True, exist_ok=True)
        hosts.write_text(f"127.0.0.1 localhost\n{address} {socket.gethostname()}\n")
    processes = {}
    try:
        for node in NODES:
            subprocess.run(["ip", "netns", "add", node], check=True)
        for line in link:
            subprocess.run(line.split(), check=True)
        for node in NODES:
            processes[node] = start(node)
            time.sleep(8 if node == "rm-a" else 0)
        yield processes
    finally:
        for process in processes.values():
            kill(process)
        for node in NODES:
            subprocess.run(["ip", "netns", "del", node], capture_output=True)
            shutil.rmtree(Path("/etc/netns") / node, ignore_errors=True)


class Dies:
    """A worker that is killed when it is asked for the first time, and does its work when it is asked again."""

    def __init__(self, folder):
        self.folder = folder

    def double(self, number, arrays):
        mark = self.folder / str(number)
        if number % 3 == 0 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number * int(arrays["two"][0])

    def never(self):
        os.kill(os.getpid(), signal.SIGKILL)
