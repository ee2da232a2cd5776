#!/usr/bin/env python3
"""What an idle mp-proxy costs, and how long it takes to start. Fails where a limit is passed.

Builds in release mode, or measures what --binary names. Memory is what /proc calls VmRSS, after a signed request;
a wake-up is a voluntary context switch of any thread; the first answer is a signed one, from a stand-in on loopback,
counted from before the process is made.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONFIG = """[active]
account = "a"
[accounts.a]
type = "service_account"
region = "us"
default_project = "1"
username = "u"
secret = "s"
"""
LIMITS = {"RSS, MB": 12, "wake-ups in 10 s": 0, "start to first answer, ms (median)": 50}


def upstream():
    """A stand-in that answers one request a connection; returns its address."""
    server = socket.create_server(("127.0.0.1", 0))

    def answer(stream):
        head = b""
        while b"\r\n\r\n" not in head:
            head += stream.recv(65536)
        assert b"authorization: basic" in head.lower(), "the request is not signed"
        stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        stream.recv(1)

    def serve():
        while True:
            threading.Thread(target=answer, args=server.accept()[:1], daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return "http://127.0.0.1:%d" % server.getsockname()[1]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def ask(port):
    """One request, as soon as somebody listens."""
    while True:
        try:
            stream = socket.create_connection(("127.0.0.1", port))
            break
        except ConnectionRefusedError:
            time.sleep(0.0002)
    with stream:
        stream.sendall(b"GET /api/query/events/names HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n" % port)
        answer = b""
        while more := stream.recv(65536):
            answer += more
    assert answer.startswith(b"HTTP/1.1 200"), answer


def status(pid, task, key):
    text = Path(f"/proc/{pid}/task/{task}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith(key)).split()[1])


def sleeps(pid):
    return {task: status(pid, task, "voluntary_ctxt_switches:") for task in os.listdir(f"/proc/{pid}/task")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", help="measure this one instead of building")
    parser.add_argument("--rounds", type=int, default=21)
    options = parser.parse_args()
    binary = Path(options.binary).resolve() if options.binary else ROOT / "target/release/mp-proxy"
    if not options.binary:
        subprocess.run(["cargo", "build", "--release", "--locked"], cwd=ROOT, check=True)

    with tempfile.TemporaryDirectory() as home:
        config = Path(home, ".mp/config.toml")
        config.parent.mkdir(mode=0o700)
        config.write_text(CONFIG)
        config.chmod(0o600)
        base = upstream()

        def start():
            port = free_port()
            command = [binary, "serve", "--listen", f"127.0.0.1:{port}", "--upstream", base]
            begun = time.perf_counter()
            process = subprocess.Popen(command, env={"HOME": home}, cwd=home, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
            ask(port)
            return process, 1000 * (time.perf_counter() - begun)

        times = []
        for _ in range(options.rounds):
            process, took = start()
            times.append(took)
            process.kill()
            process.wait()

        process, _ = start()
        time.sleep(2)
        before = sleeps(process.pid)
        time.sleep(10)
        after = sleeps(process.pid)
        memory = status(process.pid, process.pid, "VmRSS:") / 1000
        process.kill()
        process.wait()

    found = {
        "RSS, MB": memory,
        "wake-ups in 10 s": sum(after.values()) - sum(before.values()),
        "start to first answer, ms (median)": statistics.median(times),
    }
    for name, value in found.items():
        print(f"{name:36} {value:8.2f}   (limit {LIMITS[name]})")
    print(f"{'start to first answer, ms (slowest)':36} {max(times):8.2f}")
    over = [name for name, value in found.items() if value > LIMITS[name]]
    if over:
        sys.exit(f"over the limit: {', '.join(over)}")


main()
