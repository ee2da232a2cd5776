#!/usr/bin/env python3
"""mp-proxy against nginx and HAProxy: same machine, same run, alternating. See README.md."""

import argparse
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
AUTH = "Basic c2E6aHVudGVyMi1zZWNyZXQ="


def run(*command, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, **options)


def install():
    """Debian's packages; what is there already is left alone."""
    wanted = {"nginx": "nginx", "haproxy": "haproxy", "wrk": "wrk", "curl": "curl", "openssl": "openssl"}
    missing = [package for tool, package in wanted.items() if not shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin")]
    if missing:
        run("apt-get", "update", "-qq")
        run("apt-get", "install", "-y", "-qq", *missing)


def certificates(work):
    ca = work / "ca.pem"
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", "/CN=bench", "-keyout", work / "ca.key", "-out", ca)
    run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost",
        "-keyout", work / "key.pem", "-out", work / "req.pem")
    (work / "ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    run("openssl", "x509", "-req", "-in", work / "req.pem", "-CA", ca, "-CAkey", work / "ca.key", "-CAcreateserial",
        "-days", "2", "-extfile", work / "ext", "-out", work / "cert.pem")
    return ca


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.002)
    sys.exit(f"nothing listens on {port}")


class Proxy:
    """One proxy under test: how it is started, and what its processes cost."""

    def __init__(self, name, command, port, cores, env=None):
        self.name, self.command, self.port, self.cores = name, command, port, cores
        self.env = env

    def start(self):
        self.process = subprocess.Popen(["taskset", "-c", self.cores, *map(str, self.command)], env=self.env,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        wait_for(self.port)

    def pids(self):
        out = subprocess.run(["pgrep", "-s", str(self.process.pid)], capture_output=True, text=True)
        return [int(pid) for pid in out.stdout.split()]

    def cpu(self):
        """Seconds of user and system time of all its threads."""
        total = 0
        for pid in self.pids():
            for task in Path(f"/proc/{pid}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9

    def rss(self):
        """Proportional set size in MiB: shared pages of several processes count once."""
        total = 0
        for pid in self.pids():
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1])
        return total / 1024

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def proxies(work, upstream, ca, cores, binary, chosen):
    workers = len(cores.split(","))
    ports = {name: free_port() for name in ("mp-proxy", "nginx", "haproxy")}
    (work / "nginx.conf").write_text(f"""
worker_processes {workers}; pid {work}/nginx.pid; error_log {work}/nginx.err; daemon off;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_max_body_size 0; keepalive_requests 1000000000; keepalive_timeout 600s;
  client_body_temp_path {work}/body; proxy_temp_path {work}/proxy;
  fastcgi_temp_path {work}/f; uwsgi_temp_path {work}/u; scgi_temp_path {work}/s;
  upstream up {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 1000000000; keepalive_timeout 600s; }}
  server {{
    listen 127.0.0.1:{ports["nginx"]} backlog=4096;
    location / {{
      proxy_pass https://up; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host mixpanel.com; proxy_set_header Authorization "{AUTH}";
      proxy_ssl_protocols TLSv1.3; proxy_ssl_verify on; proxy_ssl_trusted_certificate {ca};
      proxy_ssl_name localhost; proxy_ssl_server_name on; proxy_request_buffering off; proxy_max_temp_file_size 0;
    }}
  }}
}}
""")
    (work / "haproxy.cfg").write_text(f"""
global
  nbthread {workers}
  maxconn 20000
defaults
  mode http
  timeout client 600s
  timeout server 600s
  timeout connect 5s
  http-reuse always
frontend f
  bind 127.0.0.1:{ports["haproxy"]}
  default_backend b
backend b
  http-request set-header Authorization "{AUTH}"
  http-request set-header Host mixpanel.com
  server s 127.0.0.1:{upstream} ssl verify required ca-file {ca} sni str(localhost) verifyhost localhost ssl-min-ver TLSv1.3 pool-max-conn 512
""")
    home = work / "home"
    (home / ".mp").mkdir(parents=True, mode=0o700)
    config = home / ".mp/config.toml"
    config.write_text('[active]\naccount = "team"\n[accounts.team]\ntype = "service_account"\nregion = "us"\n'
                      'username = "sa"\nsecret = "hunter2-secret"\ndefault_project = "1"\n')
    config.chmod(0o600)
    env = {"HOME": str(home), "SSL_CERT_FILE": str(ca), "PATH": os.environ["PATH"]}
    every = [
        Proxy("mp-proxy", [binary, "serve", "--listen", f"127.0.0.1:{ports['mp-proxy']}",
                           "--upstream", f"https://localhost:{upstream}"], ports["mp-proxy"], cores, env),
        Proxy("nginx", ["nginx", "-c", work / "nginx.conf", "-e", work / "nginx.err"], ports["nginx"], cores,
              {"PATH": os.environ["PATH"] + ":/usr/sbin"}),
        Proxy("haproxy", ["haproxy", "-f", work / "haproxy.cfg"], ports["haproxy"], cores,
              {"PATH": os.environ["PATH"] + ":/usr/sbin"}),
    ]
    return [proxy for proxy in every if proxy.name in chosen]


UNIT = {"us": 1, "ms": 1e3, "s": 1e6, "m": 6e7}


def microseconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(number) * UNIT[unit]


def load(proxy, connections, seconds, path, script=None):
    """One wrk run: requests/s, CPU µs a request, p50 and p99 in µs."""
    command = ["wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds}s", "--latency"]
    if script:
        command += ["-s", str(script)]
    before = proxy.cpu()
    out = run(*command, f"http://127.0.0.1:{proxy.port}{path}").stdout
    used = proxy.cpu() - before
    requests = int(re.search(r"(\d+) requests in", out)[1])
    if "Non-2xx" in out or requests == 0:
        sys.exit(f"{proxy.name} answered with errors:\n{out}")
    took = float(re.search(r"requests in ([\d.]+)s", out)[1])
    percentile = lambda p: microseconds(re.search(rf"^\s+{p}%\s+(\S+)", out, re.M)[1])
    return {"requests/s": requests / took, "CPU µs/request": used / requests * 1e6,
            "p50 µs": percentile(50), "p99 µs": percentile(99)}


def transfer(proxy, up, work, size):
    """1 GiB down or up with curl: MB/s and CPU seconds a GiB."""
    before, start = proxy.cpu(), time.monotonic()
    base = f"http://127.0.0.1:{proxy.port}"
    if up:
        run("curl", "-sf", "-o", "/dev/null", "-T", work / "big", base + "/import?project_id=1")
    else:
        run("curl", "-sf", "-o", "/dev/null", f"{base}/api/2.0/export?project_id=1&bytes={size}")
    took = time.monotonic() - start
    return {"MB/s": size / took / 1e6, "CPU s/GiB": (proxy.cpu() - before) * (1 << 30) / size}


def first_answer(proxy, path):
    """Milliseconds from the start of the process to the first whole answer."""
    start = time.monotonic()
    proxy.start()
    run("curl", "-sf", "-o", "/dev/null", f"http://127.0.0.1:{proxy.port}{path}")
    took = (time.monotonic() - start) * 1e3
    return {"first answer ms": took, "RSS idle MiB": proxy.rss()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", default="1,8,64,256")
    parser.add_argument("--cores", default=",".join(map(str, sorted(os.sched_getaffinity(0)))))
    parser.add_argument("--proxies", default="mp-proxy,nginx,haproxy")
    parser.add_argument("--only", default="small,post,ten,down,up,start", help="which measurements")
    parser.add_argument("--binary", default=str(ROOT / "target/release/mp-proxy"))
    parser.add_argument("--gib", type=float, default=1)
    parser.add_argument("--json")
    options = parser.parse_args()
    install()
    if not Path(options.binary).exists() or options.binary.startswith(str(ROOT)):
        subprocess.run(["cargo", "build", "--release", "--bin", "mp-proxy", "--example", "bench-upstream"], cwd=ROOT, check=True)
    work = Path(tempfile.mkdtemp(prefix="mp-proxy-bench-"))
    results = {}
    upstream_process = None
    try:
        ca = certificates(work)
        upstream = free_port()
        upstream_process = subprocess.Popen(
            [ROOT / "target/release/examples/bench-upstream", str(upstream), work / "cert.pem", work / "key.pem"],
            stdout=subprocess.DEVNULL)
        wait_for(upstream)
        (work / "post.lua").write_text('wrk.method = "POST"\nwrk.body = string.rep("x", 1024)\n')
        size = int(options.gib * (1 << 30))
        only = options.only.split(",")
        if "up" in only:
            with open(work / "big", "wb") as big:
                big.truncate(size)
        counts = [int(count) for count in options.connections.split(",")]

        def note(proxy, label, values):
            for key, value in values.items():
                results.setdefault(f"{label}: {key}", {}).setdefault(proxy.name, []).append(value)

        every = proxies(work, upstream, ca, options.cores, options.binary, options.proxies.split(","))
        small = "/api/query/small?project_id=1"
        for round_number in range(options.rounds):
            for proxy in every[round_number % len(every):] + every[:round_number % len(every)]:
                note(proxy, "start", first_answer(proxy, small))
                load(proxy, 16, 1, small)
                if "small" in only:
                    for count in counts:
                        note(proxy, f"200 B, {count} connections", load(proxy, count, options.seconds, small))
                    note(proxy, "after load", {"RSS MiB": proxy.rss()})
                if "post" in only:
                    note(proxy, "1 KB POST, 64 connections", load(proxy, 64, options.seconds, small, work / "post.lua"))
                if "ten" in only:
                    note(proxy, "10 KB answer, 64 connections", load(proxy, 64, options.seconds, "/api/query/ten?project_id=1"))
                if "down" in only:
                    note(proxy, "1 GiB down", transfer(proxy, False, work, size))
                    note(proxy, "1 GiB down", {"RSS MiB": proxy.rss()})
                if "up" in only:
                    note(proxy, "1 GiB up", transfer(proxy, True, work, size))
                proxy.stop()
                print(".", end="", flush=True, file=sys.stderr)
    finally:
        if upstream_process:
            upstream_process.kill()
        shutil.rmtree(work, ignore_errors=True)
    print(file=sys.stderr)
    names = [proxy.name for proxy in every]
    print("| " + " | ".join(["median of " + str(options.rounds), *names, *(f"mp-proxy / {n}" for n in names[1:])]) + " |")
    print("|---" * (len(names) * 2) + "|")
    for label, values in results.items():
        medians = {name: statistics.median(values[name]) for name in names}
        ratios = [f"{medians[names[0]] / medians[name]:.2f}" for name in names[1:]]
        print("| " + " | ".join([label, *(f"{medians[name]:.1f}" for name in names), *ratios]) + " |")
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
