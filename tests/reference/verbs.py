"""Random verbs on random configs, and what the reference client makes of them.

Run by `tests/it/verbs.rs` as `verbs.py SEED COUNT`; prints one JSON document a line: the config
before, the words, stdin, the exit code, the config afterwards and what `mp` then lists. Values
that we read in another way on purpose (quirks.md) are not among those that are made here.
"""

import json
import os
import random
import re
import sys
import tomllib
from pathlib import Path

import typer.main
from click.testing import CliRunner
from mixpanel_headless._internal import config as config_module
from mixpanel_headless.cli import utils
from mixpanel_headless.cli.main import app

rng = random.Random(int(sys.argv[1]))
# As wide as it takes: the reference wraps its JSON.
utils.console.width = 20000
mp, runner = typer.main.get_command(app), CliRunner()
path = Path.home() / ".mp" / "config.toml"
config_module._DEFAULT_CONFIG_PATH = path
NAMES, TARGETS = ["a", "b_1", "C-c", "me"], ["t1", "t2", "t3"]


def some(*values):
    return rng.choice(values)


def chance(percent):
    return rng.randrange(100) < percent


# A third of the files and half of the words have something odd in them; the others none.
strange = [False]


def odd(good, *bad, percent=6):
    return some(*bad) if strange[0] and chance(3 * percent) else good


def name():
    return odd(some(*NAMES), "nobody", "bad name", "", "x" * 65, "\u00fc", "x" * 64, "a.b", percent=8)


def project():
    return odd(some("123", "7", "0042", "9" * 30), "x", "", " 5", "5 ", "1.0", "0", percent=12)


def workspace():
    return odd(some("3", "12", "007", str(2**63 - 1)), "0", "x", "", "1.5", percent=12)


def toml(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    return repr(value)


def account():
    kind = odd(some("service_account", "oauth_browser", "oauth_token"), "x", 3, percent=2)
    block = {"type": kind, "region": odd(some("us", "eu", "in"), "US", 1, percent=2)}
    if chance(60):
        block["default_project"] = odd(some("123", "7"), "x", 5, "", percent=3)
    if kind == "service_account":
        block |= {"username": odd("u", "", 1, percent=3), "secret": odd("s", "", 1, percent=3)}
    elif kind == "oauth_token":
        block |= {"token": "tok"} if chance(50) else {"token_env": odd("TOK", "", percent=4)}
    if strange[0] and chance(4):
        block[some("x", "username", "token", "secret")] = "v"
    if strange[0] and chance(4):
        block.pop(some(*block))
    return block


def start():
    strange[0] = chance(33)
    if strange[0] and chance(12):
        return some("", "[accounts]\n", "[active]\n", "[targets]\n", "[accounts\n", "x = 1\nx = 2\n", "accounts = 3\n",
                    'accounts = { a = { type = "oauth_browser", region = "us" } }\n', "[[accounts]]\nx = 1\n",
                    'active.account = "a"\naccounts.a.type = "oauth_browser"\naccounts.a.region = "us"\n')
    names, parts = rng.sample(NAMES, some(0, 1, 2, 3, 3, 4, 4)), []
    if strange[0] and chance(10):
        names.append(some("bad name", "x" * 65, "\u00fc"))
    if chance(80):
        active = {"account": odd(some(*names) if names else "a", "nobody", "bad name", "", percent=8)} if chance(85) else {}
        if chance(40):
            active["workspace"] = odd(some(3, 12), "12", 12.0, percent=15)
        parts.append(("active", active))
    parts += [(f"accounts.{key(one)}", account()) for one in names]
    for target in ["t1", "t2", "odd name"]:
        if chance(45):
            block = {"account": odd(some(*names) if names else "a", "nobody", 3, percent=8), "project": odd("77", "x", 5, "", percent=8)}
            if chance(50):
                block["workspace"] = odd(9, "9", 0, "x", 9.0, percent=12)
            if strange[0] and chance(8):
                block["x"] = 1
            parts.append((f"targets.{key(target)}", block))
    if chance(30):
        parts.append(("settings", {"custom_header": {"name": "X-A", "value": "b"}, "unknown": 1}))
    rng.shuffle(parts)
    lines = []
    for title, block in parts:
        lines += ["# note"] * chance(20) + [f"[{title}]"]
        lines += [f"{field} = {toml(value)}" + "  # c" * chance(10) for field, value in block.items()] + [""] * chance(80)
    return "\n".join(lines) + "\n"


def key(text):
    return text if re.fullmatch("[A-Za-z0-9_-]+", text) else json.dumps(text, ensure_ascii=False)


def given(*pairs):
    return [f"{flag}={make()}" for percent, flag, make in pairs if chance(percent)]


def region():
    return odd(some("us", "eu", "in"), "US", "mars", "", percent=8)


def add():
    kind = some("service_account", "oauth_browser", "oauth_token")
    words = ["account", "add", name(), f"--type={kind}", f"--region={region()}", *given((50, "--project", project))]
    if kind == "service_account":
        return [*words, f"--username={odd('user', '')}", "--secret-stdin"], odd(some("sec", " sec\n"), "", "\n")
    return words + [f"--token-env={odd('TOK', '')}"] * (kind == "oauth_token"), ""


def update():
    words = ["account", "update", name()] + given((40, "--region", region), (50, "--project", project), (20, "--username", lambda: odd("user2", "")))
    words += given((20, "--token-env", lambda: odd("TOK2", "")))
    return (words + ["--secret-stdin"], odd("sec2\n", "")) if chance(15) else (words, "")


def verb():
    strange[0] = chance(50)
    word = lambda *words: (list(words), "")  # noqa: E731
    kinds = [
        (22, add), (14, update), (10, lambda: word("account", "use", name())),
        (10, lambda: word("account", "remove", name(), *["--force"] * chance(40))),
        (14, lambda: word("target", "add", some(*TARGETS), f"--account={name()}", f"--project={project()}", *given((50, "--workspace", workspace)))),
        (8, lambda: word("target", "use", some(*TARGETS, "t9", "odd name", ""))),
        (4, lambda: word("target", "remove", some(*TARGETS, "t9", "odd name"), "--yes")),
        (3, lambda: (["target", "remove", some(*TARGETS)], some("y\n", "n\n", "", "yes\n", "\n", "q\ny\n"))),
        (7, lambda: word("project", "use", project())), (5, lambda: word("workspace", "use", workspace())),
    ]
    return rng.choices([make for _, make in kinds], [weight for weight, _ in kinds])[0]()


def run(words, stdin=""):
    result = runner.invoke(mp, words, input=stdin)
    crashed = result.exception is not None and not isinstance(result.exception, SystemExit)
    return 1 if crashed else int(result.exit_code), result.stdout


def read(words):
    code, text = run(words)
    said = json.loads(text) if code == 0 else None
    for row in said if isinstance(said, list) else [said] if said else []:
        for only in ("status", "project_id", "project_name", "user_email"):
            row.pop(only, None)
    return [code, said]


def content():
    try:
        return tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError:
        return None


path.parent.mkdir(mode=0o700, exist_ok=True)
text = start()
for number in range(int(sys.argv[2])):
    if number % 6 == 0:
        text = start()
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    words, stdin = verb()
    code, _ = run(words, stdin)
    reads = [[words, *read([*words, "--format", "json"])] for words in (["account", "list"], ["account", "show"], ["target", "list"], ["target", "show", "t1"])]
    print(json.dumps({"before": text, "words": words, "stdin": stdin, "exit": code, "after": path.read_text(), "content": content(), "reads": reads}))
    text = path.read_text()
