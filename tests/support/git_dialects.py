"""Servers that answer as GitHub, GitLab and Gitea do when a program asks for pull requests.

Each one enforces what the real API enforces, as its documentation and its source say. tests/gitea runs the decision
table of the Gitea here on a real one, too.
"""

from collections.abc import Mapping
from typing import Any

from support.git_hosts import HOME, Call, FakeHost, Pull, Reply


class FakeGitHub(FakeHost):
    """Source: https://docs.github.com/en/rest/pulls/pulls"""

    provider = "github"
    prefix = "/api/v3"
    header = ("Authorization", "Bearer ")

    def unauthorized(self) -> Reply:
        return Reply(401, {"message": "Bad credentials", "documentation_url": "https://docs.github.com/rest"})

    def not_found(self) -> Reply:
        return Reply(404, {"message": "Not Found", "documentation_url": "https://docs.github.com/rest"})

    def forbidden(self) -> Reply:
        return Reply(403, {"message": "Resource not accessible by personal access token"})

    def chosen(self, pull: Pull, query: Mapping[str, str]) -> bool:
        # A head without its owner is ignored, as github.com does.
        owner, has_owner, head = query.get("head", "").partition(":")
        is_of_head = not has_owner or (owner, head) == (self.project.partition("/")[0], pull.head)
        is_of_base = query.get("base", pull.base) == pull.base
        return is_of_head and is_of_base and (query.get("state", "open") == "all" or pull.is_open)

    def shown(self, pull: Pull) -> dict[str, Any]:
        return {
            "number": pull.number,
            "html_url": f"https://git.example.com/{self.project}/pull/{pull.number}",
            "state": "open" if pull.is_open else "closed",
            "head": {"ref": pull.head, "label": f"acme:{pull.head}", "repo": {"id": pull.repository}},
            "base": {"ref": pull.base, "label": f"acme:{pull.base}", "repo": {"id": HOME}},
        }

    def opened(self, body: Mapping[str, Any]) -> Reply:
        for name in ("head", "base", "title"):
            if not body.get(name):
                return _invalid({"resource": "PullRequest", "field": name, "code": "missing_field"})
        for name in ("head", "base"):
            if body[name] not in self.branches:
                return _invalid({"resource": "PullRequest", "field": name, "code": "invalid"})
        if self.taken(body["head"], body["base"]):
            words = f"A pull request already exists for acme:{body['head']}."
            return _invalid({"resource": "PullRequest", "code": "custom", "message": words})
        if len(body.get("body", "")) > 65_536:
            words = "body is too long (maximum is 65536 characters)"
            return _invalid({"resource": "Issue", "code": "custom", "field": "body", "message": words})
        pull = self.add(body["head"], body["base"], body["title"])
        pull.body = body.get("body", "")
        return Reply(201, self.shown(pull))

    def updated(self, pull: Pull, call: Call) -> Reply:
        if call.method != "PATCH":
            return self.not_found()
        pull.title, pull.body = call.body.get("title", pull.title), call.body.get("body", pull.body)
        pull.is_open = call.body.get("state", "open" if pull.is_open else "closed") == "open"
        return Reply(200, self.shown(pull))


def _invalid(error: Mapping[str, str]) -> Reply:
    return Reply(422, {"message": "Validation Failed", "errors": [error]})


class FakeGitLab(FakeHost):
    """Source: https://docs.gitlab.com/api/merge_requests/ and lib/api/merge_requests.rb"""

    provider = "gitlab"
    prefix = "/api/v4"
    project = "acme/ml/app"
    header = ("Authorization", "Bearer ")

    def route(self) -> str:
        return f"/projects/{self.project.replace('/', '%2F')}/merge_requests"

    def unauthorized(self) -> Reply:
        return Reply(401, {"message": "401 Unauthorized"})

    def not_found(self) -> Reply:
        return Reply(404, {"message": "404 Project Not Found"})

    def forbidden(self) -> Reply:
        words = "The request requires higher privileges than provided by the access token."
        return Reply(403, {"error": "insufficient_scope", "error_description": words, "scope": "api"})

    def chosen(self, pull: Pull, query: Mapping[str, str]) -> bool:
        named = {"source_branch": pull.head, "target_branch": pull.base}
        is_of_state = query.get("state", "all") == "all" or (query["state"] == "opened") == pull.is_open
        return is_of_state and all(query.get(name, value) == value for name, value in named.items())

    def shown(self, pull: Pull) -> dict[str, Any]:
        return {
            "id": 1000 + pull.number,
            "iid": pull.number,
            "web_url": f"https://git.example.com/{self.project}/-/merge_requests/{pull.number}",
            "state": "opened" if pull.is_open else "closed",
            "source_branch": pull.head,
            "target_branch": pull.base,
            "source_project_id": pull.repository,
            "target_project_id": HOME,
        }

    def opened(self, body: Mapping[str, Any]) -> Reply:
        if missing := [
            f"{name} is missing" for name in ("title", "source_branch", "target_branch") if name not in body
        ]:
            return Reply(400, {"error": ", ".join(missing)})
        head, base = body["source_branch"], body["target_branch"]
        if taken := self.taken(head, base):
            words = f"Another open merge request already exists for this source branch: !{taken.number}"
            return Reply(409, {"message": [words]})
        if head not in self.branches:
            return Reply(400, {"message": {"source_branch": ["does not exist"]}})
        pull = self.add(head, base, body["title"])
        pull.body = body.get("description", "")
        return Reply(201, self.shown(pull))

    def updated(self, pull: Pull, call: Call) -> Reply:
        if call.method != "PUT":
            return Reply(405, {"error": "405 Not Allowed"})
        pull.title, pull.body = call.body.get("title", pull.title), call.body.get("description", pull.body)
        pull.is_open = pull.is_open and call.body.get("state_event") != "close"
        return Reply(200, self.shown(pull))


class FakeGitea(FakeHost):
    """Source: routers/api/v1/repo/pull.go of Gitea 1.26.4"""

    provider = "gitea"
    prefix = "/api/v1"
    header = ("Authorization", "token ")

    def size_parameter(self) -> str:
        return "limit"

    def unauthorized(self) -> Reply:
        return Reply(401, {"message": "invalid username, password or token"})

    def not_found(self) -> Reply:
        return Reply(404, {"message": "not found", "errors": None})

    def forbidden(self) -> Reply:
        words = (
            "token does not have at least one of required scope(s), required=[write:repository], "
            "token scope=read:repository"
        )
        return Reply(403, {"message": words})

    def chosen(self, pull: Pull, query: Mapping[str, str]) -> bool:
        state = query.get("state", "open")
        is_of_base = query.get("base_branch", pull.base) == pull.base
        return is_of_base and (state == "all" or (state == "open") == pull.is_open)

    def shown(self, pull: Pull) -> dict[str, Any]:
        return {
            "number": pull.number,
            "html_url": f"https://git.example.com/{self.project}/pulls/{pull.number}",
            "state": "open" if pull.is_open else "closed",
            "head": {"ref": pull.head, "label": pull.head, "repo_id": pull.repository},
            "base": {"ref": pull.base, "label": pull.base, "repo_id": HOME},
        }

    def opened(self, body: Mapping[str, Any]) -> Reply:
        head, base = body.get("head"), body.get("base")
        if head not in self.branches or base not in self.branches:
            return self.not_found()
        if taken := self.taken(head, base):
            words = f"pull request already exists for these targets [id: {taken.number}, head_branch: {head}]"
            return Reply(409, {"message": words})
        if not body.get("title"):
            return Reply(422, {"message": "title is empty"})
        pull = self.add(head, base, body["title"])
        pull.body = body.get("body", "")
        return Reply(201, self.shown(pull))

    def updated(self, pull: Pull, call: Call) -> Reply:
        if call.method != "PATCH":
            return Reply(405)
        pull.title, pull.body = call.body.get("title", pull.title), call.body.get("body", pull.body)
        pull.is_open = call.body.get("state", "open" if pull.is_open else "closed") == "open"
        return Reply(201, self.shown(pull))


FAKES: tuple[type[FakeHost], ...] = (FakeGitHub, FakeGitLab, FakeGitea)
