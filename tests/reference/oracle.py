"""Random homes, and what the reference client makes of them.

Run by `tests/it/oracle.rs` as `oracle.py SEED COUNT DIRECTORY`; prints one JSON document a line:
files, environment, flags and headers of the case, and what has to come out. Where we differ from
the reference on purpose (empty variables, reserved headers, tokens of a bridge), `better` says so.
"""

import json
import os
import random
import shutil
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import mixpanel_headless as mp
from mixpanel_headless import Workspace
from mixpanel_headless._internal import config as config_module
from mixpanel_headless._internal.auth.bridge import load_bridge
from mixpanel_headless._internal.auth.resolver import resolve_session
from mixpanel_headless._internal.auth.token import OAuthTokens
from mixpanel_headless._internal.auth.token_resolver import OnDiskTokenResolver

seed, count, root = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
rng = random.Random(seed)
NAMES = ["a", "b_1", "C-c", "me", "you"]
RESERVED = {
    "authorization", "proxy-authorization", "proxy-authenticate", "connection", "keep-alive",
    "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "host", "content-length",
    "expect", "via",
}
TOKEN = set("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def chance(percent):
    return rng.randrange(100) < percent


def some(*values):
    return rng.choice(values)


def project():
    return some("123", "7", "0042", "99999999999999999999", "3018488")


def odd(good, *bad, percent=4):
    return some(*bad) if chance(percent) else good


def workspace():
    good = some(3, 12, "12", 12.0, " 7 ", "7.0", "007", 3448414, "9.00", 9223372036854775807)
    return odd(good, 0, -1, "x", 1.5, "", [], "1.5", "-3", 1e300, " ", "7.", ".0", "1e3", "0", 0.0, "0.0")


def account(kind=None, named=None):
    kind = kind or some("service_account", "oauth_browser", "oauth_token")
    block = {"type": odd(kind, "basic", 1, percent=2), "region": odd(some("us", "eu", "in"), "US", "", "jp", 1, percent=3)}
    if named:
        block["name"] = named
    if chance(60):
        block["default_project"] = odd(project(), "x", 12, "", " 1", "1 ", "1\n", "-1", "1.0")
    if kind == "service_account":
        block["username"] = odd(some("sa", "sa.user:x", "ü", " "), "", 1)
        block["secret"] = odd(some("s3cr3t", "", "pä:ss", "a" * 80), 5)
    if kind == "oauth_token":
        if chance(60):
            block["token"] = odd(some("tok-1", "tok.2", "x" * 40), 1, [])
        else:
            block["token_env"] = odd(some("MY_TOKEN", "MP_OAUTH_TOKEN", "UNSET_TOKEN"), 3)
        if chance(4):
            block["token_env" if "token" in block else "token"] = "X"
        if chance(3):
            block.pop("token", None)
    if chance(3):
        block[some("secret", "token", "extra", "username", "project", "workspace")] = "x"
    if chance(2):
        block.pop(some(*block), None)
    return block


def expires():
    far = datetime(2031, 5, 6, 7, 8, 9, rng.randrange(10**6), timezone.utc)
    zone = timezone(timedelta(minutes=some(0, 60, -330, 345, 840, -719)))
    near = far.astimezone(zone)
    past = datetime(2020, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    good = [
        near.isoformat(), near.isoformat(" "), far.isoformat().replace("+00:00", "Z"),
        far.strftime("%Y-%m-%dT%H:%M:%SZ"), far.strftime("%Y-%m-%dt%H:%M:%Sz"),
        far.strftime("%Y-%m-%d %H:%M:%S+00:00"), far.strftime("%Y-%m-%dT%H:%MZ"),
        far.strftime("%Y-%m-%dT%H:%M:%S.%f") + "+0000", far.strftime("%Y-%m-%dT%H:%M:%S-0330"),
        far.strftime("%Y-%m-%dT%H:%M:%S.1Z"), far.strftime("%Y-%m-%d_%H:%M:%SZ"),
        4102444800, 4102444800.5, "4102444800", "4102444800.25", 4102444800000, "4102444800000",
        4102444800000.5, 20000000000, 20000000001, "20000000000", 253402300799, 253402300799999,
    ]
    bad = [
        past.isoformat(), 5, "5", -5, 1577934245, "-62135596800", past.isoformat() + "x", "", " ", "soon",
        "2031-05-06", "2031-05-06T07:08:09", True, None, [], {}, "nan", "inf", "-1", "+4102444800",
        " 4102444800", "4102444800 ", "4_102_444_800", "4e9", 4e9, 1e30, 253402300800000, 99999999999999999,
        "2031-13-06T07:08:09Z", "2031-05-06T25:08:09Z", "2031-05-06T07:08:60Z", "2031-02-30T07:08:09Z",
        "2031-05-06T07:08:09+25:00", "2031-05-06T07:08:09+24:00", "2031-05-06T07:08:09+23:59",
        "2031-05-06T07:08:09.1234567Z", "2031-05-06T07:08:09.123456789012Z", " 2031-05-06T07:08:09Z",
        "2031-05-06T07:08:09Z ", "2031-05-06T07:08:09 Z", "2031-05-06T07:08:09 +00:00", "0001-01-01T00:00:00Z",
        "2031-05-06T07:08:09\u221200:00", "20310506T070809Z", "2031-05-06T070809Z", "2031-W19-2T07:08:09Z",
        "2031-05-06T07:08:09,5Z", "2031-05-06T07:08:09+00", "2031-05-06T07:08:09UTC", "12:00Z", "0x10",
        "2031-05-06T07Z", "2031-5-6T07:08:09Z", "９９", "4102444800.", ".5", "1.7976931348623157e308",
    ]
    return some(*good) if chance(55) else some(*bad)


def tokens():
    block = {"access_token": odd(f"acc-{rng.randrange(10**6)}", 1, None, [], percent=3), "expires_at": expires(),
             "scope": odd(some("read", "", "a b"), None, 1, percent=3), "token_type": odd(some("Bearer", "bearer", ""), None, 2, percent=3)}
    if chance(50):
        block["refresh_token"] = odd(some("ref-1", None), 7, percent=3)
    if chance(20):
        block[some("client_id", "extra", "id_token")] = some("c", "d")
    if chance(3):
        block.pop(some(*block))
    return block


def header():
    name = odd(some("X-Mixpanel-Cluster", "x-mixpanel-cluster", "X-Other", "Cookie"), "Authorization", "", "a b", "X-Mp-Target", "TE", percent=6)
    return name, odd(some("internal-1", "v w", "", "a=b; c"), "ü", "a\nb", percent=5)


def bridge():
    kind = some("service_account", "oauth_browser", "oauth_token")
    block = {"account": account(kind, odd(some(*NAMES, "vm"), "bad name", "", 5, "x" * 65, percent=3))}
    if chance(70):
        block["version"] = odd(some(2, 2.0), "2", 3, None, 1, 2.5, percent=5)
    if kind == "oauth_browser" or chance(10):
        block["tokens"] = tokens()
    if kind == "oauth_browser" and chance(4):
        block.pop("tokens")
    if chance(50):
        block["project"] = odd(some(project(), None), 5, "", "x")
    if chance(50):
        block["workspace"] = some(workspace(), None)
    if chance(50):
        pairs = {name.lower(): (name, value) for name, value in (header() for _ in range(rng.randrange(4)))}
        block["headers"] = odd(dict(pairs.values()), None, [], {"X": 1}, "x", percent=4)
    if chance(3):
        block[some("x", "region", "client_id", "accounts")] = 1
    return block


def toml(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    return repr(value)


def config(names):
    parts = []
    if chance(85):
        active = {}
        if chance(85):
            active["account"] = odd(some(*names) if names else "a", "nobody", "bad name", 3, "", percent=8)
        if chance(40):
            active["workspace"] = workspace()
        if chance(4):
            active[some("project", "target", "x")] = "1"
        parts.append(("active", active))
    for name in names:
        parts.append((f"accounts.{name}", account()))
    for name in ["t1", "t2", '"odd name"']:
        if chance(60):
            target = {"account": odd(some(*names) if names else "a", "nobody", 3, "", "bad name", "x" * 65, percent=10), "project": odd(project(), "x", 4, "", percent=6)}
            if chance(50):
                target["workspace"] = workspace()
            if chance(4):
                target["x"] = 1
            if chance(3):
                target.pop(some("account", "project"))
            parts.append((f"targets.{name}", target))
    if chance(40):
        name, value = header()
        block = {"name": name, "value": value}
        if chance(6):
            block = some({"name": "X"}, {"value": "x"}, {"name": "X", "value": 1}, "X: 1", {"name": "X", "value": "1", "extra": 2})
        parts.append(("settings", {"custom_header": block, **({"unknown": 1} if chance(30) else {})}))
    if chance(10):
        parts.append(("future", {"x": 1}))
    rng.shuffle(parts)
    text = "".join(f"[{title}]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in block.items()) + "\n" for title, block in parts)
    return text + (some("[broken", "a = ", "x = 1\nx = 2\n", "[active]\n[active]\n") if chance(2) else "")


def selection(names, text):
    chosen = {}
    targets = [name for name in ("t1", "t2", "odd name") if f"targets.{name}]" in text.replace('"', "")]
    if targets and chance(25):
        chosen["target"] = odd(some(*targets), "t9", percent=6)
    else:
        if names and chance(35):
            chosen["account"] = odd(some(*names), "nobody", percent=4)
        if chance(30):
            chosen["project"] = project()
        if chance(30):
            chosen["workspace"] = some(1, 55)
    return chosen


def case():
    names = rng.sample(NAMES, some(0, 1, 2, 3, 3, 4, 5))
    files, env, text = {}, {}, ""
    if chance(92):
        path = ".mp/config.toml"
        if chance(15):
            path = "elsewhere/c.toml"
            env["MP_CONFIG_PATH"] = "{home}/" + path
        text = files[path] = config(names)
    elif chance(30):
        env["MP_CONFIG_PATH"] = some("", "{home}/none.toml")
    if chance(35):
        path = some(".claude/mixpanel/auth.json", "mixpanel_auth.json", "bridge.json")
        if path == "bridge.json":
            env["MP_AUTH_FILE"] = odd("{home}/bridge.json", "{home}/none.json", "", percent=15)
        inner = json.dumps(bridge())
        files[path] = odd(inner, inner[:-1], "", "[]", "null", "{}", inner + "x", "\ufeff" + inner, percent=4)
    storage = ".mp"
    if chance(15):
        storage = "store"
        env[some("MP_STORAGE_DIR", "MP_OAUTH_STORAGE_DIR")] = "{home}/store"
    for name in NAMES:
        if chance(50):
            inner = json.dumps(tokens())
            files[f"{storage}/accounts/{name}/tokens.json"] = odd(inner, inner[:-2], "", "null", "[]", percent=3)
    variables = {
        "MP_USERNAME": lambda: some("env-sa", "u:v"), "MP_SECRET": lambda: some("env-secret", "ö"),
        "MP_PROJECT_ID": lambda: odd(project(), "x", " 5", "1.0", percent=6),
        "MP_REGION": lambda: odd(some("us", "eu", "in"), "US", "mars", " us", percent=6),
        "MP_OAUTH_TOKEN": lambda: some("env-token"),
        "MP_WORKSPACE_ID": lambda: odd(some("44", " 45 ", "0046"), "0", "-1", "x", "1.0", percent=10),
    }
    style = rng.randrange(10)
    for name, make in variables.items():
        wanted = {0: 85, 1: 50}.get(style, 8)
        if chance(wanted):
            env[name] = make()
        elif chance(4):
            env[name] = ""
    if chance(25):
        env["MP_CUSTOM_HEADER_NAME"], env["MP_CUSTOM_HEADER_VALUE"] = header()
        if chance(15):
            env.pop(some("MP_CUSTOM_HEADER_NAME", "MP_CUSTOM_HEADER_VALUE"))
    if chance(60):
        env["MY_TOKEN"] = some("my-token", "my-token", "")
    env = {name: value for name, value in env.items() if "\n" not in value}
    switch = selection(names, text) if chance(45) else {}
    base = selection(names, text) if chance(60) else {}
    return {"files": files, "env": env, "base": base, "switch": switch}


def plain(session):
    return {
        "account": session.account.name, "type": session.account.type, "region": session.account.region,
        "default_project": session.account.default_project, "project": session.project.id,
        "workspace": session.workspace.id if session.workspace else None,
    }


def broken_header(name, value):
    plain_name = name.lower().replace("_", "-")
    return (not name or not set(name) <= TOKEN or plain_name in RESERVED or plain_name.startswith("x-mp-")
            or not value.isascii() or any(ord(c) < 32 and c != "\t" or ord(c) == 127 for c in value))


def headers(session, env, setting):
    """As they are sent: environment, settings, bridge, without regard to case (better: C12, C13, C14)."""
    pairs = []
    name, value = env.get("MP_CUSTOM_HEADER_NAME"), env.get("MP_CUSTOM_HEADER_VALUE")
    if name and value:
        pairs.append((name, value))
    pairs += session.headers.items()
    # A setting that a bridge overrules is refused all the same if it is broken.
    if any(broken_header(*pair) for pair in [*pairs, *([setting] if setting else [])]):
        return None
    return {name.lower(): value for name, value in pairs}


def authorization(session, found):
    """The header, or the code of the error (better: of bridge and disk the token that lasts longer)."""
    if session.account.type != "oauth_browser":
        try:
            value = session.account.auth_header(token_resolver=OnDiskTokenResolver())
        except mp.OAuthError as error:
            return {"error": error.code}
        good = value.isascii() and value.strip() not in ("Bearer", "Basic") and "\n" not in value
        return value if good else {"error": "OAUTH_TOKEN_ERROR"}
    have = []
    same = found and found.account.type == "oauth_browser" and found.account.name == session.account.name
    if same and found.account.region == session.account.region and found.tokens:
        have.append(found.tokens)
    path = config_module_storage() / "accounts" / session.account.name / "tokens.json"
    try:
        have.append(OAuthTokens.model_validate_json(path.read_bytes()))
    except Exception:
        if not have:
            return {"error": "OAUTH_TOKEN_ERROR"}
    best = max(have, key=lambda one: one.expires_at)
    if len(have) == 2 and have[0].expires_at == have[1].expires_at:
        return None
    if not best.is_expired():
        value = "Bearer " + best.access_token.get_secret_value()
        return value if value != "Bearer " else {"error": "OAUTH_TOKEN_ERROR"}
    # better: where none is good, one that can be renewed.
    renewable = any(one.refresh_token is not None for one in have)
    return {"error": "OAUTH_REFRESH_ERROR" if renewable else "OAUTH_TOKEN_ERROR"}


def config_module_storage():
    return Path(os.environ.get("MP_STORAGE_DIR") or os.environ.get("MP_OAUTH_STORAGE_DIR") or Path.home() / ".mp")


class AnyClient:
    """A client that only keeps the session; `Workspace.use` is what is asked, not HTTP."""

    def __init__(self, session):
        self.session = session

    def use(self, *, account=None, project=None, workspace=None):
        axes = {"workspace": workspace}
        if account is not None:
            axes["account"] = account
        if project is not None:
            axes["project"] = project
        self.session = self.session.replace(**axes)

    def set_workspace_resolver(self, *_):
        pass

    def __getattr__(self, name):
        return lambda *args, **kwargs: None


def outcome(one):
    base, switch = one["base"], one["switch"]
    found = load_bridge()
    manager = config_module.ConfigManager()
    if not switch:
        session = resolve_session(**base, config=manager, bridge=found)
    else:
        if "account" in switch or "target" in switch:
            # better: works even where the base session cannot be resolved.
            start = mp.Session(account=mp.ServiceAccount(name="x", region="us", username="u", secret="s"), project={"id": "1"})
        elif "project" in switch and "target" not in base:
            start = resolve_session(**{**base, "project": switch["project"]}, config=manager, bridge=found)
        else:
            start = resolve_session(**base, config=manager, bridge=found)
        place = Workspace(session=start, _api_client=AnyClient(start))
        place.use(**switch)
        session = place._session
        # U6: the headers of the base session, which depend on files and environment only.
        heads = dict(found.headers) if found else {}
        setting = manager.get_custom_header()
        session = session.replace(headers={**({setting[0]: setting[1]} if setting else {}), **heads})
    sent = headers(session, os.environ, manager.get_custom_header())
    if sent is None:
        return {"error": "CONFIG_ERROR"}
    return {"session": plain(session), "headers": sent, "authorization": authorization(session, found)}


for number in range(count):
    one = case()
    home = root / str(number)
    for path, text in one["files"].items():
        file = home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        file.chmod(0o600)
    home.mkdir(parents=True, exist_ok=True)
    os.chdir(home)
    os.environ.clear()
    os.environ["HOME"] = str(home)
    # better: an empty variable is unset (E9).
    os.environ.update({name: value.replace("{home}", str(home)) for name, value in one["env"].items() if value})
    config_module._DEFAULT_CONFIG_PATH = home / ".mp" / "config.toml"
    try:
        one["want"] = outcome(one)
    except Exception as error:
        one["want"] = {"error": getattr(error, "code", None) or "CONFIG_ERROR", "why": f"{type(error).__name__}: {error}"[:300]}
    os.chdir(root)
    shutil.rmtree(home)
    print(json.dumps(one))
