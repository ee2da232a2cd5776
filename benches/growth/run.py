#!/usr/bin/env python3
"""What a request costs mp-proxy as the work around it grows: many accounts, connections, sessions. See ../README.md."""

import argparse
import importlib.util
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
spec = importlib.util.spec_from_file_location("compare", HERE.parent / "compare/run.py")
compare = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compare)

ROOT = HERE.parent.parent
PATH = "/api/query/small?project_id=1"
IN_FLIGHT = 64
#: name: accounts (and as many targets), connections, those in use, targets in rotation (0: the base session).
CASES = {
    "smallest": (1, IN_FLIGHT, IN_FLIGHT, 0),
    "1,000 accounts": (1000, IN_FLIGHT, IN_FLIGHT, 0),
    "one target": (1, IN_FLIGHT, IN_FLIGHT, 1),
    "100 targets": (100, IN_FLIGHT, IN_FLIGHT, 100),
    "10,000 connections": (1, 10_000, IN_FLIGHT, 0),
    "all of that": (1000, 10_000, IN_FLIGHT, 100),
    "10,000 in turn": (1, 10_000, 10_000, 0),
    "all of that, in turn": (1000, 10_000, 10_000, 100),
}


def config(home, accounts, comment=""):
    """Each account with a target of its own."""
    text = comment + '[active]\naccount = "a0"\n'
    for number in range(accounts):
        text += (f'[accounts.a{number}]\ntype = "service_account"\nregion = "us"\nusername = "sa{number}"\n'
                 f'secret = "hunter2-secret"\ndefault_project = "1"\n'
                 f'[targets.t{number}]\naccount = "a{number}"\nproject = "1"\n')
    path = home / ".mp/config.toml"
    path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(text)
    new.chmod(0o600)
    new.replace(path)


class Case:
    """One proxy and the connections to it, kept open from round to round."""

    def __init__(self, name, work, upstream, ca, options, prefix=()):
        accounts, connections, in_use, targets = CASES[name]
        self.name, self.connections = name, min(connections, options.most)
        self.home = work / re.sub(r"\W", "", name)
        config(self.home, accounts)
        port = compare.free_port()
        env = {"HOME": str(self.home), "SSL_CERT_FILE": str(ca), "PATH": os.environ["PATH"]}
        self.proxy = compare.Proxy(name, [*prefix, options.binary, "serve", "--listen", f"127.0.0.1:{port}", "--upstream",
                                          f"https://localhost:{upstream}", "--max-connections", self.connections + 8,
                                          "--keep-alive-timeout", 3600], port, options.cores, env)
        self.proxy.start()
        self.before = self.proxy.rss()
        self.client = subprocess.Popen(
            [ROOT / "target/release/examples/bench-rotate", str(port), str(self.connections),
             str(min(in_use, self.connections)), str(IN_FLIGHT), str(targets), PATH], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.line()
        self.per_connection = (self.proxy.rss() - self.before) * 1024 / self.connections

    def line(self):
        line = self.client.stdout.readline()
        if not line:
            sys.exit(f"{self.name}: the load generator gave up")
        return line

    def load(self, requests):
        self.client.stdin.write(f"{requests}\n")
        self.client.stdin.flush()
        return json.loads(self.line())

    def cpu(self, requests):
        """CPU µs a request, and how long one took."""
        before = self.proxy.cpu()
        done = self.load(requests)
        return (self.proxy.cpu() - before) / done["requests"] * 1e6, done

    def stop(self):
        self.client.stdin.close()
        self.client.wait()
        self.proxy.stop()


def instructions(name, work, upstream, ca, options):
    """User-space instructions a request, under callgrind; what else the machine does is not in them."""
    out = work / "callgrind.out"
    prefix = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}",
              "-q"]
    case = Case(name, work, upstream, ca, options, prefix)
    pid = case.proxy.process.pid
    case.load(4 * IN_FLIGHT)
    compare.run("callgrind_control", "-i", "on", str(pid))
    done = case.load(options.counted)
    compare.run("callgrind_control", "-i", "off", str(pid))
    case.stop()
    text = compare.run("callgrind_annotate", str(out)).stdout
    if options.keep:
        shutil.copy(out, Path(options.keep) / f"callgrind.{case.home.name}")
    out.unlink()
    return int(re.search(r"^([\d,]+).*PROGRAM TOTALS", text, re.M)[1].replace(",", "")) / done["requests"]


def change(work, upstream, ca, options):
    """CPU ms of one change of a file with 1,000 accounts, over what the same load costs without a change."""
    case = Case("1,000 accounts", work / "changed", upstream, ca, options)
    case.load(options.requests)
    used = {False: [], True: []}
    for number in range(20):
        changed = number % 2 == 1
        before, requests = case.proxy.cpu(), 0
        if changed:
            config(case.home, 1000, f"# {number}\n")
        # For longer than the time of the file leaves it open whether it is whole.
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            requests += case.load(200)["requests"]
        used[changed].append((case.proxy.cpu() - before, requests))
    case.stop()
    usual = statistics.median(cpu / requests for cpu, requests in used[False])
    return statistics.median(cpu - usual * requests for cpu, requests in used[True]) * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=40_000, help="a round and case, for CPU time")
    parser.add_argument("--counted", type=int, default=5000, help="a case, for instructions")
    parser.add_argument("--cases", default=";".join(CASES), help="separated by ;")
    parser.add_argument("--only", default="instructions,cpu,changes", help="which measurements")
    parser.add_argument("--cores", default=",".join(map(str, sorted(os.sched_getaffinity(0)))))
    parser.add_argument("--binary", default=str(ROOT / "target/release/mp-proxy"))
    parser.add_argument("--keep", help="a directory for the profiles of callgrind")
    options = parser.parse_args()
    compare.install()
    if "instructions" in options.only and not shutil.which("valgrind"):
        compare.run("apt-get", "install", "-y", "-qq", "valgrind")
    if not Path(options.binary).exists() or options.binary.startswith(str(ROOT)):
        subprocess.run(["cargo", "build", "--release", "--bin", "mp-proxy", "--example", "bench-upstream", "--example",
                        "bench-rotate"], cwd=ROOT, check=True)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # The proxy keeps a descriptor to Mixpanel for each of its callers.
    options.most = (most - 64) // 2 - 8
    if options.most < 10_000:
        print(f"only {most} descriptors are allowed: {options.most} connections in place of 10,000", file=sys.stderr)
    work = Path(tempfile.mkdtemp(prefix="mp-proxy-growth-"))
    names = options.cases.split(";")
    found = {name: {} for name in names}
    ca = compare.certificates(work)
    upstream = compare.free_port()
    server = subprocess.Popen([ROOT / "target/release/examples/bench-upstream", str(upstream), work / "cert.pem",
                               work / "key.pem"], stdout=subprocess.DEVNULL)
    try:
        compare.wait_for(upstream)
        if "instructions" in options.only:
            for name in names:
                found[name]["instructions"] = instructions(name, work, upstream, ca, options)
                print(f"{name}: {found[name]['instructions']:.0f} instructions", file=sys.stderr)
        if "cpu" in options.only:
            cases = [Case(name, work, upstream, ca, options) for name in names]
            rounds = {name: [] for name in names}
            for number in range(options.rounds):
                for case in cases[number % len(cases):] + cases[:number % len(cases)]:
                    used, done = case.cpu(options.requests)
                    rounds[case.name].append((used, done["p50"], done["p99"]))
            for case in cases:
                for key, values in zip(("CPU µs", "p50 µs", "p99 µs"), zip(*rounds[case.name])):
                    found[case.name][key] = statistics.median(values)
                found[case.name]["KiB a connection"] = case.per_connection
                found[case.name]["PSS MiB"] = case.proxy.rss()
                case.stop()
        if "changes" in options.only:
            print(f"one change of a file with 1,000 accounts: {change(work, upstream, ca, options):.1f} ms CPU")
    finally:
        server.kill()
        shutil.rmtree(work, ignore_errors=True)
    keys = list(found[names[0]])
    if not keys:
        return
    ratios = [key for key in keys if key in ("instructions", "CPU µs")]
    print("| a request with | " + " | ".join([*keys, *(f"{key} / {names[0]}" for key in ratios)]) + " |")
    print("|---" * (1 + len(keys) + len(ratios)) + "|")
    for name in names:
        parts = [f"{found[name][key]:.0f}" if key != "CPU µs" else f"{found[name][key]:.1f}" for key in keys]
        parts += [f"{found[name][key] / found[names[0]][key]:.2f}" for key in ratios]
        print(f"| {name} | " + " | ".join(parts) + " |")


if __name__ == "__main__":
    main()
