#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# measure.py: guest instructions for one HTTP request of Cheetah, over a TAP device in a network namespace of its own.
"""usage: unshare -Urn bench/http/measure.py [--seconds 2] [--connections 16] [--profile N] [--sizes 0,1024] [--close]

Needs wrk, a C compiler, and what `make` builds. One line for each size: requests, instructions for one, and how many of
them in ring 3 and in ring 0. --profile says which functions they are in; --close makes a connection for each request.
"""
import argparse, os, re, signal, struct, subprocess, sys, tempfile, time

home = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
words = argparse.ArgumentParser()
words.add_argument("--seconds", type=int, default=2)
words.add_argument("--connections", type=int, default=16)
words.add_argument("--profile", type=int, default=0)
words.add_argument("--sizes", default="0,100,1024,10240,102400")
words.add_argument("--close", action="store_true")
words = words.parse_args()
sizes = [int(size) for size in words.sizes.split(",")]
work = tempfile.mkdtemp(prefix="apus-http-")


def run(*command, **more):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **more).stdout


def counts():
    with open(work + "/counts", "rb") as file:
        data = file.read()
    return {a: n for a, n in struct.iter_unpack("<QQ", data) if a}


class Names:
    def __init__(self):
        self.table = []
        for file in ("kernel.elf", "cheetah.elf"):
            for line in run("nm", "-C", "--defined-only", home + "/build/" + file).splitlines():
                address, kind, name = line.split(" ", 2)
                if kind in "tTwW":
                    self.table.append((int(address, 16), name))
        self.table.sort()
        self.addresses = [a for a, _ in self.table]

    def of(self, address):
        import bisect
        place = bisect.bisect_right(self.addresses, address) - 1
        return self.table[place][1] if place >= 0 else hex(address)


def main():
    run("cc", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-o", work + "/profile.so", home + "/bench/plugin/profile.c")
    run("ip", "tuntap", "add", "apus0", "mode", "tap")
    run("ip", "addr", "add", "10.77.0.1/24", "dev", "apus0")
    run("ip", "link", "set", "apus0", "up")
    site = work + "/site"
    os.mkdir(site)
    for size in sizes:
        with open(f"{site}/f{size}", "wb") as file:
            file.write(os.urandom(size))
    environment = dict(os.environ, APUS_HOME=home, TMPDIR=work)
    command = [home + "/build/apus", "run", "--print", "--timeout", "1", "--libos", home + "/build/cheetah.elf", "--bare",
               "--net", "tap:apus0", "--root", site, "cheetah", "--ip", "10.77.0.2/24"]
    shown = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    line = next(line for line in shown.splitlines() if "qemu-system" in line)
    started = time.time()
    machine = subprocess.Popen(
        line + f" -plugin {work}/profile.so,out={work}/counts", shell=True, stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        first = 0
        while subprocess.run(["curl", "-s", "-m", "1", "-o", "/dev/null", f"http://10.77.0.2/f{sizes[0]}"]).returncode:
            if time.time() - started > 60:
                sys.exit("the machine does not answer")
        print(f"power-on to the first 200: {sum(counts().values()):,} instructions")
        names = Names() if words.profile else None
        for size in sizes:
            extra = ["-H", "Connection: close"] if words.close else []
            before = counts()
            wrk = run("wrk", "-t1", f"-c{words.connections}", f"-d{words.seconds}s", *extra, f"http://10.77.0.2/f{size}")
            after = counts()
            requests = int(re.search(r"(\d+) requests in", wrk).group(1))
            errors = re.findall(r"(?:Socket errors|Non-2xx).*", wrk)
            done = {a: n - before.get(a, 0) for a, n in after.items() if n > before.get(a, 0)}
            kernel = sum(n for a, n in done.items() if a >> 63)
            total = sum(done.values())
            rate = re.search(r"Requests/sec:\s*([\d.]+)", wrk).group(1)
            print(f"{size:7} B: {requests:7} requests, {total / requests:9.0f} instructions each "
                  f"({(total - kernel) / requests:.0f} ring 3, {kernel / requests:.0f} ring 0), {rate}/s {' '.join(errors)}")
            if names:
                functions = {}
                for a, n in done.items():
                    name = names.of(a)
                    functions[name] = functions.get(name, 0) + n
                for name, n in sorted(functions.items(), key=lambda entry: -entry[1])[:words.profile]:
                    print(f"      {n / requests:8.1f}  {name[:150]}")
    finally:
        os.killpg(machine.pid, signal.SIGTERM)


main()
