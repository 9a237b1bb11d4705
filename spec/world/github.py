"""GitHub's REST API for one repository, on a real git repository. Usage: github.py DESCRIPTION REPOSITORY PORT

DESCRIPTION is GitHub's own API description: each answer is the example that stands there, with what this repository has in
its place. POST /_control sets { pulls, checks, statuses, strict, faults }; GET /_log tells what was asked.
"""
import copy
import json
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

api = json.load(open(sys.argv[1], encoding="utf-8"))
REPO, PORT = sys.argv[2], int(sys.argv[3])
lock = threading.RLock()
state = {"pulls": {}, "checks": {}, "statuses": {}, "releases": [], "strict": False, "faults": [], "token": None, "log": []}


def example(path, method, status):
    found = next(iter(api["paths"][path][method]["responses"][status]["content"]["application/json"]["examples"].values()))
    if "$ref" in found:
        found = api["components"]["examples"][found["$ref"].rsplit("/", 1)[1]]
    return copy.deepcopy(found["value"])


def git(*words, check=True, **more):
    return subprocess.run(["git", "-C", REPO, "-c", "user.name=hub", "-c", "user.email=hub@example.com", *words],
                          capture_output=True, text=True, check=check, **more)


def sha(ref):
    found = git("rev-parse", "-q", "--verify", ref + "^{commit}", check=False)
    return found.stdout.strip() if found.returncode == 0 else None


def mergeable(pull):
    """(whether, the merged tree, the state's name)"""
    merged = git("merge-tree", "--write-tree", "refs/heads/main", pull["head"], check=False)
    if merged.returncode != 0:
        return False, None, "dirty"
    behind = git("merge-base", "--is-ancestor", "refs/heads/main", pull["head"], check=False).returncode != 0
    if pull.get("draft"):
        return True, merged.stdout.split()[0], "draft"
    if pull.get("blocked"):
        return True, merged.stdout.split()[0], "blocked"
    return True, merged.stdout.split()[0], "behind" if state["strict"] and behind else "clean"


def shown(number, pull):
    told = example("/repos/{owner}/{repo}/pulls/{pull_number}", "get", "200")
    head = sha(pull["head"]) or pull.get("head_sha")
    told.update(number=number, title=pull.get("title", "A change"), draft=pull.get("draft", False), merged=pull.get("merged", False),
                state="closed" if pull.get("merged") or pull.get("closed") else "open", mergeable=None, mergeable_state="unknown",
                merge_commit_sha=pull.get("merge_commit"), merged_at=pull.get("merged_at"))
    told["requested_teams"] = []  # the example lacks what the description demands
    told["head"].update(ref=pull["head"], sha=head)
    told["base"].update(ref="main", sha=sha("refs/heads/main"))
    # what GitHub finds out in the background: not known when it is asked first after a change
    now = (head, sha("refs/heads/main"))
    if pull.get("known") == list(now) and told["state"] == "open":
        told["mergeable"], _, told["mergeable_state"] = mergeable(pull)
    pull["known"] = list(now)
    return told


def merge(pull, wanted):
    if pull.get("merged") or pull.get("closed") or pull.get("draft"):
        return 405, {"message": "Pull Request is not mergeable"}
    head = sha(pull["head"])
    if wanted.get("sha") not in (None, head):
        return 409, {"message": "Head branch was modified. Review and try the merge again."}
    can, tree, name = mergeable(pull)
    if not can or name in ("blocked", "behind"):
        return 405, {"message": "Pull Request is not mergeable"}
    parents = ["-p", sha("refs/heads/main")] + (["-p", head] if wanted.get("merge_method") == "merge" else [])
    made = git("commit-tree", tree, *parents, "-m", "%s %s" % (wanted.get("merge_method"), pull["head"])).stdout.strip()
    git("update-ref", "refs/heads/main", made)
    pull.update(merged=True, merge_commit=made, merged_at="2026-11-20T12:00:00Z", head_sha=head)
    return 200, {"sha": made, "merged": True, "message": "Pull Request successfully merged"}


def checks(ref, page, kind, path, field):
    told = example(path, "get", "200")
    model, commit = told[field][0], sha(unquote(ref))
    if commit is None:
        return 422, {"message": "No commit found for SHA: " + ref}
    wanted = []
    for branch, list_ in state[kind].items():
        if sha(branch) == commit:
            wanted = list_
    told["total_count"], told[field] = len(wanted), []
    for one in wanted[(page - 1) * 100:page * 100]:
        entry = copy.deepcopy(model)
        entry.update(one)
        told[field].append(entry)
    return 200, told


def reviews(list_, page):
    model = example("/repos/{owner}/{repo}/pulls/{pull_number}/reviews", "get", "200")[0]
    told = []
    for login, verdict in list_[(page - 1) * 100:page * 100]:
        told.append(copy.deepcopy(model))
        told[-1]["state"] = verdict
        told[-1]["user"]["login"] = login
    return told


def release(made):
    told = example("/repos/{owner}/{repo}/releases/tags/{tag}", "get", "200")
    told.update(made)
    return told


def answer(method, path, query, body):
    page = int(query.get("page", ["1"])[0])
    match = re.fullmatch(r"/repos/acme/shop(/.*)", path)
    if not match:
        return 404, {"message": "Not Found", "documentation_url": "https://docs.github.com/rest"}
    rest = match[1]
    match = re.fullmatch(r"/pulls/(\d+)(/merge|/update-branch)?", rest)
    if match and match[1] in state["pulls"]:
        pull = state["pulls"][match[1]]
        if method == "GET" and not match[2]:
            return 200, shown(int(match[1]), pull)
        if method == "PUT" and match[2] == "/merge":
            return merge(pull, body)
        if method == "PUT" and match[2] == "/update-branch":
            tree = mergeable(pull)[1]
            made = git("commit-tree", tree, "-p", sha(pull["head"]), "-p", sha("refs/heads/main"), "-m", "update").stdout.strip()
            for kind in ("checks", "statuses"):
                state[kind].setdefault(pull["head"], [])
            git("update-ref", "refs/heads/" + pull["head"], made)
            return 202, {"message": "Updating pull request branch.", "url": "https://github.com/repos/acme/shop/pulls/" + match[1]}
    match = re.fullmatch(r"/pulls/(\d+)/reviews", rest)
    if match and match[1] in state["pulls"] and method == "GET":
        return 200, reviews(state["pulls"][match[1]].get("reviews", []), page)
    match = re.fullmatch(r"/commits/([^/]+)/(check-runs|status)", rest)
    if match and method == "GET":
        base = "/repos/{owner}/{repo}/commits/{ref}/"
        if match[2] == "check-runs":
            return checks(match[1], page, "checks", base + "check-runs", "check_runs")
        return checks(match[1], page, "statuses", base + "status", "statuses")
    match = re.fullmatch(r"/git/ref/(.+)", rest)
    if match and method == "GET":
        name = "refs/" + unquote(match[1])
        if sha(name):
            told = example("/repos/{owner}/{repo}/git/ref/{ref}", "get", "200")
            told["ref"], told["object"]["sha"] = name, sha(name)
            return 200, told
    match = re.fullmatch(r"/git/refs/(.+)", rest)
    if match and method == "DELETE":
        git("update-ref", "-d", "refs/" + unquote(match[1]))
        return 204, None
    match = re.fullmatch(r"/releases/tags/(.+)", rest)
    if match and method == "GET":
        for made in state["releases"]:
            if made["tag_name"] == unquote(match[1]):
                return 200, release(made)
    if rest == "/releases" and method == "POST":
        made = {"id": len(state["log"]), "tag_name": body["tag_name"], "name": body.get("name"), "prerelease": body["prerelease"],
                "html_url": "https://github.com/acme/shop/releases/" + body["tag_name"], "draft": False}
        if not sha("refs/tags/" + body["tag_name"]):
            git("update-ref", "refs/tags/" + body["tag_name"], sha(body["target_commitish"]))
        state["releases"].append(made)
        return 201, release(made)
    match = re.fullmatch(r"/releases/(\d+)", rest)
    if match and method == "DELETE":
        state["releases"] = [made for made in state["releases"] if made["id"] != int(match[1])]
        return 204, None
    return 404, {"message": "Not Found", "documentation_url": "https://docs.github.com/rest"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, value, headers=None):
        raw = value.encode() if isinstance(value, str) else b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Type": "application/json; charset=utf-8", **(headers or {})}.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def handle_any(self):
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        where = urlsplit(self.path)
        with lock:
            if where.path == "/_control":
                # an empty table of Lua's is a list here
                state.update({name: value or type(state[name])() for name, value in json.loads(raw).items()})
                return self.reply(200, {})
            if where.path == "/_log":
                return self.reply(200, state["log"])
            line = self.command + " " + where.path
            state["log"].append(line)
            fault = next((one for one in state["faults"] if re.search(one["match"], line) and one.get("times", 1) > 0
                          and ("from" not in one or any(re.search(one["from"], said) for said in state["log"][:-1]))), None)
            if fault:
                fault["times"] = fault.get("times", 1) - 1
            if fault and not fault.get("after"):
                return self.reply(fault["status"], fault.get("body", {"message": "a fault"}), fault.get("headers"))
            if state["token"] and self.headers.get("Authorization") != "Bearer " + state["token"]:
                return self.reply(401, {"message": "Bad credentials", "documentation_url": "https://docs.github.com/rest"})
            told = answer(self.command, where.path, parse_qs(where.query), json.loads(raw) if raw else {})
            if fault:  # it was done, and nobody hears of it
                self.close_connection = True
                return None
            return self.reply(*told)

    do_GET = do_PUT = do_POST = do_DELETE = handle_any


ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
