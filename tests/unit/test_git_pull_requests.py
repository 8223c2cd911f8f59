"""A published branch gets one pull request, whatever the server does and whoever else publishes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.git_dialects import FAKES, FakeGitHub, FakeGitLab
from support.git_hosts import FORK, OF_A_STRANGER, READS_ONLY, TOKEN, FakeHost, Reply
from support.git_server import Authority
from support.pull_request_table import TABLE, Host, publish
from swarm_git import http_api, pull_requests
from swarm_git.cutting import fitting
from swarm_git.errors import GitError
from swarm_git.providers.gitea import Gitea
from swarm_git.providers.github import GitHub
from swarm_git.providers.gitlab import GitLab
from swarm_git.pull_requests import DIALECTS, open_or_update
from swarm_wire.names import WorkerReason

HEAD = "dspy/team/triage"


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Returns the pauses, which take no time here. A token never goes through a proxy of the machine."""
    pauses: list[float] = []
    for module in (http_api, pull_requests):
        monkeypatch.setattr(module.time, "sleep", pauses.append)
    monkeypatch.setenv("no_proxy", "*")
    return pauses


@pytest.fixture(params=FAKES, ids=lambda kind: kind.provider)
def host(request: pytest.FixtureRequest) -> Iterator[FakeHost]:
    with request.param().running() as running:
        running.add_branch(HEAD)
        yield running


@pytest.fixture
def github() -> Iterator[FakeHost]:
    with FakeGitHub().running() as running:
        running.add_branch(HEAD)
        yield running


@pytest.fixture
def gitlab() -> Iterator[FakeHost]:
    with FakeGitLab().running() as running:
        running.add_branch(HEAD)
        yield running


def failure(host: FakeHost, token: str = TOKEN, **changed: Any) -> GitError:
    """Returns the error of publishing. No error shows the token."""
    with pytest.raises(GitError) as raised:
        open_or_update(host.destination(**changed), token, HEAD, "title", "body", ca_file=host.ca_file)
    assert token.strip() not in str(raised.value)
    assert str(raised.value).startswith("spec.artifact.git: ")
    assert str(raised.value).endswith(".")
    return raised.value


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.__name__)
def test_the_decision_table(host: FakeHost, row: Callable[[Host], None]) -> None:
    row(host)


class TestFinding:
    def test_a_request_from_a_branch_of_the_same_name_in_a_fork_stays_as_it_is(self, host: FakeHost) -> None:
        theirs = host.add(HEAD, title="theirs", repository=FORK)
        publish(host, HEAD, "ours")
        assert theirs.title == "theirs"
        assert [pull.title for pull in host.open_pulls(HEAD)] == ["ours"]

    def test_github_gets_the_owner_in_its_filter_since_it_ignores_others(self, github: FakeHost) -> None:
        publish(github, HEAD)
        assert github.calls[0].query["head"] == f"acme:{HEAD}"

    def test_gitlab_gets_the_path_of_nested_groups_as_one_part_of_its_url(self, gitlab: FakeHost) -> None:
        publish(gitlab, HEAD)
        assert gitlab.calls[0].path == "/api/v4/projects/acme%2Fml%2Fapp/merge_requests"

    def test_a_server_that_always_has_a_next_page_is_left_in_the_end(
        self, host: FakeHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("swarm_git.providers.dialect.MOST_PAGES", 3)
        host.faults = [Reply(200, [], {"Link": '<x>; rel="next"'})] * 3
        publish(host, HEAD)
        assert [call.method for call in host.calls] == ["GET", "GET", "GET", "POST", "GET"]


class TestOthersAtTheSameTime:
    def test_the_request_that_another_process_has_just_opened_gets_our_text(self, host: FakeHost) -> None:
        host.before["POST"] = lambda: host.add(HEAD, title="theirs")
        url = publish(host, HEAD, "ours")
        [pull] = host.open_pulls(HEAD)
        assert (pull.title, url.rpartition("/")[2]) == ("ours", str(pull.number))

    def test_of_two_that_a_server_has_opened_at_once_the_older_stays(self, host: FakeHost) -> None:
        host.is_blind = True
        host.before["POST"] = lambda: host.add(HEAD, title="theirs")
        url = publish(host, HEAD, "ours")
        assert [(pull.title, pull.is_open) for pull in host.pulls] == [("ours", True), ("ours", False)]
        assert url.endswith("/1")

    def test_the_process_with_the_older_one_comes_to_the_same_result(self, host: FakeHost) -> None:
        def other_opens() -> None:
            host.before["GET"] = lambda: host.add(HEAD, title="theirs")

        host.before["POST"] = other_opens
        url = publish(host, HEAD, "ours")
        assert [(pull.title, pull.is_open) for pull in host.pulls] == [("ours", True), ("theirs", False)]
        assert url.endswith("/1")

    def test_a_request_that_is_closed_before_it_gets_our_text_is_followed_by_another(self, host: FakeHost) -> None:
        first = publish(host, HEAD, "first")
        host.before[DIALECTS[host.provider].changes] = lambda: host.close(1)
        assert publish(host, HEAD, "second") != first
        assert [pull.title for pull in host.open_pulls(HEAD)] == ["second"]

    def test_a_server_that_always_says_that_one_exists_is_asked_three_times(self, host: FakeHost) -> None:
        taken = Reply(409, {"message": "already exists"})
        host.faults = [Reply(200, []), taken] * 3
        error = failure(host)
        assert (error.reason, error.terminal) == (WorkerReason.GIT_REFUSED, False)
        assert "The server says: already exists." in str(error)


class TestPassingFailures:
    @pytest.mark.parametrize("status", [429, 500, 502, 503, 0], ids=lambda status: str(status or "no answer"))
    def test_two_failures_are_followed_by_a_third_try(self, host: FakeHost, slept: list[float], status: int) -> None:
        host.faults = [Reply(status, b"<html>"), Reply(status)]
        publish(host, HEAD)
        assert len(host.open_pulls(HEAD)) == 1
        assert slept == [1, 4]

    def test_a_third_failure_is_told_as_one_that_may_pass(self, host: FakeHost) -> None:
        host.faults = [Reply(502, b"<html>")] * 3
        error = failure(host)
        assert (error.reason, error.terminal) == (WorkerReason.GIT_UNREACHABLE, False)
        assert "502 Bad Gateway" in str(error)

    def test_a_server_that_is_not_there_is_told_as_one_that_may_come(self, host: FakeHost) -> None:
        with FakeGitHub().running() as gone:
            address = gone.api
        error = failure(host, pullRequest={"provider": host.provider, "api": address})
        assert (error.reason, error.terminal) == (WorkerReason.GIT_UNREACHABLE, False)
        assert "refused" in str(error)

    def test_a_request_that_was_opened_although_the_answer_was_lost_is_not_opened_again(self, host: FakeHost) -> None:
        host.late_faults = [Reply(200, []), Reply(504)]
        publish(host, HEAD, "ours")
        assert [pull.title for pull in host.open_pulls(HEAD)] == ["ours"]

    @pytest.mark.parametrize("wait", ["7", "07"])
    def test_a_pause_that_the_server_asks_for_is_made(self, host: FakeHost, slept: list[float], wait: str) -> None:
        host.faults = [Reply(429, None, {"Retry-After": wait})]
        publish(host, HEAD)
        assert slept == [7]

    @pytest.mark.parametrize(
        "headers",
        [
            {"Retry-After": "31"},
            {"Retry-After": "Fri, 31 Dec 2117 23:59:59 GMT"},
            {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "4669999999"},
        ],
        ids=["seconds", "a date", "GitHub's limit"],
    )
    def test_a_long_pause_is_left_to_a_later_process(
        self, host: FakeHost, slept: list[float], headers: dict[str, str]
    ) -> None:
        host.faults = [Reply(429, {"message": "slow down"}, headers)]
        error = failure(host)
        assert (error.reason, error.terminal, slept) == (WorkerReason.GIT_UNREACHABLE, False, [])
        assert "slow down" in str(error)
        assert "asks to wait" in str(error)

    @pytest.mark.parametrize(
        "reply",
        [
            Reply(403, {"message": "You have exceeded a secondary rate limit."}),
            Reply(403, {"message": "no"}, {"Retry-After": "1"}),
        ],
    )
    def test_githubs_403_for_haste_is_no_refusal(self, github: FakeHost, reply: Reply) -> None:
        github.faults = [reply]
        publish(github, HEAD)

    def test_headers_that_are_no_numbers_do_not_matter(self, github: FakeHost, slept: list[float]) -> None:
        github.faults = [Reply(503, None, {"Retry-After": "soon"}), Reply(403, None, {"X-RateLimit-Remaining": "0"})]
        publish(github, HEAD)
        assert slept == [1, 4]


CREDENTIALS, REFUSED, NOT_FOUND = (
    WorkerReason.GIT_CREDENTIALS_REJECTED,
    WorkerReason.GIT_REFUSED,
    WorkerReason.GIT_NOT_FOUND,
)


class TestRefusals:
    @pytest.mark.parametrize(
        ("token", "reason"),
        [("wrong", CREDENTIALS), (READS_ONLY, CREDENTIALS), (OF_A_STRANGER, NOT_FOUND), ("two\nlines", CREDENTIALS)],
        ids=["wrong", "may only read", "sees no such repository", "two lines"],
    )
    def test_a_token_that_does_not_suffice_names_secret_key_and_right(
        self, host: FakeHost, token: str, reason: WorkerReason
    ) -> None:
        error = failure(host, token)
        assert (error.reason, error.terminal) == (reason, True)
        assert "the Secret git-token (spec.artifact.git.secret)" in str(error)
        if "\n" not in token:
            assert "password" in str(error)
            assert DIALECTS[host.provider].right.removesuffix(".") in str(error)
        assert not host.pulls

    def test_a_secret_without_a_token_is_named(self, host: FakeHost) -> None:
        with pytest.raises(GitError, match=r"the Secret git-token \(.*\) has no token, .* into the key password"):
            open_or_update(host.destination(), "", HEAD, "title", "body")

    def test_the_line_feed_at_the_end_of_a_secret_does_not_matter(self, host: FakeHost) -> None:
        open_or_update(host.destination(), f"{TOKEN}\n", HEAD, "title", "body")

    def test_a_403_that_is_not_about_the_token_is_a_refusal_of_the_repository(self, host: FakeHost) -> None:
        host.faults = [Reply(403, {"message": "Repository was archived so is read-only."})]
        error = failure(host)
        assert (error.reason, error.terminal) == (REFUSED, True)
        assert "The server says: Repository was archived so is read-only. " in str(error)

    @pytest.mark.parametrize(
        ("value", "said"),
        [
            ({"message": "Validation Failed", "errors": [{"message": "No commits"}]}, "Validation Failed: No commits"),
            ({"message": "Validation Failed", "errors": [{"field": "head", "code": "invalid"}]}, "head is invalid"),
            ({"message": {"source_branch": ["does not exist"]}}, "source_branch does not exist"),
            ({"message": ["one", "two"]}, "one; two"),
            ({"error": "title is missing"}, "title is missing"),
            (["odd"], "odd"),
            (b"<html>", "(422)"),
            ({"message": f"bad {TOKEN}"}, "bad ***"),
        ],
    )
    def test_what_the_server_says_is_told(self, host: FakeHost, value: Any, said: str) -> None:
        host.faults = [Reply(422, value)]
        error = failure(host)
        assert (error.reason, error.terminal) == (REFUSED, True)
        assert said in str(error)

    def test_a_branch_that_the_server_does_not_have_is_named(self, host: FakeHost) -> None:
        host.branches.clear()
        assert HEAD in str(failure(host))

    @pytest.mark.parametrize(
        "value",
        [b"<html>Sign in</html>", {"pulls": []}, [{"id": 1}], [None]],
        ids=["a page", "no list", "other fields", "nothing"],
    )
    def test_an_answer_that_is_not_the_apis_points_to_the_fields_about_it(self, host: FakeHost, value: Any) -> None:
        host.faults = [Reply(200, value)]
        error = failure(host)
        assert (error.reason, error.terminal) == (REFUSED, True)
        assert "Check spec.artifact.git.pullRequest." in str(error)


class TestWhereTheTokenGoes:
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_another_server_never_gets_the_token(self, host: FakeHost, status: int) -> None:
        with FakeGitHub().running() as other:
            host.faults = [Reply(status, None, {"Location": f"{other.api}/moved?x=1"})]
            error = failure(host)
            assert other.calls == []
            assert f"it redirects to {other.api}/moved." in str(error)
        assert (error.reason, error.terminal) == (REFUSED, True)

    @pytest.mark.parametrize("status", [301, 307, 308])
    def test_a_repository_that_has_moved_on_its_server_is_followed(self, host: FakeHost, status: int) -> None:
        moved = Reply(status, None, {"Location": f"{host.api}{host.route()}"})
        destination = host.destination()
        host.faults = [moved]
        open_or_update(destination, TOKEN, HEAD, "title", "body")
        assert [call.method for call in host.calls] == ["GET", "GET", "POST", "GET"]

    @pytest.mark.parametrize("status", [301, 307, 308])
    def test_a_moved_repository_gets_its_new_request_at_the_new_place(self, host: FakeHost, status: int) -> None:
        host.faults = [Reply(200, []), Reply(status, None, {"Location": f"{host.api}{host.route()}"})]
        publish(host, HEAD, "ours")
        assert [call.method for call in host.calls] == ["GET", "POST", "POST", "GET"]
        assert [pull.title for pull in host.open_pulls(HEAD)] == ["ours"]

    def test_a_page_for_signing_in_is_not_followed(self, host: FakeHost) -> None:
        host.faults = [Reply(302, None, {"Location": f"{host.api}/login"})]
        assert failure(host).reason == REFUSED
        assert len(host.calls) == 1

    def test_an_api_without_encryption_elsewhere_gets_no_token(self, host: FakeHost) -> None:
        api = "http://git.example.com/api/v1"
        error = failure(host, pullRequest={"provider": host.provider, "api": api})
        assert (error.reason, error.terminal) == (REFUSED, True)
        assert f"{api} would send the token unencrypted" in str(error)


class TestCertificates:
    def test_a_server_with_a_ca_of_its_own_needs_ca_crt(self, authority: Authority) -> None:
        with FakeGitHub(authority).running() as host:
            host.add_branch(HEAD)
            publish(host, HEAD)
            host.ca_file = None
            error = failure(host)
        assert (error.reason, error.terminal) == (CREDENTIALS, True)
        assert "unable to get local issuer certificate" in str(error)
        assert "key ca.crt of the Secret git-token" in str(error)

    def test_a_ca_crt_that_is_none_is_named(self, host: FakeHost, tmp_path: Path) -> None:
        host.ca_file = tmp_path / "ca.crt"
        host.ca_file.write_text("none")
        destination = host.destination(pullRequest={"provider": host.provider})
        with pytest.raises(GitError, match=r"ca\.crt of the Secret git-token .* has no certificate"):
            open_or_update(destination, TOKEN, HEAD, "title", "body", ca_file=host.ca_file)


class TestAddresses:
    @pytest.mark.parametrize(
        ("url", "api", "project"),
        [
            ("https://github.com/acme/app.git", "https://api.github.com", "acme/app"),
            ("https://github.com/acme/app/", "https://api.github.com", "acme/app"),
            ("https://GitHub.com/acme/app", "https://api.github.com", "acme/app"),
            ("https://acme.ghe.com/acme/app", "https://api.acme.ghe.com", "acme/app"),
            ("https://git.acme.com/acme/app.git", "https://git.acme.com/api/v3", "acme/app"),
            ("https://git.acme.com:8443/acme/my.app", "https://git.acme.com:8443/api/v3", "acme/my.app"),
        ],
    )
    def test_github(self, url: str, api: str, project: str) -> None:
        assert GitHub.address(url, None) == (api, project)

    @pytest.mark.parametrize(
        ("url", "given", "project"),
        [
            ("https://gitlab.com/acme/app.git", None, "acme/app"),
            ("https://gitlab.com/acme/ml/nlp/app", None, "acme/ml/nlp/app"),
            ("https://git.acme.com/gitlab/acme/app", "https://git.acme.com/gitlab/api/v4", "acme/app"),
            ("https://git.acme.com/gitlab/acme/app", "https://git.acme.com/api/v4", "gitlab/acme/app"),
            ("https://git.acme.com/gitlab/acme/app", "https://api.acme.com/gitlab/api/v4", "gitlab/acme/app"),
        ],
    )
    def test_gitlab(self, url: str, given: str | None, project: str) -> None:
        assert GitLab.address(url, given) == (f"https://{url.split('/')[2]}/api/v4", project)

    @pytest.mark.parametrize(
        ("url", "api"),
        [
            ("https://gitea.com/acme/app.git", "https://gitea.com/api/v1"),
            ("https://acme.com/git/acme/app", "https://acme.com/git/api/v1"),
        ],
    )
    def test_gitea(self, url: str, api: str) -> None:
        assert Gitea.address(url, None) == (api, "acme/app")

    def test_a_url_without_an_owner_is_refused(self, host: FakeHost) -> None:
        error = failure(host, url="https://git.example.com/app.git")
        assert (error.reason, error.terminal) == (NOT_FOUND, True)
        assert host.calls == []


class TestLongTexts:
    def test_a_long_body_is_cut_and_names_the_file_with_the_rest(self, host: FakeHost) -> None:
        most = DIALECTS[host.provider].most
        publish(host, HEAD, body="a line of 20 letters\n" * (most // 20))
        [pull] = host.open_pulls(HEAD)
        assert most - 200 < len(pull.body) <= most
        assert pull.body.endswith(
            f"letters\n\nThis text is cut. `prompts/triage/report.md` in the branch `{HEAD}` has the whole report."
        )

    def test_a_long_title_is_cut_and_has_one_line(self, host: FakeHost) -> None:
        publish(host, HEAD, "Compile\n" + "a" * 300)
        [pull] = host.open_pulls(HEAD)
        assert len(pull.title) == 255
        assert pull.title.startswith("Compile a")

    @pytest.mark.parametrize(
        ("body", "cut"),
        [
            ("short", "short"),
            ("one\n" * 30, "one\n" * 19 + "one\n\nEnd."),
            ("````diff\n```\n" + "+ line\n" * 30, "````diff\n```\n" + "+ line\n" * 8 + "````\n\nEnd."),
            ("```\na\n```\n" + "line\n" * 30, "```\na\n```\n" + "line\n" * 13 + "line\n\nEnd."),
            ("<details>\n" + "line\n" * 30, "<details>\n" + "line\n" * 11 + "\n</details>\n\nEnd."),
        ],
        ids=["short", "long", "within code", "after code", "folded"],
    )
    def test_a_cut_text_closes_what_is_open(self, body: str, cut: str) -> None:
        found = fitting(body, 86, "End.")
        assert found == cut
        assert len(found) <= 86
