"""A client with the ledger of `mp` after 0.4.0, for tests: the newest release has none yet.

It sends one counted request after the other, each in the slot that the shared ledger gives it.
Usage: ledger_double.py URL LEDGER LIMIT WINDOW MARGIN MAX_WAIT COUNT
Prints one JSON object when it is done, or is killed.
"""

import fcntl, json, os, sys, tempfile, time, urllib.error, urllib.request

url, ledger, limit, window, margin, max_wait, count = sys.argv[1:8]
limit, count = int(limit), int(count)
window, margin, max_wait = float(window), float(margin), float(max_wait)


class Lock:
    """An exclusive flock on the sidecar, tried every 20 ms for a second; fails open."""

    def __enter__(self):
        os.makedirs(os.path.dirname(ledger), mode=0o700, exist_ok=True)
        self.fd = os.open(ledger + ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        for _ in range(50):
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return self
            except BlockingIOError:
                time.sleep(0.02)
        return self

    def __exit__(self, *_):
        os.close(self.fd)


def load():
    try:
        with open(ledger) as file:
            data = json.load(file)
        assert data["v"] == 1 and isinstance(data["sent"], list)
    except Exception:
        data = {"v": 1, "limit": limit, "limit_source": "configured", "learned_at": None,
                "blocked_until": None, "blocked_at": None, "blocked_streak": 0, "sent": []}
    data["sent"] = sorted(at for at in data["sent"] if at < time.time() + 86400)
    return data


def store(data):
    fd, name = tempfile.mkstemp(dir=os.path.dirname(ledger))
    with os.fdopen(fd, "w") as file:
        json.dump(data, file)
    os.replace(name, ledger)


def reserve():
    """Writes the slot before waiting for it; None if the wait would be too long."""
    with Lock():
        data, now = load(), time.time()
        slot = max(now, data["blocked_until"] or 0)
        if len(data["sent"]) >= limit:
            slot = max(slot, data["sent"][-limit] + window + margin)
        if slot - now > max_wait:
            return None
        data["sent"] = sorted([at for at in data["sent"] if at > now - window - margin] + [slot])
        store(data)
    time.sleep(max(0.0, slot - time.time()))
    return slot


def give_back(slot):
    with Lock():
        data = load()
        if slot in data["sent"]:
            data["sent"].remove(slot)
            store(data)


outcome = {"ok": 0, "refused": 0, "local": 0, "other": 0}
for _ in range(count):
    slot = reserve()
    if slot is None:
        outcome["local"] += 1
        time.sleep(0.1)
        continue
    try:
        request = urllib.request.Request(url, headers={"Authorization": "Basic ZG91YmxlOg=="})
        urllib.request.urlopen(request, timeout=60).read()
        outcome["ok"] += 1
    except urllib.error.HTTPError as error:
        outcome["refused" if error.code == 429 else "other"] += 1
        if error.code in (401, 402, 429):
            give_back(slot)
    except OSError:
        outcome["other"] += 1
        give_back(slot)
print(json.dumps(outcome))
